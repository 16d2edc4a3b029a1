"""The claims lab: runs made once and shared, verdicts from intervals, nothing done twice."""

from dataclasses import replace
from pathlib import Path

import pytest

import eval as eval_script
import introspect.lab.claims as claims_module
import introspect.lab.registration as registration_module
import introspect.lab.verdicts as verdicts_module
import train
from introspect.analysis.lines import read
from introspect.fields import Refused
from introspect.files import claim_folder, name_aside, write_json
from introspect.lab.claims import CLAIMS
from introspect.lab.extras import perform
from introspect.lab.publish import write_all
from introspect.reading import read_json, read_lines
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.jobs import list_m0s
from introspect.runs.study import Setting, Workspace, plan_jobs, settings_of

TINY = dict(
    n_entity=6, n_attribute=6, n_embd=16, n_head=2, pretrain_steps=12, pretrain_batch_size=8,
    batch_size=4, max_steps=6, eval_interval=2, learning_rate=0.03, muon_learning_rate=0.05,
    adamw_learning_rate=0.03,
)  # fmt: skip
MATRIX = Setting("matrix", "hint")


def lab_in(folder: Path, jobs: int = 1) -> Workspace:
    return Workspace(folder, "cpu", jobs, TINY)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The lab's folder and what it found of one experiment, three seeds."""
    lab = lab_in(tmp_path_factory.mktemp("lab"))
    return lab, perform(lab, [MATRIX], [0, 1, 2])


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_every_arm_and_seed_is_run_with_its_own_fields(made):
    lab, found = made
    runs = found[MATRIX].runs
    assert {s: list(by_arm) for s, by_arm in runs.items()} == {
        s: ["reg", "again", "shuffled"] for s in (0, 1, 2)
    }
    for seed, by_arm in runs.items():
        for arm, run in by_arm.items():
            config = EXPERIMENTS["matrix"].config(arm, "hint", TINY, seed)
            assert run.result["config_sha256"] == config.sha256()
    assert found[MATRIX].failed == []


def test_the_same_call_again_does_nothing(made):
    lab, found = made
    before = contents(lab.root)
    assert perform(lab, [MATRIX], [0, 1, 2]) == found
    assert contents(lab.root) == before


def test_workers_find_the_same(made, tmp_path):
    def numbers(found):
        return {
            (seed, arm): {k: v for k, v in run.result.items() if k != "seconds"}
            for seed, by_arm in found[MATRIX].runs.items()
            for arm, run in by_arm.items()
        }

    _, found = made
    assert numbers(perform(lab_in(tmp_path, 2), [MATRIX], [0, 1, 2])) == numbers(found)


def test_what_is_missing_is_made_again_and_is_the_same(made):
    lab, found = made
    run = found[MATRIX].runs[1]["again"]
    before = (run.folder / "items.jsonl").read_bytes()
    (run.folder / "result.json").unlink()
    again = perform(lab, [MATRIX], [0, 1, 2])[MATRIX].runs[1]["again"]
    assert {**again.result, "seconds": 0} == {**run.result, "seconds": 0}
    assert (run.folder / "items.jsonl").read_bytes() == before


def test_experiments_share_the_runs_that_are_the_same(tmp_path):
    lab = Workspace(tmp_path, "cpu", 1, {})
    folders = {
        name: {arm: job.out for (arm, _), job in plan_jobs(lab, Setting(name, "hint"), [3]).items()}
        for name in ("matrix", "noise", "rate", "prediction")
    }
    assert folders["matrix"]["reg"] == folders["noise"]["reg"] == folders["rate"]["reg"]
    assert folders["prediction"]["noise noise-0.3"] == folders["noise"]["noise-0.3"]
    assert len({folders["matrix"]["reg"], folders["matrix"]["again"]}) == 2


