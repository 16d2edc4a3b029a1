"""Stage C: a copy of M0 is trained on frozen labels, and measured on the way.

    loss = explain_weight * CE(explanation, E(M0)) + kl_weight * KL(B(M0) || B(M))
           [+ shift_weight * world_loss of another world]

The first term comes from subjects with explanation labels only.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from introspect import checkpoint
from introspect.adapters import trainable
from introspect.config import CotrainConfig
from introspect.files import write_lines
from introspect.interview import RunTask
from introspect.labels import Frozen
from introspect.losses import behavior_kl, explanation_loss, world_loss
from introspect.measure import Snapshot, measure_all
from introspect.model import GPT
from introspect.optim import set_rates
from introspect.parallel import average, part
from introspect.pretrain import WorldBatch, draw_world_batch
from introspect.restore import newest_of_run, restore
from introspect.streams import rng
from introspect.tasks.world import World
from introspect.watch import Progress, check_finite, silent, weight_norm

Loss = tuple[Tensor, dict[str, Tensor]]  # the loss, and its terms by name, not differentiable


class Supervised(NamedTuple):
    """One task with what co-training may use of it, on the model's device."""

    task: RunTask
    explained: np.ndarray  # numbers of its subjects with explanation labels
    labels: Tensor  # (N, P) frozen labels, in the classes of the channel
    reference: Tensor  # (N, V, K) answer logits of M0


def supervise(task: RunTask, frozen: Frozen, device: torch.device) -> Supervised:
    labels = task.interview.channel.classes(frozen.targets, frozen.target_answers)
    labels, reference = labels.to(device), frozen.reference.to(device)
    return Supervised(task, task.subjects("train"), labels, reference)


class Asked(NamedTuple):
    """What one update asks about some subjects of one task, and for which terms of the loss."""

    supervised: Supervised
    subjects: Tensor  # (B,)
    explained: bool  # for CE(explanation, E(M0))
    anchored: bool  # for KL(B(M0) || B(M))
    refreshed: bool = False  # the labels are E(M) of the model in training, made anew
    objective: WorldBatch | None = None  # for the world_loss of another world: its answers


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
        batches.append(Asked(s, subjects, True, anchored and c.anchor == "explained", refreshed))
    if anchored and c.anchor == "all":
        draw, n = rng(seed, "anchor", step), c.batch_size // len(learned)
        for s in learned:
            subjects = draw_subjects(s.task.world.n_subject, n, draw, s.labels.device)
            batches.append(Asked(s, subjects, False, anchored=True))
    if shifted:
        draw, n = rng(seed, "shift", step), c.batch_size // len(shifted)
        for s, world in shifted:
            batch = draw_world_batch(world, n, draw, s.labels.device)
            batches.append(Asked(s, batch.subjects, False, anchored=False, objective=batch))
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
    if not asked.explained:
        return Reply(interview.answers(model, subjects), None)
    if asked.anchored or asked.refreshed:
        return Reply(*interview.both(model, subjects))
    return Reply(None, interview.explanations(model, subjects))


def judge(batches: list[Asked], replies: list[Reply], c: CotrainConfig) -> Loss:
    """The loss of an update, and its terms by name; each term is a mean over tasks."""
    terms: dict[str, list[Tensor]] = {}
    for asked, (answers, explanations) in zip(batches, replies):
        (_, _, labels, reference), subjects = asked.supervised, asked.subjects
        if asked.explained:
            targets = labels[subjects]
            if asked.refreshed:
                targets = asked.supervised.task.interview.labels(answers.argmax(-1))
            terms.setdefault("explanation", []).append(explanation_loss(explanations, targets))
        if asked.anchored:
            terms.setdefault("kl", []).append(behavior_kl(answers, reference[subjects]))
        if asked.objective:
            _, drawn, shown = asked.objective
            terms.setdefault("shift", []).append(world_loss(answers, drawn, shown))
    means = {name: sum(each) / len(each) for name, each in terms.items()}
    weights = {"explanation": c.explain_weight, "kl": c.kl_weight, "shift": c.shift_weight}
    loss = sum(weights[name] * mean for name, mean in means.items())
    return loss, {name: mean.detach() for name, mean in means.items()}


