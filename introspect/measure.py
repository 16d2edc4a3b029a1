"""What is measured of a model at one moment, on held-out and on training subjects.

Everything is a share of items, 0..1; an item is a pair (subject, cue). The keys are those of
metrics.jsonl and result.json.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from introspect.frequency import adjusted_gap, balanced_match
from introspect.interview import RunTask
from introspect.labels import DROPPED, Frozen, explanation_labels
from introspect.metrics import coupling, majority_share
from introspect.model import GPT
from introspect.stats import clustered
from introspect.tasks.world import World

KNOWN = 0.6  # an ideal answer at least this likely is one that M0 should know: our choice


class Snapshot:
    """What a model answers and explains about every subject of one task, and what is true of it.

        before, now (N, V) answers of M0 and of the model, the largest of their `logits` (N, V, K)
        explanation, current, original, targets, past (N, P) in the classes of the channel

    `current` is E(M), `past` is E(M0); `original` are the frozen labels, which differ from `past`
    where another model or an earlier checkpoint gave them; `targets` are those trained on,
    some of which may be DROPPED.
    """

    def __init__(self, model: GPT, task: RunTask, frozen: Frozen):
        answers, self.explanation = task.interview.ask_all(model)
        self.task, self.world, self.channel = task, task.world, task.interview.channel
        self.logits = frozen.reference, answers
        self.before, self.now = (logits.argmax(-1) for logits in self.logits)
        self.past, self.current = map(task.interview.labels, (self.before, self.now))
        self.original = self.channel.classes(frozen.original, frozen.original_answers)
        self.targets = self.channel.classes(frozen.targets, frozen.target_answers)

    def rows(self, split: str) -> Tensor:
        """Numbers of the subjects of "train" or "held_out"."""
        return torch.from_numpy(self.task.subjects(split))

    def changed(self, labels: Tensor) -> Tensor:
        """(N, P) bool: which of these labels say that the answer would change."""
        return labels < len(self.world.answers)


def join(snapshots: Sequence[Snapshot], split: str, value: Callable[[Snapshot], Tensor]) -> Tensor:
    """One tensor with a value of every item of a split, of all tasks."""
    return torch.cat([value(s)[s.rows(split)].flatten() for s in snapshots])


def measure(snapshots: Sequence[Snapshot], split: str) -> dict[str, Any]:
    """Self, Orig, gap and what bounds them, on one split of one task or of several together."""
    explanation = join(snapshots, split, lambda s: s.explanation)
    current = join(snapshots, split, lambda s: s.current)
    original = join(snapshots, split, lambda s: s.original)
    trained_on = join(snapshots, split, lambda s: s.targets) if split == "train" else original
    c = coupling(explanation, current, original)
    sides = (explanation == current).double() - (explanation == original).double()
    clusters = [  # items that rest on one fact (the first, of several) are not independent
        np.repeat(number * 2**32 + s.world.rests_on[s.rows(split), 0], len(s.world.pairs))
        for number, s in enumerate(snapshots)
    ]
    within = clustered(sides.numpy(), np.concatenate(clusters))

    def moved(side: int) -> float:
        """Share of items whose answer with (0) or without (1) the cue is not M0's."""

        def differ(s: Snapshot) -> Tensor:
            return (s.now != s.before)[:, [pair[side] for pair in s.world.pairs]]

        return share(join(snapshots, split, differ))

    def constant(value: Callable[[Snapshot], Tensor]) -> float:
        """What the best constant explanation of each task gets."""
        parts = [value(s)[s.rows(split)] for s in snapshots]
        return sum(majority_share(part) * part.numel() for part in parts) / len(current)

    return {
        "self": c.self_match,
        "orig": c.orig_match,
        "gap": c.gap,
        "gap_low": within and within.low,
        "gap_high": within and within.high,
        "drift": c.drift,
        "compatibility": share((current == trained_on)[trained_on != DROPPED]),
        "preference": c.preference,
        "behavior_drift": moved(0),
        "behavior_drift_without_cue": moved(1),
        "majority": constant(lambda s: s.original),
        "majority_now": constant(lambda s: s.current),
        "n_items": len(current),
    }


