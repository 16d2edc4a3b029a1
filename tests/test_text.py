"""What the tables and verdicts of a report say, against the numbers they come from."""

import re

import pytest

from introspect.reading import read_json
from introspect.report.summary import MEASURES
from introspect.report.text import show_run, show_studies, show_study, task_rows
from tests.made_up import (
    COUPLED,
    REVERSED,
    UNDECIDED,
    Page,
    by_name,
    markdown_tables,
    reports,
    result_of,
    shown,
    write_study,
)

pytestmark = pytest.mark.usefixtures("without_matplotlib")


def test_show_study_fits_a_terminal(two_arms):
    lines = show_study(two_arms).split("\n")
    assert max(map(len, lines)) <= 100
    rows = {line.split("  ")[0]: line.split() for line in lines}
    reg = two_arms["arms"]["reg"]
    means = {key: f"{reg[key]['mean']:.3f}" for key in ("self", "orig", "drift", "preference")}
    gap = shown(reg["gap"], "+").split()
    ends = [f"{reg['adjusted']['mean']:+.3f}", means["drift"], means["preference"], "coupling"]
    assert rows["reg"] == ["reg", "3", means["self"], means["orig"], *gap, *ends]
    pair = two_arms["differences"]["reg - noreg"]
    differences = [f"{pair[key]['mean']:+.3f}" for key in ("self", "orig", "gap")]
    assert rows["reg - noreg"][3:7] == ["3", *differences]
    constant = [f"{reg[key]['mean']:.3f}" for key in ("majority_now", "majority")]
    assert rows["majority"] == ["majority", *constant]
    assert rows["untrained"][1:] == [f"{reg['untrained'][k]['mean']:.3f}" for k in ("self", "orig")]


def test_show_run_has_every_measure_of_both_splits():
    result = result_of("reg", 2, 0.163)
    lines = show_run(result).split("\n")
    assert max(map(len, lines)) <= 100
    assert lines[0] == "hint: arm reg, seed 2"
    rows = {re.split(" {2,}", line)[0]: re.split(" {2,}", line)[1:] for line in lines}
    assert rows["Self"] == [f"{result['self']:.3f}", f"{result['train']['self']:.3f}"]
    assert rows["gap"] == ["+0.163 [+0.132, +0.192]", "+0.004 [-0.027, +0.033]"]
    assert rows["agreement"] == ["0.766"]
    assert rows["majority, then"] == ["0.423", "0.546"]
    assert rows["majority, now"] == ["0.319", "0.442"]
    assert rows["behavior drift, without cue"] == ["0.166", "0.289"] and rows["items"][0] == "4602"
    assert "M0 knows 0.957 of the clear answers; the cue changes 0.444" in show_run(result)


@pytest.mark.parametrize(
    "change, meaning",
    [
        ({}, "follow the model as it is now"),
        ({"gap_low": -0.2, "gap_high": -0.1}, "match the frozen labels better than"),
        ({"gap_low": -0.1}, "match the model as it is now and the frozen labels about equally"),
        ({"gap_low": None, "gap_high": None, "preference": None}, "match the model as"),
        ({"drift": 0.0}, "no held-out label has changed"),
    ],
)
def test_show_run_says_what_its_interval_allows(change, meaning):
    text = " ".join(show_run(result_of("reg", 0, 0.2) | change).split())
    subject = "" if meaning.startswith("no ") else "held-out explanations "
    assert f"In this run {subject}{meaning}" in text
    assert "coupling" not in text  # a word for several seeds
    assert ("n/a" in text) == ("preference" in change)


