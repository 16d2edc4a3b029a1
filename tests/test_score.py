"""Lines of anyone's model are scored as our own runs are."""

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
from introspect.analysis.lines import read
from introspect.analysis.matrix import Run, coupling_matrix
from introspect.analysis.score import score, show
from introspect.fields import Refused
from introspect.frequency import adjusted_gap
from introspect.metrics import coupling, majority_share
from introspect.stats import clustered, wilson
from tests.cases import each

ROOT = Path(__file__).parents[1]


def line(explanation="a", current="a", original="a", **more):
    return {"explanation": explanation, "current": current, "original": original, **more}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


items = st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.integers(0, 3)), min_size=1, max_size=25)


@given(items, st.booleans())
def test_measures_are_those_of_coupling_with_the_intervals_of_stats(several, grouped):
    said, now, then, groups = torch.tensor(several).T
    arrays = [t.numpy() for t in (said, now, then)]
    found = score(Run(*arrays, groups.numpy() if grouped else None))
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
    knows_nothing = adjusted_gap(said, now, then, torch.zeros_like(said))
    assert found["adjusted gap"]["mean"] == pytest.approx(knows_nothing, abs=1e-12)
    above = (said == now).double() - (now == now.bincount().argmax()).double()
    expected = clustered(above.numpy(), groups.numpy() if grouped else np.arange(len(said)))
    assert found["Self - constant"] == (expected._asdict() if expected else {
        "mean": above.mean(), "low": None, "high": None, "n": 1})
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
    (run,) = read([path]).runs.values()
    found = score(run)
    measures = said.split("\n\n")[0].splitlines()
    assert [row.split("  ")[0] for row in measures] == [
        "items", "groups", "Self", "Orig", "gap", "adjusted gap", "follows", "drift d",
        "preference", "majority, now", "majority, then", "best constant", "Self - constant",
    ]
    assert measures[0].split()[-1] == "200" and measures[1].split()[-1] == "50"
    assert f"Self             {found['Self']['mean']:.3f} [{found['Self']['low']:.3f}, " in said
    assert f"gap              {found['gap']['mean']:+.3f} [{found['gap']['low']:+.3f}, " in said
    assert measures[6].split()[-1] == "now" and "over groups" in said and "advantage" not in said
    free = said_by(capsys, write(path, without(made_up(0), "group")))
    assert free.splitlines()[1].split() == ["groups", "none"] and "over lines" in free


@each("turned, side", [({}, "now"), ({"current": "original", "original": "current"}, "then")])
def test_the_side_is_that_of_the_interval(tmp_path, capsys, turned, side):
    rows = [{turned.get(k, k): v for k, v in row.items()} for row in made_up(0)]
    assert f"follows          {side}\n" in said_by(capsys, write(tmp_path / "a", rows))
    rows = made_up(0, faithful=0)
    assert "follows          neither\n" in said_by(capsys, write(tmp_path / "a", rows))
    assert "follows          n/a\n" in said_by(capsys, write(tmp_path / "a", rows[:1]))


def test_several_runs_have_a_row_each_and_a_matrix(tmp_path, capsys):
    both = [row for pair in zip(made_up(0, run="x"), made_up(1, run="y")) for row in pair]
    path = write(tmp_path / "both.jsonl", both)
    said, runs = said_by(capsys, path), read([path]).runs
    each, gaps, rest, constants, classes, table, sides, means, *_ = said.split("\n\n")
    for name, row in zip(("x", "y"), each.splitlines()[1:]):
        alone = said_by(capsys, write(tmp_path / "one", [r for r in both if r["run"] == name]))
        cells = [" ".join(row.split()[1:]) for row in alone.splitlines()[2:4]]
        assert row.split()[:3] == [name, "200", "50"] and all(cell in row for cell in cells)
        assert alone.splitlines()[4].split("gap")[1].strip() in gaps
        assert set(alone.split("\n\n")[1].splitlines()[1:]) <= {
            row.removeprefix(name).strip() for row in classes.splitlines()}
    heads = ["Self Orig", "gap adjusted gap follows", "drift d preference", "majority, now "
             "majority, then best constant Self - constant",
             "class said now then Self Orig part of gap"]
    for block, head in zip((each, gaps, rest, constants, classes), heads):
        assert head in " ".join(block.split("\n")[0].split())
        assert {row.split()[0] for row in block.splitlines()} == {"run", "x", "y"}
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
    assert "prefers its own" not in said_by(capsys, write(path, without(both, "item")))


def test_files_are_runs_with_the_same_tables_as_named_runs(tmp_path, capsys):
    one = write(tmp_path / "x.jsonl", made_up(0))
    two = write(tmp_path / "y.jsonl", made_up(1))
    named = write(tmp_path / "n", made_up(0, run="x") + made_up(1, run="y"))
    assert said_by(capsys, one, two) == said_by(capsys, named)
    mixed = write(tmp_path / "y2", made_up(1, run="y"))
    assert said_by(capsys, one, mixed) == said_by(capsys, named)
    halves = [write(tmp_path / str(k), made_up(0, run="x")[k::2]) for k in range(2)]
    (run,) = read(halves).runs.values()
    assert len(run.current) == 200 and list(read(halves).runs) == ["x"]


def test_identical_runs_have_no_advantage(tmp_path, capsys):
    paths = [write(tmp_path / name, made_up(0)) for name in "ab"]
    assert "advantage of one's own labels  +0.000 [+0.000, +0.000]" in said_by(capsys, *paths)


def test_many_runs_have_no_matrix_and_too_many_are_refused(tmp_path, capsys):
    rows = [row for k in range(13) for row in made_up(k, n=8, run=k)]
    said = said_by(capsys, write(tmp_path / "a", rows))
    assert "at most 12 runs" in said and "advantage" not in said and "\n12 " in said
    assert "class  " not in said
    assert "advantage" in said_by(capsys, write(tmp_path / "a", rows[8:]))
    write(tmp_path / "a", [line(run=k) for k in range(1001)])
    with pytest.raises(Refused, match="1,001 runs; at most 1,000"):
        read([tmp_path / "a"])
    write(tmp_path / "a", [line(run=k) for k in range(1000)])
    assert len(read([tmp_path / "a"]).runs) == 1000


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
