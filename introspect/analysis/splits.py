"""Which items make a gap? By class of label or of item, and by which of two runs of one M0 moved.

    n items   k classes of label   c cues

All splits are exact: the parts add up to the gap. They answer two objections. Explanations may
give one class too often, a bias that needs no knowledge of the model: `by_class` shows the part of
each class and what is left of it beyond its frequency, `by_item` that of each item, `by_kind` that
of each kind of item. Two runs of one M0 may drift alike: `by_mover` tells the items that a run
alone moved from those that both moved.
"""

from typing import Any

import numpy as np

from introspect.analysis.matrix import Run, estimate_share

KINDS = ("own", "other", "same", "apart", "neither")  # which of two runs moved the label of an item


def by_class(
    explanation: np.ndarray, current: np.ndarray, original: np.ndarray, cue: np.ndarray
) -> dict[int, dict[str, float | None]]:
    """The gap, class by class.

        gap_k      = P(explanation = current = k) - P(explanation = original = k)
        adjusted_k = gap_k - sum_c n_c / n said(k | c) (now(k | c) - then(k | c))

    Their sums over k are the gap and the adjusted gap (frequency.py).

    Args:
        explanation, current, original, cue: (n,) class ids, and any ids of cues.

    Returns:
        of each class that occurs: `said`, `now` and `then`, shares of items that it explains, that
        it is true of now, and was; `self`, the share of its items of now that are explained by it,
        and `orig`, of its items of then, None where it has none; `gap` and `adjusted`, -1..1.

    Raises:
        ValueError: empty or unequal inputs.
    """
    labels = explanation, current, original
    check_items(*labels, cue)
    cues, n = np.unique(cue), len(cue)
    parts: dict[int, dict[str, float | None]] = {}
    for k in np.unique(np.concatenate(labels)):
        said, now, then = (x == k for x in labels)
        gap = ((said & now).sum() - (said & then).sum()) / n
        dealt = sum(
            said[here].sum() * (now[here].mean() - then[here].mean()) / n
            for here in (cue == c for c in cues)
        )
        parts[int(k)] = {
            "said": float(said.mean()),
            "now": float(now.mean()),
            "then": float(then.mean()),
            "self": float(said[now].mean()) if now.any() else None,
            "orig": float(said[then].mean()) if then.any() else None,
            "gap": float(gap),
            "adjusted": float(gap - dealt),
        }
    return parts


def by_item(
    explanation: np.ndarray, current: np.ndarray, original: np.ndarray, cue: np.ndarray
) -> np.ndarray:
    """The adjusted gap, item by item: (n,) float64, whose mean is frequency.adjusted_gap.

        v_i = sum_k (S_ik - said(k | c)) (D_ik - now(k | c) + then(k | c)),   c the cue of item i

    S_ik is 1 where explanation i is k, D_ik is 1, -1 or 0 where the label of item i became k, was k
    before, or neither. So the adjusted gap is the mean over cues of the covariance of S and D, and
    the spread of the v_i gives its interval (our choice). They are exactly 0 for explanations that
    depend on the cue alone. Arguments and errors are those of `by_class`.
    """
    check_items(explanation, current, original, cue)
    _, labels = np.unique([explanation, current, original], return_inverse=True)
    said, now, then = labels.reshape(3, -1)
    _, c, size = np.unique(cue, return_inverse=True, return_counts=True)
    n = size[c]  # (n,) how many items have the same cue
    side = (said == now).astype(np.int64) - (said == then)
    forth = count_with(c, now, said) - count_with(c, then, said)  # how far what is said grew
    back = count_with(c, said, now) - count_with(c, said, then)
    dealt = np.zeros(len(size), dtype=np.int64)
    np.add.at(dealt, c, back)  # whole numbers, so that what is 0 is exactly 0
    return (side * n * n - n * (forth + back) + dealt[c]) / (n * n)


