"""Folders of tensors that are whole or absent, verified when they are loaded, and never executed.

A folder has state.pt (tensors and plain numbers), meta.json, and manifest.json with the size and
the SHA-256 of both, and with the hash of what made the folder. It is written under another name and
renamed once everything is on disk, so a kill at any moment leaves earlier folders intact.

A seal proves that a folder is whole, not that its maker is a friend: anybody can seal anything.
Loading therefore reads no more than it is told to expect, lets an archive name nothing but plain
tensors, and unpickles nothing (`torch.load(weights_only=True)`); restore.py then holds every tensor
against what belongs there.
"""

import hashlib
import io
import json
import os
import pickletools
import re
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from introspect.fields import Refused
from introspect.files import (
    name_aside,
    remove,
    remove_leftovers,
    sync_directory,
    write_bytes,
)
from introspect.reading import MB, parse_json, printable, read_bytes, read_json

KEEP = 2  # how many checkpoints of a run are kept; the older one is a reserve
ALL = "keep-all"  # a folder in which there is a file of this name keeps all of them
FILES = ("state.pt", "meta.json")
NAMES = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"}  # that tensors are made with
NAMES |= {"torch FloatStorage", "torch LongStorage"}
FORM = {"made_of": str, "files": {name: {"sha256": str, "bytes": int} for name in FILES}}

State, Meta = dict[str, Any], dict[str, Any]


class Corrupt(Refused):
    """A folder whose files do not match its manifest, or are not what they should be."""