@pytest.mark.parametrize("now, then", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_show_run_says_what_a_constant_explanation_reaches_too(now, then):
    text = show_run(result_of("reg", 0, 0.2) | {"majority_now": now, "majority": then})
    assert ("A constant explanation gets no less Self (1.000)." in text) == (now == 1)
    assert ("A constant explanation gets no less Orig (1.000)." in text) == (then == 1)


def test_show_study_reads_what_the_file_holds(two_arms, tmp_path):
    """Numbers survive the way through result.json."""
    assert show_study(read_json(tmp_path / "result.json", {})) == show_study(two_arms)


@pytest.mark.parametrize(
    "gaps, word",
    [
        (COUPLED, "coupling"),
        (REVERSED, "reversed"),
        (UNDECIDED, "no difference seen at n = 3"),
        (COUPLED[:1], "no verdict at n = 1"),
    ],
)
def test_verdicts_say_what_the_interval_allows(tmp_path, gaps, word):
    study = write_study(tmp_path, {"arm": gaps})
    text, page = reports(tmp_path)
    answer = next(line for line in text.split("\n") if line.startswith("- **arm: "))
    assert answer.startswith(f"- **arm: {word}.**")
    assert f"gap of arm: {word}" in text and f"gap of arm: {word}" in Page(page).text
    terminal = show_study(study)
    assert terminal.split("\n")[2].endswith(f"  {word.partition(' at n')[0]}")
    assert (f"\n{word}: explanations" in terminal) == (word in ("coupling", "reversed"))
    color = {"coupling": '<span class="now">', "reversed": '<span class="then">'}.get(word, ": ")
    assert page.count(f"{color}{word}") == 2
    for other in {"coupling", "reversed"} - {word}:
        assert other not in answer and other not in terminal and f": {other}" not in page


@pytest.mark.parametrize(
    "first, second, word",
    [
        (COUPLED, REVERSED, "a larger gap"),
        (REVERSED, COUPLED, "a smaller gap"),
        (UNDECIDED, UNDECIDED[1:] + UNDECIDED[:1], "no difference seen at n = 3"),
        (COUPLED[:1], REVERSED[:1], "no verdict at n = 1"),
    ],
)
def test_contrasts_say_what_the_interval_allows(tmp_path, first, second, word):
    write_study(tmp_path, {"a": first, "b": second})
    assert f"- **a - b: {word}.** The gaps differ by" in reports(tmp_path)[0]


def test_rows_of_reference_are_one_where_arms_agree_and_else_an_arm_each(tmp_path):
    def other_majority(result):
        if result["arm"] == "b":
            result["majority"] += 0.2

    study = write_study(tmp_path, {"a": COUPLED, "b": COUPLED}, change=other_majority)
    names = [row[0] for row in markdown_tables(reports(tmp_path)[0])[1]]
    assert names == ["arm", "a", "b", "majority, a", "majority, b", "untrained", "a - b"]
    lines = [line.split() for line in show_study(study).split("\n")]
    constant = [f"{study['arms']['b'][key]['mean']:.3f}" for key in ("majority_now", "majority")]
    assert ["majority,", "b", *constant] in lines


def test_a_constant_explanation_that_gets_as_much_is_mentioned(tmp_path):
    def set_majority(result):  # Orig is about 0.51, Self about 0.71
        result["majority"] = {"a": 0.3, "b": 0.6, "c": 0.3}[result["arm"]]
        result["majority_now"] = {"a": 0.6, "b": 0.6, "c": 0.9}[result["arm"]]

    write_study(tmp_path, dict.fromkeys("abc", COUPLED), change=set_majority)
    starts = "- **a: ", "- **b: ", "- **c: "
    answers = [line for line in reports(tmp_path)[0].split("\n") if line.startswith(starts)]
    gets = "A constant explanation gets no less "
    assert [gets + "Orig (0.600)" in line for line in answers] == [False, True, False]
    assert [gets + "Self (0.900)" in line for line in answers] == [False, False, True]
    assert [line.count(gets) for line in answers] == [0, 1, 1]


def test_many_arms_have_all_their_pairs_in_the_table_alone(tmp_path):
    gaps = {f"kl={k}": [gap + k / 50 for gap in COUPLED[:2]] for k in range(5)}
    write_study(tmp_path, gaps)
    text = reports(tmp_path)[0]
    names = [row[0] for row in markdown_tables(text)[1]]
    assert sum(" - " in name for name in names) == 10
    assert "- **kl=" not in text  # of more than four arms, none is told of by itself


def test_where_nothing_moved_there_is_no_preference(tmp_path):
    def still(result):
        if result["seed"] == 1:
            result["preference"] = result["train"]["preference"] = None
        if result["arm"] == "b":
            result["preference"] = None

    study = write_study(tmp_path, {"a": COUPLED, "b": COUPLED}, change=still)
    text = reports(tmp_path)[0]
    _, held_out, *_, listed = markdown_tables(text)
    assert by_name(held_out)["a",]["preference"].endswith("] (n = 2)")
    assert by_name(held_out)["b",]["preference"] == "n/a (n = 0)"
    assert by_name(listed, 2)["a", "1"]["preference"] == "n/a"
    assert "n/a" in show_study(study)
    answers = [line for line in text.split("\n") if line.startswith(("- **a:", "- **b:"))]
    assert ["match the model as it is now" in line for line in answers] == [True, False]


def several(result):
    """A change for write_study: the run gets a second task, of which less is said."""
    of = {key: result[key] for key in MEASURES} | {"known": 0.9, "changed": 0.4}
    result["tasks"] = {"hint": of, "other": of | {"self": 0.613, "majority_now": 0.502}}


def test_a_run_of_several_tasks_shows_each():
    result = result_of("reg", 1, 0.1)
    assert "task, held out" not in show_run(result)
    several(result)
    lines = [line.split() for line in show_run(result).split("\n")]
    assert ["other", "0.613", "0.502", f"{result['orig']:.3f}", "0.900", "0.400"] in lines
    assert "of the first explained task" in show_run(result).replace("\n", " ")


def test_of_several_tasks_each_has_a_line_an_arm_here_and_in_the_report(tmp_path):
    study = write_study(tmp_path, {"reg": COUPLED, "noreg": REVERSED}, change=several)
    lines = show_study(study).split("\n")
    assert max(map(len, lines)) <= 100
    rows = [line.split() for line in lines if line.startswith(("hint", "other"))]
    assert [row[:2] for row in rows] == [[t, a] for t in ("hint", "other") for a in study["arms"]]
    assert rows[2][2:6] == ["3", "0.613", "0.502", "+0.111"]
    assert rows[0][3] == f"{study['arms']['reg']['self']['mean']:.3f}"
    assert task_rows(study["arms"]) in markdown_tables(reports(tmp_path)[0])


@pytest.mark.parametrize("majority, word", [
    ((0.5, 0.51, 0.49), "above a constant explanation"),
    ((0.7, 0.71, 0.69), "below a constant explanation"),
    ((0.5, 0.7, 0.62), "not told from a constant explanation")])
def test_of_a_task_without_labels_the_report_says_whether_it_is_explained_at_all(
    tmp_path, majority, word
):
    def change(result):
        several(result)
        result["tasks"]["other"]["majority_now"] = majority[result["seed"]]

    study = write_study(tmp_path, {"reg": COUPLED}, change=change)
    above = study["arms"]["reg"]["tasks"]["other"]["above_majority"]
    text, page = reports(tmp_path)
    assert f"- **reg on other, never explained: {word}.** Self is 0.613; " in text
    assert f"a difference of {shown(above, '+')} over 3 seeds" in text
    assert "reg on hint" not in text
    Page(page)


def test_a_study_of_one_task_has_no_lines_by_task(two_arms):
    assert task_rows(two_arms["arms"]) == [] and "Self - majority" not in show_study(two_arms)


def test_several_studies_have_a_line_an_arm_under_the_names_of_their_folders(two_arms):
    lines = show_studies({"first": two_arms, "second": two_arms}).split("\n")
    assert [line.split()[:2] for line in lines[1:]] == [
        [study, arm] for study in ("first", "second") for arm in ("reg", "noreg")
    ]
    reg = two_arms["arms"]["reg"]
    assert shown(reg["gap"], "+") in lines[1] and f"{reg['majority_now']['mean']:.3f}" in lines[1]
    assert lines[1].endswith("coupling") and lines[2].endswith("reversed")
