"""Runs of a task of one's own: trained, measured again, and bound to its file."""
import json

import pytest

import eval as evaluation
import train
from introspect.reading import read_json
from introspect.runs.build import build, sources, worlds_of
from introspect.runs.stages import m0_key
from introspect.tasks.registry import find_tasks, joint_answers
from tests.own import OWN, SMALL, SOURCE, edited, refusal_of
from tests.tiny import folder_of, run_folder, weights


def test_a_run_of_a_task_of_ones_own_is_trained_and_measured_again(own, capsys):
    assert train.main(["anchor/reg", f"--task={OWN}", *SMALL, "--n_place=9", "--out_dir=run"]) == 0
    result = read_json(run_folder(own / "run") / "result.json", {})
    assert result["task"] == OWN and result["n_items"] == 4 * 2  # places 1, 3, 5, 7
    assert result["train"]["n_items"] == 5 * 2
    capsys.readouterr()
    assert evaluation.main(["run", str(run_folder(own / "run")), f"--task={OWN}"]) == 0
    assert "as in result.json" in capsys.readouterr().out


def test_workers_import_a_task_of_ones_own_and_end_as_one_process(own, without_matplotlib):
    flags = [f"--task={OWN}", *SMALL]
    assert train.main([*flags, "--jobs=2", "--seeds=2", "--out_dir=study"]) == 0
    assert train.main(["anchor/noreg", *flags, "--seed=1", "--out_dir=alone"]) == 0
    alone, noreg, reg = (
        weights(folder_of(own / root, arm, 1))
        for root, arm in (("alone", "noreg"), ("study", "noreg"), ("study", "reg"))
    )
    assert alone.equal(noreg) and not alone.equal(reg)


def test_m0_of_an_edited_file_is_another_one(own):
    config = build(find_tasks(OWN), {})
    key = m0_key(config, "cpu")
    assert m0_key(config, "cpu") == key
    edited(own, "1 / 3", "1/3")
    assert m0_key(config, "cpu") == key
    edited(own, "1 / 3", "2 / 6")
    assert m0_key(config, "cpu") != key


def test_m0_of_a_mixture_depends_on_the_file_as_well(own):
    config = build(find_tasks(f"hint+{OWN}"), {"weather.py:Weather.n_place": 7})
    key = m0_key(config, "cpu")
    (own / "weather.py").write_text(SOURCE.replace("1 / 3", "2 / 6"))
    assert m0_key(config, "cpu") != key


def test_a_run_does_not_go_on_with_an_edited_file_nor_is_it_measured_with_it(own):
    command = ["anchor/reg", f"--task={OWN}", *SMALL, "--n_place=9", "--out_dir=run"]
    assert train.main(command) == 0
    edited(own, "rain = np.random.default_rng(seed)", "rain = np.random.default_rng(seed + 1)")
    refusal_of(lambda: train.main(command), "holds another run, with source=weather.py:Weather=")
    measure = ["run", str(run_folder(own / "run")), f"--task={OWN}"]
    refusal_of(lambda: evaluation.main(measure), "its file must be as it was")


def test_no_folder_makes_a_file_run_that_the_user_did_not_name(own, capsys):
    """Whoever made the folder may have put the file into it; its hash is in the folder, too."""
    (own / "nice").mkdir()
    (own / "nice" / "canary.py").write_text(f"open({str(own / 'sang')!r}, 'w')\n{SOURCE}")
    task = "nice/canary.py:Weather"
    source = sources(task)
    described = {"device": "cpu", "source": source, "cache": "cache", "config": {"task": task}}
    (own / "nice" / "config.json").write_text(json.dumps(described))
    for named in ("", "hint", "nice/canary.py:Other", "weather.py:Weather"):
        measure = ["run", "nice", f"--task={named}"]
        refusal_of(lambda: evaluation.main(measure), "would run as a program")
    refusal_of(lambda: evaluation.main(["run", "nice"]), "would run as a program")
    assert not (own / "sang").exists()
    described["source"] = source[:-1]
    (own / "nice" / "config.json").write_text(json.dumps(described))
    refusal_of(lambda: evaluation.main(["run", "nice", f"--task={task}"]), "must be as it was")
    assert not (own / "sang").exists()  # the hash is compared before the file is run
    described["source"] = source
    (own / "nice" / "config.json").write_text(json.dumps(described))
    refusal_of(lambda: evaluation.main(["run", "nice", f"--task={task}"]), "must hold a checkpoint")
    assert (own / "sang").exists()  # guard: named, it does run


def test_m0_of_the_same_tasks_in_another_order_is_another_one(own):
    """The order decides the rows of the task head and the draws of batches."""
    one, other = (
        build(find_tasks(spec), {"hint.first_name": 60}) for spec in (f"hint+{OWN}", f"{OWN}+hint")
    )
    assert joint_answers(worlds_of(one)) != joint_answers(worlds_of(other))
    assert m0_key(one, "cpu") != m0_key(other, "cpu")


@pytest.mark.parametrize(
    "body, says",
    [
        ("raise ValueError('no\\n  rain')", "weather.py, line {line}: ValueError: no rain"),
        ("return [1, 2][seed + 2]", "weather.py, line {line}: IndexError: list index out"),
        (
            "def fail(n):\n            return [][n]\n\n        fail(0)",
            "weather.py, line {next}: IndexError: list index out of range",
        ),
        (
            "return np.zeros((2, 3)).reshape(5)",
            "weather.py, line {line}: ValueError: cannot reshape",
        ),
        ("return {}", "world(seed) must return a World, got dict"),
        ("pass", "world(seed) must return a World, got NoneType"),
        (
            "return with_cues(names()[:5], [], [], None, None, None)",
            "subjects: must be an (N, W) array of words, got <U",
        ),
    ],
)
def test_a_world_that_fails_is_refused_in_one_line_before_anything_is_written(own, body, says):
    head, _ = SOURCE.split("        n, s = ")
    (own / "weather.py").write_text(head + f"        {body}\n")
    says = says.format(line=head.count("\n") + 1, next=head.count("\n") + 2)
    refusal_of(lambda: train.main([f"--task={OWN}", *SMALL]), f"task {OWN}: ", says)
    assert {p.name for p in own.iterdir()} <= {"weather.py", "__pycache__"}
