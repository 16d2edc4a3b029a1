"""The README says what is so: its commands parse, its table is the result, its code runs."""

import re
from pathlib import Path

import eval as eval_script
import introspect
import train
from introspect.analysis.lines import read
from introspect.lab.claims import CLAIMS
from introspect.lab.registration import WORLDS
from introspect.lab.tables import (
    claim_blocks,
    claims_page,
    mechanism_page,
    objections_page,
    readme_table,
)
from introspect.lab.verdicts import judge
from introspect.metrics import coupling
from introspect.reading import read_json, read_lines
from introspect.report.report import arms_table
from introspect.report.study import study_of_rows
from introspect.report.text import show_study
from introspect.runs.cli import parse
from introspect.runs.experiment import draws_of
from introspect.runs.experiments import CLAIMED, EXPERIMENTS
from introspect.runs.study import settings_of
from introspect.stats import interval
from introspect.tasks.registry import find_task
from tests.cases import each
from tests.tiny import TINY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "data" / "results"
BEFORE = RESULTS / "five-worlds"  # seeds 0-4, made before anything was registered


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.M | re.S)


def committed(name: str, results: Path = RESULTS) -> dict:
    """The study in a folder of results, from its runs.jsonl."""
    return study_of_rows(read_lines(results / name / "runs.jsonl", {}))


def test_the_table_on_the_first_screen_is_what_the_committed_runs_print():
    table = README.split("<!-- table: anchor -->")[1].split("```")[1].strip()
    assert table in show_study(committed("anchor")) and len(table.splitlines()) == 7
    assert README.index("<!-- table: anchor -->") < README.index("<!-- command: test -->")
    first = read_lines(BEFORE / "anchor" / "runs.jsonl", {})[0]
    assert (first["arm"], first["seed"]) == ("reg", 0) and "anchor/reg --seed=0" in README
    assert first["self"] > first["orig"] and "Self should be above Orig" in README
    gaps = [f"{of['gap']['mean']:+.3f}" for of in committed("anchor", BEFORE)["arms"].values()]
    assert "Expect gaps near {} and\n{}".format(*gaps) in README


def test_the_readme_is_short_and_its_reading_order_is_counted():
    assert len(README.encode()) <= 16 * 1024 and len(README.splitlines()) <= 260
    files = README.split("<!-- files -->")[1].split("<!-- /files -->")[0]
    rows = re.findall(r"\]\((introspect/[\w/]+\.py)\) \| (\d+) \|", files)
    assert len(rows) == 11 and sum(int(n) for _, n in rows) <= 1300
    for path, n in rows:
        assert len((ROOT / path).read_text().splitlines()) == int(n)
    named = re.findall(r"^    ([\w/]+\.py)  ", introspect.__doc__, flags=re.M)
    assert [f"introspect/{name}" for name in named] == [path for path, _ in rows]


def marked(kind: str) -> list[tuple[list[str], str]]:
    """(names, text of the block) of every marker <!-- KIND: NAME NAME --> of the README."""
    found = re.findall(rf"<!-- {kind}: ([^>]*) -->\n```\w*\n(.*?)```$", README, flags=re.M | re.S)
    return [(names.split(), text.rstrip("\n")) for names, text in found]


@each("name", ["anchor", "anchor-verdict", "anchor-refusal", "anchor-rules"])
def test_every_m0_is_competent_its_cue_matters_and_no_explanation_is_nearly_always_true(name):
    m0 = committed(name)["m0"]
    assert m0["known"]["mean"] > 0.8
    assert 0.35 <= m0["changed"]["mean"] <= 0.65
    assert max(share["mean"] for share in m0["labels"].values()) < 0.7


def test_what_is_taught_later_is_learned_and_its_cue_matters():
    of = committed("jabberwocky", BEFORE)["arms"]["reg"]["tasks"]["jabberwocky"]
    assert of["known"]["mean"] > 0.8 and 0.35 <= of["changed"]["mean"] <= 0.65
    assert of["majority_now"]["mean"] < 0.7


def test_the_task_of_ones_own_is_short_and_runs_as_the_readme_has_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(ROOT)
    name = "data/example_task.py:Weather"
    n_line = len(Path("data/example_task.py").read_text().splitlines())
    assert f"complete one, in {n_line} lines" in README
    command = next(line for line in README.split("`") if f"--task={name}" in line)
    sizes = ["--n_town=8", "--n_month=8", *(f for f in TINY if not f.startswith("--n_"))]
    flags = [*sizes, "--seeds=2", "--jobs=1", f"--out_dir={tmp_path}"]
    assert train.main([*command.split()[2:], *flags]) == 0
    assert name in capsys.readouterr().out
    world = find_task(name)().world(0)
    changed = (world.truth != len(world.answers)).mean()
    assert 0.2 < changed < 0.65


def between(name: str) -> str:
    return README.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->")[0]


CLAIMS_JSON = read_json(RESULTS / "claims.json", {})


def test_the_tables_of_claims_are_those_of_the_committed_verdicts():
    claims = read_json(RESULTS / "claims.json", {})
    assert between("claims") == readme_table(claims)
    assert (RESULTS / "CLAIMS.md").read_text() == claims_page(claims)
    assert (RESULTS / "OBJECTIONS.md").read_text() == objections_page(claims)
    assert (RESULTS / "MECHANISM.md").read_text() == mechanism_page(claims)


def test_every_number_in_the_findings_is_in_the_table_of_all_claims():
    said = README.split("## What we found")[1].split("<!-- claims -->")[0]
    numbers = re.findall(r"[-+]?\d\.\d{3}", said)
    page = (RESULTS / "CLAIMS.md").read_text() + (BEFORE / "CLAIMS.md").read_text()
    assert len(numbers) >= 10 and all(n.lstrip("+") in page for n in numbers)
    calibration = (RESULTS / "calibration.txt").read_text()
    assert "3.2 % or less" in README and "2.1 %" in calibration and "3.2 %" in calibration


