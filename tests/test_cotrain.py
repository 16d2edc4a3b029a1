"""The loss of co-training: its terms, and what they depend on."""

import copy
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from introspect import terms as update_terms
from introspect.config import LabelConfig
from introspect.labels import freeze
from introspect.losses import behavior_kl, explanation_loss
from introspect.pretrain import draw_world_batch
from introspect.runs.build import build
from introspect.runs.stages import ask_through, make_tasks, new_model
from introspect.streams import rng
from introspect.tasks.hint import Hint
from tests.several import config, loss_of
from tests.test_interview import classes_of

SMALL = dict(
    n_entity=4, n_attribute=5, n_answer=3, n_layer=1, n_head=2, n_embd=16, block_size=16,
    batch_size=4,
)
small = partial(build, {"hint": Hint})
CHANNELS = ["head", "tied", "same", "probe", "verbal"]


class Run:
    """The loss of a small run, the model it is of, and the frozen labels that it has."""

    def __init__(self, cfg, disturb=lambda labels: labels):
        self.tasks = ask_through(make_tasks(cfg, "cpu"), cfg.cotrain.channel, "cpu")
        self.model, self.frozen = new_model(cfg, self.tasks), []
        g = torch.Generator().manual_seed(1)
        for p in self.model.parameters():
            p.data.add_(torch.randn(p.shape, generator=g), alpha=0.3)
        if len(self.tasks) == 1:  # no answer is preferred, or it would be given to everything
            answers, _ = self.tasks[0].interview.ask_all(self.model)
            self.model.task_head.bias.data -= answers.mean((0, 1))
        for i, task in enumerate(self.tasks):
            size = task.world.n_subject, len(task.world.prompts), len(task.world.answers)
            logits = torch.randn(size, generator=torch.Generator().manual_seed(i))
            labels = freeze(logits, logits, task.world, LabelConfig(), 0)
            self.frozen.append(disturb(labels))
        self.loss = loss_of(cfg, self.tasks, self.frozen)

    def values(self, steps=3):
        return torch.stack([self.loss(self.model, step)[0].detach() for step in range(steps)])


def other_targets(labels):
    return labels._replace(targets=(labels.targets + 1) % 4, original=(labels.original + 2) % 4,
                           target_answers=labels.target_answers.flip(0))


@pytest.mark.parametrize("kl_weight, anchor", [
    (0.0, "explained"), (2.0, "explained"), (2.0, "all")])
@pytest.mark.parametrize("channel", CHANNELS)
def test_the_refreshed_loss_is_that_of_labels_of_the_model_now(channel, anchor, kl_weight):
    cfg = small(SMALL | dict(refreshed=True, channel=channel, anchor=anchor, kl_weight=kl_weight))
    run = Run(cfg)
    (task,), (frozen,) = run.tasks, run.frozen
    for step in range(3):
        batch = rng(0, "explain", step).choice(task.subjects("train"), 4, replace=False)
        subjects = torch.from_numpy(batch)
        with torch.no_grad():
            answers = task.interview.answers(run.model, subjects)
            said = task.interview.explanations(run.model, subjects)
            labels = torch.tensor(classes_of(answers.argmax(-1).tolist(), task.world, channel))
            explanation = explanation_loss(said, labels)
            if anchor == "all":
                held = torch.from_numpy(rng(0, "anchor", step).choice(20, 4, replace=False))
                answers = task.interview.answers(run.model, held)
            kl = behavior_kl(answers, frozen.reference[held if anchor == "all" else subjects])
        total, terms = run.loss(run.model, step)
        torch.testing.assert_close(terms["explanation"], explanation)
        assert ("kl" in terms) == (kl_weight > 0)
        torch.testing.assert_close(total.detach(), explanation + kl_weight * kl)


@pytest.mark.parametrize("refreshed", [True, False])
@pytest.mark.parametrize("channel", CHANNELS)
def test_frozen_targets_matter_to_a_loss_that_is_not_refreshed_only(channel, refreshed):
    cfg = small(SMALL | dict(refreshed=refreshed, channel=channel))
    assert torch.equal(Run(cfg).values(), Run(cfg, other_targets).values()) == refreshed


