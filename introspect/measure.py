"""What is measured of a model at one moment, on held-out and on training subjects.

Everything is a share of items, 0..1; an item is a pair (subject, cue). The keys are those of
metrics.jsonl and result.json; README has the glossary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from introspect.counterfactual import explanation_labels
from introspect.labels import Frozen
from introspect.metrics import coupling, majority_share
from introspect.model import GPT
from introspect.parts import Part
from introspect.stats import clustered
from introspect.streams import rng
from introspect.tasks.world import World

KNOWN = 0.6  # an ideal answer at least this likely is one that M0 should know: our choice


class Snapshot:
    """What a model answers and says about every subject of one task, beside the frozen labels.

        before, now (N, V) answers of M0 and of the model
        original, current, targets, explanation (N, P) in the classes of the channel
    """

    def __init__(self, model: GPT, part: Part, frozen: Frozen):
        answers, self.explanation = part.interview.everything(model)
        self.part, self.world, self.channel = part, part.world, part.interview.channel
        self.before, self.now = frozen.reference.argmax(-1), answers.argmax(-1)
        self.pairs = torch.tensor(part.world.pairs)
        self.labels = explanation_labels(self.now, self.pairs, len(part.world.answers))
        classes = self.channel.classes
        self.targets = classes(frozen.targets, frozen.target_answers)
        self.original = classes(frozen.original, frozen.original_answers)
        self.current = classes(self.labels, self.now[:, self.pairs[:, 0]])

    def rows(self, split: str) -> Tensor:
        return torch.from_numpy(self.part.subjects(split))

    def skill(self) -> dict[str, float | None]:
        """What the model knows of the task now, and how often a cue changes its answer."""
        return skill(self.world, self.now, self.labels)


def measure(snapshots: Sequence[Snapshot], split: str) -> dict[str, Any]:
    """Self, Orig, gap and what bounds them, on one split of one task or of several together."""
    rows = [snapshot.rows(split) for snapshot in snapshots]

    def joined(of_snapshot) -> Tensor:
        """One tensor of every item of every task."""
        return torch.cat([of_snapshot(s)[r].flatten() for s, r in zip(snapshots, rows)])

    explanation, current = joined(lambda s: s.explanation), joined(lambda s: s.current)
    original = joined(lambda s: s.original)
    used = joined(lambda s: s.targets) if split == "train" else original
    c = coupling(explanation, current, original)
    sides = (explanation == current).double() - (explanation == original).double()
    clusters = [  # items that rest on one fact (the first, of several) are not independent
        np.repeat(number * 2**32 + s.world.rests_on[r, 0], len(s.pairs))
        for number, (s, r) in enumerate(zip(snapshots, rows))
    ]
    within = clustered(sides.numpy(), np.concatenate(clusters))

    def moved(side: int) -> float:
        """Share of items whose answer with (0) or without (1) the cue is not M0's."""
        return share(joined(lambda s: (s.now != s.before)[:, s.pairs[:, side]]))

    def constant(of_snapshot) -> float:
        """What a constant explanation of each task gets."""
        parts = [of_snapshot(s)[r] for s, r in zip(snapshots, rows)]
        return sum(majority_share(part) * part.numel() for part in parts) / len(current)

    return {
        "self": c.self_match,
        "orig": c.orig_match,
        "gap": c.gap,
        "gap_low": within and within.low,
        "gap_high": within and within.high,
        "drift": c.drift,
        "compatibility": share(current == used),
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
    explained = [s for s in snapshots if s.part.explained]
    found = {**measure(explained, "held_out"), "train": measure(explained, "train")}
    if len(snapshots) > 1:
        found["tasks"] = {s.part.name: measure([s], "held_out") | s.skill() for s in snapshots}
    return found


def share(true: Tensor) -> float:
    return int(true.sum()) / true.numel()


def known(world: World, answers: Tensor) -> float | None:
    """Share of ideal answers without a cue that `answers` (N, V) gives, among those of probability
    0.6 and more; None where there is none."""
    without = sorted({y for _, y in world.pairs})
    ideal, given = world.ideal[:, without], answers.numpy()[:, without]
    sure = ideal.max(-1) >= KNOWN  # (N, |without|)
    return float((given == ideal.argmax(-1))[sure].mean()) if sure.any() else None


def skill(world: World, answers: Tensor, labels: Tensor) -> dict[str, float | None]:
    """known, and changed: share of items whose answer the cue changes, by their labels (N, P)."""
    return {"known": known(world, answers), "changed": share(labels != len(world.answers))}


def competence(world: World, reference: Tensor) -> dict[str, Any]:
    """What M0, whose answer logits are `reference` (N, V, K), knows and how cues move it.

    Returns:
        known; changed; labels: share of items by explanation. All over all subjects.
    """
    answers, pairs = reference.argmax(-1), torch.tensor(world.pairs)
    own = explanation_labels(answers, pairs, len(world.answers))
    counts = own.flatten().bincount(minlength=world.n_explanation).tolist()
    labels = {world.explanation(k): n / own.numel() for k, n in enumerate(counts)}
    return {**skill(world, answers, own), "labels": labels}


def m0_of(parts: Sequence[Part], frozen: Sequence[Frozen]) -> dict[str, Any]:
    """`competence` of M0 in the first explained task and, of several, under "tasks" in each."""
    found = {p.name: competence(p.world, f.reference) for p, f in zip(parts, frozen)}
    first = next(part.name for part in parts if part.explained)
    return found[first] | ({"tasks": found} if len(parts) > 1 else {})


def examples(snapshots: Sequence[Snapshot], n: int) -> list[dict[str, str]]:
    """n held-out items of each task in words: random ones of those whose label moved, then of the
    others."""
    found = []
    for snapshot in snapshots:
        rows, n_pair = snapshot.rows("held_out"), len(snapshot.world.pairs)
        moved = (snapshot.current != snapshot.original)[rows].flatten().numpy()  # (n_items,)
        order = rng(0, "examples").permutation(len(moved))
        order = order[np.argsort(~moved[order], kind="stable")]
        found += [describe(snapshot, int(rows[i // n_pair]), int(i % n_pair)) for i in order[:n]]
    return found


def items(snapshots: Sequence[Snapshot]) -> list[dict[str, str]]:
    """Every held-out item of the explained tasks: what is said, what is true now and was then.

    `group` names the fact that an item rests on (the first, of several).
    """
    found = []
    for s in snapshots:
        for subject in s.rows("held_out").tolist() if s.part.explained else ():
            for pair, (x, _) in enumerate(s.world.pairs):
                classes = (t[subject, pair] for t in (s.explanation, s.current, s.original))
                said, now, then = (s.channel.words(int(k)) for k in classes)
                found.append(
                    {
                        "item": f"{s.world.text(subject, x)} - {s.world.cues[pair]}",
                        "group": f"{s.part.name} {s.world.rests_on[subject, 0]}",
                        "explanation": said,
                        "current": now,
                        "original": then,
                    }
                )
    return found


def describe(snapshot: Snapshot, subject: int, pair: int) -> dict[str, str]:
    """One item: the prompt, both models' answers, what is said, and which label that matches."""
    world, (x, y) = snapshot.world, snapshot.world.pairs[pair]
    said, now, then = (
        int(t[subject, pair])
        for t in (snapshot.explanation, snapshot.current, snapshot.original)
    )
    side = {(True, True): "both", (True, False): "now", (False, True): "then"}
    return {
        "prompt": world.text(subject, x),
        "without": world.text(subject, y),
        "m0_with_cue": world.answers[snapshot.before[subject, x]],
        "m0_without_cue": world.answers[snapshot.before[subject, y]],
        "now_with_cue": world.answers[snapshot.now[subject, x]],
        "now_without_cue": world.answers[snapshot.now[subject, y]],
        "says": snapshot.channel.words(said),
        "side": side.get((said == now, said == then), "neither"),
    }
