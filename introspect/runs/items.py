"""Items in words: a choice of examples to read, and every held-out item of a finished run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from introspect.measure import Snapshot
from introspect.streams import rng


def choose_examples(snapshots: Sequence[Snapshot], n: int) -> list[dict[str, str]]:
    """n held-out items of each task in words: random ones of those whose label moved, then of the
    others."""
    chosen = []
    for snapshot in snapshots:
        rows, n_pair = snapshot.rows("held_out"), len(snapshot.world.pairs)
        moved = (snapshot.current != snapshot.original)[rows].flatten().numpy()  # (n_items,)
        order = rng(0, "examples").permutation(len(moved))
        order = order[np.argsort(~moved[order], kind="stable")]
        chosen += [describe(snapshot, int(rows[i // n_pair]), int(i % n_pair)) for i in order[:n]]
    return chosen


def weigh(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of logits (..., K), the probability of the likeliest answer, and by how much it exceeds that
    of the second one, the margin: 0..1, (...) each."""
    top = logits.double().softmax(-1).topk(2).values
    return top[..., 0], top[..., 0] - top[..., 1]


def list_items(snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """Every held-out item of the explained tasks: its explanation, and the label now and then.

    `group` names the fact that an item rests on (the first, of several). `answers`, and their
    `probabilities` and `margins` (see `weigh`) in four digits, are each of M0 with the cue and
    without it, then of the model with the cue and without it.
    """
    rows = []
    for s in snapshots:
        answers = [model.tolist() for model in (s.before, s.now)]
        probabilities, margins = zip(*([x.tolist() for x in weigh(own)] for own in s.logits))
        for subject in s.rows("held_out").tolist() if s.task.explained else ():
            for pair, (x, y) in enumerate(s.world.pairs):
                cells = [(model, variant) for model in (0, 1) for variant in (x, y)]
                classes = (t[subject, pair] for t in (s.explanation, s.current, s.original))
                said, now, then = (s.channel.words(int(k)) for k in classes)
                rows.append(
                    {
                        "item": f"{s.world.text(subject, x)} - {s.world.cues[pair]}",
                        "group": f"{s.task.name} {s.world.rests_on[subject, 0]}",
                        "explanation": said,
                        "current": now,
                        "original": then,
                        "answers": [s.world.answers[answers[m][subject][v]] for m, v in cells],
                        "probabilities": [round(probabilities[m][subject][v], 4) for m, v in cells],
                        "margins": [round(margins[m][subject][v], 4) for m, v in cells],
                    }
                )
    return rows


def describe(snapshot: Snapshot, subject: int, pair: int) -> dict[str, str]:
    """One item: its prompt, both models' answers, the explanation, and which label that matches."""
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
