"""Folders of tensors that are whole or absent, and verified when they are loaded.

A folder has state.pt (tensors and plain numbers), meta.json, and manifest.json with the SHA-256 of
both. It is written under another name and renamed once everything is on disk, so a kill at any
moment leaves earlier folders intact. Loading unpickles nothing: `torch.load(weights_only=True)`.
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

KEEP = 2  # how many checkpoints of a run are kept; the older one is a reserve


class Corrupt(Refused):
    """A folder whose files do not match its manifest."""


def save(folder: Path, state: dict[str, Any], meta: dict[str, Any]) -> None:
    """Write `folder` with one atomic rename; if it exists already, it is left as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)  # left by a killed process with the same number
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
    except OSError:  # another process wrote the folder, or it was there before
        shutil.rmtree(aside)
        if not folder.is_dir():
            raise
    sync_directory(folder.parent)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, meta) of a folder, with tensors on the CPU.

    Raises:
        Corrupt: a file is missing or does not match the manifest.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        contents = {name: (folder / name).read_bytes() for name in ("state.pt", "meta.json")}
        for name, data in contents.items():
            sha256 = hashlib.sha256(data).hexdigest()
            if manifest[name] != sha256:
                raise Corrupt(f"{folder}: {name} has SHA-256 {sha256[:12]}, not the manifest's")
        state = torch.load(io.BytesIO(contents["state.pt"]), weights_only=True, map_location="cpu")
        return state, json.loads(contents["meta.json"])
    except Corrupt:
        raise
    except Exception as e:  # damaged files can make the readers raise anything
        raise Corrupt(f"{folder}: not a whole checkpoint ({e})".replace("\n", " ")) from None


def numbered(parent: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint `parent`/step-000123, newest first."""
    steps = [p for p in parent.glob("step-*") if re.fullmatch(r"step-\d+", p.name)]
    return sorted(((int(p.name[5:]), p) for p in steps), reverse=True)


def newest(parent: Path, until: int | None = None) -> tuple[int, dict, dict] | None:
    """(step, state, meta) of the newest whole checkpoint, not later than step `until`; None if
    there is no checkpoint.

    Raises:
        Refused: there are checkpoints, but none is whole. Nothing is deleted.
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
    """Save parent/step-000123; of the earlier steps, only the last one is kept."""
    folder = parent / f"step-{step:06d}"
    if folder.exists():
        try:
            load(folder)
            return  # another process saved the same step
        except Corrupt:
            shutil.rmtree(folder)
    save(folder, state, meta)
    for old in [f for s, f in numbered(parent) if s <= step][KEEP:]:
        shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """Remove unfinished folders of killed processes; those of living processes stay."""
    for aside in parent.glob(".*.tmp"):
        try:
            os.kill(int(aside.name.split(".")[-2]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(aside, ignore_errors=True)
        except PermissionError:  # the process lives and is another user's
            pass


def sync_directory(folder: Path) -> None:
    """Make renames in `folder` survive a power loss, if the system can do that."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
