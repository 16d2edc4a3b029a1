"""What is measured of finished runs beyond their results, and where it is shown."""

import json
from dataclasses import replace

import pytest

import eval as eval_script
from introspect.analysis.readout import show_readouts
from introspect.lab.extras import measure_extra, measure_extras
from introspect.lab.publish import write_setting
from introspect.reading import read_json
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.load import load_run
from introspect.runs.study import Setting, Workspace, gather, make_runs, plan_jobs
from introspect.stats import student_t
from tests.test_lab import TINY


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(workspace, runs of reg and noreg of one seed, of which extras were measured)."""
    workspace = Workspace(tmp_path_factory.mktemp("extras"), "cpu", 1, TINY)
    setting = Setting("reach", "hint")
    jobs = plan_jobs(workspace, setting, [0], ["reg", "noreg"])
    make_runs(workspace, list(jobs.values()), "two runs", "two runs")
    names = [(arm, "readout") for arm, _ in jobs] + [("noreg", "alarm")]
    todo = [(jobs[arm, 0], name) for arm, name in names]
    measure_extras(workspace, {job.out / f"{name}.json": job.config for job, name in todo})
    found = gather(jobs, {})
    write_setting(workspace.root / "reach", setting, found, TINY)
    return workspace, jobs, found.runs[0]


def test_the_readout_of_a_run_is_that_of_its_result_and_its_parts_add_up(made):
    for arm, run in made[2].items():
        found = read_json(run.folder / "readout.json", {})
        assert list(found) == ["own", "refitted", "rivals", "classes", "odds"]
        for part in (found["own"], found["rivals"]["own"]):
            assert part["gap"] == pytest.approx(run.result["gap"])
            assert part["adjusted"] == pytest.approx(run.result["controls"]["adjusted"])
        for key, whole in (("gap", run.result["gap"]), ("adjusted", found["own"]["adjusted"])):
            parts = [part[key] for part in found["classes"].values()]
            assert sum(parts) == pytest.approx(whole, abs=1e-9)
        assert set(found["classes"]) <= {"would stay", *(f"would change to {k}" for k in "ABCD")}
        assert set(found["odds"]) == {"own", "refitted"}


def test_it_is_measured_again_with_the_same_bytes_from_labels_and_m0_of_the_cache(made):
    workspace, jobs, runs = made
    path = runs["reg"].folder / "readout.json"
    before = path.read_bytes()
    path.unlink()
    measure_extra(workspace, path, jobs["reg", 0].config)
    assert path.read_bytes() == before and len(before) < 10_000
    run = load_run(path.parent, jobs["reg", 0].config, workspace.cache, "cpu")
    assert run.snapshots[0].task.name == "hint"


def readout(gap):
    parts = [{"self": gap + 0.5, "gap": gap + i / 10, "adjusted": gap - i / 10}
             for i in (0, 1, 3, 4, 5, 6, 7)]  # fmt: skip
    rivals = "frozen", "current", "words", "state", "state_words"
    return {"own": parts[0], "refitted": parts[1], "rivals": dict(zip(rivals, parts[2:]))}


def test_readouts_are_means_over_seeds():
    text = show_readouts({"reg": [readout(0.1), readout(0.3)], "noreg": [readout(-0.1)]})
    head, *lines = text.splitlines()
    assert head.split()[-4:] == ["arm", "n", "gap", "adjusted"]
    assert len(lines) == 14 + 1 + 14 and max(map(len, lines)) <= 100
    half, rows = student_t([0.1, 0.3]).high - 0.2, zip(lines[:14:2], lines[1:14:2])
    places = {"as they are": 0, "refitted": 0.1, "of M0": 0.3, "of the run": 0.4, "of words": 0.5,
              "the run, fitted on its": 0.6, "words, fitted on its": 0.7}  # fmt: skip
    for (words, x), (reg, noreg) in zip(places.items(), rows, strict=True):
        gap, adjusted = (f"{0.2 + y:+.3f} [{0.2 + y - half:+.3f}, {0.2 + y + half:+.3f}]"
                         for y in (x, -x))
        assert words in reg and f"2  {gap}" in reg and reg.endswith(adjusted)
        assert noreg.split()[-4:] == ["noreg", "1", f"{-0.1 + x:+.3f}", f"{-0.1 - x:+.3f}"]
    assert lines[14].split()[-1] == "Self"
    assert {line.split()[-1] for line in lines[16::2]} == {"0.400"}


def test_eval_shows_what_was_measured_of_a_run_and_of_a_study(made, capsys):
    workspace, _, runs = made
    folder = runs["noreg"].folder
    found = {name: read_json(folder / f"{name}.json", {}) for name in ("alarm", "readout")}
    gap, moved = found["readout"]["refitted"]["gap"], found["alarm"]["moves"]["ignore"]["400"]
    for out in (folder, workspace.root / "reach"):
        assert eval_script.main(["run", str(out)]) == 0
        lines = capsys.readouterr().out.splitlines()
        line, *_ = [line for line in lines if "refitted  noreg  1 " in line]
        assert f"{gap:+.3f}" in line
        line, *_ = [line for line in lines if line.split()[:3] == ["ignore", "noreg", "1"]]
        assert f" {moved['moved']:.3f} " in line


def test_an_experiment_shows_its_own_extra_measurement_alone(made, monkeypatch, capsys):
    monkeypatch.setitem(EXPERIMENTS, "conflict", replace(EXPERIMENTS["conflict"], base=TINY))
    flags = ["--seeds=1", "--jobs=1", "--stack=1", "--device=cpu", f"--out_dir={made[0].root}"]
    assert eval_script.main(["experiment", "conflict", *flags]) == 0
    said, folder = capsys.readouterr().out, made[2]["reg"].folder
    cosine = read_json(folder / "conflict.json", {})["block-0"]["end"]["cosine"]
    [line] = [line for line in said.splitlines() if line.split()[:3] == ["block-0", "reg", "1"]
              and "n/a" in line]  # fmt: skip
    assert line.endswith(f"{cosine:+.3f}") and "refitted" not in said and "unmoved" not in said
    assert "reg - noreg " in said and "0 rows" not in said  # without claims, the table of the study


def test_a_readout_of_another_form_is_refused_in_one_line(made, tmp_path):
    folder = made[2]["reg"].folder
    kept = (folder / "readout.json").read_text()
    try:
        (folder / "readout.json").write_text(json.dumps({"own": {"gap": "x"}}))
        with pytest.raises(Exception, match="readout.json: it must be an object with"):
            eval_script.main(["run", str(folder)])
    finally:
        (folder / "readout.json").write_text(kept)
