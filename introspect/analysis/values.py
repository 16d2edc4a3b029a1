"""Values in lines of anyone's model: which are equal, are labels, or look like mistakes."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from introspect.fields import Refused

STAYS, CHANGES = "would stay", "would change to "  # the words of World.explanation
EXAMPLES = 3  # of one mistake that a warning quotes


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


def label_of(with_cue: Any, without: Any) -> str:
    """What leaving out the cue does to an answer, in the words in which explanations are given.

    >>> label_of("A", "A"), label_of("A", "B"), label_of(True, False), label_of(1, 2.0)
    ('would stay', 'would change to B', 'would change to false', 'would change to 2')
    """
    if value_of("", with_cue) == value_of("", without):
        return STAYS
    if type(without) is float and without.is_integer():
        without = int(without)
    return CHANGES + (without if type(without) is str else json.dumps(without))


def warn_alike(known: Mapping[str, Mapping[Any, int]]) -> list[str]:
    """A warning for each kind of value that has texts which differ only by case or white space."""
    warnings = []
    for key, values in known.items():
        folded = [fold(value) for value in values if type(value) is str]
        if len(set(folded)) == len(folded):
            continue
        alike: dict[str, list[str]] = {}
        for value in values:
            if type(value) is str:
                alike.setdefault(fold(value), []).append(value)
        first, *others = (texts for texts in alike.values() if len(texts) > 1)
        named = ", ".join(map(quoted, first[:EXAMPLES]))
        more = f" (and {len(others):,} more such)" if others else ""
        where = {"label": "explanations and labels", "answer": "answers"}.get(key, f'"{key}"')
        warnings.append(
            f"Warning: in {where}, {named} differ only by case or white space and count as "
            f"{len(first):,} values{more}."
        )
    return warnings


def fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def warn_words(labels: Sequence[Any], explanations: Sequence[np.ndarray]) -> list[str]:
    """A warning where some explanations are not in the words of labels that are made of answers.

    Raises:
        Refused: no explanation is in these words.
    """
    other = [
        i
        for i, label in enumerate(labels)
        if type(label) is not str or label != STAYS and not label.startswith(CHANGES)
    ]
    every = np.concatenate(explanations)
    n, n_other = len(every), int(np.isin(every, other).sum())
    if not n_other:
        return []
    words = f'"{STAYS}" or "{CHANGES}X", the words of labels that are made of answers'
    if n_other == n:
        raise Refused(f"score: no explanation is {words}; the first is {quoted(labels[every[0]])}")
    such = quoted(labels[other[0]])
    return [f"Warning: {n_other:,} of {n:,} explanations, such as {such}, are not {words}."]


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
