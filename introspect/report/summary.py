"""From the results of runs to the numbers of a study: means over seeds, each with its interval."""

from itertools import combinations
from typing import Any

from introspect.stats import student_t

MEASURES = (
    "self",
    "orig",
    "gap",
    "drift",
    "compatibility",
    "preference",
    "behavior_drift",
    "behavior_drift_without_cue",
    "majority",
    "majority_now",
)


def interval(values: list[float | None]) -> dict[str, float | int | None]:
    """Mean and 95 % Student-t interval over seeds; n counts the seeds that have a value.

    >>> interval([0.5, None])
    {'mean': 0.5, 'low': None, 'high': None, 'n': 1}
    """
    there = [v for v in values if v is not None]
    if len(there) < 2:
        return {"mean": there[0] if there else None, "low": None, "high": None, "n": len(there)}
    return student_t(there)._asdict()


def number(x: float | None, key: str = "") -> str:
    """Three decimals, with a sign where `key` is a difference.

    >>> number(0.2), number(0.2, "gap"), number(None)
    ('0.200', '+0.200', 'n/a')
    """
    return "n/a" if x is None else f"{x:{'+' if key == 'gap' else ''}.3f}"


def measures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The interval of every measure over rows of different seeds, held out and in "train"."""
    inner = [row["train"] for row in rows]
    train = {key: interval([row[key] for row in inner]) for key in MEASURES}
    return {key: interval([row[key] for row in rows]) for key in MEASURES} | {"train": train}


def by_task(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of runs of several tasks: task -> the interval of every measure on its held-out items, of
    what the model knows of it, and of how far Self is above what a constant explanation gets."""
    found = {}
    for task in rows[0].get("tasks", {}):
        parts = [row["tasks"][task] for row in rows]
        found[task] = {k: interval([p[k] for p in parts]) for k in (*MEASURES, "known", "changed")}
        above = [p["self"] - p["majority_now"] for p in parts]
        found[task] |= {"above_majority": interval(above)}
    return found


def of_m0(m0s: list[dict[str, Any]]) -> dict[str, Any]:
    """What M0 knows, how often a cue changes its answer, and the share of each label; of several
    tasks, those of the first explained one, and of each under "tasks"."""
    found = {key: interval([m0[key] for m0 in m0s]) for key in ("known", "changed")}
    labels = {name: interval([m0["labels"][name] for m0 in m0s]) for name in m0s[0]["labels"]}
    tasks = {t: of_m0([m0["tasks"][t] for m0 in m0s]) for t in m0s[0].get("tasks", {})}
    return found | {"labels": labels} | ({"tasks": tasks} if tasks else {})


def differences(results: dict[str, dict[int, dict]]) -> dict[str, Any]:
    """Paired differences between every two arms, over the seeds that both have."""
    paired = {}
    for a, b in combinations(results, 2):
        seeds = sorted(results[a].keys() & results[b].keys())
        paired[f"{a} - {b}"] = {
            key: interval([results[a][s][key] - results[b][s][key] for s in seeds])
            for key in ("self", "orig", "gap")
        }
    return paired


def side_of(*intervals: dict[str, Any]) -> int:
    """The side of 0 on which all of these intervals lie, 1 or -1; 0: one holds 0, they are on both,
    or one has no ends.

    >>> side_of({"low": 0.1, "high": 0.3}), side_of({"low": -0.1, "high": 0.3})
    (1, 0)
    """
    if any(of["low"] is None for of in intervals):
        return 0
    return int(all(of["low"] > 0 for of in intervals)) - int(
        all(of["high"] < 0 for of in intervals)
    )


def verdict(gap: dict[str, Any], adjusted: dict[str, Any] | None = None) -> str:
    """What the interval of a gap says and, where it is given, that of the adjusted gap.

    With both, a side is named only where both exclude zero on it, because where the frequencies of
    labels drift each has a sign of its own: the gap of explanations that know nothing of the model,
    and the adjusted gap of those that know both models and side with neither.

    >>> verdict({"mean": 0.1, "low": 0.02, "high": 0.18, "n": 3})
    'coupling: explanations follow the model that is'
    """
    both = [gap] if adjusted is None else [gap, adjusted]
    n = min(of["n"] for of in both)
    if n < 3:  # two seeds can agree by luck, and their interval shrinks to nothing
        return f"no verdict at n = {n}"
    if side := side_of(*both):
        if side > 0:
            return "coupling: explanations follow the model that is"
        return "reversed: explanations stay with the model that was"
    if side_of(gap):
        return f"not told from label frequencies at n = {n}"
    return f"no difference seen at n = {n}"


def summarize(
    results: list[dict[str, Any]], curves: dict[tuple[str, int], list[dict[str, Any]]]
) -> dict[str, Any]:
    """The study's numbers from its runs.

    Args:
        results: result.json of every finished run.
        curves: (arm, seed) -> lines of its metrics.jsonl.

    Returns:
        arms: ARM -> measure -> {mean, low, high, n}, plus "train", "untrained" (Self and Orig
            before the first update), "verdict" and, of several tasks, "tasks"; differences: paired
            between arms; m0; runs.
    """
    by_arm: dict[str, dict[int, dict]] = {}
    for result in results:
        by_arm.setdefault(result["arm"], {})[result["seed"]] = result
    arms = {}
    for arm, by_seed in by_arm.items():
        before = [curves[arm, seed][0] for seed in by_seed]
        arms[arm] = measures(list(by_seed.values()))
        arms[arm]["untrained"] = {k: interval([r[k] for r in before]) for k in ("self", "orig")}
        arms[arm]["verdict"] = verdict(arms[arm]["gap"])
        if tasks := by_task(list(by_seed.values())):
            arms[arm]["tasks"] = tasks
    m0s = list({str(r["m0"]): r["m0"] for r in results}.values())  # seeds can share one M0
    shown = ("arm", "seed", "self", "orig", "gap", "drift", "preference", "n_items")
    return {
        "arms": arms,
        "differences": differences(by_arm),
        "m0": of_m0(m0s),
        "runs": [{key: r[key] for key in shown} for r in results],
    }
