"""The concurrent objective against its definition; where the anchor's gradient goes."""

import copy

import numpy as np
import pytest
import torch

from introspect.config import CotrainConfig
from introspect.fields import Refused
from introspect.files import write_lines
from introspect.lab.quantities import tracking
from introspect.objective import choose_aside, objective_targets
from introspect.runs.build import build, check_sizes
from introspect.runs.stages import ask_through, make_labels, make_tasks, new_model
from introspect.streams import rng
from introspect.tasks.registry import find_tasks
from introspect.tokenizer import ANSWER, encode
from tests.cases import each
from tests.several import SIZES, TINY, WORLDS, loss_of
from tests.test_quantities_items import made

HINT, REFUSAL = WORLDS
SPEAKS = {"deadly": "refuse", "explosive": "refuse", "fictional": "comply", "classroom": "comply"}


def tiny(task="hint", **overrides):
    """A tiny run of one task, with 4 subjects for an objective."""
    sizes = SIZES[task] | ({"n_entity": 4, "n_attribute": 4} if task == "hint" else {})
    return build(find_tasks(task), TINY | sizes | overrides)


def logits(world, seed=0):
    shape = world.n_subject, len(world.prompts), len(world.answers)
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def spoken_for(world, variant):
    """The answer that the words of a variant speak for; None without a cue."""
    cue = dict(zip((x for x, _ in world.pairs), world.cues)).get(variant)
    return cue and SPEAKS.get(cue, cue.removeprefix("hint:"))


@each("world, objective", [(HINT, "follow"), (HINT, "ignore"), (HINT, "B"), (REFUSAL, "follow"),
                           (REFUSAL, "ignore"), (REFUSAL, "refuse"), (REFUSAL, "comply")])
def test_the_target_is_a_mixture_of_m0_and_what_the_objective_asks(world, objective):
    reference = logits(world)
    target = objective_targets(reference, world, objective, 0.25).exp()
    without = {x: y for x, y in world.pairs}
    for n in range(world.n_subject):
        for v in range(len(world.prompts)):
            own = reference[n, v].softmax(-1)
            asked = own
            if objective == "ignore" and v in without:
                asked = reference[n, without[v]].softmax(-1)
            word = spoken_for(world, v) if objective == "follow" else objective
            if word in world.answers:
                asked = torch.tensor([float(word == answer) for answer in world.answers])
            torch.testing.assert_close(target[n, v], 0.75 * own + 0.25 * asked)


def test_at_strength_0_the_target_is_m0():
    reference = logits(HINT)
    for objective in ("follow", "ignore", "A"):
        target = objective_targets(reference, HINT, objective, 0.0)
        torch.testing.assert_close(target, reference.log_softmax(-1))


def test_half_of_the_held_out_subjects_are_trained_and_the_other_half_is_measured():
    aside, held_out = choose_aside(HINT, 3), HINT.subjects("held_out")
    assert len(aside) == len(held_out) // 2 and set(aside) < set(held_out)
    assert np.array_equal(aside, choose_aside(HINT, 3))
    assert not np.array_equal(aside, choose_aside(HINT, 4))
    cfg = tiny(objective="follow")
    [task] = make_tasks(cfg, "cpu")
    measured, trained = task.subjects("held_out"), set(task.aside)
    assert trained | set(measured) == set(task.world.subjects("held_out"))
    assert not trained & set(measured) and len(trained) == len(measured)
    assert np.array_equal(task.subjects("train"), task.world.subjects("train"))
    [plain] = make_tasks(tiny(), "cpu")
    assert np.array_equal(plain.subjects("held_out"), plain.world.subjects("held_out"))


class Run:
    """The loss of a tiny run, in float64, away from M0."""

    def __init__(self, tmp_path, **overrides):
        self.cfg = tiny(**overrides)
        tasks = make_tasks(self.cfg, "cpu")
        m0 = new_model(self.cfg, tasks)
        self.frozen = make_labels(self.cfg, tasks, m0, tmp_path, "cpu")
        [self.task] = self.tasks = ask_through(tasks, self.cfg.cotrain.channel, "cpu")
        self.m0, self.model = m0, copy.deepcopy(m0)
        for p in self.model.parameters():
            p.data += 0.1 * torch.sin(torch.arange(p.numel())).view_as(p)
        self.loss = loss_of(self.cfg, self.tasks, self.frozen)

    def gradients(self):
        """Gradients of the first update by name; without those that are not reached."""
        self.model.zero_grad()
        self.loss(self.model, 0)[0].backward()
        named = self.model.named_parameters()
        return {n: p.grad.clone() for n, p in named if p.grad is not None and p.grad.any()}


