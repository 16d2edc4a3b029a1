"""The reports of made-up studies, whose numbers are known before they are written."""

import copy
import os
import re
import shlex
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from introspect.cli import parse
from introspect.figures import apart, curves, draw, series
from introspect.record import read_json, write_json, write_lines
from introspect.report import show_run, show_study, write_report
from introspect.stats import student_t
from introspect.summary import MEASURES, interval, summarize

STEPS = (0, 10, 20)
SHOWN = MEASURES[:-1]  # a column each; the majority is a row
COUPLED, REVERSED, UNDECIDED = (0.21, 0.17, 0.2), (-0.16, -0.2, -0.28), (0.1, -0.15, 0.04)


def measured(gap, seed, shift=0.0):
    """Measures that fit together, all of them different from each other."""
    original = 0.501 + 0.013 * seed + shift
    return {
        "self": original + gap,
        "orig": original,
        "gap": gap,
        "gap_low": gap - 0.031,
        "gap_high": gap + 0.029,
        "drift": abs(gap) + 0.107 + shift,
        "compatibility": 0.893 - abs(gap) - shift,
        "preference": 0.5 + gap / 2 + 0.017 * seed,
        "behavior_drift": 0.063 + 0.011 * seed + shift,
        "behavior_drift_without_cue": 0.152 + 0.007 * seed + shift,
        "majority": 0.405 + 0.009 * seed + shift,
        "n_items": 4600 + seed,
    }


def result_of(arm, seed, gap):
    return {
        "task": "hint",
        "arm": arm,
        "seed": seed,
        **measured(gap, seed),
        "train": measured(gap / 3 - 0.05, seed, 0.123),
        "m0": {
            "known": 0.951 + 0.003 * seed,
            "changed": 0.402 + 0.021 * seed,
            "labels": {"would change to A": 0.37 - 0.01 * seed, "would stay": 0.63 + 0.01 * seed},
        },
    }


def metrics_of(result):
    """Its curve: from Self = Orig = 0.2 straight to what it ends with."""
    rows = []
    for step in STEPS:
        row = copy.deepcopy({k: result[k] for k in (*MEASURES, "train")})
        for part, start in ((row, 0.2), (row["train"], 0.25)):
            for key, first in (("self", start), ("orig", start), ("gap", 0.0), ("drift", 0.0)):
                share = step / STEPS[-1]
                part[key] = (1 - share) * (first + 0.01 * result["seed"]) + share * part[key]
        rows.append({"step": step, **row})
    return rows


def example_of(prompt, side="now"):
    return {
        "prompt": prompt,
        "m0_with_cue": "A",
        "m0_without_cue": "B",
        "now_with_cue": "C",
        "now_without_cue": "D",
        "says": "would change to D",
        "side": side,
    }


