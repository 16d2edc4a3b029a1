"""Small files that are whole or absent, folders that belong to a run, and versions of the code."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from introspect import __version__
from introspect.fields import Refused

PACKAGE = Path(__file__).parent


def is_aside(name: str) -> bool:
    """Whether a file name is that of a file whose writing was interrupted."""
    return name.startswith(".") and name.endswith(".tmp")


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step, so that a kill leaves either the old file or the new one."""
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
    """The object in a JSON file, which must have at least the keys `needs`.

    Raises:
        Refused: no such file, not JSON, or not such an object.
    """
    value = read(path, json.loads, "not JSON")
    if not isinstance(value, dict) or not needs <= value.keys():
        raise Refused(f"{path}: must be an object with {', '.join(sorted(needs))}")
    return value


def read_lines(path: Path, needs: str = "step") -> list[dict]:
    """The objects in a file of JSON lines: at least one, and each must have the key `needs`.

    Raises:
        Refused: no such file, not JSON, or not such objects.
    """
    rows = read(path, lambda text: list(map(json.loads, text.splitlines())), "not lines of JSON")
    if not rows or not all(isinstance(row, dict) and needs in row for row in rows):
        raise Refused(f"{path}: must have lines, each an object with {needs}")
    return rows


def read(path: Path, parse: Callable[[str], Any], wrong: str) -> Any:
    """parse(text of the file)."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise Refused(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise Refused(f"{path}: {wrong} ({e})") from None


def claim_folder(out: Path, config: dict[str, Any]) -> None:
    """Make `out` the folder of this configuration by writing out/config.json.

    If the folder has the same configuration already, its run is continued.

    Raises:
        Refused: the folder has another configuration, or files that are not of a run.
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
    """The fields of a config.json that must be the same when a run is continued, by name. Who first
    asked for the run, as older ones say, does not count."""
    free = ("config", "cache", "experiment", "arm", "first_seed")
    return {k: v for k, v in config.items() if k not in free} | config["config"]


def commit(git: Path = PACKAGE.parent / ".git") -> str:
    """The commit that is checked out, read from .git; "unknown" if it cannot be read there."""
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


def hash_source(package: Path = PACKAGE) -> str:
    """A hash of the source itself, which differs from that of the commit if files were edited:
    12 digits of the SHA-256 of what `sha256sum` prints for the *.py and *.txt files in order.

        LC_ALL=C; cd introspect; find * -name '*.py' -o -name '*.txt' | sort | xargs sha256sum |
        sha256sum | head -c 12
    """
    paths = [p for p in package.rglob("*") if p.suffix in (".py", ".txt")]
    files = {p.relative_to(package).as_posix(): hashlib.sha256(p.read_bytes()) for p in paths}
    lines = [f"{sha256.hexdigest()}  {name}\n" for name, sha256 in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


# read when the program starts, so that edits during a long run do not change what its result says
CODE = {"introspect": __version__, "commit": commit(), "source": hash_source()}


def versions(device: str) -> dict[str, str]:
    """What besides the configuration decides the digits of a result: code, packages, device."""
    packages = {name: version(name) for name in ("torch", "numpy", "tiktoken")}
    return CODE | {"python": platform.python_version()} | packages | {"device": device}
