"""Self, Orig and gap of anyone's model, from a file of lines.

    {"explanation": "would change to B", "current": "would change to B", "original": "would stay"}

A line is an item. Its values are text, numbers, true or false, and are compared as JSON values: 1,
true and "1" are three different ones, while 1 and 1.0 are one number. Optional: "group" (lines
with the same one are not independent), "run" (which model), "item" (the same one in several runs).
"""

import json
import math
import textwrap
from array import array
from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from introspect.analysis.matrix import (
    Estimate,
    Matrix,
    Run,
    coupling_matrix,
    pairwise,
    share,
)
from introspect.fields import Refused
from introspect.report.html import aligned
from introspect.report.text import WIDTH, estimate, number
from introspect.stats import side_of

NEEDED, OPTIONAL = ("explanation", "current", "original"), ("group", "item", "run")
SHOWN = 3  # bad lines that a refusal describes
AT_MOST = 1000  # runs; a "run" that is another on every line is a mistake
COMPARED = 12  # runs in a matrix that can be read


def read(paths: Sequence[Path]) -> dict[str, Run]:
    """The runs in files of lines, by name: what "run" says, else the name of the file.

    Equal numbers are equal values, over all runs and files. Groups and items are None where lines
    have none.

    Raises:
        Refused: a file that cannot be read, and any bad line; none is left out.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise Refused("score: a file is given twice")
    ids: dict[str, dict] = {"answer": {}, "group": {}, "item": {}}  # value -> number
    runs: dict[Any, tuple[array, set]] = {}  # rows one behind the other, items
    first = frozenset()
    for path in paths:
        keys = read_file(path, ids, runs) - {"run"}
        first = first or keys
        if keys != first:
            name = min(keys ^ first)
            raise Refused(f"{path}: {name} must be in all files or in none; see {paths[0]}")
    if len(runs) > AT_MOST:
        raise Refused(f"score: {len(runs):,} runs; at most {AT_MOST:,}, each of many lines")
    width = len(first)
    found = {}
    for name, (rows, _) in zip(names_of(list(runs)), runs.values()):
        table = np.frombuffer(rows, dtype=np.intc).reshape(-1, width)
        optional = iter(table.T[len(NEEDED) :])
        groups, items = (next(optional) if key in first else None for key in OPTIONAL[:2])
        found[name] = Run(*table.T[: len(NEEDED)], groups, items)
    return found


def read_file(path: Path, ids: dict[str, dict], runs: dict[Any, tuple[array, set]]) -> frozenset:
    """Add the lines of one file to `ids` and `runs`; returns their keys."""
    decode = json.JSONDecoder(object_pairs_hook=once_each).decode
    keys, line, n_bad, bad = frozenset(), 0, 0, []
    columns: list[tuple[str, dict]] = []

    def take(text: str) -> None:
        nonlocal keys, columns
        row = decode(text)
        if type(row) is not dict:
            raise ValueError("not an object")
        if row.keys() != keys:
            keys = checked_keys(row, keys)
            named = [key for key in (*NEEDED, *OPTIONAL[:2]) if key in keys]
            columns = [(key, ids.get(key, ids["answer"])) for key in named]
        found = [of.setdefault(value_of(key, row[key]), len(of)) for key, of in columns]
        run = value_of("run", row["run"]) if "run" in keys else path
        if run not in runs:
            runs[run] = array("i"), set()
        rows, items = runs[run]
        if "item" in keys:
            if found[-1] in items:
                raise ValueError(f"item {words(row['item'])} again in its run")
            items.add(found[-1])
        rows.extend(found)

    try:
        with open(path, "rb") as f:
            for line, raw in enumerate(f, 1):
                if line == 1:
                    raw = raw.removeprefix(BOM_UTF8)
                try:
                    take(raw.rstrip(b"\r\n").decode())
                except (ValueError, RecursionError) as e:
                    n_bad += 1
                    if len(bad) < SHOWN:
                        bad.append(f"line {line}: {reason(e, raw)}")
    except OSError as e:
        raise Refused(f"{path}: cannot be read ({e.strerror})") from None
    if n_bad:
        more = f"; and {n_bad - len(bad):,} more" if n_bad > len(bad) else ""
        verb = "is" if n_bad == 1 else "are"
        raise Refused(f"{path}: {n_bad:,} of {line:,} lines {verb} bad: {'; '.join(bad)}{more}")
    if not keys:
        raise Refused(f"{path}: is empty; must have lines with {', '.join(NEEDED)}")
    return keys


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that is there twice, the first value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def checked_keys(row: dict[str, Any], before: frozenset) -> frozenset:
    """The keys of a line, which must be those of the lines before it, if any."""
    for key in NEEDED:
        if key not in row:
            raise ValueError(f"no {key}")
    for key in row:
        if key not in NEEDED and key not in OPTIONAL:
            raise ValueError(f"unknown key {words(key)}; may have {', '.join(OPTIONAL)} besides")
    for key in OPTIONAL:
        if before and (key in row) != (key in before):
            raise ValueError(f"{'has' if key in row else 'no'} {key}, unlike the lines before it")
    return frozenset(row)


def value_of(key: str, value: Any) -> Any:
    """A JSON value as a key of a dictionary; equal ones are equal values.

    >>> value_of("item", 1) == value_of("item", 1.0), value_of("item", 1) == value_of("item", True)
    (True, False)
    """
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is bool:
        return (value,)
    if kind is float and math.isfinite(value):
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


def words(value: Any) -> str:
    """A JSON value that is safe to print, and short."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def names_of(runs: list[Any]) -> list[str]:
    """A name for each run: its text or the stem of its file, as long as all differ."""
    plain = [run[0] if type(run) is tuple else run for run in runs]
    full = [json.dumps(str(run) if isinstance(run, Path) else run) for run in plain]
    short = [run.stem if isinstance(run, Path) else run for run in plain]
    short = [s if type(s) is str and s and s.isprintable() else f for s, f in zip(short, full)]
    return short if len(set(short)) == len(short) else full


