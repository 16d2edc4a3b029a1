"""What is measured of a model at one moment, on held-out and on training subjects.

Everything is a share of items, 0..1; an item is a pair (subject, cue). The keys are those of
metrics.jsonl and result.json; README has the glossary.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from introspect.counterfactual import explanation_labels
from introspect.interview import Interview
from introspect.labels import Frozen
from introspect.metrics import coupling, majority_share
from introspect.model import GPT
from introspect.stats import clustered
from introspect.streams import rng
from introspect.tasks.world import World

KNOWN = 0.6  # an ideal answer at least this likely is one that M0 should know: our choice


class Snapshot:
    """What a model answers and says about every subject, beside the frozen labels.

        before, now (N, V) answers of M0 and of the model   original, current, explanation (N, P)
    """

    def __init__(self, model: GPT, interview: Interview, world: World, frozen: Frozen):
        answers, explanations = interview.everything(model)
        self.world = world
        self.targets, self.original = frozen.targets, frozen.original
        self.before, self.now = frozen.reference.argmax(-1), answers.argmax(-1)
        self.explanation = explanations.argmax(-1)
        self.pairs = torch.tensor(world.pairs)
        self.current = explanation_labels(self.now, self.pairs, len(world.answers))

    def measure(self, split: str) -> dict[str, Any]:
        """Self, Orig, gap and what bounds them, on one split."""
        rows = torch.from_numpy(self.world.subjects(split))
        explanation, current = self.explanation[rows], self.current[rows]
        original, moved = self.original[rows], self.now[rows] != self.before[rows]  # (n, P), (n, V)
        c = coupling(explanation, current, original)
        sides = (explanation == current).double() - (explanation == original).double()
        within = clustered(sides.flatten().numpy(), np.repeat(rows.numpy(), sides.shape[1]))
        used = self.targets if split == "train" else self.original
        return {
            "self": c.self_match,
            "orig": c.orig_match,
            "gap": c.gap,
            "gap_low": within and within.low,
            "gap_high": within and within.high,
            "drift": c.drift,
            "compatibility": share(current == used[rows]),
            "preference": c.preference,
            "behavior_drift": share(moved[:, self.pairs[:, 0]]),
            "behavior_drift_without_cue": share(moved[:, self.pairs[:, 1]]),
            "majority": majority_share(original),
            "majority_now": majority_share(current),
            "n_items": current.numel(),
        }

    def both(self) -> dict[str, Any]:
        """Held-out measures, and those of the training subjects under "train"."""
        return {**self.measure("held_out"), "train": self.measure("train")}


def share(true: Tensor) -> float:
    return int(true.sum()) / true.numel()


def competence(world: World, frozen: Frozen) -> dict[str, Any]:
    """What M0 knows and how cues move it, over all subjects.

    Returns:
        known: share of ideal answers without a cue that M0 gives, among those of probability 0.6
            and more; changed: share of items whose answer the cue changes; labels: share of items
            by explanation.
    """
    without = sorted({y for _, y in world.pairs})
    ideal, given = world.ideal[:, without], frozen.reference.argmax(-1).numpy()[:, without]
    sure = ideal.max(-1) >= KNOWN  # (N, |without|)
    pairs = torch.tensor(world.pairs)
    own = explanation_labels(frozen.reference.argmax(-1), pairs, len(world.answers))
    counts = own.flatten().bincount(minlength=world.n_explanation).tolist()
    return {
        "known": float((given == ideal.argmax(-1))[sure].mean()) if sure.any() else None,
        "changed": share(own != len(world.answers)),
        "labels": {world.explanation(k): n / own.numel() for k, n in enumerate(counts)},
    }


def examples(snapshot: Snapshot, n: int) -> list[dict[str, str]]:
    """n held-out items in words: random ones of those whose label moved, then of the others."""
    rows, n_pair = snapshot.world.subjects("held_out"), len(snapshot.world.pairs)
    moved = (snapshot.current != snapshot.original)[rows].flatten().numpy()  # (n_items,)
    order = rng(0, "examples").permutation(len(moved))
    order = order[np.argsort(~moved[order], kind="stable")]
    return [describe(snapshot, int(rows[i // n_pair]), int(i % n_pair)) for i in order[:n]]


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
        "m0_with_cue": world.answers[snapshot.before[subject, x]],
        "m0_without_cue": world.answers[snapshot.before[subject, y]],
        "now_with_cue": world.answers[snapshot.now[subject, x]],
        "now_without_cue": world.answers[snapshot.now[subject, y]],
        "says": world.explanation(said),
        "side": side.get((said == now, said == then), "neither"),
    }
