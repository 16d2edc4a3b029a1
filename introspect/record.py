"""Small files that are whole or absent: JSON and lines of JSON, and the versions that made them."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from introspect.config import Refused


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step; a kill leaves the old file or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(aside, "w", encoding="utf-8", newline="\n") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(aside, path)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_lines(path: Path, rows: list[dict]) -> None:
    write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        Refused: no such file, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise Refused(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise Refused(f"{path}: not JSON ({e})") from None


def read_lines(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as e:
        raise Refused(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise Refused(f"{path}: not lines of JSON ({e})") from None


def versions(device: str) -> dict[str, str]:
    """What besides the configuration decides the last digits of a result."""
    packages = ("introspect", "torch", "numpy", "tiktoken")
    found = {package: version(package) for package in packages}
    return {"python": platform.python_version(), **found, "device": device}
