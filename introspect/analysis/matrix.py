"""Does a run read itself, or a drift that it has in common with others?

Two runs that drift alike could match each other's labels as well as their own. So each run's
explanations are held against the current labels of every run, on the items that both have:

    M[a][b] = share of explanations of run a equal to the current labels of run b

and, where the labels of a and of b differ, against both at once: does a side with itself?
Intervals are 95 %. They are over items, so they speak of these runs and of no others.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from introspect.metrics import coupling
from introspect.stats import clustered, wilson

Estimate = dict[str, float | int | None]  # mean, low, high, and n: clusters, or trials


class Run(NamedTuple):
    """What a run says, and what is true of it; class ids mean the same in all runs."""

    explanation: np.ndarray  # (n,) class ids
    current: np.ndarray  # (n,) E(M), the labels of the model now
    original: np.ndarray | None = None  # (n,) E(M0); no part of the matrix
    groups: np.ndarray | None = None  # (n,) items with the same one are not independent
    items: np.ndarray | None = None  # (n,) which item each one is, once each; None: 0..n-1


class Pairwise(NamedTuple):
    """Explanations against two sets of labels of the same items."""

    own: float  # share of explanations equal to the first labels
    other: float  # share equal to the second
    differ: float  # share of items on which the labels differ, a bound on |gap|
    gap: Estimate  # own - other
    preference: Estimate  # of the decided explanations, the share on the first side; null 0.5
    n_items: int
    n_differ: int
    n_decided: int  # of these: the explanation equals one of the two labels


class Matrix(NamedTuple):
    agreement: np.ndarray  # (R, R) M[a, b] in the order of the runs; nan: no item in common
    pairs: dict[tuple[str, str], Pairwise]  # (a, b), a != b: a against its own and b's labels
    advantage: Estimate  # mean gap of the pairs, M[a][a] - M[a][b] on the items both have
    preference: Estimate  # mean preference of the pairs that decide anything


def share(true: np.ndarray, groups: np.ndarray | None = None) -> Estimate:
    """Share of true items: clustered interval where there are groups, else Wilson's.

    Args:
        true: (n,) bool. groups: (n,).

    Returns:
        low and high are None for one group, and all is None for no item.
    """
    n, true_ones = len(true), int(true.sum())
    if n == 0:
        return {"mean": None, "low": None, "high": None, "n": 0}
    if groups is None:
        return wilson(true_ones, n)._asdict()
    return estimate_of(true_ones / n, true, groups)


def estimate_of(mean: float, values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """A mean and the clustered interval of its values (n,); none for one cluster."""
    found = clustered(values, clusters)
    low, high, n = (found.low, found.high, found.n) if found else (None, None, 1)
    return {"mean": mean, "low": low, "high": high, "n": n}


def pairwise(
    explanation: np.ndarray, own: np.ndarray, other: np.ndarray, groups: np.ndarray | None = None
) -> Pairwise:
    """Do explanations side with their own labels or with others'?

    `metrics.coupling` with intervals. The other labels are those of another run, or the frozen
    ones: then own is Self, other is Orig, and differ is the drift.

    Args:
        explanation, own, other: (n,) class ids. groups: (n,) any labels; None: every item for
            itself, with Wilson's interval for the preference.

    Raises:
        ValueError: empty inputs, or shapes other than (n,).
    """
    shapes = [of.shape for of in (explanation, own, other, groups) if of is not None]
    if len(set(shapes)) > 1 or explanation.ndim != 1 or len(explanation) == 0:
        raise ValueError(f"need equal, non-empty shapes (n,), got {shapes}")
    c = coupling(explanation, own, other)
    first, second, differ = explanation == own, explanation == other, own != other
    decided = first != second
    clusters = np.arange(len(own)) if groups is None else groups
    return Pairwise(
        own=c.self_match,
        other=c.orig_match,
        differ=c.drift,
        gap=estimate_of(c.gap, first.astype(float) - second, clusters),
        preference=share(first[decided], None if groups is None else groups[decided]),
        n_items=len(own),
        n_differ=int(differ.sum()),
        n_decided=int(decided.sum()),
    )


def coupling_matrix(runs: dict[str, Run]) -> Matrix:
    """Every run's explanations against every run's current labels.

    A pair of runs counts as much as another. Neither the items of a group are independent nor one
    item in several pairs: the intervals of `advantage` and `preference` are clustered by group,
    over all pairs, and by item where there are no groups.

    Raises:
        ValueError: unequal shapes, an item twice in a run, groups in some runs only, or an item
            whose group is not the same in all runs.
    """
    items, groups, known = common(runs)
    names = list(runs)
    said, labels = [run.explanation for run in runs.values()], [r.current for r in runs.values()]
    own = [(e == c).mean() for e, c in zip(said, labels)]
    agreement = np.where(np.eye(len(runs)), own, np.nan)
    pairs, sides, decisions = {}, [], []
    for a, b in combinations(range(len(runs)), 2):
        both, at_a, at_b = np.intersect1d(
            items[a], items[b], assume_unique=True, return_indices=True
        )
        if len(both) == 0:
            continue
        now = {a: labels[a][at_a], b: labels[b][at_b]}
        for x, y, at in ((a, b, at_a), (b, a, at_b)):
            of = said[x][at]
            pair = pairwise(of, now[x], now[y], groups[both] if known else None)
            pairs[names[x], names[y]], agreement[x, y] = pair, pair.other
            side = (of == now[x]).astype(np.int8) - (of == now[y])
            sides.append((both, side))
            decisions.append((both[side != 0], side[side != 0] > 0))
    pairs = {(a, b): pairs[a, b] for a in names for b in names if (a, b) in pairs}
    return Matrix(agreement, pairs, mean_of(sides, groups), mean_of(decisions, groups))


def common(runs: dict[str, Run]) -> tuple[list[np.ndarray], np.ndarray, bool]:
    """The items of each run as numbers (n,) below N, the group of each of the N, and whether runs
    have groups; where they have not, every item is its own."""
    known = {run.groups is not None for run in runs.values()}
    if len(known) != 1:
        raise ValueError("need at least one run, and groups in all runs or in none")
    named, grouped = [], []
    for name, run in runs.items():
        own = [run.explanation, run.current, run.groups, run.items]
        shapes = {np.shape(of) for of in own if of is not None}
        if len(shapes) != 1 or np.ndim(run.current) != 1 or len(run.current) == 0:
            raise ValueError(f"run {name}: need equal, non-empty shapes (n,), got {shapes}")
        named.append(np.arange(len(run.current)) if run.items is None else run.items)
        grouped.append(run.groups)
    _, item = np.unique(np.concatenate(named), return_inverse=True)
    items = np.split(item, np.cumsum([len(of) for of in named])[:-1])
    for name, of in zip(runs, items):
        if len(np.unique(of)) < len(of):
            raise ValueError(f"run {name}: an item is there twice")
    if not known.pop():
        return items, np.arange(item.max() + 1), False
    _, group = np.unique(np.concatenate(grouped), return_inverse=True)
    groups = np.empty(item.max() + 1, dtype=group.dtype)
    groups[item] = group
    if (groups[item] != group).any():
        raise ValueError("an item must be of the same group in all runs")
    return items, groups, True


def mean_of(parts: list[tuple[np.ndarray, np.ndarray]], groups: np.ndarray) -> Estimate:
    """The mean over pairs of runs of their means over items, with its clustered interval.

        v_i = mean + n / P sum_p (x_pi - mean_p) / n_p

    An item counts by what it moves: for P pairs that all have the same n items, v_i is the mean of
    its P values. Pairs without a value are left out.

    Args:
        parts: of each pair, the items (n_p,) that it has a value of, and the values. groups: (N,)
            the group of each item.
    """
    parts = [(items, values) for items, values in parts if len(items)]
    if not parts:
        return {"mean": None, "low": None, "high": None, "n": 0}
    moves, there = np.zeros(len(groups)), np.zeros(len(groups), dtype=bool)
    for items, values in parts:
        moves[items] += (values - values.mean()) / len(values)
        there[items] = True
    mean = float(np.mean([values.mean() for _, values in parts]))
    each = mean + moves[there] * there.sum() / len(parts)
    return estimate_of(mean, each, groups[there])