def test_the_committed_verdicts_follow_from_the_committed_values():
    rows = CLAIMS_JSON["rows"]
    keys = ("name", "says", "measured", "paper", "experiment", "task")
    judged = [c for c in CLAIMS if CLAIMS_JSON["families"][str(c.family_of_name)]]
    assert [[r[k] for k in keys] for r in rows] == [[getattr(c, k) for k in keys] for c in judged]
    for row, claim in zip(rows, judged):
        estimate = interval(list(row["values"].values()))
        assert {k: row[k] for k in estimate} == estimate
        given = (row[key] for key in ("also", "p", "small", "adjusted"))
        assert row["verdict"] == judge(claim, estimate, *given)


STUDIES = [setting for setting in settings_of(CLAIMED) if (RESULTS / setting.name).exists()]


@each("study", STUDIES, lambda study: study.name)
def test_the_committed_page_of_every_setting_has_its_claims_and_all_families(study):
    rows = [r for r in CLAIMS_JSON["rows"] if (r["experiment"], r["task"]) == study]
    text = (RESULTS / study.name / "README.md").read_text()
    if rows:
        assert "\n\n".join(claim_blocks(rows, CLAIMS_JSON["families"])) in text
    assert "\n\n".join(arms_table(committed(study.name))) in text
    assert EXPERIMENTS[study.experiment].open in text


@each("study", STUDIES, lambda study: study.name)
def test_the_committed_values_are_those_of_the_committed_runs(study):
    lines = read_lines(RESULTS / study.name / "runs.jsonl", {})
    by_run = {(line["arm"], line["seed"]): line for line in lines}
    experiment = EXPERIMENTS[study.experiment]
    seeds = draws_of(WORLDS, experiment.n_draw)
    assert by_run.keys() == {(arm, seed) for arm in experiment.arms for seed in seeds}
    assert len(by_run) == len(lines)
    for (arm, seed), line in by_run.items():  # made with today's configuration
        config = experiment.config(arm, study.task, {}, seed)
        assert line["config_sha256"] == config.sha256()


def test_score_prints_of_committed_items_what_the_committed_runs_have(capsys):
    folder = BEFORE / "matrix"
    file = folder / "items.jsonl"
    assert eval_script.main(["score", str(file)]) == 0
    assert "reg       4,608  1,152   0.795 [0.775, 0.814]" in capsys.readouterr().out
    runs = {r["arm"]: r for r in read_lines(folder / "runs.jsonl", {}) if r["seed"] == 0}
    for arm, run in read([file]).runs.items():
        found = coupling(run.explanation, run.current, run.original)
        for key, value in (("self", found.self_match), ("orig", found.orig_match)):
            assert runs[arm][key] == value
        for key in ("gap", "drift", "preference"):
            assert runs[arm][key] == getattr(found, key)


def test_the_lines_of_the_readme_can_be_scored(folder, capsys):
    (((name,), text),) = marked("lines")
    (folder / name).write_text(text + "\n")
    assert eval_script.main(["score", name]) == 0
    assert "items            2" in capsys.readouterr().out


COMMANDS = re.findall(r"^python train\.py ?(.*?)(?:\s+#.*)?$", "".join(blocks("sh")), flags=re.M)


@each("arguments", [c for c in COMMANDS if "--help" not in c and "=DIR" not in c])
def test_every_command_parses(arguments):
    assert parse(arguments.split()).configs()


def test_there_are_commands_to_parse():
    assert len(COMMANDS) >= 6


def test_every_file_that_is_linked_to_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 15 and [link for link in links if not (ROOT / link).exists()] == []


def test_links_within_the_table_of_code_say_where_they_lead():
    for text, link in re.findall(r"\[([\w/]+\.py)\]\(([^)]+)\)", README):
        assert link.endswith(text) and (ROOT / link).exists()


def test_a_study_prints_the_table_that_its_result_holds(capsys, tmp_path):
    train.main([*TINY, "--seeds=2", "--jobs=1", f"--out_dir={tmp_path}"])
    (file,) = tmp_path.glob("*/result.json")
    assert show_study(read_json(file, {})) in capsys.readouterr().out


def test_the_table_of_promises_has_the_figures_that_the_reliability_tests_printed():
    text = (RESULTS / "reliability.txt").read_text()
    groups = re.findall(r"^(\S.*?)  +((?:\d+ *){7})$", text, flags=re.M)
    rows = {name: [int(n) for n in numbers.split()] for name, numbers in groups}

    def total(*ends):
        chosen = [row for name, row in rows.items() if any(end in name for end in ends)]
        tried, landed, same, *bad = (sum(column) for column in zip(*chosen))
        assert tried == landed and not any(bad) and chosen
        return f"{tried:,} | {same:,} |"

    expected = {
        "killed": total(", kill", ", SIGTERM"),
        "disk": total(", no space", ", disk error"),
        "two processes": total("pairs on"),
    }
    kinds = {"hostile": "hostile or broken folders and files", "fuzzed": "fuzzed inputs"}
    for word, kind in kinds.items():
        [tried] = re.findall(rf"^{kind}: ([\d,]+) tried$", text, flags=re.M)
        expected[word] = f"{tried} | {tried} |"
    lines = between("reliability").splitlines()
    for word, figures in expected.items():
        assert [line for line in lines if word in line and line.endswith(figures)], (word, figures)
    assert rows["all"][0] == sum(row[0] for name, row in rows.items() if name != "all")