def test_a_donor_is_an_m0_that_a_run_waits_for(tmp_path):
    jobs = plan_jobs(Workspace(tmp_path, "cpu", 1, {}), Setting("donors", "hint"), [0])
    own = list_m0s([jobs["reg", 0]], "cpu")
    both = list_m0s([jobs["depth", 0]], "cpu")
    assert len(own) == 1 and len(both) == 2 and own.keys() < both.keys()
    deep = plan_jobs(Workspace(tmp_path, "cpu", 1, {"n_layer": 3}), Setting("noise", "hint"), [0])
    assert list_m0s([deep["reg", 0]], "cpu").keys() == both.keys() - own.keys()  # made once


def test_every_study_has_a_folder_of_its_own():
    studies = settings_of(EXPERIMENTS)
    assert len({study.name for study in studies}) == len(studies)
    assert {"anchor", "anchor-verdict", "anchor-refusal"} <= {study.name for study in studies}
    assert {(c.experiment, c.task) for c in CLAIMS} <= set(studies)


@pytest.fixture
def tiny(monkeypatch):
    """The experiment `matrix` with runs that take no time."""
    small = replace(EXPERIMENTS["matrix"], base=TINY)
    monkeypatch.setitem(EXPERIMENTS, "matrix", small)


def test_training_and_judging_write_the_same_folder_from_the_same_runs(tiny, tmp_path):
    flags = ["matrix", "--seeds=3", "--jobs=1", "--device=cpu", f"--out_dir={tmp_path / 'out'}"]
    assert train.main(flags) == 0
    made = contents(tmp_path)
    assert {path.parts[1] for path in made} == {"runs", "cache", "matrix"}
    assert eval_script.main(["experiment", *flags]) == 0
    assert contents(tmp_path) == made  # nothing was trained or written again, or written elsewhere


def test_the_config_of_a_run_is_the_same_whoever_asks_for_it(tiny, tmp_path):
    flags = ["--device=cpu", "--seed=1"]
    assert train.main(["matrix/reg", *flags, f"--out_dir={tmp_path / 'one'}"]) == 0
    study = ["matrix", "--seeds=1", "--jobs=1", *flags, f"--out_dir={tmp_path / 'study'}"]
    assert eval_script.main(["experiment", *study]) == 0
    [alone] = tmp_path.glob("one/runs/*/config.json")
    same = tmp_path / "study" / "runs" / alone.parent.name / "config.json"
    assert alone.read_bytes() == same.read_bytes()


def test_the_command_runs_judges_and_writes_and_does_so_once(tiny, tmp_path, capsys):
    given = ["experiment", "matrix", "--seeds=3", "--jobs=1", "--device=cpu"]
    given += [f"--out_dir={tmp_path / 'runs'}", f"--results_dir={tmp_path / 'results'}"]
    assert eval_script.main(given) == 0
    first, before = capsys.readouterr().out, contents(tmp_path)
    assert "C15" in first and "not after" not in first and "No correction" in first
    assert eval_script.main(given) == 0
    assert contents(tmp_path) == before
    again = capsys.readouterr().out
    assert again.splitlines()[:-1] == first.splitlines()[:-1]  # all but the time
    out = tmp_path / "results" / "matrix"
    lines = read_lines(out / "runs.jsonl", {})
    assert [(line["arm"], line["seed"]) for line in lines] == [
        (arm, seed) for seed in (0, 1, 2) for arm in ("reg", "again", "shuffled")
    ]
    assert all("commit" in line["versions"] and "fields" in line for line in lines)
    text = (out / "report.md").read_text()
    assert EXPERIMENTS["matrix"].question.partition(",")[0] in text and "## Not controlled" in text
    assert "python train.py matrix --task=hint" in text and "draw_seed=1000" in text
    assert not (tmp_path / "results" / "claims.json").exists()  # of all experiments only


def test_score_of_published_items_is_what_the_runs_have(tiny, tmp_path):
    gathered = perform(Workspace(tmp_path, "cpu", 1, {}), [MATRIX], [0, 1, 2])
    write_all(tmp_path / "results", gathered, [], True)
    out = tmp_path / "results" / "matrix"
    runs = {line["arm"]: line for line in read_lines(out / "runs.jsonl", {})[:3]}
    for arm, run in read([out / "items.jsonl"]).runs.items():
        for key, labels in (("self", run.current), ("orig", run.original)):
            assert float((run.explanation == labels).mean()) == runs[arm][key]
        assert len(run.current) == runs[arm]["n_items"]


