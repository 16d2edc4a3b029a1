"""Does a run describe itself, or a drift that all runs have in common?

Two runs that drift alike could match each other's labels as well as their own. So the explanations
of each run are compared with the current labels of every run, on the items that both runs have:

    M[a][b] = share of explanations of run a that equal the current labels of run b

and, on items for which the labels of a and b differ, with both labels at once: which of the two do
they equal? All intervals are 95 % intervals over items, so they are about these runs only.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np

from introspect.metrics import coupling
from introspect.stats import clustered, wilson

Estimate = dict[str, float | int | None]  # mean, low, high, and n: clusters, or trials


class Run(NamedTuple):
    """The explanations of a run and its labels; class ids mean the same in all runs."""

    explanation: np.ndarray  # (n,) class ids
    current: np.ndarray  # (n,) E(M), the labels of the model now
    original: np.ndarray | None = None  # (n,) E(M0); not used in the matrix
    groups: np.ndarray | None = None  # (n,) items of the same group are not independent
    items: np.ndarray | None = None  # (n,) which item each one is, each once; None: 0..n-1
    cue: np.ndarray | None = None  # (n,) what was left out; not used in the matrix
    kind: np.ndarray | None = None  # (n,) a class of items; not used in the matrix

    @property
    def constant(self) -> int:
        """The best explanation that is always the same: the label that most items have now."""
        return int(np.bincount(self.current).argmax())

    @property
    def cues(self) -> np.ndarray:
        """(n,) the cue of each item, one for all where they are not known."""
        return np.zeros(len(self.current), dtype=int) if self.cue is None else self.cue

    @property
    def clusters(self) -> np.ndarray:
        """(n,) the group of each item; without groups each is its own."""
        return np.arange(len(self.current)) if self.groups is None else self.groups


class Pairwise(NamedTuple):
    """Explanations compared with two sets of labels of the same items."""

    own: float  # share of explanations equal to the first labels
    other: float  # share equal to the second labels
    differ: float  # share of items on which the labels differ, a bound on |gap|
    gap: Estimate  # own - other
    preference: Estimate  # share of the decided explanations that equal the first label; null 0.5
    n_items: int
    n_differ: int
    n_decided: int  # items on which the labels differ and the explanation equals one of them


class Matrix(NamedTuple):
    agreement: np.ndarray  # (R, R) M[a, b] in the order of the runs; nan: no item in common
    pairs: dict[tuple[str, str], Pairwise]  # (a, b), a != b: a against its own and b's labels
    advantage: Estimate  # mean gap of the pairs, M[a][a] - M[a][b] on the items both have
    preference: Estimate  # mean preference of the pairs that have a decided explanation


def estimate_mean(values: np.ndarray, clusters: np.ndarray | None) -> Estimate:
    """The mean of values (n,) with its clustered interval. Low and high are None for one cluster,
    and the mean as well for no values."""
    if len(values) and (interval := clustered(values, clusters)):
        return interval._asdict()
    mean = float(values.mean()) if len(values) else None
    return {"mean": mean, "low": None, "high": None, "n": min(len(values), 1)}


def estimate_share(true: np.ndarray, groups: np.ndarray | None = None) -> Estimate:
    """Share of true items in `true` (n,), with Wilson's interval or, given groups (n,), the
    clustered one; None as in `estimate_mean`."""
    if groups is None and len(true):
        return wilson(int(true.sum()), len(true))._asdict()
    return estimate_mean(true, groups)


def pairwise(
    explanation: np.ndarray, own: np.ndarray, other: np.ndarray, groups: np.ndarray | None = None
) -> Pairwise:
    """Do explanations agree with their own labels more than with others?

    `metrics.coupling` with intervals. The other labels are those of another run, or the frozen
    ones. In the second case own is Self, other is Orig, and differ is the drift.

    Args:
        explanation, own, other: (n,) class ids. groups: (n,) any labels. Without groups every item
            is a cluster of its own, and the preference has Wilson's interval.

    Raises:
        ValueError: empty inputs, or shapes other than (n,).
    """
    shapes = [x.shape for x in (explanation, own, other, groups) if x is not None]
    if len(set(shapes)) > 1 or explanation.ndim != 1 or len(explanation) == 0:
        raise ValueError(f"need equal, non-empty shapes (n,), got {shapes}")
    c = coupling(explanation, own, other)
    first, second = explanation == own, explanation == other
    decided = first != second
    clusters = np.arange(len(own)) if groups is None else groups
    return Pairwise(
        own=c.self_match,
        other=c.orig_match,
        differ=c.drift,
        gap=estimate_mean(first.astype(float) - second, clusters) | {"mean": c.gap},
        preference=estimate_share(first[decided], None if groups is None else groups[decided]),
        n_items=len(own),
        n_differ=int((own != other).sum()),
        n_decided=int(decided.sum()),
    )


def coupling_matrix(runs: dict[str, Run]) -> Matrix:
    """Compare the explanations of every run with the current labels of every run.

    All pairs of runs have the same weight. The pairs in which an item occurs are not independent,
    so the intervals of `advantage` and `preference` are clustered over all pairs, by group or, if
    there are no groups, by item.

    Raises:
        ValueError: unequal shapes, an item twice in a run, groups in some runs only, or an item
            whose group is not the same in all runs.
    """
    items, groups, grouped = number_items(runs)
    names, every = list(runs), list(runs.values())
    own = [(run.explanation == run.current).mean() for run in every]
    agreement = np.where(np.eye(len(runs)), own, np.nan)
    pairs, sides, decisions = {}, [], []
    for a, b in permutations(range(len(runs)), 2):
        both, at_a, at_b = np.intersect1d(
            items[a], items[b], assume_unique=True, return_indices=True
        )
        if len(both) == 0:
            continue
        explanation, now = every[a].explanation[at_a], every[a].current[at_a]
        other = every[b].current[at_b]
        pair = pairwise(explanation, now, other, groups[both] if grouped else None)
        pairs[names[a], names[b]], agreement[a, b] = pair, pair.other
        side = (explanation == now).astype(np.int8) - (explanation == other)
        sides.append((both, side))
        decisions.append((both[side != 0], side[side != 0] > 0))
    return Matrix(agreement, pairs, average_pairs(sides, groups), average_pairs(decisions, groups))


def number_items(runs: dict[str, Run]) -> tuple[list[np.ndarray], np.ndarray, bool]:
    """Number the distinct items of all runs 0..N-1. Returns the items (n,) of each run, the group
    of every item (N,), and whether groups were given; if not, each item is its own group."""
    grouped = {run.groups is not None for run in runs.values()}
    if len(grouped) != 1:
        raise ValueError("need at least one run, and groups in all runs or in none")
    named = []
    for name, run in runs.items():
        arrays = [run.explanation, run.current, run.groups, run.items]
        shapes = {np.shape(x) for x in arrays if x is not None}
        if len(shapes) != 1 or np.ndim(run.current) != 1 or len(run.current) == 0:
            raise ValueError(f"run {name}: need equal, non-empty shapes (n,), got {shapes}")
        named.append(np.arange(len(run.current)) if run.items is None else run.items)
        if len(np.unique(named[-1])) < len(run.current):
            raise ValueError(f"run {name}: an item is there twice")
    _, item = np.unique(np.concatenate(named), return_inverse=True)
    items, groups = np.split(item, np.cumsum([*map(len, named)])[:-1]), np.arange(item.max() + 1)
    if True in grouped:
        every = np.concatenate([run.groups for run in runs.values()])
        _, group = np.unique(every, return_inverse=True)
        groups[item] = group
        if (groups[item] != group).any():
            raise ValueError("an item must be of the same group in all runs")
    return items, groups, True in grouped


def average_pairs(parts: list[tuple[np.ndarray, np.ndarray]], groups: np.ndarray) -> Estimate:
    """The mean over pairs of runs of their means over items, with its clustered interval.

        v_i = mean + n / P sum_p (x_pi - mean_p) / n_p

    n items occur in P pairs; pair p has n_p of them, with values x_pi and their mean mean_p. The
    interval is that of v. If all pairs have the same items, v_i is the mean of the P values of item
    i. Pairs without a value are left out.

    Args:
        parts: for each pair, items (n_p,) and their values (n_p,). groups: (N,) of each item.
    """
    parts = [(items, values) for items, values in parts if len(items)]
    shifts, there = np.zeros(len(groups)), np.zeros(len(groups), dtype=bool)
    for items, values in parts:
        shifts[items] += (values - values.mean()) / len(values)
        there[items] = True
    mean = float(np.mean([values.mean() for _, values in parts])) if parts else None
    each = (mean or 0) + shifts[there] * there.sum() / max(len(parts), 1)
    return estimate_mean(each, groups[there]) | {"mean": mean}
