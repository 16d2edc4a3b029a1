"""Dataclass fields with a meaning and allowed values, from which command line flags are made."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import field, fields
from types import UnionType
from typing import Any, Union, get_args, get_origin


class Refused(ValueError):
    """Bad input. Its message is one line that says what was given and what is allowed; the program
    then ends with exit code 2."""


def option(default: Any, help: str, low=None, high=None, choices=None) -> Any:
    """A dataclass field with a meaning, for --help, and allowed values: low <= value <= high."""
    return field(
        default=default, metadata={"help": help, "low": low, "high": high, "choices": choices}
    )


def base_type(annotation: Any) -> type:
    """The type without None: `int` for `int` and for `int | None`."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    return next(t for t in get_args(annotation) if t is not type(None))


def allowed(f: Any) -> str:
    """The allowed values of a field, in words.

    >>> from dataclasses import make_dataclass
    >>> weighted = make_dataclass("Weighted", [("weight", float, option(1.0, "a weight", 0))])
    >>> allowed(fields(weighted)[0])
    'a number >= 0'
    """
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if choices:
        return "one of " + ", ".join(choices)
    kind = base_type(f.type)
    text = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
    if low is not None and high is not None:
        return f"{text} from {low} to {high}"
    bounds = [f" {sign} {b}" for sign, b in ((">=", low), ("<=", high)) if b is not None]
    return text + "".join(bounds)


def check_fields(config: Any) -> None:
    """Refuse a value that has the wrong type or is not allowed.

    In a field for floats, a whole number becomes a float, so that 1 and 1.0 are one setting.
    """
    for f in fields(config):
        value, kind = getattr(config, f.name), base_type(f.type)
        if value is None and type(None) in get_args(f.type):
            continue
        if kind is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
            object.__setattr__(config, f.name, value)
        low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if right and kind in (int, float):
            right = kind is int or math.isfinite(value)
            right = right and (low is None or value >= low) and (high is None or value <= high)
        if not right or (choices and value not in choices):
            raise Refused(f"--{f.name}={value}: must be {allowed(f)}")


def assignments(text: str, kinds: dict[str, Any]) -> dict[str, Any]:
    """{field: value} from "field=value[,field=value]"; `kinds` are the dataclass fields allowed.

    >>> from dataclasses import make_dataclass
    >>> kinds = fields(make_dataclass("Sized", [("width", int), ("rate", float)]))
    >>> assignments("width=3,rate=1", {f.name: f for f in kinds})
    {'width': 3, 'rate': 1.0}

    Raises:
        ValueError: not of that form, no such field, or a value of another type.
    """
    values = {}
    for part in text.split(",") if text else ():
        flag, _, value = part.partition("=")
        try:
            values[flag] = base_type(kinds[flag].type)(value)
        except (KeyError, ValueError):
            raise ValueError(f"{part!r} is not a field with its value") from None
    return values


def initials_of(name: str) -> str:
    """The first letters of the words of a flag, as in lr for --learning_rate."""
    return "".join(word[:1] for word in name.lstrip("-").split("_"))


def nearest(name: str, names: Iterable[str]) -> str:
    """" (did you mean X?)" where a valid name is close, or has these initials.

    >>> nearest("--lr", ["--n_layer", "--learning_rate"])
    ' (did you mean --learning_rate?)'
    """
    names = list(names)
    close = [full for full in names if initials_of(full) == name.lstrip("-")]
    close += difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