@pytest.mark.parametrize("refreshed", [True, False])
@pytest.mark.parametrize("kl_weight", [0.0, 1.0])
def test_answers_of_the_model_matter_to_the_explanation_term_of_a_refreshed_loss_only(
    refreshed, kl_weight
):
    """In channel head, the task head has no task in what is said."""
    run = Run(small(SMALL | dict(refreshed=refreshed, kl_weight=kl_weight)))
    before = [run.loss(run.model, step)[1]["explanation"] for step in range(3)]
    (task,), (answers, _) = run.tasks, run.tasks[0].interview.ask_all(run.model)
    labels = task.interview.labels(answers.argmax(-1))
    assert len(labels.unique()) == 4  # guard: there is something to change
    run.model.task_head.weight.data.neg_()
    run.model.task_head.bias.data.neg_()
    after = [run.loss(run.model, step)[1]["explanation"] for step in range(3)]
    for a, b in zip(before, after):
        assert torch.isclose(a, b, rtol=1e-5, atol=0).item() != refreshed


@pytest.mark.parametrize("channel", ["head", "verbal", "same"])
def test_no_gradient_flows_through_the_labels(channel):
    """The gradient is that of the same labels as constants; the task head, which decides them and
    nothing else, has none."""
    run = Run(small(SMALL | dict(refreshed=True, kl_weight=0.0, channel=channel)))
    run.loss(run.model, 0)[0].backward()
    (task,) = run.tasks
    assert run.model.task_head.weight.grad is None or not run.model.task_head.weight.grad.any()
    constant = copy.deepcopy(run.model)
    constant.zero_grad()
    batch = torch.from_numpy(rng(0, "explain", 0).choice(task.subjects("train"), 4, replace=False))
    answers, said = task.interview.both(constant, batch)
    labels = torch.tensor(classes_of(answers.argmax(-1).tolist(), task.world, channel))
    explanation_loss(said, labels).backward()
    for (name, p), q in zip(run.model.named_parameters(), constant.parameters()):
        if q.grad is not None and not name.startswith("task_head"):
            torch.testing.assert_close(p.grad, q.grad)


def test_labels_of_several_tasks_are_refreshed_each_and_others_are_not_needed():
    cfg = config("hint+refusal+rules", refreshed=True, unexplained="refusal", batch_size=6)
    run = Run(cfg)
    _, terms = run.loss(run.model, 0)
    draw, expected = rng(0, "explain", 0), []
    for task in (run.tasks[0], run.tasks[2]):
        batch = torch.from_numpy(draw.choice(task.subjects("train"), 3, replace=False))
        with torch.no_grad():
            answers, said = task.interview.both(run.model, batch)
        labels = classes_of(answers.argmax(-1).tolist(), task.world, "head")
        expected.append(explanation_loss(said, torch.tensor(labels)))
    torch.testing.assert_close(terms["explanation"], sum(expected) / 2)


@pytest.mark.parametrize("term, sets", [
    ("explanation", {}), ("kl", dict(anchor="all")), ("shift", dict(shift="hint_reliability=0.1"))])
def test_every_term_of_the_loss_draws_by_the_draw_seed(term, sets):
    def values(**seeds):
        run = Run(small(SMALL | sets | dict(m0_seed=0) | seeds))
        return torch.stack([run.loss(run.model, step)[1][term] for step in range(4)])

    assert torch.equal(values(seed=7), values(seed=0, draw_seed=7))
    assert torch.equal(values(seed=7, draw_seed=7), values(seed=7))
    assert not torch.equal(values(seed=7), values(seed=7, draw_seed=8))
    assert torch.equal(values(seed=7, draw_seed=0), values(seed=0))  # 0 is a seed too


# --- several tasks ---


def losses(cfg, disturb, name, steps=3):
    """Losses of some updates whose frozen labels of one task are changed by `disturb`."""
    tasks = make_tasks(cfg, "cpu")
    model = new_model(cfg, tasks)
    frozen = []
    for i, task in enumerate(tasks):
        g = torch.Generator().manual_seed(i)
        size = task.world.n_subject, len(task.world.prompts), len(task.world.answers)
        reference = torch.randn(size, generator=g)
        labels = freeze(reference, reference, task.world, LabelConfig(), 0)
        frozen.append(disturb(labels, task.world) if task.name == name else labels)
    loss = loss_of(cfg, tasks, frozen)
    return torch.stack([loss(model, step)[0].detach() for step in range(steps)])


def other_labels(labels, world):
    """Another label for every subject."""
    return labels._replace(targets=(labels.targets + 1) % world.n_explanation)


