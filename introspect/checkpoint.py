"""Folders of tensors that are whole or absent: written aside, hashed, renamed; verified on load.

A folder holds state.pt (tensors and plain numbers), meta.json and manifest.json with the SHA-256 of
both. It gets its name by one rename after everything is on disk, so a kill at any moment leaves the
folders that were there before. Nothing is unpickled: `torch.load(weights_only=True)`.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from introspect.fields import Refused

KEEP = 2  # newest checkpoints of a run; the second is there in case the first does not verify


class Corrupt(Refused):
    """A folder whose files are not those of its manifest."""


def save(folder: Path, state: dict[str, Any], meta: dict[str, Any]) -> None:
    """Write `folder` with one atomic rename; a folder of that name that is already there stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)  # of a killed process that had the same number
    aside.mkdir()
    packed = io.BytesIO()
    torch.save(state, packed)
    contents = {"state.pt": packed.getvalue(), "meta.json": json.dumps(meta).encode()}
    manifest = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    contents["manifest.json"] = json.dumps(manifest).encode()  # last
    for name, data in contents.items():
        with open(aside / name, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
    try:
        os.replace(aside, folder)
    except OSError:  # the same folder was written by another process meanwhile, or before
        shutil.rmtree(aside)
        if not folder.is_dir():
            raise
    sync_directory(folder.parent)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, meta) of a folder, on the CPU.

    Raises:
        Corrupt: a file is missing or is not the one of the manifest.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        contents = {name: (folder / name).read_bytes() for name in ("state.pt", "meta.json")}
        for name, data in contents.items():
            found = hashlib.sha256(data).hexdigest()
            if manifest[name] != found:
                raise Corrupt(f"{folder}: {name} has SHA-256 {found[:12]}, not the manifest's")
        state = torch.load(io.BytesIO(contents["state.pt"]), weights_only=True, map_location="cpu")
        return state, json.loads(contents["meta.json"])
    except Exception as e:  # whatever bytes that are no checkpoint make the readers raise
        if isinstance(e, Corrupt):
            raise
        raise Corrupt(f"{folder}: not a whole checkpoint ({e})".replace("\n", " ")) from None


def numbered(parent: Path) -> list[tuple[int, Path]]:
    """(step, folder) of the checkpoints step-000123 below `parent`, newest first."""
    found = parent.glob("step-*") if parent.is_dir() else ()
    steps = [(int(p.name[5:]), p) for p in found if re.fullmatch(r"step-\d+", p.name)]
    return sorted(steps, reverse=True)


def newest(parent: Path, until: int | None = None) -> tuple[int, dict, dict] | None:
    """(step, state, meta) of the newest checkpoint that verifies, at most at step `until`.

    Raises:
        Refused: there are checkpoints and none of them verifies. Nothing is deleted.
    """
    broken = None
    for step, folder in numbered(parent):
        if until is not None and step > until:
            continue
        try:
            return (step, *load(folder))
        except Corrupt as e:
            broken = broken or e
            print(f"warning: {e}; trying the one before", file=sys.stderr)
    if broken:
        raise Refused(f"{broken}; none before it is whole: remove {parent} to begin again")
    return None


def save_step(parent: Path, step: int, state: dict, meta: dict) -> None:
    """Save parent/step-000123 and remove what is older than the one before it."""
    folder = parent / f"step-{step:06d}"
    if folder.exists():
        try:
            load(folder)
            return  # another process was here with the same result
        except Corrupt:
            shutil.rmtree(folder)
    save(folder, state, meta)
    for _, old in [(s, f) for s, f in numbered(parent) if s <= step][KEEP:]:
        shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """Remove what saves that were killed left behind; those of living processes stay."""
    for aside in parent.glob(".*.tmp"):
        try:
            os.kill(int(aside.name.split(".")[-2]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(aside, ignore_errors=True)
        except PermissionError:  # alive, somebody else's
            pass


def sync_directory(folder: Path) -> None:
    """Make renames in `folder` survive a power loss, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
