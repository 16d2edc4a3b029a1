"""The README says what is so: its commands parse, its table is the result, its code runs."""

import re
from pathlib import Path

import pytest

import eval as eval_script
import train
from introspect.analysis import score
from introspect.files import read_json, read_lines
from introspect.lab.claims import CLAIMS
from introspect.lab.tables import (
    claim_blocks,
    claims_page,
    objections_page,
    readme_table,
)
from introspect.lab.verdicts import judge
from introspect.metrics import coupling
from introspect.report.html import aligned
from introspect.report.text import show_studies, show_study, task_rows
from introspect.runs.cli import parse
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.study import settings_of
from introspect.stats import holm, interval
from introspect.tasks.registry import find_task
from tests.tiny import TINY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "data" / "results"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.M | re.S)


def test_the_table_is_what_the_committed_result_prints():
    result = read_json(ROOT / "data" / "results" / "anchor" / "result.json", set())
    table = README.split("<!-- table: anchor -->")[1].split("```")[1].strip()
    assert table == show_study(result).strip()


def marked(kind: str) -> list[tuple[list[str], str]]:
    """(names, text of the block) of every marker <!-- KIND: NAME NAME --> of the README."""
    found = re.findall(rf"<!-- {kind}: ([^>]*) -->\n```\w*\n(.*?)```$", README, flags=re.M | re.S)
    return [(names.split(), text.rstrip("\n")) for names, text in found]


def study(name: str) -> dict:
    return read_json(RESULTS / name / "result.json", set())


@pytest.mark.parametrize("names, text", marked("studies"), ids=["tasks", "channels"])
def test_tables_of_studies_are_what_the_committed_results_print(names, text):
    assert text == show_studies({name: study(name) for name in names})
    assert f"data/results/{names[0]}" in README.split(text)[0].rpartition("`python eval.py run")[2]


def test_the_table_by_task_is_what_the_committed_result_prints():
    (((name,), text),) = marked("tasks")
    assert text == aligned(task_rows(study(name)["arms"])) and "jabberwocky" in text


def test_the_table_of_attributions_is_the_committed_one():
    (((name,), text),) = marked("recovery")
    assert text == (RESULTS / name / "recovery.txt").read_text().rstrip("\n")


def test_the_table_of_calibration_is_the_committed_one():
    """That the command prints it is a test of the command."""
    text = README.split("<!-- calibration -->\n```\n")[1].split("\n```\n")[0]
    assert text == (RESULTS / "calibration.txt").read_text().rstrip("\n")


@pytest.mark.parametrize("task", ["anchor", "verdict", "refusal", "rules"])
def test_every_m0_is_competent_its_cue_matters_and_no_explanation_is_nearly_always_true(task):
    m0 = study(task)["m0"]
    assert m0["known"]["mean"] > 0.8
    assert 0.35 <= m0["changed"]["mean"] <= 0.65
    assert max(share["mean"] for share in m0["labels"].values()) < 0.7


def test_what_is_taught_later_is_learned_and_its_cue_matters():
    of = study("jabberwocky")["arms"]["reg"]["tasks"]["jabberwocky"]
    assert of["known"]["mean"] > 0.8 and 0.35 <= of["changed"]["mean"] <= 0.65
    assert of["majority_now"]["mean"] < 0.7


@pytest.mark.parametrize("name", [p.parent.name for p in RESULTS.glob("*/result.json")])
def test_every_committed_study_is_of_todays_defaults_and_of_seeds_that_were_not_chosen_on(name):
    result = study(name)
    task = result["config"]["task"]
    channel = result["config"]["channel"]
    given = [f"--task={task}", f"--seed={result['seeds'][0]}"]
    given += [f"--channel={channel}"] if channel != "head" else []
    command = parse([result["experiment"], *given])
    described = command.describe("cpu", None, command.run.seed, Path("out"))
    assert result["config"] == described["config"]
    assert result["seeds"] == command.seeds and max(result["seeds"]) < 6


def test_the_task_of_ones_own_is_short_and_runs_as_the_readme_has_it(folder, capsys):
    (((name,), text),) = marked("file")
    assert len(text.splitlines()) <= 40
    (folder / name).write_text(text)
    command = next(line for line in README.split("`") if "--task=weather.py:Weather" in line)
    sizes = ["--n_town=8", "--n_month=8", *(f for f in TINY if not f.startswith("--n_"))]
    assert train.main([*command.split()[2:], *sizes, "--seeds=2", "--jobs=1"]) == 0
    assert "weather.py:Weather" in capsys.readouterr().out
    world = find_task("weather.py:Weather")().world(0)
    changed = (world.truth != len(world.answers)).mean()
    assert 0.2 < changed < 0.65


def between(name: str) -> str:
    return README.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0]


CLAIMS_JSON = read_json(RESULTS / "claims.json", set())


def test_the_tables_of_claims_and_objections_are_those_of_the_committed_verdicts():
    assert between("claims") == readme_table(CLAIMS_JSON)
    assert len(between("claims").encode()) <= 4096
    assert (RESULTS / "CLAIMS.md").read_text() == claims_page(CLAIMS_JSON)
    assert (RESULTS / "OBJECTIONS.md").read_text() == objections_page(CLAIMS_JSON)


def test_what_the_claims_come_to_is_said_in_numbers_of_their_table():
    said = README.split("## The claims")[1].split("<!-- claims -->")[0]
    numbers, table = re.findall(r"[-+]?\d\.\d{3}", said), (RESULTS / "CLAIMS.md").read_text()
    assert len(numbers) >= 2 and all(n.lstrip("+") in table for n in numbers)