@pytest.fixture(autouse=True)
def without_matplotlib(monkeypatch):
    """Curves take most of a report's time; tests of what is around them do without."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        yield patch


@pytest.fixture
def with_matplotlib(without_matplotlib):
    without_matplotlib.undo()
    pytest.importorskip("matplotlib")


def write_study(out, gaps, failed=(), change=lambda result: None, prompts=("zorp blick hint:A",)):
    """A finished study in `out`: its result.json and the files of its runs. `gaps`: arm -> gaps."""
    results, lines = [], {}
    for arm, ends in gaps.items():
        for seed, gap in enumerate(ends):
            result = result_of(arm, seed, gap)
            change(result)
            results.append(result)
            lines[arm, seed] = metrics_of(result)
            folder = out / "runs" / f"{arm}-seed{seed}"
            folder.mkdir(parents=True)
            write_json(folder / "result.json", result)
            write_lines(folder / "metrics.jsonl", lines[arm, seed])
            shown = [example_of(f"{prompt} of seed {seed}") for prompt in prompts]
            write_json(folder / "examples.json", shown)
    study = {
        "experiment": "anchor",
        "question": "Which model do explanations follow?",
        "task": "hint",
        "seeds": list(range(max(map(len, gaps.values())))),
        **summarize(sorted(results, key=lambda result: result["seed"]), lines),
        "failed": [{"arm": a, "seed": s, "error": e} for a, s, e in failed],
        "config": {"task": "hint", "n_layer": 3, "learning_rate": 0.0015, "donor_seed": None},
        "seconds": 116.5,
        "versions": {"python": "3.11.7", "torch": "2.13.0+cpu", "device": "cpu"},
    }
    write_json(out / "result.json", study)
    return study


def reports(out):
    write_report(out)
    return (out / "report.md").read_text("utf-8"), (out / "report.html").read_text("utf-8")


class Page(HTMLParser):
    """Checks that every element is closed in its order; keeps tables, attributes and text."""

    VOID = {"meta", "br", "link", "img", "hr", "input"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.tables, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


def markdown_tables(text):
    tables, inside = [], False
    for line in text.split("\n"):
        row = line.startswith("| ")
        if row and not inside:
            tables.append([])
        if row:
            tables[-1].append([unescape(cell) for cell in line[2:-2].split(" | ")])
        inside = row or line.startswith("|---")
    return tables


def by_name(rows, n_name=1):
    """name -> column -> cell."""
    head, *rest = rows
    return {tuple(row[:n_name]): dict(zip(head, row)) for row in rest}


def shown(of, sign=""):
    """An interval, written by the test itself."""
    mean, low, high = of["mean"], of["low"], of["high"]
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


@pytest.fixture
def two_arms(tmp_path):
    return write_study(tmp_path, {"reg": COUPLED, "noreg": REVERSED})


def test_both_reports_have_the_same_tables(two_arms, tmp_path):
    text, page = reports(tmp_path)
    tables = markdown_tables(text)
    assert len(tables) == 6  # held out, training, examples of two arms, M0, runs
    assert Page(page).tables == tables


def test_every_run_is_listed_with_its_numbers(two_arms, tmp_path):
    rows = by_name(markdown_tables(reports(tmp_path)[0])[-1], 2)
    assert list(rows) == [(arm, str(seed)) for arm in ("reg", "noreg") for seed in range(3)]
    assert len(rows) == len(two_arms["runs"]) == 6
    for run in two_arms["runs"]:
        row = rows[run["arm"], str(run["seed"])]
        assert row["gap"] == f"{run['gap']:+.3f}" and row["items"] == str(run["n_items"])
        for column, key in (("Self", "self"), ("Orig", "orig"), ("drift d", "drift")):
            assert row[column] == f"{run[key]:.3f}"
        assert row["preference"] == f"{run['preference']:.3f}"


@pytest.mark.parametrize("split", ["held out", "train"])
def test_every_measure_of_every_arm_has_its_interval(two_arms, tmp_path, split):
    rows = by_name(markdown_tables(reports(tmp_path)[0])[split == "train"])
    for arm, of in two_arms["arms"].items():
        part = of["train"] if split == "train" else of
        cells = list(rows[arm,].values())
        assert cells[:2] == [arm, "3"]
        assert cells[2:] == [shown(part[key], "+" if key == "gap" else "") for key in SHOWN_ORDER]
        assert rows["majority",]["Orig"] == shown(part["majority"])
    untrained = two_arms["arms"]["reg"]["untrained"]
    held_out = by_name(markdown_tables((tmp_path / "report.md").read_text("utf-8"))[0])
    assert held_out["untrained",]["Self"] == shown(untrained["self"])


SHOWN_ORDER = ("self", "orig", "gap", "drift", "preference", "compatibility") + SHOWN[-2:]


def test_paired_differences_and_m0_are_shown(two_arms, tmp_path):
    text = reports(tmp_path)[0]
    held_out, _, *_, m0, _ = map(by_name, markdown_tables(text))
    pair = two_arms["differences"]["reg - noreg"]
    assert held_out["reg - noreg",]["gap"] == shown(pair["gap"], "+")
    assert held_out["reg - noreg",]["Self"] == shown(pair["self"], "+")
    assert f"**reg - noreg: a larger gap.** The gaps differ by {shown(pair['gap'], '+')}" in text
    assert m0["clear answers that it knows",]["share"] == shown(two_arms["m0"]["known"])
    assert m0["answers that the cue changes",]["share"] == shown(two_arms["m0"]["changed"])
    assert m0["labels: would stay",]["share"] == shown(student_t([0.63, 0.64, 0.65])._asdict())


def test_key_figures_are_the_gaps_and_the_competence_of_m0(two_arms, tmp_path):
    text, page = reports(tmp_path)
    lines = text.partition("## Key figures")[2].partition("##")[0].strip().split("\n")
    arms = two_arms["arms"]
    assert len(lines) == 4
    for line, of, what in zip(
        lines,
        (arms["reg"]["gap"], arms["noreg"]["gap"], two_arms["differences"]["reg - noreg"]["gap"]),
        ("gap of reg: coupling", "gap of noreg: reversed", "reg - noreg: a larger gap"),
    ):
        mean, _, ends = shown(of, "+").partition(" ")
        assert line == f"- **{mean}** {what} {ends}"
    assert lines[-1].startswith(f"- **{two_arms['m0']['known']['mean']:.3f}** ")
    assert f"<strong>{arms['reg']['gap']['mean']:+.3f}</strong>" in page


@pytest.mark.parametrize(
    "gaps, word",
    [
        (COUPLED, "coupling"),
        (REVERSED, "reversed"),
        (UNDECIDED, "no difference seen at n = 3"),
        (COUPLED[:1], "no interval at n = 1"),
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
        (COUPLED[:1], REVERSED[:1], "no interval at n = 1"),
    ],
)
def test_contrasts_say_what_the_interval_allows(tmp_path, first, second, word):
    write_study(tmp_path, {"a": first, "b": second})
    assert f"- **a - b: {word}.** The gaps differ by" in reports(tmp_path)[0]


def test_the_page_is_well_formed_and_needs_no_other_file(with_matplotlib, two_arms, tmp_path):
    text = reports(tmp_path)[1]
    page = Page(text)
    for tag, name, value in page.attributes:
        assert name != "src" and tag not in ("script", "link", "iframe", "object")
        assert "url(" not in (value or "") or re.fullmatch(r".*url\(#[^)]*\).*", value, re.S)
        if name.endswith("href"):
            assert value.startswith("#")
    assert "@import" not in text and re.findall(r"url\((?!#)", text) == []
    assert "prefers-color-scheme: dark" in text


def test_two_figures_with_ids_of_their_own(with_matplotlib, two_arms, tmp_path):
    text = reports(tmp_path)[1]
    ids = [value for _, name, value in Page(text).attributes if name == "id"]
    used = re.findall(r"(?:url\(|href=\")#([^)\"]+)", text)
    assert text.count("<svg") == text.count("<figure>") == 2
    assert text.index("<h2>Curves") < text.index("Thin: single seeds.") < text.index("<svg")
    assert text.rindex("<svg") < text.index("<h2>Numbers")
    assert len(set(ids)) == len(ids) and set(used) <= set(ids) and len(used) > 20


def test_hostile_text_is_shown_and_not_obeyed(with_matplotlib, tmp_path):
    bad = '<script>alert("&amp;")</script> | <b>x</b>\n## no'
    study = write_study(
        tmp_path,
        {"a<i>&": COUPLED[:2], "$\\bad{$": REVERSED[:2]},
        failed=[("a<i>&", 9, "loss <nan> & | worse")],
        prompts=(bad,),
    )
    study["config"]["shift"] = "</pre>&amp;"
    write_json(tmp_path / "result.json", study | {"experiment": "e</title>&amp;"})
    text, page = reports(tmp_path)
    for tag in ("<script", "<b>", "<i>", "<nan>", "\n## no"):
        assert tag not in text and tag not in page
    parsed = Page(page)
    assert "'--shift=</pre>&amp;'" in text and "'--shift=</pre>&amp;'" in parsed.text
    assert parsed.text.count("coupling: e</title>&amp;") == 2  # the title and the first heading
    assert parsed.tables == markdown_tables(text)
    assert parsed.tables[2][1][0] == " ".join(bad.split()) + " of seed 0"
    assert "loss <nan> & | worse" in parsed.text and "a<i>&: coupling" not in parsed.text
    assert parsed.text.count("a<i>&") > 5


def test_examples_are_those_of_the_first_seed(tmp_path):
    write_study(tmp_path, {"a": COUPLED, "b": REVERSED}, prompts=("one", "two"))
    text, page = reports(tmp_path)
    head, *rows = markdown_tables(text)[3]
    assert head[1:5] == ["M0 with cue", "M0 without cue", "now with cue", "now without cue"]
    ends = ["A", "B", "C", "D", "would change to D", "now"]
    assert rows == [["one of seed 0", *ends], ["two of seed 0", *ends]]
    assert "### b, seed 0" in text and "of seed 1" not in text
    assert page.count('<td class="now">now</td>') == 4


def test_same_files_same_bytes(with_matplotlib, two_arms, tmp_path):
    first = reports(tmp_path)
    code = f"from introspect.report import *; write_report(Path({str(tmp_path)!r}))"
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], env=env, check=True)
    second = [(tmp_path / f"report.{kind}").read_text("utf-8") for kind in ("md", "html")]
    assert list(first) == second


def test_other_numbers_give_other_curves(with_matplotlib):
    """Guards the test above, which would pass for a drawing that is always the same."""
    runs = [metrics_of(result_of("a", seed, gap)) for seed, gap in enumerate(COUPLED)]
    drawn = curves({"a": runs}, "held_out", 4)
    assert drawn == curves({"a": runs}, "held_out", 4)
    assert drawn != curves({"a": runs[:2]}, "held_out", 4)
    assert drawn != curves({"a": runs}, "train", 4)


def test_without_matplotlib_all_but_the_curves_remains(two_arms, tmp_path, without_matplotlib):
    text, page = reports(tmp_path)
    for report in (text, page):
        assert 'pip install ".[plot]"' in report and "<svg" not in report
    without_matplotlib.undo()
    pytest.importorskip("matplotlib")
    text_drawn, page_drawn = reports(tmp_path)
    assert "[report.html](report.html)" in text_drawn and "pip install" not in page_drawn
    start = text.index("## Numbers")
    assert text[start:] == text_drawn[text_drawn.index("## Numbers") :]
    assert Page(page).tables == Page(page_drawn).tables


def test_one_seed_has_no_interval_but_a_report(with_matplotlib, tmp_path):
    study = write_study(tmp_path, {"a": (0.2,), "b": (-0.1,)})
    text, page = reports(tmp_path)
    row = by_name(markdown_tables(text)[0])["a",]
    assert row["gap"] == "+0.200" and row["n"] == "1" and "over 1 seed." in text
    assert "+0.200" in show_study(study) and page.count("<svg") == 2


def test_where_nothing_moved_there_is_no_preference(tmp_path):
    def still(result):
        if result["seed"] == 1:
            result["preference"] = result["train"]["preference"] = None
        if result["arm"] == "b":
            result["preference"] = None

    study = write_study(tmp_path, {"a": COUPLED, "b": COUPLED}, change=still)
    text = reports(tmp_path)[0]
    held_out, *_, listed = markdown_tables(text)
    assert by_name(held_out)["a",]["preference"].endswith("] (n = 2)")
    assert by_name(held_out)["b",]["preference"] == "n/a (n = 0)"
    assert by_name(listed, 2)["a", "1"]["preference"] == "n/a"
    assert "n/a" in show_study(study)
    answers = [line for line in text.split("\n") if line.startswith(("- **a:", "- **b:"))]
    assert ["took that of the model that is" in line for line in answers] == [True, False]


def test_failed_runs_are_named(tmp_path):
    study = write_study(tmp_path, {"a": COUPLED}, failed=[("a", 3, "loss is nan at step 7")])
    text, page = reports(tmp_path)
    for shown_text in (show_study(study), text, Page(page).text):
        assert "loss is nan at step 7" in shown_text and "seed 3" in shown_text
    assert "3 runs finished, 1 diverged." in text


def test_rows_of_reference_are_one_where_arms_agree_and_else_an_arm_each(tmp_path):
    def other_majority(result):
        if result["arm"] == "b":
            result["majority"] += 0.2

    study = write_study(tmp_path, {"a": COUPLED, "b": COUPLED}, change=other_majority)
    names = [row[0] for row in markdown_tables(reports(tmp_path)[0])[0]]
    assert names == ["arm", "a", "b", "majority, a", "majority, b", "untrained", "a - b"]
    lines = [line.split() for line in show_study(study).split("\n")]
    assert ["majority,", "b", f"{study['arms']['b']['majority']['mean']:.3f}"] in lines


def test_a_constant_explanation_that_gets_as_much_is_mentioned(tmp_path):
    def set_majority(result):  # below Orig; between Orig and Self; above Self
        result["majority"] = {"a": 0.3, "b": 0.6, "c": 0.9}[result["arm"]]

    write_study(tmp_path, dict.fromkeys("abc", COUPLED), change=set_majority)
    starts = "- **a: ", "- **b: ", "- **c: "
    answers = [line for line in reports(tmp_path)[0].split("\n") if line.startswith(starts)]
    less = ["A constant explanation gets no less" in line for line in answers]
    assert less == [False, False, True]


def test_many_arms_have_all_their_pairs_in_the_table_alone(tmp_path):
    gaps = {f"kl={k}": [gap + k / 50 for gap in COUPLED[:2]] for k in range(5)}
    write_study(tmp_path, gaps)
    text = reports(tmp_path)[0]
    names = [row[0] for row in markdown_tables(text)[0]]
    assert sum(" - " in name for name in names) == 10
    assert "- **kl=0 - kl=1" not in text and "- **kl=4: " in text


@pytest.mark.parametrize(
    "given",
    [[], ["--m0_seed=3"], ["--shift=hint_reliability= 0.4", "--weight_decay=0"]],
)
def test_the_printed_command_asks_for_the_same_study(two_arms, tmp_path, given):
    asked = parse(["anchor", "--seed=4", "--seeds=2", "--learning_rate=1e-4", *given])
    config = asked.describe("cpu", None, 4, tmp_path)["config"]
    write_json(tmp_path / "result.json", two_arms | {"config": config, "seeds": asked.seeds})
    text, page = reports(tmp_path)
    command = text.partition("```\n")[2].partition("\n```")[0]
    assert command in Page(page).text
    python, script, *argv = shlex.split(command.replace("\\\n", ""))
    again = parse(argv)
    assert (python, script) == ("python", "train.py")
    assert [c.flat() for _, c in again.configs()] == [c.flat() for _, c in asked.configs()]
    assert ("all have m0_seed = 3;" in text) == (given == ["--m0_seed=3"])


def test_versions_and_seconds_are_shown(two_arms, tmp_path):
    for text in reports(tmp_path):
        assert "python 3.11.7, torch 2.13.0+cpu, device cpu" in text and "116.5 s" in text


def test_show_study_fits_a_terminal(two_arms):
    lines = show_study(two_arms).split("\n")
    assert max(map(len, lines)) <= 100
    rows = {line.split("  ")[0]: line.split() for line in lines}
    reg = two_arms["arms"]["reg"]
    means = {key: f"{reg[key]['mean']:.3f}" for key in ("self", "orig", "drift", "preference")}
    gap = shown(reg["gap"], "+").split()
    ends = [means["drift"], means["preference"], "coupling"]
    assert rows["reg"] == ["reg", "3", means["self"], means["orig"], *gap, *ends]
    pair = two_arms["differences"]["reg - noreg"]
    differences = [f"{pair[key]['mean']:+.3f}" for key in ("self", "orig", "gap")]
    assert rows["reg - noreg"][3:7] == ["3", *differences]
    assert rows["majority"] == ["majority", f"{reg['majority']['mean']:.3f}"]
    assert rows["untrained"][1:] == [f"{reg['untrained'][k]['mean']:.3f}" for k in ("self", "orig")]


def test_show_run_has_every_measure_of_both_splits():
    result = result_of("reg", 2, 0.163)
    lines = show_run(result).split("\n")
    assert max(map(len, lines)) <= 100
    assert lines[0] == "hint: arm reg, seed 2"
    rows = {re.split(" {2,}", line)[0]: re.split(" {2,}", line)[1:] for line in lines}
    assert rows["Self"] == [f"{result['self']:.3f}", f"{result['train']['self']:.3f}"]
    assert rows["gap"] == ["+0.163 [+0.132, +0.192]", "+0.004 [-0.027, +0.033]"]
    assert rows["compatibility"] == ["0.730", "0.766"] and rows["majority"] == ["0.423", "0.546"]
    assert rows["behavior drift, without cue"] == ["0.166", "0.289"] and rows["items"][0] == "4602"
    assert "M0 knows 0.957 of the clear answers; the cue changes 0.444" in show_run(result)


@pytest.mark.parametrize(
    "change, meaning",
    [
        ({}, "follow the model that is"),
        ({"gap_low": -0.2, "gap_high": -0.1}, "stay with the model that was"),
        ({"gap_low": -0.1}, "lean neither to the model that is nor to the one that was"),
        ({"gap_low": None, "gap_high": None, "preference": None}, "lean neither to"),
        ({"drift": 0.0}, "no held-out label has moved"),
    ],
)
def test_show_run_says_what_its_interval_allows(change, meaning):
    text = " ".join(show_run(result_of("reg", 0, 0.2) | change).split())
    subject = "" if meaning.startswith("no ") else "held-out explanations "
    assert f"In this run {subject}{meaning}" in text
    assert "coupling" not in text  # a word for several seeds
    assert ("n/a" in text) == ("preference" in change)


@pytest.mark.parametrize("split", ["held_out", "train"])
def test_the_band_is_student_t_over_seeds_at_every_step(split):
    runs = [metrics_of(result_of("a", seed, gap)) for seed, gap in enumerate(COUPLED)]
    line = series(runs, "self", split)
    assert line.steps.tolist() == list(STEPS)
    for t in range(len(STEPS)):
        values = [(rows[t] if split == "held_out" else rows[t]["train"])["self"] for rows in runs]
        expected = student_t(values)
        assert line.singles[:, t].tolist() == values
        assert (line.mean[t], line.low[t], line.high[t]) == expected[:3]
    assert line.high[-1] - line.low[-1] > 0.05


def test_a_series_leaves_out_what_is_not_there():
    runs = [metrics_of(result_of("a", seed, gap)) for seed, gap in enumerate(COUPLED)]
    runs[2].pop()  # one run stops early
    runs[0][1]["preference"] = runs[1][1]["preference"] = runs[2][1]["preference"] = None
    line = series(runs, "preference", "held_out")
    ends = [rows[-1]["preference"] for rows in runs[:2]]
    assert line.mean[2] == interval(ends)["mean"] and np.isnan(line.singles[2, 2])
    assert np.isnan([line.mean[1], line.low[1], line.high[1]]).all()
    alone = series(runs[:1], "gap", "held_out")
    assert alone.mean.tolist() == [row["gap"] for row in runs[0]] and np.isnan(alone.low).all()


def test_curves_are_labeled_at_their_ends_and_share_their_scales(with_matplotlib):
    arms = {
        arm: [metrics_of(result_of(arm, seed, gap)) for seed, gap in enumerate(gaps)]
        for arm, gaps in (("first", COUPLED), ("second", REVERSED))
    }
    svg = curves(arms, "held_out", 4)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    for arm, runs in arms.items():
        for name, key in (("Self", "self"), ("Orig", "orig"), ("drift d", "drift")):
            assert f"{name} {np.mean([rows[-1][key] for rows in runs]):.3f}" in texts
        assert f"gap {np.mean([rows[-1]['gap'] for rows in runs]):+.3f}" in texts
    assert texts.count("majority 0.414") == texts.count("co-training step") == 2
    assert texts.index("first") < texts.index("second")
    assert texts.count("0.8") == 1  # upper panels; the second column has no scale of its own
    assert texts.count("0.0") == 2  # one in each row


@pytest.mark.parametrize("n_step", [1, 2])
def test_few_steps_of_one_seed_can_be_drawn(with_matplotlib, n_step, recwarn):
    svg = curves({"a": [metrics_of(result_of("a", 0, 0.2))[:n_step]]}, "held_out", 4)
    assert "Self 0.200" in svg if n_step == 1 else "Self 0.451" in svg
    assert [str(w.message) for w in recwarn] == []


class Panel:
    """Notes what is drawn on it."""

    def __init__(self):
        self.lines, self.bands = [], []

    def plot(self, steps, values, **look):
        self.lines.append((list(steps), list(values), look))

    def fill_between(self, steps, low, high, **look):
        self.bands.append((list(steps), list(low), list(high)))

    def margins(self, **_):
        pass

    locator_params = margins


@pytest.mark.parametrize("n_step", [1, 3])
def test_every_seed_the_mean_and_the_band_are_drawn(n_step):
    ends = [metrics_of(result_of("a", seed, gap))[:n_step] for seed, gap in enumerate(COUPLED)]
    panel, line = Panel(), series(ends, "gap", "held_out")
    name, height, color = draw(panel, line, "gap")
    steps = list(STEPS[:n_step])
    assert (name, height) == (f"gap {line.mean[-1]:+.3f}", line.mean[-1])
    assert panel.bands == [(steps, line.low.tolist(), line.high.tolist())]
    assert [values for _, values, _ in panel.lines] == [*line.singles.tolist(), line.mean.tolist()]
    looks = [look for _, _, look in panel.lines]
    assert all(look["color"] == color for look in looks)
    assert looks[-1]["linewidth"] > looks[0]["linewidth"]
    assert looks[-1]["marker"] == ("o" if n_step == 1 else None)


def test_scales_hold_what_can_be(with_matplotlib):
    """Gap and drift stay in -1..1 even where the band of two seeds does not; steps are whole."""
    runs = [metrics_of(result_of("a", seed, gap)) for seed, gap in enumerate((0.5, -0.5))]
    for rows in runs:
        for step, row in enumerate(rows):
            row["step"] = step
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", curves({"a": runs}, "held_out", 4))
    ticks = [float(x.replace("\u2212", "-")) for x in texts if x[-1].isdigit() and " " not in x]
    assert series(runs, "gap", "held_out").high[-1] > 5
    assert max(ticks) == 2 and min(ticks) == -1 and texts.count("0.5") == 1 and "1.5" not in texts


def test_labels_move_apart_as_little_as_they_can():
    assert apart([0.1, 0.5, 0.3], 0.1) == [0.1, 0.5, 0.3]
    assert apart([0.5, 0.5], 0.1) == [0.45, 0.55]
    rng = np.random.default_rng(0)
    for _ in range(200):
        heights = rng.random(4).tolist()
        moved = np.array(apart(heights, 0.2))
        order = np.argsort(heights)
        assert (np.diff(moved[order]) > 0.2 - 1e-9).all()
        assert moved.mean() == pytest.approx(np.mean(heights), abs=1e-9)
        spread = np.arange(4) * 0.2  # any other placing that keeps order and distance is farther
        other = np.empty(4)
        other[order] = spread + np.mean(heights) - spread.mean()
        assert np.sum((moved - heights) ** 2) <= np.sum((other - heights) ** 2) + 1e-9


def test_show_study_reads_what_the_file_holds(two_arms, tmp_path):
    """Numbers survive the way through result.json."""
    assert show_study(read_json(tmp_path / "result.json")) == show_study(two_arms)
