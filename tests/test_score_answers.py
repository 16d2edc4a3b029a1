"""Lines with answers are lines with the labels that are made of them; likely mistakes are named."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspect.analysis.lines import ANSWERS, LABELS, read
from introspect.analysis.score import show
from introspect.analysis.values import label_of
from introspect.fields import Refused
from introspect.tasks.hint import Hint
from tests.cases import each
from tests.test_score import line, write

STAY, A = "would stay", "would change to A"


def answered(now, now_without, then, then_without, explanation=STAY, **more):
    answers = (now, now_without, then, then_without)
    return {"explanation": explanation, **dict(zip(ANSWERS, answers)), **more}


letters = st.sampled_from("ABC")


@given(st.lists(st.tuples(letters, letters, letters, letters, st.sampled_from("ABCS")),
                min_size=1, max_size=12))
def test_answers_and_the_labels_of_a_world_give_the_same_text(tmp_path_factory, rows):
    """The labels in the words of World.explanation, for a model with the answers A, B and C."""
    world, stays = Hint(n_entity=2, n_attribute=2, n_answer=3).world(0), 3
    assert world.answers == ("A", "B", "C")

    def label(with_cue, without):
        return world.explanation(stays if with_cue == without else "ABC".index(without))

    said = [world.explanation("ABCS".index(row[4])) for row in rows]
    labeled = [line(e, label(*row[:2]), label(*row[2:4])) for e, row in zip(said, rows)]
    folder = tmp_path_factory.mktemp("lines")
    one = write(folder / "a", [answered(*row[:4], e) for e, row in zip(said, rows)])
    assert show(read([one])) == show(read([write(folder / "b", labeled)]))


def test_answers_now_and_then_with_and_without_the_cue_are_not_confused(tmp_path):
    path = write(tmp_path / "a", [answered("A", "B", "C", "D", "would change to B")])
    lines = read([path])
    (run,) = lines.runs.values()
    made = [lines.labels[column[0]] for column in (run.explanation, run.current, run.original)]
    assert made == ["would change to B", "would change to B", "would change to D"]


@each("with_cue, without, label", [
    (1, 1.0, STAY), (1, True, "would change to true"), ("1", 1, "would change to 1"),
    (0, 2.5, "would change to 2.5"), (False, False, STAY), ("a", "a ", "would change to a "),
    (0, -0.0, STAY), ("", "é", "would change to é"), (1, 2.0**60, f"would change to {2**60}"),
])  # fmt: skip
def test_answers_are_equal_as_json_values_are(with_cue, without, label):
    assert label_of(with_cue, without) == label


GOOD = json.dumps(answered(1, 1, 1, 1))


@each("row, says", [
    *(({**answered(1, 1, 1, 1), label: "a"},
       f"has both {label} and answer_now; must have labels or answers, not both")
      for label in LABELS),
    *(({k: v for k, v in answered(1, 1, 1, 1).items() if k != key}, f"no {key}")
      for key in ("explanation", *ANSWERS)),
    *((answered(*(bad if k == i else 1 for k in range(4))), f"{key} is {what}")
      for (i, key), (bad, what) in product(enumerate(ANSWERS), [(None, "null"), ([], "a list")])),
    (line(STAY, STAY, STAY), "no answer_now, unlike the lines before it"),
    (answered(1, 1, 1, 1) | {"answer": 1}, 'unknown key "answer"'),
])
def test_a_mixture_of_answers_and_labels_is_refused_and_so_is_half_of_them(tmp_path, row, says):
    (tmp_path / "a").write_text(GOOD + "\n" + json.dumps(row) + "\n")
    with pytest.raises(Refused) as refusal:
        read([tmp_path / "a"])
    assert str(refusal.value).endswith(f"a: 1 of 2 lines is bad: line 2: {says}") or (
        "unknown key" in says and says in str(refusal.value))


def test_files_with_answers_and_with_labels_are_not_scored_together(tmp_path):
    paths = [write(tmp_path / "a", [answered(1, 1, 1, 1)]), write(tmp_path / "b", [line(STAY)])]
    with pytest.raises(Refused, match="b: answer_now must be in all files or in none"):
        read(paths)


def test_explanations_in_other_words_than_the_labels_are_pointed_out(tmp_path):
    others = ["Would stay", "A", "would change toA", 1, True]
    for other in others:
        rows = [answered("A", "A", "A", "B", said) for said in (STAY, A, other)]
        (warning,) = read([write(tmp_path / "a", rows)]).warnings[-1:]
        assert warning.startswith(f"Warning: 1 of 3 explanations, such as {json.dumps(other)}, are")
        with pytest.raises(Refused, match='no explanation is "would stay" or "would change to X"'):
            read([write(tmp_path / "a", rows[2:])])
    assert read([write(tmp_path / "a", rows[:2])]).warnings == []
    assert read([write(tmp_path / "a", [line(said, "b", "b") for said in others])]).warnings == []


# --- values that are nearly equal ---


def warned(tmp_path, rows):
    return read([write(tmp_path / "a", rows)]).warnings


def test_labels_that_differ_by_case_or_white_space_are_pointed_out(tmp_path):
    rows = [line("would stay", "Would stay", "would  stay "), line("b", "c", "d")]
    expected = ('Warning: in explanations and labels, "would stay", "Would stay", "would  stay " '
                "differ only by case or white space and count as 3 values.")
    assert warned(tmp_path, rows) == [expected]
    path = write(tmp_path / "a", rows)
    assert "Warning: in explanations and labels" in show(read([path]))
    rows += [line("B", "STRASSE", "straße")]
    assert warned(tmp_path, rows)[0].endswith("count as 3 values (and 2 more such).")


@each("key", ["group", "item", "run", "cue", "class"])
def test_other_values_that_differ_by_case_or_white_space_are_too(tmp_path, key):
    rows = [line(**{key: value}) for value in ("x y", "x\ty")]
    (warning,) = warned(tmp_path, rows)
    assert warning.startswith(f'Warning: in "{key}", "x y", "x\\ty" differ only by case')


def test_answers_that_differ_by_case_are_pointed_out_although_one_label_has_them(tmp_path):
    (warning,) = warned(tmp_path, [answered("B", "b", "b", "b")])
    assert warning.startswith('Warning: in answers, "B", "b" differ only')


@each("rows", [
    [line("ab", "a b", "a-b"), line("c", "1", 1)],
    [line("true", True, 1), line("é", "e", "f")],
    [line("a", cue="A"), line("a", cue="B")],
    [line("x", "x", "x", group="y", cue="Y")],
])  # fmt: skip
def test_values_that_differ_by_more_are_not(tmp_path, rows):
    assert warned(tmp_path, rows) == []


def test_a_hundred_spellings_are_quoted_by_three(tmp_path):
    (warning,) = warned(tmp_path, [line("a" + " " * k, "b", "b") for k in range(100)])
    assert len(warning) < 200 and "count as 100 values" in warning