def test_all_claims_are_corrected_logged_and_shown_where_results_are_the_repositorys(
    tiny, tmp_path, monkeypatch, capsys
):
    about = [c for c in CLAIMS if c.experiment == "matrix"]
    for module in (verdicts_module, claims_module):
        monkeypatch.setattr(module, "CLAIMS", about)
    monkeypatch.setattr(eval_script, "ROOT", tmp_path)
    markers = "<!-- claims -->\n<!-- /claims -->\n"
    (tmp_path / "README.md").write_text(markers)
    given = ["claims", "--seeds=3", "--jobs=1", "--device=cpu", f"--out_dir={tmp_path / 'runs'}"]
    elsewhere = tmp_path / "other" / "results"
    elsewhere.mkdir(parents=True)
    assert eval_script.main([*given, f"--results_dir={elsewhere}"]) == 0
    assert (tmp_path / "README.md").read_text() == markers
    assert "The correction is over all tested rows" in capsys.readouterr().out
    own = tmp_path / "data" / "results"
    own.mkdir(parents=True)
    monkeypatch.setattr(registration_module, "WORLDS", [0, 1, 2])
    assert eval_script.main([*given, "--draws=2", "--publish=true"]) == 0
    rows = read_json(own / "claims.json", {})["rows"]
    assert [row["measured"] for row in rows] == [c.measured for c in about]
    assert all((row["p"] is None) == (row["adjusted"] is None) for row in rows)
    assert "\n| C15 | " in (tmp_path / "README.md").read_text()
    assert all(row["measured"] in (own / "CLAIMS.md").read_text() for row in rows)
    family = sum(row["p"] is not None for row in rows)
    assert f"{family} about C14" in (own / "matrix" / "README.md").read_text()
    assert (own / "LOG.md").read_text().count("python eval.py claims --seed=0 --seeds=3") == 1


@pytest.mark.parametrize("given, says", [
    (["experiment", "nois"], "nois: no such experiment .*noise"),
    (["experiment", "noise", "--seeds=0"], "--seeds=0: must be a whole number from 1"),
    (["experiment", "noise", "--arms=3"], "--arms=3"), (["experiment"], "NAME"),
    (["claims", "--jobs=0"], "--jobs=0"),
    (["experiment", "noise", "--publish=true"], "--publish=true: must be of claims"),
    (["claims", "--publish=true", "--seeds=3"], "the published worlds 10 to 21"),
    (["claims", "--publish=true", "--seed=10", "--seeds=12"], "with --draws=2"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(given, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=says) as refusal:
        eval_script.main(given)
    assert "\n" not in str(refusal.value) and list(tmp_path.iterdir()) == []


def test_a_run_of_the_lab_can_be_measured_again(made, capsys):
    _, found = made
    assert eval_script.main(["run", str(found[MATRIX].runs[0]["reg"].folder)]) == 0
    assert "as in result.json" in capsys.readouterr().out


def test_a_folder_in_which_a_kill_left_half_a_file_is_taken(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    name_aside(out / "config.json").write_text("{")
    claim_folder(out, {"config": {"seed": 1}})
    assert read_json(out / "config.json", {}) == {"config": {"seed": 1}}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(Refused, match="is not empty and not a run"):
        claim_folder(tmp_path / "other", {"config": {}})


def test_a_folder_of_another_configuration_is_not_touched(made):
    lab, found = made
    folder = found[MATRIX].runs[0]["reg"].folder
    config = read_json(folder / "config.json", {})
    other = {**config, "config": {**config["config"], "weight_decay": 0.5}}
    write_json(folder / "config.json", other)
    with pytest.raises(Refused, match="holds another run, with weight_decay=0.5"):
        perform(lab, [MATRIX], [0])
    write_json(folder / "config.json", config)
