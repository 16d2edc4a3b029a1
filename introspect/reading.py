"""Files that may come from anybody, read within bounds.

A file must be a regular one of a bounded size, and JSON must have the form that its reader relies
on: what is read is refused in one line, or it is what it should be.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, get_args

from introspect.fields import Refused

MB = 2**20
MOST_JSON, MOST_LINE, MOST_LINES = MB, MB, 64 * MB  # bytes: a JSON file, a line, a file of lines

NUMBER = int | float
Form = Any  # of a JSON value: a type, [form of each], or {key: form of its value}


def open_regular(path: Path, most: int) -> BinaryIO:
    """A file opened for reading.

    Raises:
        Refused: it is not there, not a regular file, or larger than `most` bytes.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path}: must be a regular file")
        if status.st_size > most:
            raise Refused(f"{path}: has {status.st_size:,} bytes; at most {most:,} are allowed")
        return open(path, "rb")
    except OSError as e:
        raise Refused(f"{path}: cannot be read ({e.strerror})") from None


def read_bytes(path: Path, most: int) -> bytes:
    """All bytes of a file; raises as `open_regular` does."""
    with open_regular(path, most) as f:
        return f.read(most)


def printable(text: str, most: int = 200) -> str:
    """Words of a stranger as part of one line of a terminal.

    >>> printable("a" + chr(10) + chr(27) + "[2J")
    'a  [2J'
    """
    return "".join(c if c.isprintable() else " " for c in text[:most])


def parse_json(data: bytes, what: str) -> Any:
    """The value of a JSON text. Refused are also NaN and Infinity, which JSON does not have, and
    halves of characters, which cannot be written again.

    Raises:
        Refused: not JSON, or nested too deeply to be read.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        value = json.loads(data.decode(), parse_constant=refuse)
        if b"\\ud" in data.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise Refused(f"{what}: not JSON (nested too deeply)") from None
    except ValueError as e:
        raise Refused(f"{what}: not JSON ({e})") from None


def misfit(value: Any, form: Form, name: str = "it") -> str | None:
    """What keeps a JSON value from having a form, in words; None if it has it.

    Numbers must be finite, and so small that sums and squares of them are. An object may have more
    keys than its form. In a form, "key?" is a key that may be missing, and `str` stands for every
    key that is not named.

    >>> misfit({"a": [1, "b"], "c": 2}, {"a": [int], "d?": str})
    'a[1] must be int'
    """
    inner: list[tuple[str, Any, Form]] = []  # name, value and form of each part
    if isinstance(form, dict):
        needed = [key for key in form if key is not str and not key.endswith("?")]
        if not isinstance(value, dict) or not value.keys() >= set(needed):
            return " ".join([f"{name} must be an object with", ", ".join(sorted(needed))])
        keys = {key.removesuffix("?"): key for key in form if key is not str}
        for key, each in value.items():
            if key in keys or str in form:
                inner.append((key, each, form[keys.get(key, str)]))
    elif isinstance(form, list):
        if not isinstance(value, list):
            return f"{name} must be a list"
        inner = [(f"{name}[{i}]", each, form[0]) for i, each in enumerate(value)]
    else:
        kinds = get_args(form) or (form,)
        right = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
        if isinstance(value, (int, float)):
            right = right and abs(value) < (2**63 if isinstance(value, int) else 1e100)
        words = " or ".join(kind.__name__ for kind in kinds).replace("NoneType", "null")
        return None if right else f"{name} must be {words}"
    return next(filter(None, (misfit(each, of, key) for key, each, of in inner)), None)


def read_json(path: Path, form: dict[str, Form], most: int = MOST_JSON) -> dict[str, Any]:
    """The object in a JSON file, which must have this form; it may have other keys as well.

    Raises:
        Refused: no such regular file, too large, not JSON, or of another form.
    """
    value = parse_json(read_bytes(path, most), str(path))
    if wrong := misfit(value, form):
        raise Refused(f"{path}: {wrong}")
    return value


def read_lines(path: Path, form: dict[str, Form]) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines: at least one, each of this form.

    Raises:
        Refused: no such regular file, too large, or a line that is not JSON or of another form.
    """
    rows = []
    with open_regular(path, MOST_LINES) as f:
        while line := f.readline(MOST_LINE + 1):
            where = f"{path}, line {len(rows) + 1}"
            if len(line) > MOST_LINE:
                raise Refused(f"{where}: is longer than {MOST_LINE:,} bytes")
            rows.append(parse_json(line, where))
            if wrong := misfit(rows[-1], form):
                raise Refused(f"{where}: {wrong}")
    if not rows:
        raise Refused(f"{path}: must have lines, each an object with {', '.join(sorted(form))}")
    return rows
