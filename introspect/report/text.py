"""A run and a study for the terminal, and the cells that the report shows as well."""

import textwrap
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from introspect.report.html import aligned
from introspect.report.summary import MOST_SHOWN
from introspect.report.words import NAMES
from introspect.runs.experiment import describe_arm
from introspect.stats import interval, side_of

WIDTH = 100  # columns
SIGNED = ("gap", "adjusted", "cosine")  # numbers shown with a sign


def number(x: float | None, key: str = "") -> str:
    """Three decimals, with a sign where `key` is a difference.

    >>> number(0.2), number(0.2, "gap"), number(None)
    ('0.200', '+0.200', 'n/a')
    """
    return "n/a" if x is None else f"{x:{'+' if key in SIGNED else ''}.3f}"


def estimate(interval: dict[str, Any], key: str = "", n: int | None = None) -> str:
    """A mean with its interval, and with the number of seeds where that is not `n`.

    >>> estimate({"mean": 0.2, "low": 0.1, "high": 0.3, "n": 4}, "gap", n=5)
    '+0.200 [+0.100, +0.300] (n = 4)'
    """
    text = number(interval["mean"], key)
    if interval["low"] is not None:
        text += f" [{number(interval['low'], key)}, {number(interval['high'], key)}]"
    return text if n in (None, interval["n"]) else f"{text} (n = {interval['n']})"


def tabulate(
    what: str,
    places: Mapping[str, Sequence[str]],
    columns: Mapping[str, Sequence[str]],
    runs_of: Mapping[str, Sequence[dict[str, Any]]],
) -> str:
    """Numbers of the runs of each arm: a row for each place and arm, means with their intervals.

    Args:
        places, columns: words -> nested keys; those of a place, then those of a column, lead to a
            number. Runs without it do not count.
    """

    def read(run: Any, keys: Sequence[str]) -> float | None:
        return reduce(lambda value, key: value.get(key) if value else None, keys, run)

    lines = [[what, "arm", "n", *columns]]
    for words, place in places.items():
        for arm, runs in runs_of.items():
            found = [interval([read(run, [*place, *keys]) for run in runs])
                     for keys in columns.values()]
            cells = [estimate(each, keys[-1], len(runs))
                     for each, keys in zip(found, columns.values())]
            lines.append([words, arm, str(len(runs)), *cells])
    return aligned(lines)


def references(arms: dict[str, Any], split: str) -> list[tuple[str, str, str]]:
    """(name, Self, Orig) of what needs no explanation training; one row where all arms agree."""
    arms_by_row: dict[tuple[str, str, str], list[str]] = {}
    for arm, measures in arms.items():
        part = measures["train"] if split == "train" else measures
        constant = (estimate(part[key]) for key in ("majority_now", "majority"))
        arms_by_row.setdefault(("majority", *constant), []).append(arm)
        if split == "held_out":
            both = (estimate(measures["untrained"][key]) for key in ("self", "orig"))
            arms_by_row.setdefault(("untrained", *both), []).append(arm)
    return [(name if len(those) == len(arms) else f"{name}, {', '.join(those)}", *both)
            for (name, *both), those in sorted(arms_by_row.items(), key=lambda item: item[0][0])]


def show_run(result: dict[str, Any]) -> str:
    """One run for the terminal: its measures, and what they say of it."""
    parts, m0 = (result, result["train"]), result["m0"]
    rows = [["", "held out", "training"]]
    for key, name in NAMES.items():
        shown = parts[1:] if key == "compatibility" else parts  # held out, it is 1 - drift
        rows.append([name, *[""] * (2 - len(shown)), *(number(part[key], key) for part in shown)])
        if key == "gap":  # the interval is over subjects, within the run
            ends = (dict(mean=p["gap"], low=p["gap_low"], high=p["gap_high"], n=1) for p in parts)
            rows[-1][1:] = [estimate(interval, key) for interval in ends]
    rows.append(["majority, then", *(number(part["majority"]) for part in parts)])
    rows.append(["majority, now", *(number(part["majority_now"]) for part in parts)])
    rows.append(["items", *(str(part["n_items"]) for part in parts)])
    first = " of the first explained task" if "tasks" in result else ""
    notes = [
        f"M0 knows {number(m0['known'])} of the clear answers{first}; the cue changes "
        f"{number(m0['changed'])} of its answers.",
        f"In this run {leaning(result)}; the interval is over its facts, not over seeds.",
        *compare_to_constants(result),
    ]
    title = f"{result['task']}: arm {result['arm']}, seed {result['seed']}"
    lines = [title, aligned(rows), *(textwrap.fill(note, WIDTH) for note in notes)]
    if "tasks" in result:
        head = ["task, held out", "Self", "majority", "Orig", "known", "changed"]
        keys = ("self", "majority_now", "orig", "known", "changed")
        tasks = [[t, *(number(part[k]) for k in keys)] for t, part in result["tasks"].items()]
        lines[2:2] = [aligned([head, *tasks])]
    return "\n".join(lines)