def count_with(cue: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(n,) how many items with the cue of item i have the label asked[i]; all ids count from 0."""
    width = 1 + max(label.max(), asked.max())
    pairs, counts = np.unique(cue * width + label, return_counts=True)
    wanted = cue * width + asked
    at = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    return np.where(pairs[at] == wanted, counts[at], 0)


def by_kind(
    explanation: np.ndarray,
    current: np.ndarray,
    original: np.ndarray,
    cue: np.ndarray,
    kind: np.ndarray,
) -> dict[int, dict[str, float]]:
    """The gap by kinds of items, such as topics, which have nothing to do with the labels.

    Args:
        kind: (n,) ids of kinds. The others, and errors, are those of `by_class`.

    Returns:
        of each kind: `share` of items; `self` and `orig` among them; `gap` and `adjusted`, their
        parts of both gaps, which add up to these.
    """
    check_items(explanation, current, original, cue, kind)
    now, then = explanation == current, explanation == original
    rest = by_item(explanation, current, original, cue)
    return {
        int(k): {
            "share": float(here.mean()),
            "self": float(now[here].mean()),
            "orig": float(then[here].mean()),
            "gap": float((now[here].sum() - then[here].sum()) / len(here)),
            "adjusted": float(rest[here].sum() / len(here)),
        }
        for k, here in ((k, kind == k) for k in np.unique(kind))
    }


def check_items(*columns: np.ndarray) -> None:
    shapes = {x.shape for x in columns}
    if len(shapes) > 1 or columns[0].ndim != 1 or len(columns[0]) == 0:
        raise ValueError(f"need equal, non-empty shapes (n,), got {sorted(shapes)}")


def tell_movers(run: Run, other: Run) -> dict[str, np.ndarray]:
    """(n,) bool of each of KINDS: the items whose label only `run` changed, only `other` did, both
    changed to the same label, both to two labels, and neither changed. Each item is in one.

    Raises:
        ValueError: the runs have not the same items with the same original labels.
    """
    same_items = (run.items is None) == (other.items is None)
    same_items = same_items and (run.items is None or np.array_equal(run.items, other.items))
    if not same_items or run.original is None or not np.array_equal(run.original, other.original):
        raise ValueError("need runs of the same items, in one order, with one original label each")
    own_moved, other_moved = run.current != run.original, other.current != run.original
    both, alike = own_moved & other_moved, run.current == other.current
    return {
        "own": own_moved & ~other_moved,
        "other": other_moved & ~own_moved,
        "same": both & alike,
        "apart": both & ~alike,
        "neither": ~own_moved & ~other_moved,
    }


def by_mover(run: Run, other: Run) -> dict[str, dict[str, Any]]:
    """The gap of `run`, and its advantage over the labels of another run, by who moved.

    Args:
        run, other: two runs of one M0, with original labels.

    Returns:
        of each of KINDS: `share` of all items; `gap`, the part of Self - Orig of `run` that these
        items carry, and `advantage`, that of its agreement with its own current labels minus with
        those of `other`: sums over the kinds are the whole, -1..1; and `preference`, of the
        explanations that equal the own current label or its rival, but not both, the share that
        equals the own, with its interval (clustered by group). The rival is the original label
        where `run` moved, and else the current one of `other`; where neither moved there is none.
        If explanations follow what all runs drift to and not their own model, the preference of
        "own" is not above 0.5.
    """
    said, now, then = run.explanation, run.current, run.original
    parts: dict[str, dict[str, Any]] = {}
    for kind, here in tell_movers(run, other).items():
        own = (said == now) & here
        rival = (said == (other.current if kind == "other" else then)) & here
        decided = own != rival
        groups = None if run.groups is None else run.groups[decided]
        parts[kind] = {
            "share": float(here.mean()),
            "gap": float((own.sum() - ((said == then) & here).sum()) / len(here)),
            "advantage": float((own.sum() - ((said == other.current) & here).sum()) / len(here)),
            "preference": estimate_share(own[decided], groups) | {"n_decided": int(decided.sum())},
        }
    return parts
