"""What M0 learns after it was done: from answers alone, cached, and before any explanation."""

import pytest
import torch

import train
from introspect import checkpoint, pretrain
from introspect.files import read_json, read_lines
from introspect.runs.build import build
from introspect.runs.pool import Job, perform
from introspect.runs.stages import make_tasks
from introspect.tasks.registry import find_tasks
from tests.several import SIZES, TINY, config
from tests.tiny import SIZE, STEPS, weights, without_time

TASKS = ["--hint.n_entity=6", "--hint.n_attribute=6"]
TASKS += ["--jabberwocky.n_creature=5", "--jabberwocky.n_habit=4", "--teach_steps=6"]
FLAGS = [*TASKS, *SIZE, *STEPS, "--eval_interval=3", "--device=cpu"]
set_rates = pretrain.set_rates


def model_of(learned):
    return torch.cat([p.flatten() for p in learned.parameters()])


def learn(cfg, cache):
    """Weights of M0, and of what it is after it has been taught."""
    parts = make_tasks(cfg, "cpu")
    m0 = pretrain.pretrain(cfg, parts, cache, "cpu")
    before = model_of(m0)
    taught = pretrain.teach(cfg, m0, parts, cache, "cpu")
    assert torch.equal(model_of(m0), before)
    return before, model_of(taught)


def test_m0_has_never_learned_anything_of_a_task_that_is_taught_later(tmp_path):
    both = config("hint+jabberwocky", **{"hint.n_answer": 4})
    m0, taught = learn(both, tmp_path)
    rate = {"hint.n_answer": 4, "jabberwocky.word_reliability": 0.9}
    other = config("hint+jabberwocky", **rate)
    assert pretrain.m0_key(other, "cpu") != pretrain.m0_key(both, "cpu")
    other_m0, other_taught = learn(other, tmp_path)
    assert torch.equal(m0, other_m0) and not torch.equal(taught, other_taught)
    alone = build(find_tasks("hint"), TINY | SIZES["hint"] | {"n_answer": 4})
    alone_m0, nothing_taught = learn(alone, tmp_path)
    assert torch.equal(m0, alone_m0) and torch.equal(m0, nothing_taught)
    assert not torch.equal(m0, taught)


def test_other_rates_of_what_m0_learns_make_another_m0(tmp_path):
    """Guards the test above: it would also pass if no rate mattered."""
    m0, _ = learn(config("hint+jabberwocky"), tmp_path)
    other, _ = learn(config("hint+jabberwocky", **{"hint.hint_reliability": 0.9}), tmp_path)
    assert not torch.equal(m0, other)


def test_teaching_goes_on_with_what_m0_knows_in_batches_of_its_own(tmp_path, monkeypatch):
    cfg = config("hint+jabberwocky")
    parts, learned, draws = make_tasks(cfg, "cpu"), [], []
    loss_of_world = pretrain.loss_of_world

    def noted(model, interview, world, n, draw):
        learned.append((next(p.name for p in parts if p.world is world), n))
        draws.append(str(draw.bit_generator.state))
        return loss_of_world(model, interview, world, n, draw)

    monkeypatch.setattr(pretrain, "loss_of_world", noted)
    m0 = pretrain.pretrain(cfg, parts, tmp_path, "cpu")
    pretrain.teach(cfg, m0, parts, tmp_path, "cpu")
    assert learned == [("hint", 8)] * 6 + [("hint", 4), ("jabberwocky", 4)] * 4
    assert len(set(draws)) == len(draws)


def test_what_was_taught_is_cached_by_how_long(tmp_path):
    taught = {}
    for steps in (4, 2, 0, 8):  # neither one that is longer nor one that is shorter is taken
        cfg = config("hint+jabberwocky", teach_steps=steps)
        m0, taught[steps] = learn(cfg, tmp_path / "shared")
        assert torch.equal(taught[steps], learn(cfg, tmp_path / str(steps))[1])
    assert torch.equal(taught[0], m0)
    assert not torch.equal(taught[4], taught[2]) and not torch.equal(taught[2], m0)


def test_what_runs_start_from_is_taught_before_any_of_them(tmp_path):
    cfg = config("hint+jabberwocky")
    assert perform(Job("reg", cfg, None), tmp_path, "cpu", pretrain.silent) is None
    kinds = sorted(folder.name.partition("-")[0] for folder in tmp_path.iterdir())
    assert kinds == ["m0", "taught"]


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