def measure_all(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Held-out measures of the explained tasks, those of their training subjects under "train",
    and, where a run has several tasks, those of each under "tasks"."""
    explained = [s for s in snapshots if s.task.explained]
    measures = {**measure(explained, "held_out"), "train": measure(explained, "train")}
    if len(snapshots) > 1:
        measures["tasks"] = {
            s.task.name: measure([s], "held_out") | measure_skill(s.world, s.now) for s in snapshots
        }
    return measures


def measure_controls(snapshots: Sequence[Snapshot]) -> dict[str, float]:
    """What else explanations could follow: shares of the held-out items of explained tasks.

    Returns:
        own: explanations equal to M0's own label, whoever gave the labels trained on.
        ideal_self, ideal_orig: what an explainer gets who knows the world and never saw the model.
        said_change, change, change_then: explanations that say "would change"; items whose answer
            the cue changes now; and in M0.
        said_most: share of the explanation that is given most often.
        balanced: Self, each class of label counting the same.
        adjusted: the gap beyond what the frequencies of explanations and labels give.
    """
    explained = [s for s in snapshots if s.task.explained]

    def joined(value: Callable[[Snapshot], Tensor]) -> Tensor:
        return join(explained, "held_out", value)

    explanation, current = joined(lambda s: s.explanation), joined(lambda s: s.current)
    original = joined(lambda s: s.original)
    ideal = joined(lambda s: s.task.interview.labels(torch.from_numpy(s.world.ideal.argmax(-1))))
    cues = [
        torch.arange(len(s.world.pairs)).repeat(len(s.rows("held_out"))) + number * 2**16
        for number, s in enumerate(explained)
    ]
    return {
        "own": share(explanation == joined(lambda s: s.past)),
        "ideal_self": share(ideal == current),
        "ideal_orig": share(ideal == original),
        "said_change": share(joined(lambda s: s.changed(s.explanation))),
        "change": share(joined(lambda s: s.changed(s.current))),
        "change_then": share(joined(lambda s: s.changed(s.past))),
        "said_most": majority_share(explanation),
        "balanced": balanced_match(explanation, current),
        "adjusted": adjusted_gap(explanation, current, original, torch.cat(cues)),
    }


def share(true: Tensor) -> float:
    return int(true.sum()) / true.numel()


def measure_skill(world: World, answers: Tensor) -> dict[str, float | None]:
    """What a model that gives `answers` (N, V) knows, and how cues move it.

    Returns:
        known: share of ideal answers without a cue that it gives, among those of probability 0.6
            and more; None where there is none.
        changed: share of items whose answer the cue changes.
    """
    without = sorted({y for _, y in world.pairs})
    ideal, answered = world.ideal[:, without], answers.numpy()[:, without]
    sure = ideal.max(-1) >= KNOWN  # (N, |without|)
    right = answered == ideal.argmax(-1)
    labels = explanation_labels(answers, torch.tensor(world.pairs), len(world.answers))
    return {
        "known": float(right[sure].mean()) if sure.any() else None,
        "changed": share(labels != len(world.answers)),
    }


def measure_competence(world: World, answers: Tensor) -> dict[str, Any]:
    """The skill of a model that gives `answers` (N, V), and the share of each of its labels."""
    own = explanation_labels(answers, torch.tensor(world.pairs), len(world.answers))
    counts = own.flatten().bincount(minlength=world.n_explanation).tolist()
    labels = {world.explanation(k): n / own.numel() for k, n in enumerate(counts)}
    return {**measure_skill(world, answers), "labels": labels}


def measure_m0(tasks: Sequence[RunTask], frozen: Sequence[Frozen]) -> dict[str, Any]:
    """The competence of M0 in the first explained task; of several tasks, in each under "tasks"."""
    by_task = {
        task.name: measure_competence(task.world, f.reference.argmax(-1))
        for task, f in zip(tasks, frozen)
    }
    first = next(task.name for task in tasks if task.explained)
    return by_task[first] | ({"tasks": by_task} if len(tasks) > 1 else {})
