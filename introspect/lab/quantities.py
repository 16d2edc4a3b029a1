"""The numbers that claims are about. A Statistic reads one number from the runs of one seed."""

from collections.abc import Callable, Sequence
from functools import reduce, wraps
from typing import Any

import numpy as np

from introspect.analysis import lines, matrix
from introspect.analysis.matrix import Pairwise, pairwise
from introspect.analysis.splits import by_mover
from introspect.reading import NUMBER, read_json, read_lines
from introspect.runs.study import Missing, Run, Runs

Statistic = Callable[[Runs], float]  # it takes the runs of one seed, by arm


def statistic(read: Callable[..., float]) -> Callable[..., Statistic]:
    """read(runs, ...) as a function of its other arguments, which returns a Statistic."""
    return wraps(read)(lambda *args, **more: lambda runs: read(runs, *args, **more))


def read_value(result: dict[str, Any], *keys: str) -> float:
    """The number under these nested keys; nan where it is null."""
    value: Any = result
    for key in keys:
        value = value[key]
    return float("nan") if value is None else value


@statistic
def value(runs: Runs, arm: str, *keys: str) -> float:
    """The number under these keys in the result of an arm."""
    return read_value(runs[arm].result, *keys)


def gap(arm: str) -> Statistic:
    return value(arm, "gap")


def adjusted_gap(arm: str) -> Statistic:
    """The gap beyond what the frequencies of explanations and labels give (frequency.py)."""
    return value(arm, "controls", "adjusted")


def minus(a: Statistic, b: Statistic) -> Statistic:
    return lambda runs: a(runs) - b(runs)


def value_difference(arm: str, other: str, *keys: str) -> Statistic:
    """The number under these keys in `arm` minus the one in `other`."""
    return minus(value(arm, *keys), value(other, *keys))


def self_minus_past(arm: str) -> Statistic:
    """Self - Past. Past is agreement with M0's own labels, whichever model gave the labels that
    were trained on (Orig is agreement with those)."""
    return minus(value(arm, "self"), value(arm, "controls", "own"))


def above_constant(arm: str, *within: str) -> Statistic:
    """Self minus what the best constant explanation would get."""
    return minus(value(arm, *within, "self"), value(arm, *within, "majority_now"))


@statistic
def at_evaluation(runs: Runs, arm: str, key: str, evaluation: int) -> float:
    """A number of one evaluation during training; evaluation 0 is before the first update."""
    rows = read_lines(runs[arm].folder / "metrics.jsonl", {key: NUMBER | None})
    return read_value(rows[evaluation], key)


@statistic
def extra(runs: Runs, arm: str, name: str, *keys: str) -> float:
    """A number from an extra measurement of a finished run (lab.extras), kept in NAME.json.

    Raises:
        Missing: the run was not measured.
    """
    if not (runs[arm].folder / f"{name}.json").exists():
        raise Missing(arm)
    form = reduce(lambda inner, key: {key: inner}, reversed(keys), NUMBER | None)
    return read_value(read_json(runs[arm].folder / f"{name}.json", form), *keys)


@statistic
def zero_crossing(runs: Runs, arms: list[str], x: tuple[str, ...], y: tuple[str, ...]) -> float:
    """The x at which y first falls from above 0 to 0 or below, in the order of the arms.

    Between two arms y is taken as a straight line over x. nan where y never falls to 0.
    """
    results = [runs[arm].result for arm in arms]
    points = [(read_value(result, *x), read_value(result, *y)) for result in results]
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if y0 > 0 >= y1:
            return x0 + (x1 - x0) * y0 / (y0 - y1)
    return float("nan")


def read_items(*runs: Run) -> list[matrix.Run]:
    """The held-out items of runs of one world, with one numbering of classes for all of them.

    Raises:
        ValueError: the runs have other items, or the same ones in another order.
    """
    read = [*lines.read([run.folder / "items.jsonl" for run in runs]).runs.values()]
    if any(not np.array_equal(read[0].items, other.items) for other in read):
        raise ValueError("need runs of the same items in the same order")
    return read


def gap_among(run: matrix.Run, among: np.ndarray) -> float:
    """Self - Orig on the items `among` (n,) bool; nan where there is none."""
    sides = (run.explanation == run.current).astype(float) - (run.explanation == run.original)
    return float(sides[among].mean()) if among.any() else float("nan")


@statistic
def gap_on_true_words(runs: Runs, arm: str, base: str) -> float:
    """The gap of an arm on the items whose first word has the same original labels as in the base,
    so that no label of that word was falsified. nan where there is no such word."""
    one, two = read_items(runs[arm], runs[base])
    rows = read_lines(runs[arm].folder / "items.jsonl", {"item": str})
    words = np.array([row["item"].split()[0] for row in rows])
    return gap_among(one, ~np.isin(words, words[one.original != two.original]))


@statistic
def gap_where_labels_agree(runs: Runs, arm: str, base: str) -> float:
    """The gap of an arm on the items for which the model that gave its labels has the same label as
    the one that gave those of the base. nan where there is no such item."""
    one, two = read_items(runs[arm], runs[base])
    return gap_among(one, one.original == two.original)