def save(folder: Path, state: State, meta: Meta, made_of: str = "") -> None:
    """Write `folder` with one atomic rename; if it exists already, it is left as it is.

    Args:
        made_of: hash of everything that decides what is in the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    packed = io.BytesIO()
    torch.save(state, packed)
    contents = dict(zip(FILES, (packed.getvalue(), json.dumps(meta).encode())))
    files = {name: seal(data) for name, data in contents.items()}
    contents["manifest.json"] = json.dumps({"made_of": made_of, "files": files}).encode()  # last
    aside = name_aside(folder)
    aside.mkdir()
    try:
        for name, data in contents.items():
            write_bytes(aside / name, data, folder / name)
        os.replace(aside, folder)
    except OSError:  # the disk; or another process wrote the folder, or it was there before
        with suppress(OSError):
            remove(aside)
        if folder.is_symlink() and not folder.exists():
            raise Refused(f"{folder}: is a link that leads nowhere; remove it") from None
        if not folder.is_dir():
            raise
    sync_directory(folder.parent)


def seal(data: bytes) -> dict[str, Any]:
    """What the manifest says of a file."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def load(
    folder: Path, made_of: str | None = None, size: int = 64 * MB, meta_size: int = MB
) -> tuple[State, Meta]:
    """(state, meta) of a folder, with tensors on the CPU.

    Args:
        made_of: the hash that the folder must have been saved with; None: any.
        size: bytes of the tensors that are expected, at most. meta_size: of meta.json, at most.

    Raises:
        Corrupt: a file is missing, too large, or does not match the manifest.
        Refused: another configuration made the folder.
    """
    try:
        manifest = read_json(folder / "manifest.json", FORM)
    except Refused as e:
        raise Corrupt(f"{folder}: not a whole checkpoint ({e})") from None
    if made_of not in (None, manifest["made_of"]):
        raise Refused(
            f"{folder}: must be of this configuration, with hash {made_of[:12]}, but was made of "
            f"{manifest['made_of'][:12] or 'an unknown one'}; remove it to make it again"
        )
    try:
        most = {"state.pt": size + size // 16 + MB, "meta.json": meta_size}
        contents = {name: read_bytes(folder / name, most[name]) for name in FILES}
        for name, data in contents.items():
            if manifest["files"][name] != seal(data):
                raise Corrupt(f"{folder}: {name} is not the one that the manifest seals")
        archive = checked_archive(contents["state.pt"], size)
        state = torch.load(archive, weights_only=True, map_location="cpu")
        meta = parse_json(contents["meta.json"], f"{folder / 'meta.json'}")
        if not (isinstance(state, dict) and isinstance(meta, dict)):
            raise ValueError("state and meta must have names")
        return state, meta
    except Corrupt:
        raise
    except Exception as e:  # damaged files can make the readers raise anything
        raise Corrupt(f"{folder}: not a whole checkpoint ({printable(str(e))})") from None


def checked_archive(data: bytes, size: int) -> BinaryIO:
    """An archive of tensors, written anew so that what is read is exactly what was checked.

    Raises:
        ValueError: it has more in it than its bytes say (packed numbers, several names for the same
            bytes), or its pickle is refused.
    """
    new = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(new, "w") as checked:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("must not have more in it than its bytes say")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError("must not be compressed")
            content = archive.read(entry)
            if entry.filename.lower().endswith(".pkl"):
                check_pickle(content, MB // 2 + size // 16)
            checked.writestr(entry.filename, content)
    new.seek(0)
    return new


def check_pickle(code: bytes, most: int) -> None:
    """Refuse a pickle that is long, or names something else than what tensors are made with: even
    what cannot be executed could ask for any amount of memory."""
    if len(code) > most:
        raise ValueError("the pickle is too large")
    for operation, name, _ in pickletools.genops(code):
        kind = operation.name
        if kind in ("STACK_GLOBAL", "INST") or kind == "GLOBAL" and name not in NAMES:
            raise ValueError(f"must hold plain tensors, not {name}")


def numbered(parent: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint `parent`/step-000123 or kept-000123, newest first."""
    form = re.compile(r"(step|kept)-\d{6,12}", re.ASCII)
    steps = [p for p in parent.glob("*-*") if form.fullmatch(p.name)]
    return sorted(((int(p.name[5:]), p) for p in steps), reverse=True)


def newest(
    parent: Path,
    until: int | None = None,
    made_of: str | None = None,
    size: int = 64 * MB,
    meta_size: int = MB,
) -> tuple[int, State, Meta] | None:
    """(step, state, meta) of the newest whole checkpoint, not later than step `until`; None if
    there is no checkpoint. The other arguments are those of `load`.

    Raises:
        Refused: there are checkpoints, but none is whole, or one is of another configuration.
            Nothing is deleted.
    """
    broken = None
    for step, folder in numbered(parent):
        if until is not None and step > until:
            continue
        try:
            state, meta = load(folder, made_of, size, meta_size)
            if meta.get("step") != step:
                raise Corrupt(f"{folder}: holds step {meta.get('step')!r:.20}")
            return step, state, meta
        except Corrupt as e:
            if not os.path.lexists(folder):  # a later one is there, this one was no longer needed
                return newest(parent, until, made_of, size, meta_size)
            broken = broken or e
            print(f"warning: {e}; trying the one before", file=sys.stderr)
    if broken:
        raise Refused(f"{broken}; none before it is whole: remove {parent} to begin again")
    return None


def save_step(
    parent: Path, step: int, state: State, meta: Meta, made_of: str = "", kept: bool = False
) -> None:
    """Save parent/step-000123; of the earlier steps, only the last one is kept. Or save
    parent/kept-000123, which stays when others are removed."""
    folder = parent / f"{'kept' if kept else 'step'}-{step:06d}"
    if folder.exists():
        try:
            load(folder, made_of)
            return prune(parent, step)  # another process saved the same step
        except Corrupt:
            discard(folder)
    save(folder, state, {"step": step} | meta, made_of)
    prune(parent, step)


def prune(parent: Path, step: int) -> None:
    """Remove the checkpoints that are no longer needed once that of `step` is there."""
    remove_leftovers(parent)
    if (parent / ALL).exists():
        return
    earlier = [folder for s, folder in numbered(parent) if s <= step]
    for old in [folder for folder in earlier if folder.name.startswith("step")][KEEP:]:
        discard(old)


def discard(folder: Path) -> None:
    """Remove a folder of which nobody is to see a half."""
    aside = name_aside(folder)
    try:
        os.replace(folder, aside)
    except FileNotFoundError:  # another process removed it
        return
    remove(aside)
