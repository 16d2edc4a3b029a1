"""What M0 learns after it was done: from answers alone, cached, and before any explanation."""

import pytest
import torch

import train
from introspect import checkpoint, pretrain
from introspect.files import read_json, read_lines
from tests.tiny import SIZE, STEPS, weights, without_time

TASKS = ["--hint.n_entity=6", "--hint.n_attribute=6"]
TASKS += ["--jabberwocky.n_creature=5", "--jabberwocky.n_habit=4", "--teach_steps=6"]
FLAGS = [*TASKS, *SIZE, *STEPS, "--eval_interval=3", "--device=cpu"]
set_rates = pretrain.set_rates


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of all arms over two seeds, and how many updates of M0 and of teaching it took."""
    out, updates = tmp_path_factory.mktemp("study") / "s", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("introspect.report.report.curves", lambda *_, **__: None)
        patch.setattr(pretrain, "set_rates", lambda *of: updates.append(of) or set_rates(*of))
        flags = ["jabberwocky", *FLAGS, "--seeds=2", "--jobs=1", f"--out_dir={out}"]
        assert train.main(flags) == 0
    return out, len(updates)


def test_m0_and_teaching_are_done_once_a_seed_and_shared_by_all_arms(study):
    out, updates = study
    assert updates == 2 * (12 + 6)
    assert all(len(list((out / "cache").glob(f"{kind}-*"))) == 2 for kind in ("m0", "taught"))
    for seed in (0, 1):
        runs = sorted(out.glob(f"runs/*-seed{seed}"))
        starts = [read_lines(run / "metrics.jsonl")[0] for run in runs]
        for start in starts:  # from one and the same model, but with labels of their own
            assert {k: v for k, v in start.items() if k not in ("train", "seconds")} == {
                k: v for k, v in starts[0].items() if k not in ("train", "seconds")
            }
        assert len({weights(run).sum().item() for run in runs}) == len(runs) == 4


def test_a_run_says_what_it_finds_of_the_behavior_that_was_taught(study):
    result = read_json(study[0] / "runs" / "reg-seed1" / "result.json", set())
    assert list(result["tasks"]) == list(result["m0"]["tasks"]) == ["hint", "jabberwocky"]
    assert result["tasks"]["jabberwocky"]["n_items"] == 5 * 4 * 4  # all of its subjects
    assert result["tasks"]["hint"]["n_items"] == result["n_items"] == 18 * 4
    assert result["self"] == result["tasks"]["hint"]["self"]
    first, *_ = read_lines(study[0] / "runs" / "reg-seed1" / "metrics.jsonl")
    assert first["tasks"]["jabberwocky"]["behavior_drift"] > 0  # it was taught before


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [12 + 1, 12 + 5])
def test_a_run_stopped_while_it_is_taught_ends_as_if_it_had_not_been(
    study, tmp_path, monkeypatch, after
):
    calls = iter(range(100))

    def stop(*args):
        if next(calls) == after:
            raise Killed
        set_rates(*args)

    command = ["jabberwocky/reg", *FLAGS, f"--out_dir={tmp_path / 'run'}"]
    monkeypatch.setattr(pretrain, "SAVE_INTERVAL", 4)
    monkeypatch.setattr(pretrain, "set_rates", stop)
    with pytest.raises(Killed):
        train.main(command)
    saved = checkpoint.newest(next(iter((tmp_path / "run" / "cache").glob("taught-*")), tmp_path))
    assert (saved and saved[0]) == (4 if after > 12 + 4 else None)
    monkeypatch.setattr(pretrain, "set_rates", set_rates)
    train.main(command)
    whole, again = study[0] / "runs" / "reg-seed0", tmp_path / "run"
    assert torch.equal(weights(whole), weights(again))
    for name in ("result.json", "examples.json"):
        one, other = (without_time(read_json(out / name, set())) for out in (whole, again))
        assert one == other
    logs = [without_time(read_lines(out / "metrics.jsonl")) for out in (whole, again)]
    assert logs[0] == logs[1]
