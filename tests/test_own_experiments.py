"""An experiment of one's own in a file, with claims: found, run, judged, and refused if wrong."""

import shutil
from pathlib import Path

import pytest

import eval as evaluation
import train
from introspect.fields import Refused
from introspect.lab.own_claims import list_own_claims
from introspect.reading import read_lines
from introspect.runs.cli import parse
from introspect.runs.declared import find_experiment, split_target
from introspect.runs.study import Setting
from introspect.stats import interval
from tests.own import ROOT, refusal_of
from tests.own import SOURCE as TASK
from tests.tiny import SIZE, STEPS, folder_of

OWN, FOLDER = "mine.py:RATES", "mine.py=RATES"
BASE = {f.split("=")[0][2:]: int(f.split("=")[1]) for f in (*SIZE, *STEPS, "--eval_interval=3")}
SOURCE = f'''\
from introspect.lab.claim import Claim, gap_claim
from introspect.lab.quantities import value, value_difference
from introspect.runs.experiment import Experiment

RATES = Experiment(
    question="Do rates matter?",
    arms={{
        "few": {{"learning_rate": 0.05}},
        "zero/one": {{"learning_rate": 0.0}},
        "drawn": {{"draw_seed": lambda seed: seed + 5}},
    }},
    base={BASE | dict(n_place=9)!r},
    n_seed=3,
    task="weather.py:Weather",
    open="the phase of the moon.",
    words={{"few": "a rate of {{much}}"}},
)
OTHER = Experiment("Another question?", arms={{"one": {{}}}})
CLAIMS = [
    Claim("R1", "more Self at a rate", "RATES", "Self, few - zero/one",
          value_difference("few", "zero/one", "self"), task=RATES.task),
    gap_claim("R2", "a gap", "RATES", "few", task=RATES.task),
    gap_claim("R3", "of another experiment", "OTHER", "one"),
]
'''


@pytest.fixture
def mine(folder, without_matplotlib):
    (folder / "weather.py").write_text(TASK)
    (folder / "mine.py").write_text(SOURCE)
    return folder


def test_an_experiment_in_a_file_is_found_by_any_path_with_its_fields_as_words(mine):
    (mine / "deep").mkdir()
    (mine / "deep" / "other.py").write_text(SOURCE)
    for name in (OWN, f"./{OWN}", f"{mine}/{OWN}", "deep/other.py:RATES"):
        experiment = find_experiment(name)
        assert experiment.question == "Do rates matter?" and experiment.n_seed == 3
    assert experiment.say("few") == "a rate of {much}"  # not what runs/experiment.py calls few
    assert experiment.say("drawn") == "draw_seed=5"
    assert [find_experiment(OWN).sets("drawn", seed) for seed in (0, 3)] == [
        {"draw_seed": 5}, {"draw_seed": 8}]
    assert Setting("./mine.py:RATES", "hint").name.startswith("mine.py=RATES-hint")  # not hidden
    assert split_target("a.b/mine.py:RATES/zero/one") == ("a.b/mine.py:RATES", "zero/one")


def test_its_task_seeds_and_base_are_used_and_the_flags_are_those_of_its_task(mine):
    command = parse([OWN, "--n_place=8", "--seed=2"])
    assert command.seeds == [2, 3, 4] and command.task == "weather.py:Weather"
    configs = {(arm, c.seed): c for arm, c in command.configs()}
    assert list(configs)[:3] == [("few", 2), ("zero/one", 2), ("drawn", 2)]
    assert {c.worlds[0].n_place for c in configs.values()} == {8}
    assert configs["drawn", 4].cotrain.draw_seed == 9
    [(arm, one)] = parse([f"{OWN}/zero/one", "--seed=3"]).configs()
    assert (arm, one.cotrain.learning_rate, one.gpt.n_embd) == ("zero/one", 0.0, BASE["n_embd"])


WRONG = [  # what is replaced in the file, by what, what is asked for, what the line says
    ("", "", "mine.py:RATE", ["the file must have an Experiment RATE; it has RATES"]),
    ("", "", "mine.py:CLAIMS", ["must have an Experiment CLAIMS"]),
    ("", "", "mine.py", ["must be named with its file, as FILE.py:NAME"]),
    ("", "", "yours.py:RATES", ["yours.py must be a Python file that is there"]),
    ("", "", f"{OWN}/zer", ["no such arm", "there is few, zero/one, drawn"]),
    ("", "", f"{OWN} --learning_rate=1", ["--learning_rate=1.0", "0.05 in arm few"]),
    ('"Do rates matter?"', "3", OWN, ["question must be str"]),
    ('"few": {"learning_rate": 0.05}', '"few": 3', OWN, ["few must be dict"]),
    ('"few": {', '3: {', OWN, ["names of arms and fields must be text"]),
    ('"learning_rate": 0.05', '"seed": 4', OWN, ["seed must be in no arm"]),
    ('"learning_rate": 0.05', '"learning_rat": 4', OWN, ["(did you mean learning_rate?)"]),
    ('"learning_rate": 0.05', '"learning_rate": "4"', OWN, ["--learning_rate=4: must be a number"]),
    ("n_seed=3", "n_seed=0", OWN, ["n_seed must be >= 1"]),
    ("n_seed=3", "n_seeds=3", OWN, ["mine.py, line 5: TypeError", "n_seeds"]),
    ("seed + 5", "seed / 0", OWN, ["mine.py, line 10: ZeroDivisionError"]),
    ('"weather.py:Weather"', '"wether"', OWN, ["--task=wether: must be of hint"]),
    ("n_seed=3", 'extra="probe"', OWN, ["extra 'probe' must be of", "(did you mean probes?)"]),
    ("CLAIMS = [", "CLAIMS = [3,", OWN, ["CLAIMS must be a list of"]),
    ('"R1"', '"C1"', OWN, ["claim C1 must have a name that is none of ours"]),
]  # fmt: skip


