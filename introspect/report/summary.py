"""From the runs of a study to its numbers: means over seeds, each with its interval."""

from collections.abc import Iterable
from itertools import combinations, islice
from typing import Any

from introspect.fields import Refused
from introspect.forms import MEASURES
from introspect.runs.experiment import world_of
from introspect.stats import interval, verdict

ABILITY = ("known", "changed")
MOST_SHOWN = 8  # arms of a study that are all compared in pairs, with curves and examples


def intervals(rows: list[dict[str, Any]], keys: Iterable[str]) -> dict[str, Any]:
    """The interval of each of these numbers over rows of different seeds."""
    return {key: interval([row[key] for row in rows]) for key in keys}


def by_task(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of runs of several tasks: task -> the interval of every measure on its held-out items, of
    what the model knows of it, and of how far Self is above what a constant explanation gets."""
    tasks = {}
    for task in rows[0].get("tasks", {}):
        parts = [row["tasks"][task] for row in rows]
        above = interval([part["self"] - part["majority_now"] for part in parts])
        tasks[task] = intervals(parts, (*MEASURES, *ABILITY)) | {"above_majority": above}
    return tasks


def of_m0(m0s: list[dict[str, Any]]) -> dict[str, Any]:
    """What M0 knows, how often a cue changes its answer, and the share of each label; of several
    tasks, those of the first explained one, and of each under "tasks"."""
    labels = intervals([m0["labels"] for m0 in m0s], m0s[0]["labels"])
    tasks = {t: of_m0([m0["tasks"][t] for m0 in m0s]) for t in m0s[0].get("tasks", {})}
    return intervals(m0s, ABILITY) | {"labels": labels} | ({"tasks": tasks} if tasks else {})


def minus(a: float | None, b: float | None) -> float | None:
    """a - b, where there are both."""
    return None if a is None or b is None else a - b


def differences(results: dict[str, dict[int, dict]]) -> dict[str, Any]:
    """Paired differences over the seeds that both arms have: between every two arms or, of more
    than 8, between the first and every other one."""
    paired, n = {}, len(results)
    for a, b in islice(combinations(results, 2), None if n <= MOST_SHOWN else n - 1):
        seeds = sorted(results[a].keys() & results[b].keys())
        pairs = [(results[a][s], results[b][s]) for s in seeds]
        keys = [k for k in ("self", "orig", "gap", "adjusted") if all(k in x for x, _ in pairs)]
        paired[f"{a} - {b}"] = {k: interval([minus(x[k], y[k]) for x, y in pairs]) for k in keys}
    return paired


def average(draws: list[Any]) -> Any:
    """The mean of every number of the results of several draws of one world; what is no number in
    each of them is as in the first, and None where it is None in the first."""
    first = draws[0]
    if isinstance(first, dict):
        return {key: average([draw[key] for draw in draws if key in draw]) for key in first}
    if isinstance(first, list):
        return [average(list(parts)) for parts in zip(*draws)]
    there = [draw for draw in draws if isinstance(draw, (int, float))]
    return sum(there) / len(there) if len(there) == len(draws) > 1 else first


def by_world(by_seed: dict[int, Any]) -> dict[int, Any]:
    """World -> the average over its draws of what each seed has."""
    draws: dict[int, list[Any]] = {}
    for seed, value in by_seed.items():
        draws.setdefault(world_of(seed), []).append(value)
    return {world: average(alike) for world, alike in draws.items()}


def check_alike(rows: list[dict[str, Any]]) -> None:
    """Refuse runs that are not about the same tasks and labels, which have no means."""
    about = []
    for row in rows:
        m0s = {"": row["m0"]} | row["m0"].get("tasks", {})
        labels = {task: m0["labels"].keys() for task, m0 in m0s.items()}
        about.append((row.get("tasks", {}).keys(), labels))
    if any(each != about[0] for each in about):
        raise Refused("the runs of a study: must have the same tasks and the same labels")


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of a study. A world is one unit: the draws of each are averaged first.

    Args:
        rows: the lines of its runs.jsonl: the result.json of each run, with its "arm" and with
            "untrained", Self and Orig before the first update.

    Returns:
        arms: ARM -> measure -> {mean, low, high, n}, plus "adjusted" (the adjusted gap), "train",
            "untrained", "verdict" (by both gaps) and, of several tasks, "tasks"; differences:
            paired between arms; m0.

    Raises:
        Refused: runs that are not about the same.
    """
    check_alike(rows)
    by_arm: dict[str, dict[int, dict]] = {}
    for row in rows:
        row = row | {"adjusted": row["controls"]["adjusted"]}
        by_arm.setdefault(row["arm"], {})[row["seed"]] = row
    by_arm = {arm: by_world(by_seed) for arm, by_seed in by_arm.items()}
    arms = {}
    for arm, by_seed in by_arm.items():
        results = list(by_seed.values())
        arms[arm] = intervals(results, MEASURES) | {
            "train": intervals([row["train"] for row in results], MEASURES),
            "adjusted": interval([row["adjusted"] for row in results]),
            "untrained": intervals([row["untrained"] for row in results], ("self", "orig")),
        }
        arms[arm]["verdict"] = verdict(arms[arm]["gap"], arms[arm]["adjusted"])
        if tasks := by_task(results):
            arms[arm]["tasks"] = tasks
    m0s = list({str(row["m0"]): row["m0"] for row in rows}.values())  # seeds can share one M0
    return {"arms": arms, "differences": differences(by_arm), "m0": of_m0(m0s)}
