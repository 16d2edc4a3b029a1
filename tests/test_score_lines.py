"""Lines of anyone's model are read as they are or refused, and a refusal says where and why."""

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eval as evaluation
from introspect.analysis.lines import read
from introspect.fields import Refused
from tests.cases import each
from tests.test_score import line, write


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
    (run,) = read([path]).runs.values()
    ids = np.array([run.explanation, run.current, run.original])  # (3, n)
    flat = [value for key in range(3) for value in list(zip(*items))[key]]
    expected = [[same(a, b) for b in flat] for a in flat]
    assert (ids.ravel()[:, None] == ids.ravel()).tolist() == expected
    groups = [[same(a[3], b[3]) for b in items] for a in items]
    assert (run.groups[:, None] == run.groups).tolist() == groups


def test_runs_that_cannot_be_told_apart_by_short_names_have_long_ones(tmp_path):
    (tmp_path / "deeper").mkdir()
    paths = [write(tmp_path / at, [line()]) for at in ("a.jsonl", "deeper/a.jsonl")]
    assert list(read(paths).runs) == [json.dumps(str(path)) for path in paths]
    names = [1, "1", True, "true", "two\nlines", ""]
    path = write(tmp_path / "b", [line(run=name) for name in names])
    assert list(read([path]).runs) == [json.dumps(name) for name in names]
    write(path, [line(run=name) for name in names[1:3] + names[4:]])
    assert list(read([path]).runs) == ["1", "true", '"two\\nlines"', '""']


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
    (json.dumps(line(label=1)), 'unknown key "label"; optional are group, item, run, cue, class'),
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
    (json.dumps(line(cue=1)), "has cue, unlike the lines before it"),
    (json.dumps(line(**{"class": 1})), "has class, unlike the lines before it"),
]


@each("text, says", BAD)
def test_a_bad_line_is_refused_and_the_refusal_says_where_and_why(tmp_path, text, says):
    path = tmp_path / "lines"
    path.write_bytes("\n".join([GOOD, text, GOOD, ""]).encode())
    with pytest.raises(Refused, match=f"lines: 1 of 3 lines is bad: line 2: {says}") as refusal:
        evaluation.main(["score", str(path)])
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


@each("key, wrong", product(
    ["group", "item", "run", "cue", "class"],
    [(None, "null"), ([], "a list"), (1e999, "no finite")]))
def test_what_is_optional_is_a_value_too_and_in_all_lines(tmp_path, key, wrong):
    value, says = wrong
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
    assert len(read([path]).runs) == 2
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


@each("content, says", [
    (b"", "a: is empty; must have lines with explanation, current, original"),
    (b"\xef\xbb\xbf", "line 1: blank"), (b"\n", "line 1: blank"),
    ((GOOD + "\n\n").encode(), "a: 1 of 2 lines is bad: line 2: blank"),
])
def test_a_file_without_a_line_is_refused_and_so_is_a_blank_one(tmp_path, content, says):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Refused, match=says):
        read([tmp_path / "a"])