def compare_to_constants(shares: Mapping[str, float]) -> list[str]:
    """A sentence for each of Self and Orig that a constant explanation reaches too.

    >>> compare_to_constants({"self": 0.2, "majority_now": 0.3, "orig": 0.4, "majority": 0.3})
    ['A constant explanation gets no less Self (0.300).']
    """
    best = {"self": "majority_now", "orig": "majority"}
    return [
        f"A constant explanation gets no less {NAMES[key]} ({number(shares[constant])})."
        for key, constant in best.items()
        if shares[key] <= shares[constant]
    ]


def leaning(result: dict[str, Any]) -> str:
    """What the gap of one run says of its explanations of held-out items."""
    if result["drift"] == 0:
        return "no held-out label has changed, so Self and Orig are the same"
    words = {
        1: "follow the model as it is now",
        -1: "match the frozen labels better than the model as it is now",
        0: "match the model as it is now and the frozen labels about equally well",
    }
    side = side_of({"low": result["gap_low"], "high": result["gap_high"]})
    return f"held-out explanations {words[side]}"


MEANS = {"self": "Self", "orig": "Orig", "gap": "gap"}  # columns of the terminal's tables
MEANS |= {"adjusted": "adj.", "drift": "drift", "preference": "pref."}


def means_of(measures: dict[str, Any]) -> list[str]:
    """The cells under MEANS: means, the gap with its interval."""
    means = {key: number(measures[key]["mean"], key) for key in MEANS}
    return list((means | {"gap": estimate(measures["gap"], "gap")}).values())


def show_study(study: dict[str, Any]) -> str:
    """A study for the terminal: a line an arm, what no training gives, paired differences."""
    arms = study["arms"]
    if study["dialed"] or len(arms) > MOST_SHOWN:
        return show_many(study)
    rows = [["arm", "n", *MEANS.values(), "verdict"]]
    for arm, measures in arms.items():
        n, verdict = str(measures["gap"]["n"]), word_of(measures["verdict"])
        rows.append([arm, n, *means_of(measures), verdict])
    for name, *both in references(arms, "held_out"):
        rows.append([name, "", *(text.partition(" ")[0] for text in both), *[""] * 5])
    for pair, change in study["differences"].items():
        means = [number(change[key]["mean"], "gap") for key in ("self", "orig")]
        means += [estimate(change["gap"], "gap"), number(change["adjusted"]["mean"], "gap")]
        rows.append([pair, str(change["gap"]["n"]), *means, "", "", "paired difference"])
    tables = [aligned(rows), *([aligned(tasks)] if (tasks := task_rows(arms)) else [])]
    notes = [f"{arm}: {describe_arm(study['words'][arm], study['fields'][arm])}" for arm in arms]
    notes += [f"all arms: {study['shared']}"] if study["shared"] else []
    notes += [v for v in dict.fromkeys(m["verdict"] for m in arms.values()) if ":" in v]
    notes += [f"diverged: {text}" for text in study["failed"]]
    question = f"{study['experiment']} on {study['task']}: {study['question']}"
    return "\n".join(textwrap.fill(block, WIDTH) if block not in tables else block
                     for block in [question, *tables, *notes])