def score(run: Run) -> dict[str, Estimate]:
    """Self, Orig, gap, drift, preference and the best constants of one run, with their intervals.

    Clustered where the run has groups. Where it has none, Wilson's for shares, and for the gap
    Student's t with every line its own cluster.
    """
    pair = pairwise(run.explanation, run.current, run.original, run.groups)
    found = {
        "Self": share(run.explanation == run.current, run.groups),
        "Orig": share(run.explanation == run.original, run.groups),
        "gap": pair.gap,
        "drift d": share(run.current != run.original, run.groups),
        "preference": pair.preference,
    }
    for name, labels in (("now", run.current), ("then", run.original)):
        constant = np.bincount(labels).argmax()
        found[f"majority, {name}"] = share(labels == constant, run.groups)
    return found


def show(runs: dict[str, Run]) -> str:
    """All that is to say of the runs, for the terminal: each, then each against every other."""
    one, *others = runs.values()
    rows = [cells(run) for run in runs.values()]
    if not others:
        blocks = [aligned([list(item) for item in rows[0].items()])]
    else:
        names, heads = ["run", *runs], list(rows[0])
        table = [heads, *(list(row.values()) for row in rows)]
        halves = [[row[:6] for row in table], [row[6:] for row in table]]  # side by side: too wide
        blocks = [aligned([[n, *row] for n, row in zip(names, half)]) for half in halves]
    notes = [
        f"Intervals are 95 %, over {'lines' if one.groups is None else 'groups'}: they speak of "
        "these models, not of others trained in the same way. A gap leans to the model that is "
        "(now) or that was (then) where its interval excludes zero."
    ]
    if others and one.items is not None:
        if len(runs) <= COMPARED:
            blocks.append(show_matrix(list(runs), matrix_of(runs)))
        else:
            notes.append(f"No coupling matrix: it is for at most {COMPARED} runs.")
    return "\n\n".join([*blocks, *(textwrap.fill(note, WIDTH) for note in notes)])


def cells(run: Run) -> dict[str, str]:
    """What the table says of one run."""
    found = score(run)
    groups = "none" if run.groups is None else f"{len(np.unique(run.groups)):,}"
    measures = {key: estimate(of, key) for key, of in found.items()}
    first = {key: measures.pop(key) for key in ("Self", "Orig", "gap")}
    counts = {"items": f"{len(run.current):,}", "groups": groups}
    return counts | first | {"leans to": leaning(found["gap"])} | measures


def leaning(gap: Estimate) -> str:
    """The side that the interval of a gap is on.

    >>> leaning({"mean": 0.2, "low": 0.1, "high": 0.3, "n": 5})
    'now'
    """
    if gap["low"] is None:
        return number(None)
    return {1: "now", -1: "then", 0: "neither"}[side_of(gap)]


def matrix_of(runs: dict[str, Run]) -> Matrix:
    """`coupling_matrix`; what is wrong with the runs is refused."""
    try:
        return coupling_matrix(runs)
    except ValueError as e:
        raise Refused(f"score: {e}") from None


def show_matrix(names: list[str], matrix: Matrix) -> str:
    """The coupling matrix, and each run against every other where their labels differ."""
    table = [["says \\ current labels of", *names]]
    for name, row in zip(names, matrix.agreement):
        table.append([name, *(number(None if np.isnan(x) else float(x)) for x in row)])
    sides = [["says", "against", "items", "own", "other's", "differ", "decided", "prefers its own"]]
    for (a, b), pair in matrix.pairs.items():
        shares = [number(x) for x in (pair.own, pair.other)]
        counts = [f"{n:,}" for n in (pair.n_differ, pair.n_decided)]
        sides.append([a, b, f"{pair.n_items:,}", *shares, *counts, estimate(pair.preference)])
    means = [
        ["advantage of one's own labels", estimate(matrix.advantage, "gap")],
        ["preference for one's own", estimate(matrix.preference)],
    ]
    return "\n\n".join(aligned(rows) for rows in (table, sides, means))
