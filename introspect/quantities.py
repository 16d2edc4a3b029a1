"""The numbers that claims are about: each is one number of the runs of one seed, by arm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from introspect import score
from introspect.matrix import pairwise
from introspect.record import read_json, read_lines


class Run(NamedTuple):
    """A finished run."""

    result: dict[str, Any]
    folder: Path


Runs = dict[str, Run]  # of one seed, by arm
Statistic = Callable[[Runs], float]


def value_of(run: Run, key: str) -> float:
    """A number of a result; "train.gap" is one level down."""
    found: Any = run.result
    for part in key.split("."):
        found = found[part]
    return found


def of(arm: str, key: str) -> Statistic:
    return lambda runs: value_of(runs[arm], key)


def gap(arm: str) -> Statistic:
    return of(arm, "gap")


def minus(a: Statistic, b: Statistic) -> Statistic:
    return lambda runs: a(runs) - b(runs)


def above_most_frequent(arm: str, part: str = "") -> Statistic:
    """Self minus what the best constant explanation gets now."""
    return minus(of(arm, f"{part}self"), of(arm, f"{part}majority_now"))


def early(arm: str, key: str, evaluation: int = 1) -> Statistic:
    """A number of an evaluation on the way; 0 is before the first update."""
    return lambda runs: read_lines(runs[arm].folder / "metrics.jsonl")[evaluation][key]


def extra(arm: str, name: str, key: str) -> Statistic:
    """A number of what was measured of a finished run besides (lab.EXTRAS)."""
    return lambda runs: read_json(runs[arm].folder / f"{name}.json", {key})[key]


def crossing(arms: list[str], x: str, y: str) -> Statistic:
    """The x at which y changes its sign along a dial, by the line between two neighbors.

    The first change counts, in the order of the arms; nan where there is none.
    """

    def value(runs: Runs) -> float:
        points = [(value_of(runs[arm], x), value_of(runs[arm], y)) for arm in arms]
        for (x0, y0), (x1, y1) in zip(points, points[1:]):
            if y0 * y1 <= 0 and y0 != y1:
                return x0 + (x1 - x0) * y0 / (y0 - y1)
        return float("nan")

    return value


def items_of(*runs: Run) -> list[score.Run]:
    """The held-out items of runs of one world, in one numbering of classes."""
    read = [*score.read([run.folder / "items.jsonl" for run in runs]).values()]
    if any(not np.array_equal(read[0].items, of.items) for of in read):
        raise ValueError("need runs of the same items in the same order")
    return read


def advantage(a: str, b: str) -> Statistic:
    """How much better each of two runs matches its own labels now than the other's, their mean."""

    def value(runs: Runs) -> float:
        one, two = items_of(runs[a], runs[b])
        pairs = pairwise(one.explanation, one.current, two.current), pairwise(
            two.explanation, two.current, one.current
        )
        return float(np.mean([pair.own - pair.other for pair in pairs]))

    return value


def preference(a: str, b: str) -> Statistic:
    """Of explanations that are true of one of two runs only, the share true of the explaining one,
    minus 0.5; the mean of both."""

    def value(runs: Runs) -> float:
        one, two = items_of(runs[a], runs[b])
        pairs = pairwise(one.explanation, one.current, two.current), pairwise(
            two.explanation, two.current, one.current
        )
        return float(np.mean([pair.preference["mean"] for pair in pairs])) - 0.5

    return value


def privileged(arm: str, other: str) -> Statistic:
    """Self of a run minus what another model's explanations get of its labels now."""

    def value(runs: Runs) -> float:
        own, others = items_of(runs[arm], runs[other])
        return float((own.explanation == own.current).mean()) - float(
            (others.explanation == own.current).mean()
        )

    return value


def features(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """Of each run: 1, drift d, agreement c of training labels with behavior, d c; and its gap."""
    d = np.array([value_of(run, "drift") for run in runs.values()])
    c = np.array([value_of(run, "train.compatibility") for run in runs.values()])
    gaps = np.array([value_of(run, "gap") for run in runs.values()])
    return np.stack([np.ones_like(d), d, c, d * c], axis=1), gaps


def prediction(runs: Runs) -> float:
    """R2 = 1 - sum (gap - predicted)^2 / sum (gap - mean)^2 on the arms of every second experiment,
    by least squares on those of the others; the mean is that of the arms that were fitted.

    Whole experiments are held out, so that no arm lies between two that were fitted. 1 is perfect;
    0 is no better than that mean, and it can be below. The arms are called "experiment arm".
    """
    x, y = features(runs)
    experiments = [arm.split()[0] for arm in runs]
    held_out = list(dict.fromkeys(experiments))[1::2]
    test = np.isin(experiments, held_out)
    fit = ~test
    weights, *_ = np.linalg.lstsq(x[fit], y[fit], rcond=None)
    errors = y[test] - x[test] @ weights
    return 1 - float((errors**2).sum() / ((y[test] - y[fit].mean()) ** 2).sum())
