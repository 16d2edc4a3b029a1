"""Small files that are whole or absent, what a folder says it holds, and the versions."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from introspect import __version__
from introspect.fields import Refused


def is_aside(name: str) -> bool:
    """Whether a file is what a kill left of one that was being written."""
    return name.startswith(".") and name.endswith(".tmp")


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step, if at all; a kill leaves the old file or the new one."""
    if path.exists() and path.read_bytes() == text.encode():
        return
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


def read_json(path: Path, needs: set[str]) -> dict[str, Any]:
    """The object in a JSON file, which has at least the keys `needs`.

    Raises:
        Refused: no such file, not JSON, or not such an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise Refused(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise Refused(f"{path}: not JSON ({e})") from None
    if not isinstance(value, dict) or not needs <= value.keys():
        raise Refused(f"{path}: must be an object with {', '.join(sorted(needs))}")
    return value


def read_lines(path: Path, needs: str = "step") -> list[dict]:
    """The objects in a file of JSON lines, at least one, each of which has the key `needs`.

    Raises:
        Refused: no such file, not JSON, or not such objects.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as e:
        raise Refused(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise Refused(f"{path}: not lines of JSON ({e})") from None
    if not rows or not all(isinstance(row, dict) and needs in row for row in rows):
        raise Refused(f"{path}: must have lines, each an object with {needs}")
    return rows


def claim_folder(out: Path, config: dict[str, Any]) -> None:
    """Make `out` the folder of this configuration, or refuse to touch what is another's.

    Writes out/config.json. A folder that has the same one is continued.
    """
    known = out / "config.json"
    try:
        if known.exists():
            there, here = flatten(read_json(known, {"config"})), flatten(config)
            for name in {**here, **there}:
                if there.get(name) != here.get(name):
                    raise Refused(
                        f"--out_dir={out}: holds another run, with {name}={there.get(name)} and "
                        f"not {here.get(name)}; give another --out_dir"
                    )
        elif out.exists() and not (out.is_dir() and all(is_aside(f.name) for f in out.iterdir())):
            raise Refused(f"--out_dir={out}: is not empty and not a run; give another --out_dir")
        out.mkdir(parents=True, exist_ok=True)
        write_json(known, config)
    except OSError as e:
        raise Refused(f"--out_dir={out}: cannot be written ({e.strerror})") from None


def flatten(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config.json that have to agree, by name. Who asked for the run first, as
    older ones say, does not count."""
    free = ("config", "cache", "experiment", "arm", "first_seed")
    return {k: v for k, v in config.items() if k not in free} | config["config"]


def commit(git: Path = Path(__file__).parents[1] / ".git") -> str:
    """The commit of the source that runs, read from its .git; "unknown" where there is none."""
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        loose = git / head[5:]
        if loose.exists():
            return loose.read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next(line.split()[0] for line in packed if line.endswith(f" {head[5:]}"))
    except (OSError, StopIteration):
        return "unknown"


def versions(device: str) -> dict[str, str]:
    """What besides the configuration decides the last digits of a result."""
    found = {package: version(package) for package in ("torch", "numpy", "tiktoken")}
    python = {"python": platform.python_version()}
    own = {"introspect": __version__, "commit": commit()}
    return {**own, **python, **found, "device": device}