def test_the_committed_verdicts_follow_from_the_committed_values():
    rows = CLAIMS_JSON["rows"]
    keys = ("name", "says", "measured", "paper", "experiment", "task")
    assert [[r[k] for k in keys] for r in rows] == [[getattr(c, k) for k in keys] for c in CLAIMS]
    tested = [r["p"] for r in rows if r["p"] is not None]
    assert CLAIMS_JSON["family"] == len(tested) == 78
    adjusted = iter(holm(tested))
    for row, claim in zip(rows, CLAIMS):
        estimate = interval(list(row["values"].values()))
        assert {k: row[k] for k in estimate} == estimate
        again = None if row["p"] is None else next(adjusted)
        assert again == row["adjusted"]
        assert row["verdict"] == judge(claim, estimate, row["also"], again)


def test_past_beside_the_gaps_of_donors_is_that_of_the_committed_runs():
    shown = {r["measured"]: r["beside"] for r in CLAIMS_JSON["rows"] if r["beside"]}
    for name, mean in (("seed", 0.123), ("order", 0.103), ("width", 0.145), ("depth", 0.168),
                       ("length", 0.056), ("share-1.0", 0.120)):
        study = "foreign" if name == "share-1.0" else "donors"
        lines = read_lines(RESULTS / study / "runs.jsonl", "gap")
        past = [r["self"] - r["controls"]["own"] for r in lines if r["arm"] == name]
        assert shown[f"gap of {name}"] == interval(past)
        assert round(shown[f"gap of {name}"]["mean"], 3) == mean
    low, high = (round(shown["gap of seed"][end], 3) for end in ("low", "high"))
    assert (low, high) == (0.064, 0.183)


@pytest.mark.parametrize("study", settings_of(EXPERIMENTS), ids=lambda study: study.name)
def test_the_committed_page_of_every_setting_has_its_claims_and_the_whole_family(study):
    rows = [r for r in CLAIMS_JSON["rows"] if (r["experiment"], r["task"]) == study]
    text = (RESULTS / study.name / "README.md").read_text()
    assert "\n\n".join(claim_blocks(rows, 78)) in text and "over all 78 tested rows" in text
    assert EXPERIMENTS[study.experiment].open in text and "uncorrected" not in text


@pytest.mark.parametrize("study", settings_of(EXPERIMENTS), ids=lambda study: study.name)
def test_the_committed_values_are_those_of_the_committed_runs(study):
    lines = read_lines(RESULTS / study.name / "runs.jsonl", "gap")
    about = [r for r in CLAIMS_JSON["rows"] if (r["experiment"], r["task"]) == study]
    by_run = {(line["arm"], line["seed"]): line for line in lines}
    assert {seed for _, seed in by_run} == {0, 1, 2, 3, 4} and len(by_run) == len(lines)
    for row in about:
        plain = row["measured"].removeprefix("gap of ")
        if plain in EXPERIMENTS[study.experiment].arms:
            assert row["values"] == {str(s): by_run[plain, s]["gap"] for s in range(5)}
    for (arm, seed), line in by_run.items():  # made with today's configuration
        config = EXPERIMENTS[study.experiment].config(arm, study.task, {}, seed)
        assert line["config_sha256"] == config.sha256()


def test_score_prints_of_committed_items_what_the_committed_runs_have(capsys):
    (((name,), text),) = marked("items")
    file = RESULTS / name / "items.jsonl"
    assert eval_script.main(["score", str(file)]) == 0
    assert capsys.readouterr().out.strip() == text and f"score data/results/{name}/items" in README
    runs = {r["arm"]: r for r in read_lines(RESULTS / name / "runs.jsonl", "gap") if r["seed"] == 0}
    for arm, run in score.read([file]).items():
        found = coupling(run.explanation, run.current, run.original)
        for key, value in (("self", found.self_match), ("orig", found.orig_match)):
            assert runs[arm][key] == value
        for key in ("gap", "drift", "preference"):
            assert runs[arm][key] == getattr(found, key)


COMMANDS = re.findall(r"^python train\.py ?(.*?)(?:\s+#.*)?$", "".join(blocks("sh")), flags=re.M)


@pytest.mark.parametrize("arguments", [c for c in COMMANDS if "--help" not in c])
def test_every_command_parses(arguments):
    assert parse(arguments.split()).configs()


def test_there_are_commands_to_parse():
    assert len(COMMANDS) >= 6


def test_the_python_example_runs():
    for code in blocks("python"):
        namespace = {}
        exec(code, namespace)
        assert namespace


def test_every_file_that_is_linked_to_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 15 and [link for link in links if not (ROOT / link).exists()] == []


def test_links_within_the_table_of_code_say_where_they_lead():
    for text, link in re.findall(r"\[([\w/]+\.py)\]\(([^)]+)\)", README):
        assert link.endswith(text) and (ROOT / link).exists()


def test_every_module_is_in_the_table_of_code():
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "introspect").rglob("*.py")}
    modules = {m for m in modules if not m.endswith("/__init__.py")}
    assert modules <= set(re.findall(r"\]\((introspect/[^)]+)\)", README))


def test_a_study_prints_the_table_that_its_result_holds(capsys, tmp_path):
    train.main([*TINY, "--seeds=2", "--jobs=1", f"--out_dir={tmp_path / 's'}"])
    assert show_study(read_json(tmp_path / "s" / "result.json", set())) in capsys.readouterr().out