@pytest.mark.parametrize("old, new, target, says", WRONG, ids=[case[3][0][:40] for case in WRONG])
@pytest.mark.parametrize("script", ["train", "eval"])
def test_a_file_that_is_wrong_is_refused_in_one_line_before_any_run(
    mine, script, old, new, target, says
):
    (mine / "mine.py").write_text(SOURCE.replace(old, new, 1))
    if script == "train":
        refusal_of(lambda: train.main([*target.split(), "--device=cpu", "--jobs=1"]), *says)
    elif target != f"{OWN}/zer" and "--" not in target:
        command = ["experiment", target, "--device=cpu", "--jobs=1"]
        refusal_of(lambda: evaluation.main(command), *says)
    assert not (mine / "out" / "runs").exists()


def test_an_own_experiment_runs_in_workers_and_its_claims_are_judged(mine, capsys):
    """Of a task of one's own too, which the workers have to import."""
    assert train.main([OWN, "--device=cpu", "--jobs=2"]) == 0
    heard = capsys.readouterr()
    assert "mine.py:RATES on weather.py:Weather: 3 arms, seeds 0, 1, 2" in heard.err
    assert "few: a rate of {much} (learning_rate=0.05)" in heard.out
    assert "claims, in the report: 2 rows: 2 undecided (3 worlds are too few)." in heard.out
    rows = read_lines(mine / "out" / FOLDER / "runs.jsonl", {})
    assert [(row["arm"], row["seed"]) for row in rows[:4]] == [
        ("few", 0), ("zero/one", 0), ("drawn", 0), ("few", 1)]
    by_arm = {arm: [r["self"] for r in rows if r["arm"] == arm] for arm in ("few", "zero/one")}
    difference = interval([a - b for a, b in zip(*by_arm.values(), strict=True)])
    report = (mine / "out" / FOLDER / "report.md").read_text()
    assert "| R1 | more Self at a rate |" in report and "R3" not in report
    assert "the phase of the moon" in report and f"python train.py {OWN} " in report

    shutil.rmtree(folder_of(mine / "out", "few", 1))
    command = ["experiment", OWN, "--seeds=3", "--device=cpu", "--jobs=1"]
    assert evaluation.main(command) == 0
    heard = capsys.readouterr()
    assert "8 of 9 runs are there already; 1 to make" in heard.err
    r1, r2 = (line for line in heard.out.split("\n") if line.startswith("R"))
    assert f"{difference['mean']:+.3f} [{difference['low']:+.3f}" in r1
    assert r1.endswith("undecided (3 worlds are too few)")
    assert r2.startswith("R2     gap of few") and "2 rows: " in heard.out
    assert (mine / "out" / FOLDER / "report.md").read_text() == report

    assert train.main([OWN, "--device=cpu", "--max_steps=2", "--seeds=1", "--jobs=1"]) == 0
    assert "claims: not judged, since flags changed max_steps" in capsys.readouterr().out

    broken = SOURCE.replace('value_difference("few", "zero/one", "self")', 'value("fw", "self")')
    (mine / "broken.py").write_text(broken)
    command[1] = "broken.py:RATES"
    refusal_of(lambda: evaluation.main(command), "claim R1", "there is no arm fw (did you mean few")
    (mine / "broken2.py").write_text(SOURCE.replace('"zero/one", "self"', '"zero/one", "sef"'))
    command[1] = "broken2.py:RATES"
    refusal_of(lambda: evaluation.main(command), "claim R1, more Self", "KeyError: 'sef'")

    sung = Path("sang")
    (mine / "mine.py").write_text(f"open({str(sung)!r}, 'w')\n")
    capsys.readouterr()
    study = ["run", str(mine / "out" / FOLDER), "--task=weather.py:Weather"]
    assert evaluation.main(study) == 0  # measured without the file of the experiment
    assert "The question is in mine.py:RATES." in capsys.readouterr().out and not sung.exists()
    with pytest.raises(Refused, match="would run as a program"):
        evaluation.main(study[:2])


def test_the_example_is_short_and_its_claims_are_about_its_arms(monkeypatch):
    monkeypatch.chdir(ROOT)
    name = "data/example_experiment.py:LENGTH"
    command = parse([name, "--seeds=3"])
    arms = {arm: config.cotrain for arm, config in command.configs()}
    assert [(arm, c.max_steps, c.kl_weight) for arm, c in arms.items()] == [
        ("short", 200, 1.0), ("usual", 800, 1.0), ("long", 2000, 1.0), ("shuffled", 800, 1.0)]
    claims = list_own_claims([Setting(name, "hint")])
    assert [claim.measured for claim in claims] == ["gap of short", "gap, long - short"]
    assert all(claim.experiment == name and not claim.by_paper and claim.also for claim in claims)
    assert len(Path("data/example_experiment.py").read_text().splitlines()) <= 25
