"""Lines of anyone's model, read as they are or refused; score.py says what may be in them."""

import json
import os
from array import array
from codecs import BOM_UTF8
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from introspect.analysis.matrix import Run
from introspect.analysis.values import label_of, quoted, reason, value_of, warn_alike, warn_words
from introspect.fields import Refused
from introspect.reading import MOST_LINE

LABELS = ("current", "original")
ANSWERS = ("answer_now", "answer_now_without", "answer_then", "answer_then_without")
OPTIONAL = ("group", "item", "run", "cue", "class")
UNREAD = {"answers", "probabilities", "margins"}  # what lines of our own runs have besides
FIELDS = {  # the columns of the table of a run, and what a Run calls them
    "explanation": "explanation",
    "current": "current",
    "original": "original",
    "group": "groups",
    "cue": "cue",
    "class": "kind",
    "item": "items",
}
SHOWN = 3  # bad lines that a refusal describes
AT_MOST = 1000  # runs; more are a mistake, such as a different "run" on every line

Known = dict[str, dict[Any, int]]  # of each kind of value, its number


class Lines(NamedTuple):
    runs: dict[str, Run]  # by the value of "run" or else the name of the file
    labels: list[Any]  # what the class ids of all runs stand for
    classes: list[Any]  # what the numbers of kinds stand for; empty where there are none
    warnings: list[str]  # what is allowed and looks like a mistake


def read(paths: Sequence[Path]) -> Lines:
    """The runs in files of lines.

    Values become numbers. Equal values have equal numbers in all runs and files. What the lines do
    not have is None.

    Raises:
        Refused: a file that cannot be read, or any bad line; bad lines are never left out.
    """
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise Refused("score: a file is given twice")
    known: Known = {key: {} for key in ("label", "answer", *OPTIONAL)}
    runs: dict[Any, tuple[array, set]] = {}  # the numbers of all lines in turn, and the items
    first = None
    for path in paths:
        keys = read_file(path, known, runs) - {"run"} - UNREAD
        first = keys if first is None else first
        if keys != first:
            name = min(keys ^ first)
            raise Refused(f"{path}: {name} must be in all files or in none; see {paths[0]}")
    if len(runs) > AT_MOST:
        raise Refused(f"score: {len(runs):,} runs; at most {AT_MOST:,}, each of many lines")
    columns = columns_of(first)
    read_runs = {}
    for name, (numbers, _) in zip(names_of(list(runs)), runs.values()):
        table = np.frombuffer(numbers, dtype=np.intc).reshape(-1, len(columns))
        read_runs[name] = Run(**{FIELDS[key]: column for key, column in zip(columns, table.T)})
    warnings = warn_alike(known)
    labels, classes = ([v[0] if type(v) is tuple else v for v in known[key]]
                       for key in ("label", "class"))
    if ANSWERS[0] in first:
        warnings += warn_words(labels, [run.explanation for run in read_runs.values()])
    return Lines(read_runs, labels, classes, warnings)


def columns_of(keys: frozenset) -> list[str]:
    """The columns that lines with these keys have; answers give the labels."""
    return [key for key in FIELDS if key in keys or key in LABELS]


def read_file(path: Path, known: Known, runs: dict[Any, tuple[array, set]]) -> frozenset:
    """Add the lines of one file to `known` and `runs`, and return their keys."""
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
            columns = [(key, known.get(key, known["label"])) for key in columns_of(keys)]
        if ANSWERS[0] in keys:
            row |= labels_of(row, known["answer"])
        numbers = [ids.setdefault(value_of(key, row[key]), len(ids)) for key, ids in columns]
        run = path
        if "run" in keys:
            run = value_of("run", row["run"])
            known["run"].setdefault(run, len(known["run"]))
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
        raise Refused(f"{path}: is empty; must have lines with explanation, {', '.join(LABELS)}")
    return keys


def labels_of(row: dict[str, Any], answers: dict[Any, int]) -> dict[str, str]:
    """The labels of a line that has answers, which are added to those that are known."""
    for key in ANSWERS:
        answers.setdefault(value_of(key, row[key]), len(answers))
    now, now_without, then, then_without = (row[key] for key in ANSWERS)
    return {"current": label_of(now, now_without), "original": label_of(then, then_without)}


def checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; refuses a repeated key, whose first value would be lost."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is there twice")
    return row


def checked_keys(row: dict[str, Any], before: frozenset) -> frozenset:
    """The keys of a line, which must be those of the lines before it, if any."""
    label, answer = (next((k for k in keys if k in row), None) for keys in (LABELS, ANSWERS))
    if label and answer:
        raise ValueError(f"has both {label} and {answer}; must have labels or answers, not both")
    for key in ("explanation", *(ANSWERS if answer else LABELS)):
        if key not in row:
            raise ValueError(f"no {key}")
    for key in row:
        if key not in ("explanation", *LABELS, *ANSWERS, *OPTIONAL, *UNREAD):
            raise ValueError(f"unknown key {quoted(key)}; optional are {', '.join(OPTIONAL)}")
    for key in (*ANSWERS, *LABELS, *OPTIONAL):
        if before and (key in row) != (key in before):
            raise ValueError(f"{'has' if key in row else 'no'} {key}, unlike the lines before it")
    return frozenset(row)


def names_of(runs: list[Any]) -> list[str]:
    """A name for each run: its text or the stem of its file, or more where two would be equal."""
    plain = [run[0] if type(run) is tuple else run for run in runs]
    full = [json.dumps(str(run) if isinstance(run, Path) else run) for run in plain]
    short = [run.stem if isinstance(run, Path) else run for run in plain]
    short = [s if type(s) is str and s and s.isprintable() else f for s, f in zip(short, full)]
    return short if len(set(short)) == len(short) else full
