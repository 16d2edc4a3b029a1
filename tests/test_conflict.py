"""Gradients of both losses: against prompts that are asked one by one, and where there is none."""

import copy
from dataclasses import replace

import pytest
import torch

from introspect.analysis.conflict import (
    FORM,
    compare_conflicts,
    cosine,
    measure_conflict,
    show_conflicts,
)
from introspect.config import CotrainConfig
from introspect.measure import Snapshot
from introspect.reading import misfit
from introspect.runs.build import build
from introspect.runs.load import Loaded, load_run
from introspect.runs.run import run
from introspect.runs.stages import ask_through, make_ingredients
from introspect.tasks.registry import find_tasks
from introspect.terms import supervise
from introspect.tokenizer import ANSWER, EXPLAIN, encode
from tests.several import SIZES, TINY

CPU = torch.device("cpu")


def tiny(**fields):
    sizes = {**TINY, "n_layer": 2, "eval_interval": 3, "max_steps": 6}
    return build(find_tasks("hint"), sizes | SIZES["hint"] | {"n_entity": 4} | fields)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(configuration, ingredients, a model away from M0, cache) of a tiny run."""
    cache, cfg = tmp_path_factory.mktemp("cache"), tiny()
    ingredients = make_ingredients(cfg, cache, "cpu")
    model, g = copy.deepcopy(ingredients.m0), torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=g)
    return cfg, ingredients, model, cache


def asked(made, channel="head"):
    tasks = ask_through(made[1].tasks, channel, "cpu")
    return supervise(tasks[0], made[1].frozen[0], CotrainConfig(channel=channel), CPU)


PARTS = {  # weights by how their names begin
    "embeddings": ("token.", "position."), "block-0": ("blocks.0.",), "block-1": ("blocks.1.",),
    "norm": ("norm.",), "all": ("token.", "position.", "blocks.", "norm."),
}  # fmt: skip


def by_hand(model, supervised):
    """Both gradients of each part, from prompts that are asked one by one."""
    world, total = supervised.task.world, {"g": 0.0, "a": 0.0}
    model = copy.deepcopy(model).requires_grad_(True)
    subjects = supervised.explained.tolist()
    for i in subjects:
        for k, (variant, _) in enumerate(world.pairs):
            hidden = model.trunk(torch.tensor([encode(world.text(i, variant) + EXPLAIN)]))[0, -1]
            log_p = model.explain_head(hidden).log_softmax(-1)
            total["g"] -= log_p[supervised.labels[i, k]] / len(subjects) / len(world.pairs)
        for v in range(len(world.prompts)):
            hidden = model.trunk(torch.tensor([encode(world.text(i, v) + ANSWER)]))[0, -1]
            log_p, log_q = model.task_head(hidden).log_softmax(-1), supervised.reference[i, v]
            kl = (log_q.softmax(-1) * (log_q.log_softmax(-1) - log_p)).sum()
            total["a"] += kl / len(subjects) / len(world.prompts)
    found = {}
    for key, loss in total.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        found[key] = {
            part: torch.cat([p.grad.flatten() for n, p in model.named_parameters()
                             if n.startswith(starts)])
            for part, starts in PARTS.items()
        }  # fmt: skip
    return found


@pytest.mark.parametrize("batch_size", [1, 3, 99])
def test_mean_gradients_are_those_of_prompts_asked_one_by_one(made, batch_size):
    _, _, model, _ = made
    supervised = asked(made)
    found, expected = measure_conflict(model, supervised, batch_size), by_hand(model, supervised)
    assert found.keys() == PARTS.keys()
    for part, each in found.items():
        g, a = expected["g"][part], expected["a"][part]
        angle = torch.nn.functional.cosine_similarity(g, a, dim=0)
        assert each["cosine"] == pytest.approx(float(angle), abs=1e-4)
        norms = pytest.approx((float(g.norm()), float(a.norm())), rel=1e-4)
        assert (each["explanation"], each["anchor"]) == norms
        if batch_size == 99:
            assert each["batch"] == pytest.approx(each["cosine"])
    assert len({round(each["cosine"], 3) for each in found.values()}) == len(PARTS)


def test_single_batches_are_measured_each_by_itself(made):
    _, _, model, _ = made
    supervised = asked(made)
    found = measure_conflict(model, supervised, 1)
    each = [by_hand(model, supervised._replace(explained=supervised.explained[i : i + 1]))
            for i in range(len(supervised.explained))]  # fmt: skip
    for part in PARTS:
        cosines = [float(torch.nn.functional.cosine_similarity(e["g"][part], e["a"][part], dim=0))
                   for e in each]  # fmt: skip
        assert found[part]["batch"] == pytest.approx(sum(cosines) / len(cosines), abs=1e-4)
        assert found[part]["batch"] != pytest.approx(found[part]["cosine"], abs=1e-3)


def test_at_m0_the_anchor_asks_for_nothing_and_there_is_no_cosine(made):
    _, ingredients, model, _ = made
    found = measure_conflict(ingredients.m0, asked(made), 4)
    for part in found.values():
        assert part["cosine"] is part["batch"] is None
        assert part["anchor"] < 1e-6 * part["explanation"] and part["explanation"] > 0.01
    moved = measure_conflict(model, asked(made), 4)
    assert all(part["anchor"] > 0.01 for part in moved.values())


def test_a_loss_agrees_with_itself_and_not_with_its_opposite():
    g = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    assert cosine(torch.stack([g, 3 * g])) == pytest.approx(1)
    assert cosine(torch.stack([g, -g])) == pytest.approx(-1)
    assert cosine(torch.stack([g, 1e-7 * g])) is None is cosine(torch.stack([0 * g, g]))


@pytest.mark.parametrize("channel, shared", [
    ("tied", {"task_head"}), ("same", set()), ("verbal", set()), ("probe", None),
])  # fmt: skip
def test_only_parts_that_both_losses_reach_have_a_cosine(made, channel, shared):
    _, _, model, _ = made
    found = measure_conflict(model, asked(made, channel), 4)
    assert found.keys() == (set() if shared is None else PARTS.keys() | shared)


def test_the_first_updates_are_those_of_the_run_and_its_end_is_its_last_checkpoint(made, tmp_path):
    cfg, ingredients, _, cache = made
    tasks, frozen = ingredients.tasks, ingredients.frozen

    def trained(c):
        run(c, "reg", tmp_path / str(c.cotrain.max_steps), cache, "cpu")
        return load_run(tmp_path / str(c.cotrain.max_steps), c, cache, "cpu")

    whole = trained(cfg)
    short = trained(replace(cfg, cotrain=replace(cfg.cotrain, max_steps=2)))
    found = compare_conflicts(whole, ingredients.m0, (2, 6))
    size = cfg.cotrain.batch_size
    expected = {"end": measure_conflict(whole.model, asked(made), size),
                "2": measure_conflict(short.model, asked(made), size)}
    assert found == {part: {n: each[part] for n, each in expected.items()} for part in PARTS}
    assert misfit(found, FORM) is None
    snapshots = [Snapshot(ingredients.m0, *each) for each in zip(tasks, frozen)]
    still = Loaded(cfg, ingredients.m0, frozen, snapshots, 0)
    assert compare_conflicts(still, ingredients.m0, ())["all"]["end"]["cosine"] is None


def test_conflicts_are_shown_as_means_of_runs():
    def made_up(x):
        each = {"cosine": x, "batch": 0.0, "explanation": 1.5, "anchor": 0.25}
        return {"block-0": {"10": each, "end": each | {"cosine": None}}}

    lines = show_conflicts({"reg": [made_up(-0.2), made_up(-0.2)]}).splitlines()
    assert lines[0].split()[0] == "cosine" and len(lines) == 4 and max(map(len, lines)) <= 100
    row = "block-0 reg 2 -0.200 [-0.200, -0.200] n/a (n = 0) n/a (n = 0)"
    assert lines[1].split() == row.split()
    assert lines[3].split()[3::3] == ["1.500", "0.250"]
