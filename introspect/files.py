"""Files that are whole or absent, and folders that belong to a run.

A file gets another name first and is renamed when all of it is on disk. That name says which
process made it, so that others remove what a killed process left, and it has a random part, so that
two containers or machines may share a folder.
"""

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from introspect.config import unset_fields
from introspect.fields import Refused
from introspect.reading import read_json

STALE = 24 * 60 * 60  # seconds after which nobody still writes what has a temporary name


def name_owner() -> str:
    """Eight digits for this machine since it was started, and for this container of it."""
    words = [platform.node()]
    with suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        words.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]


OWNER = name_owner()


def name_aside(path: Path) -> Path:
    """A name beside `path` for what is not whole yet, which nobody else takes."""
    return path.with_name(f".{path.name}.{OWNER}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def is_aside(name: str) -> bool:
    """Whether a file name is one of `name_aside`."""
    return bool(re.fullmatch(r"\..+\.[0-9a-f]{8}\.\d+\.[0-9a-f]{8}\.tmp", name))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left unfinished in `folder`: at once where the process was of
    this machine and is gone, else after a day. What a living process writes stays."""
    for aside in filter(lambda path: is_aside(path.name), folder.glob(".*.tmp")):
        owner, number = aside.name.split(".")[-4:-2]
        with suppress(OSError):
            gone = owner == OWNER and not is_alive(int(number))
            if gone or time.time() - aside.lstat().st_mtime > STALE:
                remove(aside)


def is_alive(number: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    with naming(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name this file in an error of the system, which may name none or only a part."""
    try:
        yield
    except OSError as e:
        raise OSError(e.errno, e.strerror, str(path)) from None


def write_bytes(path: Path, data: bytes, name: Path | None = None) -> None:
    """Write a file and wait until it is on disk; an error names `name` instead of `path`."""
    with naming(name or path), open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def sync_directory(folder: Path) -> None:
    """Make renames in `folder` survive a power loss, if the system can do that."""
    if hasattr(os, "O_DIRECTORY"):
        with naming(folder):
            handle = os.open(folder, os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def replace_bytes(path: Path, data: bytes) -> None:
    """Replace `path` in one step, so that a kill leaves either the old file or the new one."""
    remove_leftovers(path.parent)
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    aside = name_aside(path)
    try:
        write_bytes(aside, data, path)
        os.replace(aside, path)
    except OSError:
        with suppress(OSError):
            remove(aside)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace `path` by this text in one step."""
    replace_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_lines(path: Path, rows: list[dict]) -> None:
    write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def claim_folder(out: Path, config: dict[str, Any]) -> None:
    """Make `out` the folder of this configuration by writing out/config.json.

    If the folder has the same configuration already, its run is continued.

    Raises:
        Refused: the folder has another configuration, or files that are not of a run.
    """
    known = out / "config.json"
    try:
        foreign = out.exists() and not (
            out.is_dir() and all(is_aside(f.name) for f in out.iterdir())
        )
        if known.exists():  # asked last: another process may have just claimed the folder
            there, here = flatten(read_json(known, {"config": dict})), flatten(config)
            for name in {**here, **there}:
                if there.get(name) != here.get(name):
                    raise Refused(
                        f"--out_dir={out}: holds another run, with {name}={there.get(name)} and "
                        f"not {here.get(name)}; give another --out_dir"
                    )
        elif foreign:
            raise Refused(f"--out_dir={out}: is not empty and not a run; give another --out_dir")
        out.mkdir(parents=True, exist_ok=True)
        write_json(known, config)
    except OSError as e:
        raise Refused(f"--out_dir={out}: cannot be written ({e.strerror})") from None


def flatten(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config.json that must be the same when a run is continued, by name. Who first
    asked for the run, as older ones say, does not count."""
    free = ("config", "cache", "experiment", "arm", "first_seed")
    named = {"stacked": False} | {k: v for k, v in config.items() if k not in free}
    return named | unset_fields() | config["config"]
