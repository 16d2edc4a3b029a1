"""The reports of made-up studies, whose numbers are known before they are written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from introspect.files import write_json
from introspect.report.text import show_study
from introspect.runs.cli import parse
from introspect.stats import student_t
from tests.made_up import (
    COUPLED,
    HELD_OUT,
    REVERSED,
    TRAINING,
    Page,
    by_name,
    markdown_tables,
    reports,
    shown,
    write_study,
)

pytestmark = pytest.mark.usefixtures("without_matplotlib")


def test_both_reports_have_the_same_tables(two_arms, tmp_path):
    text, page = reports(tmp_path)
    tables = markdown_tables(text)
    assert len(tables) == 7  # arms, held out, training, examples of two arms, M0, runs
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
    rows = by_name(markdown_tables(reports(tmp_path)[0])[1 + (split == "train")])
    for arm, of in two_arms["arms"].items():
        part = of["train"] if split == "train" else of
        cells = list(rows[arm,].values())
        assert cells[:2] == [arm, "3"]
        keys = TRAINING if split == "train" else HELD_OUT
        assert cells[2:] == [shown(part[key], "+" if key == "gap" else "") for key in keys]
        assert rows["majority",]["Orig"] == shown(part["majority"])
        assert rows["majority",]["Self"] == shown(part["majority_now"])
    untrained = two_arms["arms"]["reg"]["untrained"]
    held_out = by_name(markdown_tables((tmp_path / "report.md").read_text("utf-8"))[1])
    assert held_out["untrained",]["Self"] == shown(untrained["self"])


def test_paired_differences_and_m0_are_shown(two_arms, tmp_path):
    text = reports(tmp_path)[0]
    _, held_out, *_, m0, _ = map(by_name, markdown_tables(text))
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


def test_hostile_text_is_shown_and_not_obeyed(with_matplotlib, tmp_path):
    bad = '<script>alert("&amp;")</script> | <b>x</b>\n## no'
    study = write_study(
        tmp_path,
        {"a<i>&": COUPLED[:2], "$\\bad{$": REVERSED[:2]},
        failed=["a<i>& of seed 9: loss <nan> & | worse"],
        prompts=(bad,),
    )
    study["overrides"]["shift"] = "</pre>&amp;"
    write_json(tmp_path / "result.json", study | {"experiment": "e</title>&amp;"})
    text, page = reports(tmp_path)
    for tag in ("<script", "<b>", "<i>", "<nan>", "\n## no"):
        assert tag not in text and tag not in page
    parsed = Page(page)
    assert "'--shift=</pre>&amp;'" in text and "'--shift=</pre>&amp;'" in parsed.text
    assert parsed.text.count("coupling: e</title>&amp; on hint") == 2  # title, heading
    assert parsed.tables == markdown_tables(text)
    assert parsed.tables[3][1][0] == " ".join(bad.split()) + " of seed 0"
    assert "loss <nan> & | worse" in parsed.text and "a<i>&: coupling" not in parsed.text
    assert parsed.text.count("a<i>&") > 5


def test_examples_are_those_of_the_first_seed(tmp_path):
    write_study(tmp_path, {"a": COUPLED, "b": REVERSED}, prompts=("one", "two"))
    text, page = reports(tmp_path)
    head, *rows = markdown_tables(text)[4]
    assert head[:2] == ["prompt", "without its cue"]
    assert head[2:6] == ["M0 with cue", "M0 without cue", "now with cue", "now without cue"]
    ends = ["A", "B", "C", "D", "would change to D", "now"]
    assert rows == [[f"{n} of seed 0", f"{n} of seed", *ends] for n in ("one", "two")]
    assert "### b, seed 0" in text and "of seed 1" not in text
    assert page.count('<td class="now">now</td>') == 4


def test_same_files_same_bytes(with_matplotlib, two_arms, tmp_path):
    first = reports(tmp_path)
    code = "from pathlib import Path; from tests.made_up import reports; "
    code += f"reports(Path({str(tmp_path)!r}))"
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], env=env, check=True)
    second = [(tmp_path / f"report.{kind}").read_text("utf-8") for kind in ("md", "html")]
    assert list(first) == second


def test_without_matplotlib_all_but_the_curves_remains(two_arms, tmp_path, without_matplotlib):
    text, page = reports(tmp_path)
    for report in (text, page):
        assert 'pip install ".[plot]"' in report and "<svg" not in report
    without_matplotlib.undo()
    pytest.importorskip("matplotlib")
    text_drawn, page_drawn = reports(tmp_path)
    assert "](curves.svg)" in text_drawn and "pip install" not in page_drawn
    start = text.index("## Numbers")
    assert text[start:] == text_drawn[text_drawn.index("## Numbers") :]
    assert Page(page).tables == Page(page_drawn).tables


def test_one_seed_has_no_interval_but_a_report(with_matplotlib, tmp_path):
    study = write_study(tmp_path, {"a": (0.2,), "b": (-0.1,)})
    text, page = reports(tmp_path)
    row = by_name(markdown_tables(text)[1])["a",]
    assert row["gap"] == "+0.200" and row["n"] == "1" and "over 1 seed." in text
    assert "+0.200" in show_study(study) and page.count("<svg") == 3


def test_failed_runs_are_named(tmp_path):
    study = write_study(tmp_path, {"a": COUPLED}, failed=["a of seed 3: loss is nan at step 7"])
    text, page = reports(tmp_path)
    for shown_text in (show_study(study), text, Page(page).text):
        assert "loss is nan at step 7" in shown_text and "seed 3" in shown_text
    assert "Runs finished: 3; diverged: 1." in text


@pytest.mark.parametrize(
    "given",
    [[], ["--m0_seed=3"], ["--shift=hint_reliability= 0.4", "--weight_decay=0"]],
)
def test_the_printed_command_asks_for_the_same_study(two_arms, tmp_path, given):
    asked = parse(["anchor", "--seed=4", "--seeds=2", "--learning_rate=1e-4", *given])
    study = two_arms | {"overrides": asked.overrides, "seeds": asked.seeds}
    write_json(tmp_path / "result.json", study)
    text, page = reports(tmp_path)
    command = text.partition("```\n")[2].partition("\n```")[0]
    assert command in Page(page).text
    python, script, *argv = shlex.split(command.replace("\\\n", ""))
    again = parse(argv)
    assert (python, script) == ("python", "train.py")
    assert [c.flat() for _, c in again.configs()] == [c.flat() for _, c in asked.configs()]
    assert again.overrides == asked.overrides and again.seeds == asked.seeds


def test_versions_are_shown_and_seconds_are_not(two_arms, tmp_path):
    for text in reports(tmp_path):
        assert "python 3.11.7, torch 2.13.0+cpu, device cpu" in text and "116.5" not in text


def test_the_table_of_arms_says_what_each_is_and_judges_by_both_gaps(tmp_path):
    beyond = {"a": COUPLED, "b": (0.1, -0.15, 0.04)}
    study = write_study(tmp_path, {"a": COUPLED, "b": COUPLED}, adjusted=beyond)
    rows = by_name(markdown_tables(reports(tmp_path)[0])[0])
    for arm in "ab":
        measures = study["arms"][arm]
        assert rows[arm,]["what it is"] == study["words"][arm]
        assert rows[arm,]["differs from the defaults in"] == study["fields"][arm]
        assert rows[arm,]["gap"] == shown(measures["gap"], "+")
        assert rows[arm,]["adjusted gap"] == shown(measures["adjusted"], "+")
        agreement = measures["train"]["compatibility"]["mean"]
        assert rows[arm,]["agreement (training)"] == f"{agreement:.3f}"
        assert f"{arm}: {study['words'][arm]} ({study['fields'][arm]})" in show_study(study)
    assert rows["a",]["verdict"] == "coupling"
    assert rows["b",]["verdict"] == "no difference seen"
