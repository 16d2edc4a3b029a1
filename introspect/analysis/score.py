"""Self, Orig and gap of anyone's model, from a file of lines.

    {"explanation": "would change to B", "current": "would change to B", "original": "would stay"}

Each line is an item: what the model says, the label of the model now, and the label of the model
before. Values are text, numbers, true or false, and are compared as JSON values: 1, true and "1"
differ, while 1 and 1.0 are equal. Optional keys are "group" (lines of the same group are not
independent), "run" (which model) and "item" (which item, the same in several runs).
"""

import json
import math
import os
import textwrap
from array import array
from codecs import BOM_UTF8
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from introspect.analysis import matrix
from introspect.analysis.matrix import Estimate, Matrix, Run, estimate_share
from introspect.fields import Refused
from introspect.reading import MOST_LINE
from introspect.report.html import aligned
from introspect.report.text import WIDTH, estimate, number
from introspect.stats import side_of

NEEDED, OPTIONAL = ("explanation", "current", "original"), ("group", "item", "run")
UNREAD = {"answers", "probabilities", "margins"}  # what lines of our own runs have besides
COLUMNS = (*NEEDED, "group", "item")  # of the table of a run
SHOWN = 3  # bad lines that a refusal describes
AT_MOST = 1000  # runs; more are a mistake, such as a different "run" on every line
COMPARED = 12  # runs; a larger matrix cannot be read


def read(paths: Sequence[Path]) -> dict[str, Run]:
    """The runs in files of lines, by the value of "run" or else the name of the file.

    Values become numbers. Equal values have equal numbers in all runs and files. Groups and items
    are None if the lines have none.

    Raises:
        Refused: a file that cannot be read, or any bad line; bad lines are never left out.
    """
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise Refused("score: a file is given twice")
    ids: dict[str, dict] = {"answer": {}, "group": {}, "item": {}}  # value -> number
    runs: dict[Any, tuple[array, set]] = {}  # the numbers of all lines in turn, and the items
    first = None
    for path in paths:
        keys = read_file(path, ids, runs) - {"run"} - UNREAD
        first = keys if first is None else first
        if keys != first:
            name = min(keys ^ first)
            raise Refused(f"{path}: {name} must be in all files or in none; see {paths[0]}")
    if len(runs) > AT_MOST:
        raise Refused(f"score: {len(runs):,} runs; at most {AT_MOST:,}, each of many lines")
    columns = [key for key in COLUMNS if key in first]
    read_runs = {}
    for name, (numbers, _) in zip(names_of(list(runs)), runs.values()):
        table = np.frombuffer(numbers, dtype=np.intc).reshape(-1, len(columns))
        column = dict(zip(columns, table.T))
        read_runs[name] = Run(*map(column.get, COLUMNS))
    return read_runs


def read_file(path: Path, ids: dict[str, dict], runs: dict[Any, tuple[array, set]]) -> frozenset:
    """Add the lines of one file to `ids` and `runs`, and return their keys."""
    decode = json.JSONDecoder(object_pairs_hook=checked_object).decode
    keys, line, n_bad, bad = frozenset(), 0, 0, []
    columns: list[tuple[str, dict]] = []

    def take(text: str) -> None:
        nonlocal keys, columns
        row = decode(text)
        if type(row) is not dict:
            raise ValueError("not an object")
        if row.keys() != keys:
            keys = checked_keys(row, keys)
            columns = [(key, ids.get(key, ids["answer"])) for key in COLUMNS if key in keys]
        numbers = [known.setdefault(value_of(key, row[key]), len(known)) for key, known in columns]
        run = value_of("run", row["run"]) if "run" in keys else path
        rows, items = runs.setdefault(run, (array("i"), set()))
        if "item" in keys:
            if numbers[-1] in items:
                raise ValueError(f"item {quoted(row['item'])} again in its run")
            items.add(numbers[-1])
        rows.extend(numbers)

    try:
        if path.is_fifo() and path.parts[:2] != ("/", "dev"):
            raise Refused(f"{path}: is a pipe, which might never end; must be a file")
        with open(path, "rb") as f:
            for line, raw in enumerate(iter(partial(f.readline, MOST_LINE + 1), b""), 1):
                if len(raw) > MOST_LINE:
                    raise Refused(f"{path}, line {line}: is longer than {MOST_LINE:,} bytes")
                raw = raw.removeprefix(BOM_UTF8) if line == 1 else raw
                try:
                    take(raw.rstrip(b"\r\n").decode())
                except (ValueError, RecursionError) as e:
                    n_bad += 1
                    if n_bad <= SHOWN:
                        bad.append(f"line {line}: {reason(e, raw)}")
    except OSError as e:
        raise Refused(f"{path}: cannot be read ({e.strerror})") from None
    if n_bad:
        more = f"; and {n_bad - SHOWN:,} more" if n_bad > SHOWN else ""
        verb = "is" if n_bad == 1 else "are"
        raise Refused(f"{path}: {n_bad:,} of {line:,} lines {verb} bad: {'; '.join(bad)}{more}")
    if not keys:
        raise Refused(f"{path}: is empty; must have lines with {', '.join(NEEDED)}")
    return keys


def checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; refuses a repeated key, whose first value would be lost."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is there twice")
    return row


def checked_keys(row: dict[str, Any], before: frozenset) -> frozenset:
    """The keys of a line, which must be those of the lines before it, if any."""
    for key in NEEDED:
        if key not in row:
            raise ValueError(f"no {key}")
    for key in row:
        if key not in (*NEEDED, *OPTIONAL, *UNREAD):
            raise ValueError(f"unknown key {quoted(key)}; optional are {', '.join(OPTIONAL)}")
    for key in OPTIONAL:
        if before and (key in row) != (key in before):
            raise ValueError(f"{'has' if key in row else 'no'} {key}, unlike the lines before it")
    return frozenset(row)


def value_of(key: str, value: Any) -> Any:
    """A JSON value as a key of a dictionary; equal JSON values are equal keys.

    >>> value_of("item", 1) == value_of("item", 1.0), value_of("item", 1) == value_of("item", True)
    (True, False)
    """
    kind = type(value)
    if kind is bool:
        return (value,)  # because True == 1 in Python
    if kind is str or kind is int or kind is float and math.isfinite(value):
        return value
    kinds = {float: "no finite number", type(None): "null", list: "a list", dict: "an object"}
    raise ValueError(f"{key} is {kinds[kind]}")


def reason(error: Exception, raw: bytes) -> str:
    """Why a line is bad, in one line."""
    if not raw.strip():
        return "blank"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg}, column {error.colno})"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "too many digits" if str(error).startswith("Exceeds the limit") else str(error)


def quoted(value: Any) -> str:
    """A JSON value that is short and safe to print."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def names_of(runs: list[Any]) -> list[str]:
    """A name for each run: its text or the stem of its file, or more where two would be equal."""
    plain = [run[0] if type(run) is tuple else run for run in runs]
    full = [json.dumps(str(run) if isinstance(run, Path) else run) for run in plain]
    short = [run.stem if isinstance(run, Path) else run for run in plain]
    short = [s if type(s) is str and s and s.isprintable() else f for s, f in zip(short, full)]
    return short if len(set(short)) == len(short) else full


def score(run: Run) -> dict[str, Estimate]:
    """Self, Orig, gap, drift, preference and the best constants of one run, with their intervals.

    Intervals are clustered by group. Without groups every line is independent: shares have Wilson's
    interval, the gap has Student's t.
    """
    pair = matrix.pairwise(run.explanation, run.current, run.original, run.groups)
    share = partial(estimate_share, groups=run.groups)
    return {
        "Self": share(run.explanation == run.current),
        "Orig": share(run.explanation == run.original),
        "gap": pair.gap,
        "drift d": share(run.current != run.original),
        "preference": pair.preference,
        "majority, now": share(run.current == np.bincount(run.current).argmax()),
        "majority, then": share(run.original == np.bincount(run.original).argmax()),
    }


def show(runs: dict[str, Run]) -> str:
    """The tables for the terminal: each run by itself, then each against every other."""
    one, *others = runs.values()
    rows = [cells(run) for run in runs.values()]
    over = "lines" if one.groups is None else "groups"
    notes = [
        f"All intervals are 95 % intervals over {over}. They are about "
        "these models, not about others trained in the same way. Explanations follow the labels of "
        "the model now or then if the interval of the gap lies above or below zero."
    ]
    if not others:
        blocks = [aligned([list(item) for item in rows[0].items()])]
    else:
        table = [["run", *rows[0]], *([name, *row.values()] for name, row in zip(runs, rows))]
        rest = [[row[0], *row[7:]] for row in table]  # a table of its own: together they are wide
        blocks = [aligned([row[:7] for row in table]), aligned(rest)]
        if one.items is not None and len(runs) <= COMPARED:
            try:
                blocks.append(show_matrix(list(runs), matrix.coupling_matrix(runs)))
            except ValueError as e:
                raise Refused(f"score: {e}") from None
        elif one.items is not None:
            notes.append(f"No coupling matrix: it is for at most {COMPARED} runs.")
    return "\n\n".join([*blocks, *(textwrap.fill(note, WIDTH) for note in notes)])


def cells(run: Run) -> dict[str, str]:
    """The cells of one run in the table, by the heads of their columns."""
    groups = "none" if run.groups is None else f"{len(np.unique(run.groups)):,}"
    row = {"items": f"{len(run.current):,}", "groups": groups}
    for key, value in score(run).items():
        row[key] = estimate(value, key)
        if key == "gap":
            side = {1: "now", -1: "then", 0: "neither"}[side_of(value)]
            row["follows"] = number(None) if value["low"] is None else side
    return row


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