def show_many(study: dict[str, Any]) -> str:
    """A study of many arms, or of dials, for the terminal: one table of at most 100 columns.

    Columns that matter least are left out where it would be wider, then long cells are cut.
    """
    arms, dialed = study["arms"], study["dialed"]
    dials = list(next(iter(dialed.values()), ["arm"]))
    rows = [[*dials, "n", *MEANS.values(), "verdict"]]
    for arm, measures in arms.items():
        values = map(str, dialed[arm].values()) if dialed else [arm]
        n, verdict = str(measures["gap"]["n"]), word_of(measures["verdict"])
        rows.append([*values, n, *means_of(measures), verdict])
    for name in ("pref.", "Orig", "n", "Self"):
        if too_wide(rows):
            at = rows[0].index(name, len(dials))
            rows = [row[:at] + row[at + 1 :] for row in rows]
    longest = WIDTH
    while too_wide(rows):
        longest -= 1
        rows = [[cut(cell, longest) for cell in row[: len(dials)]] + row[len(dials) :]
                for row in rows]
    constant, untrained = ([number(min(means)), number(max(means))] for means in zip(*(
        (m["majority_now"]["mean"], m["untrained"]["self"]["mean"]) for m in arms.values())))
    notes = [
        count_verdicts(arms),
        f"Self of the best constant explanation is {' to '.join(dict.fromkeys(constant))}; before "
        f"training, Self is {' to '.join(dict.fromkeys(untrained))}.",
        *([f"all arms: {study['shared']}"] if study["shared"] else []),
        *(f"diverged: {text}" for text in study["failed"]),
    ]
    question = f"{study['experiment']} on {study['task']}: {study['question']}"
    filled = [textwrap.fill(text, WIDTH) for text in (question, *notes)]
    return "\n".join([filled[0], aligned(rows), *filled[1:]])


def too_wide(rows: list[list[str]]) -> bool:
    return max(map(len, aligned(rows).split("\n"))) > WIDTH


def cut(text: str, longest: int) -> str:
    """The text, or its beginning where it is longer.

    >>> cut("kl_weight", 9), cut("kl_weight", 8)
    ('kl_weight', 'kl_we...')
    """
    return text if len(text) <= longest else text[: max(1, longest - 3)] + "..."


def count_verdicts(arms: dict[str, Any]) -> str:
    """How many arms have which verdict.

    >>> count_verdicts({"a": {"verdict": "coupling: x"}, "b": {"verdict": "coupling: x"}})
    'Verdicts: coupling 2.'
    """
    words = [word_of(measures["verdict"]) for measures in arms.values()]
    counts = (f"{word} {words.count(word)}" for word in dict.fromkeys(words))
    return f"Verdicts: {', '.join(counts)}."


def show_studies(studies: dict[str, dict[str, Any]]) -> str:
    """The arms of several studies, a line each; the name of a study is that of its folder."""
    rows = [["study", "arm", "n", *MEANS.values(), "majority", "verdict"]]
    for name, study in studies.items():
        for arm, measures in study["arms"].items():
            n, majority = str(measures["gap"]["n"]), number(measures["majority_now"]["mean"])
            verdict = word_of(measures["verdict"])
            rows.append([name, arm, n, *means_of(measures), majority, verdict])
    return aligned(rows)


def word_of(verdict: str) -> str:
    """The verdict without its explanation and its n.

    >>> word_of("coupling: explanations follow the model that is")
    'coupling'
    """
    return verdict.partition(":")[0].partition(" at n")[0]


def task_rows(arms: dict[str, Any]) -> list[list[str]]:
    """Of runs of several tasks: each task and arm, held out; the head first. Else nothing."""
    rows = []
    for arm, measures in arms.items():
        for task, part in measures.get("tasks", {}).items():
            shares = [number(part[k]["mean"]) for k in ("self", "majority_now")]
            shares.append(estimate(part["above_majority"], "gap"))
            shares += [number(part[k]["mean"]) for k in ("orig", "known", "changed")]
            rows.append([task, arm, str(part["self"]["n"]), *shares])
    head = ["task", "arm", "n", "Self", "majority", "Self - majority", "Orig", "known", "changed"]
    return [head, *sorted(rows, key=lambda row: row[0])] if rows else []
