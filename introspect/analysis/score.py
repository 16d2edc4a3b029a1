"""Self, Orig and gap of anyone's model, from a file of lines.

    {"explanation": "would change to B", "current": "would change to B", "original": "would stay"}

Each line is an item: what the model says, the label of the model now, and the label of the model
before. Instead of both labels, lines can have the answers of which labels are made: "answer_now"
and "answer_then" with the cue, "answer_now_without" and "answer_then_without" without it. Then the
explanation has to be "would stay" or "would change to X", where X is the answer without the cue.

Values are text, numbers, true or false, and are compared as JSON values: 1, true and "1" differ,
while 1 and 1.0 are equal. Optional keys are "group" (lines of the same group are not independent),
"cue" (what is left out; the adjusted gap compares lines of one cue), "class" (a kind of line, by
which parts of the gap are shown, else by label), "run" (which model) and "item" (which item, the
same in several runs).
"""

import textwrap
from functools import partial

import numpy as np

from introspect.analysis import matrix
from introspect.analysis.advice import advise, explain
from introspect.analysis.lines import Lines
from introspect.analysis.matrix import Estimate, Matrix, Run, estimate_mean, estimate_share
from introspect.analysis.splits import by_class, by_item, by_kind
from introspect.analysis.values import quoted
from introspect.fields import Refused
from introspect.report.html import aligned
from introspect.report.text import WIDTH, estimate, number
from introspect.report.words import NAMES
from introspect.stats import side_of

COMPARED = 12  # runs; a larger matrix cannot be read
LISTED, MOST_CUES = 12, 100  # classes of a run; cues, each of which takes time
SIGNED = ("gap", "adjusted gap", "Self - constant")
TABLES = ((0, 4), (4, 7), (7, 9), (9, 13))  # columns of each table of several runs


def score(run: Run) -> dict[str, Estimate]:
    """What is measured of one run, with 95 % intervals.

    Intervals are clustered by group. Without groups every line is independent: shares have Wilson's
    interval, differences have Student's t.
    """
    pair = matrix.pairwise(run.explanation, run.current, run.original, run.groups)
    share = partial(estimate_share, groups=run.groups)
    right, constant = run.explanation == run.current, run.current == run.constant
    rest = by_item(run.explanation, run.current, run.original, run.cues)
    return {
        "Self": share(right),
        "Orig": share(run.explanation == run.original),
        "gap": pair.gap,
        "adjusted gap": estimate_mean(rest, run.clusters),
        "drift d": share(run.current != run.original),
        "preference": pair.preference,
        "majority, now": share(constant),
        "majority, then": share(run.original == np.bincount(run.original).argmax()),
        "Self - constant": estimate_mean(right.astype(float) - constant, run.clusters),
    }


def show(lines: Lines) -> str:
    """The tables for the terminal: each run by itself, then each against every other."""
    runs = lines.runs
    one, *others = runs.values()
    scored = {name: score(run) for name, run in runs.items()}
    rows = [cells(run, scored[name], lines.labels) for name, run in runs.items()]
    if not others:
        blocks = [aligned([list(item) for item in rows[0].items()])]
    else:
        table = [["run", *rows[0]], *([name, *row.values()] for name, row in zip(runs, rows))]
        cut = [[[row[0], *row[1 + a : 1 + b]] for row in table] for a, b in TABLES]
        blocks = [aligned(part) for part in cut]  # one table would be too wide
    notes = [*lines.warnings, *explain(lines, scored)]
    if len(runs) <= COMPARED:
        blocks.append(show_classes(lines))
        if others and one.items is not None:
            try:
                blocks.append(show_matrix(list(runs), matrix.coupling_matrix(runs)))
            except ValueError as e:
                raise Refused(f"score: {e}") from None
    else:
        notes.append(f"No parts by class and no coupling matrix: at most {COMPARED} runs.")
    notes.append(f"Next: {advise(lines, scored)}")
    return "\n\n".join([*filter(None, blocks), *(textwrap.fill(note, WIDTH) for note in notes)])


def cells(run: Run, found: dict[str, Estimate], labels: list) -> dict[str, str]:
    """The cells of one run in the table, by the heads of their columns."""
    groups = "none" if run.groups is None else f"{len(np.unique(run.groups)):,}"
    row = {"items": f"{len(run.current):,}", "groups": groups}
    for key, value in found.items():
        row[key] = estimate(possible(value, key), "gap" if key in SIGNED else "")
        if key == "adjusted gap":
            side = {1: "now", -1: "then", 0: "neither"}[side_of(found["gap"], value)]
            row["follows"] = number(None) if value["low"] is None else side
        if key == "majority, then":
            row["best constant"] = quoted(labels[run.constant])
    return row


def possible(value: Estimate, key: str) -> Estimate:
    """The same with an interval of values that there can be; with none where nothing varies, since
    that does not make a number certain."""
    low, high = value["low"], value["high"]
    if low is None or low == high:
        return {**value, "low": None, "high": None}
    return {**value, "low": max(low, -1.0 if key in SIGNED else 0.0), "high": min(high, 1.0)}


def show_classes(lines: Lines) -> str:
    """Which classes make the gap of each run: those of "class", or else of labels. Empty where
    there are more than can be listed."""
    table: list[list[str]] = []
    for name, run in lines.runs.items():
        columns, cue = (run.explanation, run.current, run.original), run.cues
        classes = np.unique(columns if run.kind is None else run.kind)
        if len(classes) > LISTED or len(np.unique(cue)) > MOST_CUES:
            continue
        parts = by_class(*columns, cue) if run.kind is None else by_kind(*columns, cue, run.kind)
        words = lines.labels if run.kind is None else lines.classes
        for k in sorted(parts, key=lambda k: quoted(words[k])):
            shown = [number(x and round(x, 9) + 0.0, key) for key, x in parts[k].items()]
            table.append([name, quoted(words[k]), *shown])
        named = NAMES | {"gap": "part of gap"}
        heads = ["run", "class", *(named.get(key, key) for key in parts[k])]
    one = len(lines.runs) == 1
    return aligned([row[one:] for row in [heads, *table]]) if table else ""


def show_matrix(names: list[str], matrix: Matrix) -> str:
    """The coupling matrix, and each run against every other on items whose labels differ."""
    table = [["says \\ current labels of", *names]]
    for name, row in zip(names, matrix.agreement):
        table.append([name, *(number(None if np.isnan(x) else float(x)) for x in row)])
    sides = [["says", "against", "items", "own", "other's", "differ", "decided", "prefers its own"]]
    for (a, b), pair in matrix.pairs.items():
        shares = [number(x) for x in (pair.own, pair.other)]
        counts = [f"{n:,}" for n in (pair.n_differ, pair.n_decided)]
        sides.append([a, b, f"{pair.n_items:,}", *shares, *counts, estimate(pair.preference)])
    means = [["advantage of one's own labels", estimate(matrix.advantage, "gap")]]
    means.append(["preference for one's own", estimate(matrix.preference)])
    return "\n\n".join(map(aligned, (table, sides, means)))