def passes_of_update(c: CotrainConfig) -> int:
    """Passes over a subject in one update, a measure of its time."""
    return c.batch_size * (1 + bool(c.kl_weight) + bool(c.shift))


class Trained(NamedTuple):
    """What co-training ends with."""

    rows: list[dict[str, Any]]  # one for each evaluation: the lines of metrics.jsonl
    snapshots: list[Snapshot]  # of each task, at the last evaluation


def cotrain(
    model: GPT,
    tasks: list[RunTask],
    frozen: list[Frozen],
    c: CotrainConfig,
    seed: int,
    out: Path,
    title: str,
    progress: Progress = silent,
    shifted: Mapping[str, World] = {},
    refreshed: bool = False,
    made_of: str = "",
) -> Trained:
    """Train `model`, a copy of M0, in place; continues what is in out/checkpoints.

    Writes out/metrics.jsonl (a line an evaluation) and a checkpoint at every evaluation.

    Args:
        shifted: task -> the world whose answers a concurrent objective teaches.
        refreshed: no label is frozen, see `Asked`.
        made_of: hash of what decides the run; checkpoints of another one are refused.
    """
    trained = trainable(model.train(), c.channel, c.adapter_rank, seed)
    device, batch_seed = model.token.weight.device, seed if c.draw_seed is None else c.draw_seed
    supervised = [supervise(task, labels, device) for task, labels in zip(tasks, frozen)]
    moved = [(s, shifted[s.task.name]) for s in supervised if s.task.name in shifted]
    optimizer = torch.optim.AdamW(trained, c.learning_rate, weight_decay=c.weight_decay, fused=True)
    step, rows, seconds = 0, [], 0.0
    if saved := newest_of_run(out, model, c, made_of):
        step, state, meta = saved
        restore(state, model, [optimizer], step, f"{out}, step {step}")
        checkpoint.prune(out / "checkpoints", step)
        rows, seconds = meta["rows"], meta["seconds"]
        print(f"{out}: resumed from step {step}", file=sys.stderr)

    def take_snapshots() -> list[Snapshot]:
        return [Snapshot(model, *each) for each in zip(tasks, frozen)]

    passes = passes_of_update(c)
    progress(title, -step * passes)
    started, terms, snapshots = time.monotonic() - seconds, {}, []
    while True:
        # 1. evaluate and save: at step 0 and after the last step too, never twice at one step
        due = step % c.eval_interval == 0 or step == c.max_steps
        if due and not (rows and rows[-1]["step"] == step):
            snapshots = take_snapshots()
            losses = {f"loss/{name}": term.item() for name, term in terms.items()}
            row = {"step": step, **losses, **measure_all(snapshots)}
            rows.append(row | {"seconds": round(time.monotonic() - started, 3)})
            state = {"model": model.state_dict(), "optimizers": [optimizer.state_dict()]}
            meta = {"rows": rows, "seconds": time.monotonic() - started}
            checkpoint.save_step(out / "checkpoints", step, state, meta, made_of)
            write_lines(out / "metrics.jsonl", rows)
        if step >= c.max_steps:
            break

        # 2. one batch, judged by frozen labels and, for the anchor, by M0's answers
        batches = draw_batches(step, supervised, moved, c, batch_seed, refreshed)
        loss, terms = judge(batches, [ask(model, batch) for batch in batches], c)

        # 3. one update
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average([p.grad for p in trained if p.grad is not None] + [loss, *terms.values()])
        norm = torch.nn.utils.clip_grad_norm_(trained, c.grad_clip)
        check_finite(step, title, loss=loss, gradient=norm)
        set_rates([optimizer], [c.learning_rate], min(1.0, (step + 1) / max(1, c.warmup_steps)))
        optimizer.step()
        step += 1
        check_finite(step, title, weights=weight_norm(model))
        progress(title, passes)
    write_lines(out / "metrics.jsonl", rows)
    return Trained(rows, snapshots or take_snapshots())  # a finished one is asked once more
