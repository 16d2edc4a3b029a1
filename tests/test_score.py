"""Lines of anyone's model: read as they are or refused, and scored as our own runs are."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eval as evaluation
from introspect.analysis import score as scoring
from introspect.analysis.matrix import coupling_matrix
from introspect.analysis.score import read, score, show
from introspect.fields import Refused
from introspect.metrics import coupling, majority_share
from introspect.stats import clustered, wilson
from tests.cases import each

ROOT = Path(__file__).parents[1]


def line(explanation="a", current="a", original="a", **more):
    return {"explanation": explanation, "current": current, "original": original, **more}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def same(a, b):
    """Equality of JSON scalars, from its words: of one kind, numbers being one kind, and equal."""
    numbers = [type(x) in (int, float) for x in (a, b)]
    return a == b if all(numbers) else type(a) is type(b) and a == b


values = st.one_of(
    st.sampled_from([1, 1.0, True, "1", "true", 0, -0.0, False, "", "a", 1.5, 2**53 + 1, 2.0**53]),
    st.text(max_size=2),
)
rows = st.lists(st.tuples(values, values, values, values), min_size=1, max_size=20)


@given(rows)
def test_values_are_equal_as_json_values_are(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    write(path, [line(*row[:3], group=row[3]) for row in items])
    (run,) = read([path]).values()
    ids = np.array([run.explanation, run.current, run.original])  # (3, n)
    flat = [value for key in range(3) for value in list(zip(*items))[key]]
    expected = [[same(a, b) for b in flat] for a in flat]
    assert (ids.ravel()[:, None] == ids.ravel()).tolist() == expected
    groups = [[same(a[3], b[3]) for b in items] for a in items]
    assert (run.groups[:, None] == run.groups).tolist() == groups


items = st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.integers(0, 3)), min_size=1, max_size=25)


@given(items, st.booleans())
def test_measures_are_those_of_coupling_with_the_intervals_of_stats(several, grouped):
    said, now, then, groups = torch.tensor(several).T
    arrays = [t.numpy() for t in (said, now, then)]
    found = score(scoring.Run(*arrays, groups.numpy() if grouped else None))
    c = coupling(said, now, then)
    constant = [(now == now.bincount().argmax()), then == then.bincount().argmax()]
    shares = {
        "Self": (said == now, c.self_match),
        "Orig": (said == then, c.orig_match),
        "drift d": (now != then, c.drift),
        "majority, now": (constant[0], majority_share(now)),
        "majority, then": (constant[1], majority_share(then)),
    }
    decided = ((said == now) | (said == then)) & (now != then)
    if c.preference is not None:
        shares["preference"] = ((said == now)[decided], c.preference)
    for key, (true, mean) in shares.items():
        assert found[key]["mean"] == mean
        of = groups[decided] if key == "preference" else groups
        true, of = true.numpy(), of.numpy()
        expected = clustered(true, of) if grouped else wilson(int(true.sum()), len(true))
        ends = (expected.low, expected.high, expected.n) if expected else (None, None, 1)
        assert (found[key]["low"], found[key]["high"], found[key]["n"]) == ends
    assert found["preference"]["mean"] == c.preference and found["gap"]["mean"] == c.gap
    sides = (said == now).double() - (said == then).double()
    expected = clustered(sides.numpy(), groups.numpy() if grouped else np.arange(len(said)))
    ends = (expected.low, expected.high) if expected else (None, None)
    assert (found["gap"]["low"], found["gap"]["high"]) == ends
    if c.preference is not None:  # the identity
        sided = (2 * c.preference - 1) * int(decided.sum()) / int((now != then).sum())
        assert found["gap"]["mean"] == pytest.approx(c.drift * sided, abs=1e-12)


def made_up(seed, n=200, faithful=0.6, **more):
    draw = np.random.default_rng(seed)
    found = []
    for i in range(n):
        then, other = (f"would change to {'ABCD'[k]}" for k in draw.integers(4, size=2))
        now = other if draw.random() < 0.4 else then
        said = now if draw.random() < faithful else f"would change to {'ABCD'[draw.integers(4)]}"
        found.append(line(said, now, then, group=i // 4, item=f"item {i}", **more))
    return found


def without(rows, *keys):
    return [{k: v for k, v in row.items() if k not in keys} for row in rows]


def said_by(capsys, *arguments):
    assert evaluation.main(["score", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_one_run_is_one_column(tmp_path, capsys):
    path = write(tmp_path / "model.jsonl", made_up(0))
    said = said_by(capsys, path)
    (run,) = read([path]).values()
    found = score(run)
    measures = said.split("\n\n")[0].splitlines()
    assert [row.split("  ")[0] for row in measures] == [
        "items", "groups", "Self", "Orig", "gap", "follows", "drift d", "preference",
        "majority, now", "majority, then",
    ]
    assert measures[0].split()[-1] == "200" and measures[1].split()[-1] == "50"
    assert f"Self            {found['Self']['mean']:.3f} [{found['Self']['low']:.3f}, " in said
    assert f"gap             {found['gap']['mean']:+.3f} [{found['gap']['low']:+.3f}, " in said
    assert measures[5].split()[-1] == "now" and "over groups" in said and "advantage" not in said
    free = said_by(capsys, write(path, without(made_up(0), "group")))
    assert free.splitlines()[1].split() == ["groups", "none"] and "over lines" in free


@each(
    "turned, side", [({}, "now"), ({"current": "original", "original": "current"}, "then")]
)
def test_the_side_is_that_of_the_interval(tmp_path, capsys, turned, side):
    rows = [{turned.get(k, k): v for k, v in row.items()} for row in made_up(0)]
    assert f"follows         {side}\n" in said_by(capsys, write(tmp_path / "a", rows))
    rows = made_up(0, faithful=0)
    assert "follows         neither\n" in said_by(capsys, write(tmp_path / "a", rows))
    assert "follows         n/a\n" in said_by(capsys, write(tmp_path / "a", rows[:1]))


def test_several_runs_have_a_row_each_and_a_matrix(tmp_path, capsys):
    both = [row for pair in zip(made_up(0, run="x"), made_up(1, run="y")) for row in pair]
    path = write(tmp_path / "both.jsonl", both)
    said, runs = said_by(capsys, path), read([path])
    each, rest, table, sides, means, note = said.split("\n\n")
    for name, row in zip(("x", "y"), each.splitlines()[1:]):
        alone = said_by(capsys, write(tmp_path / "one", [r for r in both if r["run"] == name]))
        cells = [" ".join(row.split()[1:]) for row in alone.splitlines()[2:5]]
        assert row.split()[:3] == [name, "200", "50"] and all(cell in row for cell in cells)
    assert each.split("\n")[0].split() == "run items groups Self Orig gap follows".split()
    assert [row.split()[0] for row in rest.splitlines()] == ["run", "x", "y"]
    assert rest.split("\n")[0].split()[1:4] == ["drift", "d", "preference"]
    matrix = coupling_matrix(runs)
    x = f"x {matrix.agreement[0, 0]:.3f} {matrix.agreement[0, 1]:.3f}"
    assert x in " ".join(table.split())
    pair = matrix.pairs["y", "x"]
    assert sides.splitlines()[2].split()[:7] == [
        "y", "x", "200", f"{pair.own:.3f}", f"{pair.other:.3f}", str(pair.n_differ),
        str(pair.n_decided),
    ]
    prefers = f" {pair.preference['mean']:.3f} [{pair.preference['low']:.3f}, "
    assert prefers in sides.splitlines()[2]
    assert f"  {matrix.advantage['mean']:+.3f} [{matrix.advantage['low']:+.3f}, " in means
    assert f"  {matrix.preference['mean']:.3f} [{matrix.preference['low']:.3f}, " in means
    assert "says" not in said_by(capsys, write(path, without(both, "item")))


def test_files_are_runs_with_the_same_tables_as_named_runs(tmp_path, capsys):
    one = write(tmp_path / "x.jsonl", made_up(0))
    two = write(tmp_path / "y.jsonl", made_up(1))
    named = write(tmp_path / "n", made_up(0, run="x") + made_up(1, run="y"))
    assert said_by(capsys, one, two) == said_by(capsys, named)
    mixed = write(tmp_path / "y2", made_up(1, run="y"))
    assert said_by(capsys, one, mixed) == said_by(capsys, named)
    halves = [write(tmp_path / str(k), made_up(0, run="x")[k::2]) for k in range(2)]
    (run,) = read(halves).values()
    assert len(run.current) == 200 and list(read(halves)) == ["x"]


def test_identical_runs_have_no_advantage(tmp_path, capsys):
    paths = [write(tmp_path / name, made_up(0)) for name in "ab"]
    assert "advantage of one's own labels  +0.000 [+0.000, +0.000]" in said_by(capsys, *paths)


def test_runs_that_cannot_be_told_apart_by_short_names_have_long_ones(tmp_path):
    (tmp_path / "deeper").mkdir()
    paths = [write(tmp_path / at, [line()]) for at in ("a.jsonl", "deeper/a.jsonl")]
    assert list(read(paths)) == [json.dumps(str(path)) for path in paths]
    names = [1, "1", True, "true", "two\nlines", ""]
    path = write(tmp_path / "b", [line(run=name) for name in names])
    assert list(read([path])) == [json.dumps(name) for name in names]
    write(path, [line(run=name) for name in names[1:3] + names[4:]])
    assert list(read([path])) == ["1", "true", '"two\\nlines"', '""']


def test_many_runs_have_no_matrix_and_too_many_are_refused(tmp_path, capsys):
    rows = [row for k in range(13) for row in made_up(k, n=8, run=k)]
    said = said_by(capsys, write(tmp_path / "a", rows))
    assert "at most 12 runs" in said and "advantage" not in said and "\n12 " in said
    assert "advantage" in said_by(capsys, write(tmp_path / "a", rows[8:]))
    write(tmp_path / "a", [line(run=k) for k in range(1001)])
    with pytest.raises(Refused, match="1,001 runs; at most 1,000"):
        read([tmp_path / "a"])
    write(tmp_path / "a", [line(run=k) for k in range(1000)])
    assert len(read([tmp_path / "a"])) == 1000


def test_windows_files_are_read_and_so_is_one_without_a_last_line_break(tmp_path):
    rows = made_up(0, run="née\u2028")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.write_bytes(text.encode())
    expected = show(read([plain]))
    for changed in (
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        text.rstrip("\n").encode(),
        text.replace('{"', ' { "').encode(),
    ):
        other.write_bytes(changed)
        assert show(read([other])) == expected


GOOD = json.dumps(line())
BAD = [  # the text of a second line, what the refusal says of it
    ("{", r"not JSON \(.*, column 2\)"),
    (GOOD + GOOD, "not JSON"),
    (GOOD + ",", "not JSON"),
    ("\ufeff" + GOOD, "not JSON"),
    ("", "blank"),
    ("  \t", "blank"),
    ("3", "not an object"),
    ("null", "not an object"),
    (f"[{GOOD}]", "not an object"),
    ("{}", "no explanation"),
    ('{"explanation": 1, "original": 1}', "no current"),
    ('{"explanation": 1, "current": 1}', "no original"),
    (json.dumps(line(label=1)), 'unknown key "label"; optional are group, item, run'),
    (json.dumps(line(**{"x" * 99: 1})), r'unknown key "x{35} \.\.\.; optional'),
    (json.dumps(line(**{"two\nlines": 1})), r'unknown key "two\\nlines"; optional'),
    (json.dumps(line(None)), "explanation is null"),
    (json.dumps(line(current=[1])), "current is a list"),
    (json.dumps(line(original={})), "original is an object"),
    (json.dumps(line(float("nan"))), "explanation is no finite number"),
    (json.dumps(line(float("-inf"))), "explanation is no finite number"),
    (GOOD.replace('"a"', "1e999"), "explanation is no finite number"),
    (GOOD.replace('"a"', "1" * 5000), "too many digits"),
    (GOOD.replace("}", ', "current": "b"}'), "a key is there twice"),
    (GOOD.replace('"a"', "[" * 100_000), "nested too deeply"),
    (json.dumps(line(group=1)), "has group, unlike the lines before it"),
    (json.dumps(line(run=1)), "has run, unlike the lines before it"),
    (json.dumps(line(item=1)), "has item, unlike the lines before it"),
]


@each("text, says", BAD)
def test_a_bad_line_is_refused_and_the_refusal_says_where_and_why(tmp_path, text, says):
    path = tmp_path / "lines"
    path.write_bytes("\n".join([GOOD, text, GOOD, ""]).encode())
    with pytest.raises(Refused, match=f"lines: 1 of 3 lines is bad: line 2: {says}") as refusal:
        evaluation.main(["score", str(path)])
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize("key", ["group", "item", "run"])
@pytest.mark.parametrize("value, says", [(None, "null"), ([], "a list"), (1e999, "no finite")])
def test_what_is_optional_is_a_value_too_and_in_all_lines(tmp_path, key, value, says):
    path = write(tmp_path / "lines", [line(**{key: 1}), line(), line(**{key: value})])
    with pytest.raises(Refused) as refusal:
        read([path])
    expected = f"line 2: no {key}, unlike the lines before it; line 3: {key} is {says}"
    assert expected in str(refusal.value)


def test_of_many_bad_lines_the_first_are_described_and_all_are_counted(tmp_path):
    (tmp_path / "lines").write_bytes(b"\xff\n" + b"[]\n" * 2000 + (GOOD + "\n").encode())
    with pytest.raises(Refused, match="lines: 2,001 of 2,002 lines are bad: line 1: not UTF-8; "
                       "line 2: not an object; line 3: not an object; and 1,998 more$"):
        read([tmp_path / "lines"])


def test_an_item_is_in_a_run_once_and_may_be_in_another(tmp_path):
    path = write(tmp_path / "a", [line(item=1, run="x"), line(item=1, run="y")])
    assert len(read([path])) == 2
    again = write(tmp_path / "b", [line(item="1", run="x"), line(item=1.0, run="y")])
    with pytest.raises(Refused, match="b: 1 of 2 lines is bad: line 2: item 1.0 again in its run"):
        read([path, again])


def test_what_is_in_the_lines_of_one_file_is_in_those_of_all(tmp_path):
    paths = [write(tmp_path / "a", [line(item=1)]), write(tmp_path / "b", [line()])]
    with pytest.raises(Refused, match="b: item must be in all files or in none"):
        read(paths)
    write(paths[0], [line(item=1, group=1)]), write(paths[1], [line(item=1)])
    with pytest.raises(Refused, match="b: group must be in all files or in none; see .*a$"):
        read(paths)
    write(paths[1], [line(item=1, group=2)])
    with pytest.raises(Refused, match="an item must be of the same group in all runs"):
        evaluation.main(["score", *map(str, paths)])


@each(
    "content, says",
    [
        (b"", "a: is empty; must have lines with explanation, current, original"),
        (b"\xef\xbb\xbf", "line 1: blank"),
        (b"\n", "line 1: blank"),
        ((GOOD + "\n\n").encode(), "a: 1 of 2 lines is bad: line 2: blank"),
    ],
)
def test_a_file_without_a_line_is_refused_and_so_is_a_blank_one(tmp_path, content, says):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Refused, match=says):
        read([tmp_path / "a"])


def run_script(*arguments):
    command = [sys.executable, str(ROOT / "eval.py"), "score", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command_exits_2_with_one_line_and_no_traceback(tmp_path):
    good = write(tmp_path / "good", [line()])
    bad = write(tmp_path / "bad", [line(), 3])
    cases = [[bad], [good, bad], [tmp_path / "none"], [tmp_path], [good, good], []]
    for arguments, says in zip(cases, ("line 2: not an object",) * 2 + (
        "none: cannot be read (No such file", "cannot be read (Is a directory",
        "a file is given twice", "FILE",
    )):
        done = run_script(*arguments)
        assert (done.returncode, done.stdout) == (2, "") and says in done.stderr
        assert done.stderr.startswith("refused: ") and done.stderr.count("\n") == 1


def test_the_command_does_not_import_torch(tmp_path):
    path = write(tmp_path / "a", made_up(0))
    probe = (
        f"import sys, runpy; sys.argv = ['eval.py', 'score', {str(path)!r}]\n"
        f"try: runpy.run_path({str(ROOT / 'eval.py')!r}, run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Self " in done.stdout


def test_a_hundred_thousand_lines_need_little_memory(tmp_path):
    """Every line with a group and an item of its own, in two runs: below 600 bytes a line. The 170
    bytes a line of the file are never held at once; the text of groups and items is."""
    rows = (
        line("stay", "stay", "go", group=f"group {k:08d}", item=f"item {k:08d}", run=k % 2)
        for k in range(100_000)
    )
    path = write(tmp_path / "a", rows)
    tracemalloc.start()
    show(read([path]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000 * 600
