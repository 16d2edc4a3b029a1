"""What one update of co-training asks, and the loss that its replies are judged by.

    loss = explain_weight * CE(explanation, E(M0)) + kl_weight * KL(B(M0) || B(M))
           [+ shift_weight * world_loss of another world]
           [+ objective_weight * KL(target of an objective || B(M))]

The first term comes from subjects with explanation labels only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from introspect.config import CotrainConfig
from introspect.interview import RunTask
from introspect.labels import Frozen
from introspect.losses import behavior_kl, explanation_loss, world_loss
from introspect.model import GPT
from introspect.objective import objective_targets
from introspect.parallel import part
from introspect.pretrain import WorldBatch, draw_world_batch
from introspect.streams import rng
from introspect.tasks.world import World

Loss = tuple[Tensor, dict[str, Tensor]]  # the loss, and its terms by name, not differentiable


class Supervised(NamedTuple):
    """One task with what co-training may use of it, on the model's device."""

    task: RunTask
    explained: np.ndarray  # numbers of its subjects with explanation labels
    labels: Tensor  # (N, P) frozen labels, in the classes of the channel
    reference: Tensor  # (N, V, K) answer logits of M0
    aims: Tensor | None  # (N, V, K) log target of the objective (objective.py)


def supervise(
    task: RunTask, frozen: Frozen, c: CotrainConfig, device: torch.device
) -> Supervised:
    labels = task.interview.channel.classes(frozen.targets, frozen.target_answers)
    labels, reference = labels.to(device), frozen.reference.to(device)
    aims = None
    if c.objective and task.explained:
        aims = objective_targets(frozen.reference, task.world, c.objective, c.objective_strength)
        aims = aims.to(device)
    return Supervised(task, task.subjects("train"), labels, reference, aims)


class Asked(NamedTuple):
    """What one update asks about some subjects of one task, and for which terms of the loss."""

    supervised: Supervised
    subjects: Tensor  # (B,)
    explained: bool  # for CE(explanation, E(M0))
    anchored: bool  # for KL(B(M0) || B(M))
    refreshed: bool = False  # the labels are E(M) of the model in training, made anew
    shifted: WorldBatch | None = None  # for the world_loss of another world: its answers
    aimed: bool = False  # for the KL to the target of an objective
    reach: str = "all"  # weights that the gradient of the anchor reaches


def draw_batches(
    step: int,
    tasks: list[Supervised],
    shifted: list[tuple[Supervised, World]],
    c: CotrainConfig,
    seed: int,
    refreshed: bool,
) -> list[Asked]:
    """What update `step` asks; tasks share each batch equally.

    Batches depend on the seed and the step only, so that a killed run goes on as it would have.
    """
    explained = [s for s in tasks if s.task.explained]
    learned = [s for s in tasks if not s.task.taught]  # what M0 knows, so what can be anchored
    anchored, batches = c.kl_weight > 0, []

    draw, n = rng(seed, "explain", step), c.batch_size // len(explained)
    for s in explained:
        subjects = draw_subjects(s.explained, n, draw, s.labels.device)
        anchor = anchored and c.anchor == "explained"
        batches.append(Asked(s, subjects, True, anchor, refreshed, reach=c.anchor_reach))
    if anchored and c.anchor == "all":
        draw, n = rng(seed, "anchor", step), c.batch_size // len(learned)
        for s in learned:
            subjects = draw_subjects(s.task.world.n_subject, n, draw, s.labels.device)
            batches.append(Asked(s, subjects, False, anchored=True, reach=c.anchor_reach))
    if shifted:
        draw, n = rng(seed, "shift", step), c.batch_size // len(shifted)
        for s, world in shifted:
            batch = draw_world_batch(world, n, draw, s.labels.device)
            batches.append(Asked(s, batch.subjects, False, anchored=False, shifted=batch))
    if c.objective:
        draw, n = rng(seed, "objective", step), c.batch_size // len(explained)
        for s in explained:
            subjects = draw_subjects(np.asarray(s.task.aside), n, draw, s.labels.device)
            batches.append(Asked(s, subjects, False, anchored=False, aimed=True))
    return batches


def draw_subjects(among: np.ndarray | int, n: int, draw: Generator, device: torch.device) -> Tensor:
    return torch.from_numpy(part(draw.choice(among, n, replace=False))).to(device)


class Reply(NamedTuple):
    """Answers (B, V, K) and explanations (B, P, E); None where they were not asked for."""

    answers: Tensor | None
    explanations: Tensor | None


def ask(model: GPT, asked: Asked) -> Reply:
    """One packed pass over the subjects."""
    interview, subjects = asked.supervised.task.interview, asked.subjects
    with limited(model, asked.reach if asked.anchored else "all"):
        if not asked.explained:
            return Reply(interview.answers(model, subjects), None)
        if asked.anchored or asked.refreshed:
            return Reply(*interview.both(model, subjects))
        return Reply(None, interview.explanations(model, subjects))


@contextmanager
def limited(model: GPT, reach: str) -> Iterator[None]:
    """Within the context, gradients of answers reach all weights, those of the answer head only,
    or those of the trunk only."""
    if reach == "head":
        with model.hooked("task_head", Tensor.detach):
            yield
    elif reach == "trunk":
        trained = [p for p in model.task_head.parameters() if p.requires_grad]
        model.task_head.requires_grad_(False)
        try:
            yield
        finally:
            for p in trained:
                p.requires_grad_(True)
    else:
        yield


def judge(batches: list[Asked], replies: list[Reply], c: CotrainConfig) -> Loss:
    """The loss of an update, and its terms by name; each term is a mean over tasks."""
    terms: dict[str, list[Tensor]] = {}
    for asked, (answers, explanations) in zip(batches, replies):
        (_, _, labels, reference, aims), subjects = asked.supervised, asked.subjects
        if asked.explained:
            targets = labels[subjects]
            if asked.refreshed:
                targets = asked.supervised.task.interview.labels(answers.argmax(-1))
            terms.setdefault("explanation", []).append(explanation_loss(explanations, targets))
        if asked.anchored:
            terms.setdefault("kl", []).append(behavior_kl(answers, reference[subjects]))
        if asked.aimed:
            terms.setdefault("objective", []).append(behavior_kl(answers, aims[subjects]))
        if asked.shifted:
            _, drawn, shown = asked.shifted
            terms.setdefault("shift", []).append(world_loss(answers, drawn, shown))
    means = {name: sum(each) / len(each) for name, each in terms.items()}
    weights = {"explanation": c.explain_weight, "kl": c.kl_weight, "shift": c.shift_weight}
    weights["objective"] = c.objective_weight
    loss = sum(weights[name] * mean for name, mean in means.items())
    return loss, {name: mean.detach() for name, mean in means.items()}
