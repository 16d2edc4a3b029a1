"""What a run and a study found, for the terminal; and the cells that the report shows as well."""

import textwrap
from typing import Any

from introspect.report.html import aligned
from introspect.report.words import NAMES
from introspect.stats import side_of

WIDTH = 100  # columns


def number(x: float | None, key: str = "") -> str:
    """Three decimals, with a sign where `key` is a difference.

    >>> number(0.2), number(0.2, "gap"), number(None)
    ('0.200', '+0.200', 'n/a')
    """
    return "n/a" if x is None else f"{x:{'+' if key in ('gap', 'adjusted') else ''}.3f}"


def estimate(of: dict[str, Any], key: str = "", n: int | None = None) -> str:
    """A mean with its interval, and with the number of seeds where that is not `n`.

    >>> estimate({"mean": 0.2, "low": 0.1, "high": 0.3, "n": 4}, "gap", n=5)
    '+0.200 [+0.100, +0.300] (n = 4)'
    """
    text = number(of["mean"], key)
    if of["low"] is not None:
        text += f" [{number(of['low'], key)}, {number(of['high'], key)}]"
    return text if n in (None, of["n"]) else f"{text} (n = {of['n']})"


def references(arms: dict[str, Any], split: str) -> list[tuple[str, str, str]]:
    """(name, Self, Orig) of what needs no explanation training; one row where all arms agree."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for arm, of in arms.items():
        part = of["train"] if split == "train" else of
        constant = (estimate(part[key]) for key in ("majority_now", "majority"))
        found.setdefault(("majority", *constant), []).append(arm)
        if split == "held_out":
            both = (estimate(of["untrained"][key]) for key in ("self", "orig"))
            found.setdefault(("untrained", *both), []).append(arm)
    return [
        (name if len(those) == len(arms) else f"{name}, {', '.join(those)}", *both)
        for (name, *both), those in sorted(found.items(), key=lambda item: item[0][0])
    ]


def show_run(result: dict[str, Any]) -> str:
    """One run for the terminal: its measures, and what they say of it."""
    parts, m0 = (result, result["train"]), result["m0"]
    rows = [["", "held out", "training"]]
    for key, name in NAMES.items():
        rows.append([name, *(number(part[key], key) for part in parts)])
        if key == "gap":  # the interval is over subjects, within the run
            ends = (dict(mean=p["gap"], low=p["gap_low"], high=p["gap_high"], n=1) for p in parts)
            rows[-1][1:] = [estimate(of, key) for of in ends]
    rows.append(["majority, then", *(number(part["majority"]) for part in parts)])
    rows.append(["majority, now", *(number(part["majority_now"]) for part in parts)])
    rows.append(["items", *(str(part["n_items"]) for part in parts)])
    first = " of the first explained task" if "tasks" in result else ""
    notes = [
        f"M0 knows {number(m0['known'])} of the clear answers{first}; the cue changes "
        f"{number(m0['changed'])} of its answers.",
        f"In this run {leaning(result)}; the interval is over its facts, not over seeds.",
    ]
    title = f"{result['task']}: arm {result['arm']}, seed {result['seed']}"
    lines = [title, aligned(rows), *(textwrap.fill(note, WIDTH) for note in notes)]
    if "tasks" in result:
        head = ["task, held out", "Self", "majority", "Orig", "known", "changed"]
        keys = ("self", "majority_now", "orig", "known", "changed")
        tasks = [[t, *(number(of[k]) for k in keys)] for t, of in result["tasks"].items()]
        lines[2:2] = [aligned([head, *tasks])]
    return "\n".join(lines)


def leaning(result: dict[str, Any]) -> str:
    """What the gap of one run says of its explanations of held-out items."""
    if result["drift"] == 0:
        return "no held-out label has moved, so Self and Orig are the same"
    words = {
        1: "follow the model that is",
        -1: "stay with the model that was",
        0: "lean neither to the model that is nor to the one that was",
    }
    side = side_of({"low": result["gap_low"], "high": result["gap_high"]})
    return f"held-out explanations {words[side]}"


def show_study(study: dict[str, Any]) -> str:
    """A study for the terminal: a line an arm, what no training gives, paired differences."""
    arms = study["arms"]
    rows = [["arm", "n", "Self", "Orig", "gap", "drift", "pref.", "verdict"]]
    for arm, of in arms.items():
        means = [number(of[key]["mean"]) for key in ("self", "orig", "drift", "preference")]
        means.insert(2, estimate(of["gap"], "gap"))
        rows.append([arm, str(of["gap"]["n"]), *means, word_of(of["verdict"])])
    for name, *both in references(arms, "held_out"):
        rows.append([name, "", *(text.partition(" ")[0] for text in both), *[""] * 4])
    for pair, of in study["differences"].items():
        means = [number(of[key]["mean"], "gap") for key in ("self", "orig")]
        means.append(estimate(of["gap"], "gap"))
        rows.append([pair, str(of["gap"]["n"]), *means, "", "", "paired difference"])
    question = f"{study['experiment']} on {study['task']}: {study['question']}"
    tables = [aligned(rows), *([aligned(tasks)] if (tasks := task_rows(arms)) else [])]
    notes = [v for v in dict.fromkeys(of["verdict"] for of in arms.values()) if ":" in v]
    notes += [f"diverged: {f['arm']} of seed {f['seed']}: {f['error']}" for f in study["failed"]]
    return "\n".join([textwrap.fill(question, WIDTH), *tables, *notes])


def show_studies(studies: dict[str, dict[str, Any]]) -> str:
    """The arms of several studies, a line each; the name of a study is that of its folder."""
    head = ["study", "arm", "n", "Self", "Orig", "gap", "drift", "pref.", "majority", "verdict"]
    rows = [head]
    for name, study in studies.items():
        for arm, of in study["arms"].items():
            keys = ("self", "orig", "drift", "preference", "majority_now")
            means = [number(of[key]["mean"]) for key in keys]
            means.insert(2, estimate(of["gap"], "gap"))
            rows.append([name, arm, str(of["gap"]["n"]), *means, word_of(of["verdict"])])
    return aligned(rows)


def word_of(verdict: str) -> str:
    """The verdict without its explanation and its n.

    >>> word_of("coupling: explanations follow the model that is")
    'coupling'
    """
    return verdict.partition(":")[0].partition(" at n")[0]


def task_rows(arms: dict[str, Any]) -> list[list[str]]:
    """Of runs of several tasks: each task and arm, held out; the head first. Else nothing."""
    rows = [
        [
            task,
            arm,
            str(part["self"]["n"]),
            number(part["self"]["mean"]),
            number(part["majority_now"]["mean"]),
            estimate(part["above_majority"], "gap"),
            number(part["orig"]["mean"]),
            *(number(part[key]["mean"]) for key in ("known", "changed")),
        ]
        for arm, of in arms.items()
        for task, part in of.get("tasks", {}).items()
    ]
    head = ["task", "arm", "n", "Self", "majority", "Self - majority", "Orig", "known", "changed"]
    return [head, *sorted(rows, key=lambda row: row[0])] if rows else []
