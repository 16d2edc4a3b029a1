"""The numbers that claims are about: each is one number of the runs of one seed, by arm."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from introspect.analysis import score
from introspect.analysis.matrix import Pairwise, pairwise
from introspect.files import read_json, read_lines
from introspect.runs.study import Run, Runs

Statistic = Callable[["Runs"], float]


def value_of(result: dict[str, Any], *keys: str) -> float:
    """A number of a result, one level down a key."""
    found: Any = result
    for key in keys:
        found = found[key]
    return float("nan") if found is None else found


def of(arm: str, *keys: str) -> Statistic:
    """A number of the result of an arm."""
    return lambda runs: value_of(runs[arm].result, *keys)


def gap(arm: str) -> Statistic:
    return of(arm, "gap")


def minus(a: Statistic, b: Statistic) -> Statistic:
    return lambda runs: a(runs) - b(runs)


def above_most_frequent(arm: str, *within: str) -> Statistic:
    """Self minus what the best constant explanation gets now."""
    return minus(of(arm, *within, "self"), of(arm, *within, "majority_now"))


def early(arm: str, key: str, evaluation: int = 1) -> Statistic:
    """A number of an evaluation on the way; 0 is before the first update."""
    return lambda runs: value_of(read_lines(runs[arm].folder / "metrics.jsonl")[evaluation], key)


def extra(arm: str, name: str, *keys: str) -> Statistic:
    """A number of what was measured of a finished run besides (lab.extras)."""
    return lambda runs: value_of(read_json(runs[arm].folder / f"{name}.json", set()), *keys)


def crossing(arms: list[str], x: tuple[str, ...], y: tuple[str, ...]) -> Statistic:
    """The x at which y falls to 0 along a dial, by the line between two neighbors.

    The first change from above 0 counts, in the order of the arms; nan where there is none.
    """

    def value(runs: Runs) -> float:
        results = [runs[arm].result for arm in arms]
        points = [(value_of(of, *x), value_of(of, *y)) for of in results]
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            if y0 > 0 >= y1:
                return x0 + (x1 - x0) * y0 / (y0 - y1)
        return float("nan")

    return value


def items_of(*runs: Run) -> list[score.Run]:
    """The held-out items of runs of one world, in one numbering of classes."""
    read = [*score.read([run.folder / "items.jsonl" for run in runs]).values()]
    if any(not np.array_equal(read[0].items, of.items) for of in read):
        raise ValueError("need runs of the same items in the same order")
    return read


def gap_among(run: score.Run, among: np.ndarray) -> float:
    """Self - Orig on the items `among` (n,) bool; nan where there is none."""
    sides = (run.explanation == run.current).astype(float) - (run.explanation == run.original)
    return float(sides[among].mean()) if among.any() else float("nan")


def gap_of_true_words(arm: str, base: str) -> Statistic:
    """The gap of an arm on items whose first word has the same original labels as in the base: no
    label of that word was turned. nan where there is no such word."""

    def value(runs: Runs) -> float:
        one, two = items_of(runs[arm], runs[base])
        rows = read_lines(runs[arm].folder / "items.jsonl", "item")
        words = np.array([row["item"].split()[0] for row in rows])
        return gap_among(one, ~np.isin(words, words[one.original != two.original]))

    return value


def siding(arm: str, twin: str) -> Statistic:
    """Where arm and twin both moved to the same label: share of explanations equal to it, minus the
    share equal to the original one. nan where there is no such item."""

    def value(runs: Runs) -> float:
        one, two = items_of(runs[arm], runs[twin])
        return gap_among(one, (one.current == two.current) & (one.current != one.original))

    return value


def follows_drift_of(explainer: str, arm: str) -> Statistic:
    """Of the explainer's explanations that equal the arm's label now or then, and not both, the
    share that equals the one now, minus 0.5; nan where there is none."""

    def value(runs: Runs) -> float:
        own, other = items_of(runs[arm], runs[explainer])
        found = pairwise(other.explanation, own.current, own.original).preference["mean"]
        return float("nan") if found is None else found - 0.5

    return value


def each_other(one: Run, two: Run) -> tuple[Pairwise, Pairwise]:
    """The explanations of two runs, each against its own labels now and the other's."""
    a, b = items_of(one, two)
    return (
        pairwise(a.explanation, a.current, b.current),
        pairwise(b.explanation, b.current, a.current),
    )


def advantage(a: str, b: str) -> Statistic:
    """How much better each of two runs matches its own labels now than the other's, their mean."""
    return lambda runs: float(
        np.mean([pair.own - pair.other for pair in each_other(runs[a], runs[b])])
    )


def preference(a: str, b: str) -> Statistic:
    """Of explanations that are true of one of two runs only, the share true of the explaining one,
    minus 0.5; the mean of both, nan where one has none."""

    def value(runs: Runs) -> float:
        shares = [pair.preference["mean"] for pair in each_other(runs[a], runs[b])]
        return float("nan") if None in shares else float(np.mean(shares)) - 0.5

    return value


def privileged(arm: str, other: str) -> Statistic:
    """Self of a run minus what another model's explanations get of its labels now."""

    def value(runs: Runs) -> float:
        own, others = items_of(runs[arm], runs[other])
        return float((own.explanation == own.current).mean()) - float(
            (others.explanation == own.current).mean()
        )

    return value


def features(runs: dict[str, Run]) -> tuple[np.ndarray, np.ndarray]:
    """Of each run: 1, drift d, agreement c of training labels with behavior, d c; and its gap."""
    results = [run.result for run in runs.values()]
    keys = ("drift",), ("train", "compatibility"), ("gap",)
    d, c, gaps = (np.array([value_of(of, *key) for of in results]) for key in keys)
    return np.stack([np.ones_like(d), d, c, d * c], axis=1), gaps


def prediction(by_experiment: bool, arms: Sequence[str] = (), without: str = "") -> Statistic:
    """R2 = 1 - sum (gap - predicted)^2 / sum (gap - mean)^2 on arms that were not fitted, by least
    squares on the others; the mean is that of the arms that were fitted.

    Every second arm is held out, or every second experiment, so that no arm lies between two that
    were fitted. 1 is perfect; 0 is no better than that mean, and it can be below.

    Args:
        arms: called "experiment arm"; default: all that there are. without: one that is left out.
    """

    def value(runs: Runs) -> float:
        chosen = {arm: runs[arm] for arm in arms or runs if arm != without}
        x, y = features(chosen)
        units = [arm.split()[0] if by_experiment else arm for arm in chosen]
        test = np.isin(units, list(dict.fromkeys(units))[1::2])
        weights, *_ = np.linalg.lstsq(x[~test], y[~test], rcond=None)
        errors, spread = y[test] - x[test] @ weights, y[test] - y[~test].mean()
        return 1 - float(errors @ errors) / float(spread @ spread)

    return value