def other_held_out_labels(labels, world):
    held_out = torch.from_numpy(~world.explained)[:, None]
    return labels._replace(
        targets=torch.where(held_out, other_labels(labels, world).targets, labels.targets))


def other_behavior(labels, world):
    return labels._replace(reference=labels.reference.flip(0))


@pytest.mark.parametrize("anchor", ["explained", "all"])
@pytest.mark.parametrize("name, disturb, matters", [
    ("hint", other_labels, True), ("rules", other_labels, True), ("refusal", other_labels, False),
    ("jabberwocky", other_labels, False), ("hint", other_held_out_labels, False),
    ("hint", other_behavior, True), ("refusal", other_behavior, "all"),
    ("jabberwocky", other_behavior, False)])
def test_a_loss_depends_on_labels_of_explained_tasks_and_on_behavior_that_is_anchored(
    name, disturb, matters, anchor
):
    cfg = config("hint+refusal+rules+jabberwocky", unexplained="refusal", anchor=anchor)
    plain = losses(cfg, lambda labels, world: labels, "")
    moved = losses(cfg, disturb, name) != plain
    assert moved.all() if matters in (True, anchor) else not moved.any()


def test_each_term_of_a_loss_is_a_mean_over_its_tasks():
    """Of a model to which every answer is as likely as any, the loss of each task is known."""
    cfg = config("hint+refusal+jabberwocky", batch_size=6)
    tasks = make_tasks(cfg, "cpu")
    model = new_model(cfg, tasks)
    for head in (model.task_head, model.explain_head):
        torch.nn.init.zeros_(head.weight)  # every answer, every explanation equally likely
    frozen = [
        freeze(torch.zeros(size), torch.zeros(size), task.world, LabelConfig(), 0)
        for task in tasks
        for size in [(task.world.n_subject, len(task.world.prompts), len(task.world.answers))]
    ]
    total, terms = loss_of(cfg, tasks, frozen)(model, 0)
    expected = (math.log(4) + math.log(3)) / 2  # 3 answers and 2, and "would stay"
    assert terms["explanation"].item() == pytest.approx(expected, abs=1e-6)
    assert terms["kl"].item() == pytest.approx(0, abs=1e-7)
    assert total.item() == pytest.approx(expected, abs=1e-6)


def test_a_shift_of_one_task_is_trained_in_that_task_alone(monkeypatch):
    cfg = config("hint+refusal+rules", shift="refusal.cue_reliability=0.25", shift_weight=3.0)
    tasks = make_tasks(cfg, "cpu")
    model = new_model(cfg, tasks)
    frozen = [
        freeze(logits, logits, task.world, LabelConfig(), 0)
        for task in tasks
        for logits in [task.interview.ask_all(model)[0]]
    ]
    asked = []

    def noted(world, n, draw, device):
        asked.append(n)
        expected = replace(cfg.tasks["refusal"], cue_reliability=0.25).world(cfg.world_seed)
        assert np.array_equal(world.ideal, expected.ideal)
        return draw_world_batch(world, n, draw, device)

    monkeypatch.setattr(update_terms, "draw_world_batch", noted)
    monkeypatch.setattr(update_terms, "world_loss", lambda *_: torch.tensor(10.0))
    total, terms = loss_of(cfg, tasks, frozen)(model, 0)
    assert asked == [4] and terms["shift"] == 10
    expected = terms["explanation"] + terms["kl"] + 3 * 10
    assert total.item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_shift_of_two_tasks_shares_its_batch_and_is_a_mean_over_them(monkeypatch):
    shift = "hint.hint_reliability=0.25,refusal.cue_reliability=0.25"
    cfg = config("hint+refusal+rules", shift=shift)
    tasks, asked = make_tasks(cfg, "cpu"), []
    frozen = []
    for task in tasks:
        logits = torch.zeros(task.world.ideal.shape)
        frozen.append(freeze(logits, logits, task.world, LabelConfig(), 0))

    def noted(answers, drawn, shown):
        asked.append(drawn.shape)
        return torch.tensor(10.0 * len(asked))

    monkeypatch.setattr(update_terms, "world_loss", noted)
    _, terms = loss_of(cfg, tasks, frozen)(new_model(cfg, tasks), 0)
    assert asked == [(2, len(task.world.prompts)) for task in tasks[:2]] and terms["shift"] == 15