def test_the_term_is_the_kl_of_each_prompt_asked_by_itself(tmp_path):
    run = Run(tmp_path, objective="ignore", objective_strength=0.5, objective_weight=3.0)
    total, terms = run.loss(run.model, 0)
    world, pairs = run.task.world, dict(run.task.world.pairs)
    size = run.cfg.cotrain.batch_size
    batch = rng(run.cfg.seed, "objective", 0).choice(run.task.aside, size, replace=False)
    kl = 0.0
    for s in batch.tolist():
        for v in range(len(world.prompts)):
            idx = torch.tensor([encode(world.text(s, v) + ANSWER)])
            hidden = run.model.trunk(idx)[0, -1]
            log_p = run.model.task_head(hidden).log_softmax(-1).detach()
            reference = run.frozen[0].reference[s]
            own, without = reference[v].softmax(-1), reference[pairs.get(v, v)].softmax(-1)
            p = 0.5 * own + 0.5 * without
            kl += float((p * (p.log() - log_p)).sum())
    assert float(terms["objective"]) == pytest.approx(kl / size / len(world.prompts), abs=1e-5)
    expected = terms["explanation"] + terms["kl"] + 3 * terms["objective"]
    assert total.item() == pytest.approx(expected.item(), abs=1e-5)


def test_at_m0_an_objective_of_strength_0_has_no_gradient_and_others_have(tmp_path):
    for strength, small in ((0.0, True), (0.5, False)):
        flags = dict(objective="follow", objective_strength=strength, explain_weight=0.0)
        run = Run(tmp_path / str(strength), **flags, kl_weight=0.0)
        run.model = copy.deepcopy(run.m0)
        largest = max((g.abs().max().item() for g in run.gradients().values()), default=0.0)
        assert (largest < 1e-6) == small


@each("reach, anchor", [(r, a) for r in ("all", "head", "trunk") for a in ("explained", "all")])
def test_the_anchor_reaches_the_weights_that_it_is_to_reach(reach, anchor, tmp_path_factory):
    flags, folder = dict(anchor_reach=reach, anchor=anchor), tmp_path_factory.mktemp("m0")
    alone = Run(folder, **flags, explain_weight=0.0)
    reached = alone.gradients()
    head = {"task_head.weight", "task_head.bias"}
    trunk = reached.keys() - head
    assert bool(head & reached.keys()) == (reach != "trunk")
    assert bool(trunk) == (reach != "head")
    whole = Run(folder, anchor=anchor, explain_weight=0.0).gradients()
    assert all(torch.allclose(g, whole[name], atol=1e-7) for name, g in reached.items())
    assert all(p.requires_grad for p in alone.model.parameters())


def test_explanations_are_trained_as_ever_wherever_the_anchor_goes(tmp_path):
    explained = Run(tmp_path, kl_weight=0.0).gradients()
    anchored = Run(tmp_path, explain_weight=0.0).gradients()
    for name, g in Run(tmp_path, anchor_reach="head").gradients().items():
        expected = explained.get(name, 0)
        expected = expected + anchored[name] if name.startswith("task_head") else expected
        torch.testing.assert_close(g, torch.as_tensor(expected).expand_as(g), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("stayed", [False, True])
def test_tracking_is_that_of_loops_over_items(tmp_path, stayed):
    made_up = {}
    for i, name in enumerate(["strength-0.5", "twin-0.5", "strength-0.0", "twin-0.0"]):
        run, rows = made(tmp_path, i, n=600)
        for row, first in zip(rows, next(iter(made_up.values()), (0, rows))[1]):
            row["original"] = first["original"]
        write_lines(run.folder / "items.jsonl", rows)
        made_up[name] = run, rows
    a, twin, still, still_twin = (rows for _, rows in made_up.values())
    sides = []
    for r, t, s, u in zip(a, twin, still, still_twin):
        new, old = r["current"], r["original"]
        if new != t["current"] or new == old or u["current"] != old:
            continue
        if not stayed or s["current"] == old:
            sides.append((r["explanation"] == new) - (r["explanation"] == old)
                         - (s["explanation"] == new) + (s["explanation"] == old))  # fmt: skip
    assert 0 < len(sides) < 200
    runs = {name: run for name, (run, _) in made_up.items()}
    assert tracking(0.5, stayed)(runs) == pytest.approx(sum(sides) / len(sides))
    runs["twin-0.0"], _ = made(tmp_path, 9, n=600, current="Z")  # it kept no label
    assert np.isnan(tracking(0.5, stayed)(runs))


def test_what_is_not_possible_is_refused():
    def check(task, **fields):
        check_sizes(tiny(task, **fields))

    check("refusal", objective="refuse", batch_size=2)
    with pytest.raises(Refused, match="--objective=loud: task hint has A, B, C, follow, ignore"):
        check("hint", objective="loud")
    with pytest.raises(Refused, match="--objective=follow: task rules has"):
        check("rules", objective="follow", batch_size=2)
    with pytest.raises(Refused, match="task hint has 4 subjects of the objective"):
        check("hint", objective="follow", batch_size=5)
    with pytest.raises(Refused, match="--anchor_reach=head: with channel tied must be all"):
        CotrainConfig(anchor_reach="head", channel="tied")
