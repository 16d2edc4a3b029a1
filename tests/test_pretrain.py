"""Learning worlds from answers alone: a whole training by hand, and what is taught after M0."""

import numpy as np
import pytest
import torch

import train
from introspect import checkpoint, pretrain
from introspect.reading import read_json, read_lines
from introspect.runs.build import build
from introspect.runs.stages import (
    hash_labels,
    make_ingredients,
    make_tasks,
    new_model,
)
from introspect.streams import rng
from introspect.tasks.registry import find_tasks
from introspect.tokenizer import ANSWER, encode
from tests.several import SIZES, TINY
from tests.test_cotrain_by_hand import adamw_by_hand
from tests.tiny import (
    SIZE,
    STEPS,
    WORLD,
    folder_of,
    run_folder,
    weights,
    without_time,
)

TASKS = ["--hint.n_entity=6", "--hint.n_attribute=6"]
TASKS += ["--jabberwocky.n_creature=5", "--jabberwocky.n_habit=4", "--teach_steps=6"]
FLAGS = [*TASKS, *SIZE, *STEPS, "--eval_interval=3", "--device=cpu"]
set_rates = pretrain.set_rates


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of all arms over two seeds, and how many updates of M0 and of teaching it took."""
    out, updates = tmp_path_factory.mktemp("study") / "s", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("introspect.report.study.curves", lambda *_, **__: None)
        patch.setattr(pretrain, "set_rates", lambda *of: updates.append(of) or set_rates(*of))
        flags = ["jabberwocky", *FLAGS, "--seeds=2", "--jobs=1", f"--out_dir={out}"]
        assert train.main(flags) == 0
    return out, len(updates)


def test_m0_and_teaching_are_done_once_a_seed_and_shared_by_all_arms(study):
    out, updates = study
    assert updates == 2 * (12 + 6)
    assert all(len(list((out / "cache").glob(f"{kind}-*"))) == 2 for kind in ("m0", "taught"))
    for seed in (0, 1):
        runs = [folder_of(out, arm, seed) for arm in ("reg", "noreg", "shuffled", "nolabels")]
        starts = [read_lines(run / "metrics.jsonl", {})[0] for run in runs]
        for start in starts:  # from one and the same model, but with labels of their own
            assert {k: v for k, v in start.items() if k not in ("train", "seconds")} == {
                k: v for k, v in starts[0].items() if k not in ("train", "seconds")
            }
        assert len({weights(run).sum().item() for run in runs}) == len(runs) == 4


def test_a_run_says_what_it_finds_of_the_behavior_that_was_taught(study):
    result = read_json(folder_of(study[0], "reg", 1) / "result.json", {})
    assert list(result["tasks"]) == list(result["m0"]["tasks"]) == ["hint", "jabberwocky"]
    assert result["tasks"]["jabberwocky"]["n_items"] == 5 * 4 * 4  # all of its subjects
    assert result["tasks"]["hint"]["n_items"] == result["n_items"] == 18 * 4
    assert result["self"] == result["tasks"]["hint"]["self"]
    first, *_ = read_lines(folder_of(study[0], "reg", 1) / "metrics.jsonl", {})
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
    whole, again = folder_of(study[0], "reg", 0), run_folder(tmp_path / "run")
    assert torch.equal(weights(whole), weights(again))
    for name in ("result.json", "examples.json"):
        one, other = (without_time(read_json(out / name, {})) for out in (whole, again))
        assert one == other
    logs = [without_time(read_lines(out / "metrics.jsonl", {})) for out in (whole, again)]
    assert logs[0] == logs[1]


# --- earlier checkpoints that are asked for labels ---


def test_a_study_of_earlier_checkpoints_trains_m0_once_and_leaves_those_it_asked(
    tmp_path, monkeypatch
):
    updates = []
    monkeypatch.setattr(pretrain, "set_rates", lambda *of: updates.append(of) or set_rates(*of))
    monkeypatch.setattr(pretrain, "SAVE_INTERVAL", 4)
    monkeypatch.setattr("introspect.report.study.curves", lambda *_, **__: None)
    flags = [*WORLD, *SIZE, *STEPS, "--device=cpu", "--jobs=1", f"--out_dir={tmp_path}"]
    assert train.main(["progress", "--seeds=1", *flags]) == 0
    assert len(updates) == 12
    [m0] = (tmp_path / "cache").glob("m0-*")
    saved = ["kept-000007", "kept-000010", "kept-000011", "step-000008", "step-000012"]
    assert sorted(folder.name for folder in m0.iterdir()) == saved
    hashes = set()
    for arm in ("at-0.95", "at-0.85", "at-0.6", "reg"):
        folder = folder_of(tmp_path, arm, 0)
        described = read_json(folder / "config.json", {})["config"]
        cfg = build(find_tasks(described.pop("task")), described)
        alone = make_ingredients(cfg, tmp_path / arm, "cpu").frozen  # M0 first, then once more
        assert hash_labels(alone) == read_json(folder / "result.json", {})["labels_sha256"]
        hashes.add(hash_labels(alone))
    assert len(hashes) > 2  # guard: labels differ; the last updates are small


# --- a whole pretraining by hand ---


def muon_by_hand(p, g, state, rate, decay):
    """Nesterov momentum, five Newton-Schulz iterations, decay, a step RMS-matched."""
    momentum = state.setdefault(id(p), torch.zeros_like(p))
    momentum.mul_(0.95).add_(0.05 * g)
    x = 0.05 * g + 0.95 * momentum
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        a = x @ x.T
        b = torch.addmm(a, a, a, beta=-4.775, alpha=2.0315)  # -4.775 a + 2.0315 a^2,
        x = torch.addmm(x, b, x, beta=3.4445)  # 3.4445 x + b x
    x = x if wide else x.T
    p.mul_(1 - rate * decay).sub_(rate * 0.2 * max(p.shape) ** 0.5 * x.to(p))


@pytest.mark.parametrize("until", [1, 3])
def test_pretraining_is_the_one_written_out_by_hand(until, tmp_path):
    """In float64. Of 5 updates, rates rise over 2 and fall over 2.5; every prompt is asked by
    itself."""
    rates = dict(pretrain_warmup=0.4, pretrain_cooldown=0.5, pretrain_weight_decay=0.5)
    rates |= dict(pretrain_steps=5, m0_seed=1, order_seed=4)
    cfg = build(find_tasks("hint"), TINY | SIZES["hint"] | rates)
    (task,) = tasks = make_tasks(cfg, "cpu")
    world, hand, state = task.world, new_model(cfg, tasks).double(), {}
    for step in range(until):
        draw, terms = rng(4, "pretrain", step), []
        batch = draw.choice(12, 8, replace=False)
        answers = world.draw(batch, draw)
        for b, s in enumerate(batch):
            for v in range(4):
                ids = torch.tensor([encode(world.text(s, v) + ANSWER)])
                log_p = hand.task_head(hand.trunk(ids)[0, -1]).log_softmax(0)
                terms.append(-float(np.float32(world.shown[s, v])) * log_p[answers[b, v]])
        named = dict(hand.named_parameters())
        gradients = torch.autograd.grad(sum(terms) / 8, list(named.values()), allow_unused=True)
        factor = min(1, (step + 1) / 2, (5 - step) / 2.5)
        with torch.no_grad():
            for (name, p), g in zip(named.items(), gradients):
                if g is None:
                    assert name.startswith(("explain_head", "lm_head"))
                elif name.startswith("blocks") and p.dim() == 2:
                    muon_by_hand(p, g, state, 0.05 * factor, 0.5)
                else:
                    adamw_by_hand([p], [g], state, step + 1, 0.03 * factor, 0.0)
    model, stage = new_model(cfg, tasks).double(), pretrain.Stage("pretrain", "M0", 5)
    pretrain.learn(model, tasks, cfg.pretrain, 4, stage, tmp_path, until=until)
    for (name, p), q in zip(model.named_parameters(), hand.parameters()):
        torch.testing.assert_close(p, q.detach(), rtol=0, atol=1e-12, msg=name)