@statistic
def tracking(runs: Runs, strength: float, stayed: bool = False) -> float:
    """How much more explanations side with what a concurrent objective moved than those of a run
    that was trained as long on an objective that asks for nothing.

        siding(run) = share of explanations equal to the new label - share equal to the original
        tracking = siding(run) - siding(run of strength 0),  on the same held-out items

    The items are those that the objective alone moved: the run and its twin without explanations
    give them the same new label, and the twin of strength 0 kept the original one. -2..2; nan where
    there is no such item.

    Args:
        stayed: only items whose label the run of strength 0 kept too.
    """
    names = [f"{arm}-{s}" for s in (strength, 0.0) for arm in ("strength", "twin")]
    run, twin, still, still_twin = read_items(*(runs[name] for name in names))
    new, old = run.current, run.original
    among = (new == twin.current) & (new != old) & (still_twin.current == old)
    if stayed:
        among &= still.current == old
    if not among.any():
        return float("nan")
    sides = [(each.explanation == new).astype(float) - (each.explanation == old)
             for each in (run, still)]  # fmt: skip
    return float((sides[0] - sides[1])[among].mean())


@statistic
def preference_for_other(runs: Runs, explainer: str, arm: str) -> float:
    """Among the explainer's explanations that equal either the current or the original label of
    `arm`, but not both: the share that equals the current one, minus 0.5. nan if there is none."""
    own, other = read_items(runs[arm], runs[explainer])
    share = pairwise(other.explanation, own.current, own.original).preference["mean"]
    return float("nan") if share is None else share - 0.5


def compare_both(one: Run, two: Run) -> tuple[Pairwise, Pairwise]:
    """The explanations of each of two runs, against its own current labels and the other's."""
    a, b = read_items(one, two)
    first = pairwise(a.explanation, a.current, b.current)
    return first, pairwise(b.explanation, b.current, a.current)


@statistic
def own_advantage(runs: Runs, a: str, b: str) -> float:
    """Agreement of a run's explanations with its own current labels minus agreement with those of
    the other run; the mean of both directions."""
    return float(np.mean([pair.own - pair.other for pair in compare_both(runs[a], runs[b])]))


@statistic
def own_preference(runs: Runs, a: str, b: str) -> float:
    """Among explanations that are true of exactly one of two runs, the share that is true of the
    run that explains, minus 0.5; the mean of both directions, nan where one has none."""
    shares = [pair.preference["mean"] for pair in compare_both(runs[a], runs[b])]
    return float("nan") if None in shares else float(np.mean(shares)) - 0.5


@statistic
def among_movers(runs: Runs, a: str, b: str, kind: str, *keys: str) -> float:
    """A number of the items of one kind, by which of two runs moved them (splits.by_mover); the
    mean of both directions, nan where one has none."""
    one, two = read_items(runs[a], runs[b])
    both = [by_mover(*pair)[kind] for pair in ((one, two), (two, one))]
    return float(np.mean([read_value(part, *keys) for part in both]))


@statistic
def above_other_model(runs: Runs, arm: str, other: str) -> float:
    """Self of a run minus the agreement of another model's explanations with the same labels."""
    own, others = read_items(runs[arm], runs[other])
    said = own.explanation, others.explanation
    self_match, others_match = (float((each == own.current).mean()) for each in said)
    return self_match - others_match


def features(runs: dict[str, Run]) -> tuple[np.ndarray, np.ndarray]:
    """Of each run: 1, drift d, agreement c of training labels with behavior, d c (n, 4); and its
    gap (n,)."""
    results = [run.result for run in runs.values()]
    keys = ("drift",), ("train", "compatibility"), ("gap",)
    d, c, gaps = (np.array([read_value(result, *key) for result in results]) for key in keys)
    return np.stack([np.ones_like(d), d, c, d * c], axis=1), gaps


@statistic
def prediction(
    runs: Runs, by_experiment: bool, arms: Sequence[str] = (), without: str = ""
) -> float:
    """How well least squares on `features` predicts the gap of arms that were not fitted.

        R2 = 1 - sum (gap - predicted)^2 / sum (gap - mean gap of the fitted arms)^2

    Every second arm is held out or, so that no held-out arm lies between two fitted ones, every
    second experiment. 1 is perfect, 0 is no better than that mean, and R2 can be below 0.

    Args:
        arms: named "experiment arm"; default: all. without: an arm that is left out.
    """
    chosen = {arm: runs[arm] for arm in arms or runs if arm != without}
    x, y = features(chosen)
    units = [arm.split()[0] if by_experiment else arm for arm in chosen]
    test = np.isin(units, list(dict.fromkeys(units))[1::2])
    weights, *_ = np.linalg.lstsq(x[~test], y[~test], rcond=None)
    errors, spread = y[test] - x[test] @ weights, y[test] - y[~test].mean()
    return 1 - float(errors @ errors) / float(spread @ spread)
