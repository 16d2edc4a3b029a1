"""A fault at a chosen file event of a command: a kill, a torn write, a signal, a disk error.

A file event is one operation that changes what is on disk below a folder: open for writing, write,
fsync, rename, mkdir, unlink, rmdir, and the like. `Injector.install` replaces the functions that
do them in this process, which is a child made for one command (tests/trials.py). It counts the
events, writes a line about each to a file of notes, and at the chosen one does the fault, after a
line that says so: a test that finds this line knows that the fault has landed.

An audit hook sees what the replaced functions do not; such an event is noted as missed.
"""

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

KILLS = ("before", "after", "torn")  # SIGKILL before the event, after it, after half of a write
ERRORS = ("ENOSPC", "EIO", "EROFS", "short")  # raised in place of the event; half is written
WRITES_ONLY = ("torn", "short")
EVERY = -1  # the number of every event

CALLS = {  # functions of os that change the disk -> what their event is called
    "mkdir": "mkdir", "rename": "rename", "replace": "rename", "link": "link",
    "unlink": "unlink", "remove": "unlink", "rmdir": "rmdir", "truncate": "write",
    "ftruncate": "write", "fsync": "fsync", "fdatasync": "fsync", "chmod": "chmod",
}  # fmt: skip
AUDITED = ("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate",
           "os.chmod")  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Fault(NamedTuple):
    """What happens at which event, counted from 0."""

    how: str  # of KILLS, of ERRORS, "SIGTERM", or anything else for no fault at all
    at: int = EVERY


class Event(NamedTuple):
    """One line of the notes."""

    number: int
    kind: str
    path: str


class Injector:
    """Counts the file events below `root` and does `fault`; writes to the file `notes`."""

    def __init__(self, root: Path, notes: Path, fault: Fault):
        self.root, self.fault, self.count, self.busy = os.path.realpath(root), fault, 0, False
        self.notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.write, self.sync, self.open = os.write, os.fsync, io.open

    def install(self) -> None:
        """Replace the functions of this process that change files, for good."""
        sys.addaudithook(self.audit)
        for name, kind in CALLS.items():
            setattr(os, name, self.watch(kind, getattr(os, name)))
        plain_open, plain_write = os.open, os.write

        def open_number(path, flags, *args, dir_fd=None, **kwargs):
            def act():
                return plain_open(path, flags, *args, dir_fd=dir_fd, **kwargs)

            return self.meet("open", path, act, dir_fd) if flags & WRITING else act()

        def write_number(number, data):
            half = memoryview(data).cast("B")[: (len(data) + 1) // 2]
            return self.meet(
                "write", number, lambda: plain_write(number, data),
                half=lambda: plain_write(number, half),
            )  # fmt: skip

        os.open, os.write = open_number, write_number
        builtins.open = io.open = self.open_file

    def watch(self, kind: str, call: Callable) -> Callable:
        """`call`, a function of os on a path or on the number of an open file, as an event."""

        def watched(path, *args, **kwargs):
            at = kwargs.get("dir_fd", kwargs.get("src_dir_fd"))
            skipped = kind == "fsync"  # a kill loses nothing that was written: no need to wait
            act = (lambda: None) if skipped else (lambda: call(path, *args, **kwargs))
            return self.meet(kind, path, act, at)

        return watched

    def open_file(
        self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None,
        closefd=True, opener=None,
    ):  # fmt: skip
        """What `open` does, with a raw file whose writes are events."""
        if not set(mode) & set("wax+") or not self.is_below(file):
            return self.open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        injector, bare = self, mode.replace("b", "").replace("t", "")

        class Watched(io.FileIO):
            def write(self, data) -> int:
                write, half = super().write, memoryview(data).cast("B")
                half = half[: (len(half) + 1) // 2]
                return injector.meet(
                    "write", self.fileno(), lambda: write(data), half=lambda: write(half)
                )

        raw = self.meet("open", file, lambda: Watched(file, bare, closefd, opener))
        if buffering == 0:
            return raw
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def meet(
        self, kind: str, path: Any, act: Callable, dir_fd: int | None = None,
        half: Callable | None = None,
    ) -> Any:  # fmt: skip
        """`act`, if it is below the root as the next event; or the fault, if it is its turn.

        Args:
            half: the same for half of the bytes, of a write.
        """
        if self.busy or not self.is_below(path, dir_fd):
            return act()
        number, self.count = self.count, self.count + 1
        event = f"{number} {kind} {os.path.relpath(place(path, dir_fd), self.root)}"
        self.note(event)
        how = self.fault.how if self.fault.at in (number, EVERY) else ""
        if how in WRITES_ONLY and half is None:
            how = ""
        self.busy = True
        try:
            if how:
                return self.strike(how, event, path, act, half)
            return act()
        finally:
            self.busy = False

    def strike(self, how: str, event: str, path: Any, act: Callable, half: Callable | None) -> Any:
        """The fault itself."""
        if how == "torn":
            half()
        if how == "after":
            with suppress(OSError):  # as of a folder that is there: over all the same
                act()
        if how in KILLS:
            self.note(f"landed: {how} {event}")
            signal.raise_signal(signal.SIGKILL)
        if how == "SIGTERM":
            self.note(f"landed: {how} {event}")
            signal.raise_signal(signal.SIGTERM)
        if how in ERRORS:
            self.note(f"landed: {how} {event}")
            if how == "short":
                return half()
            named = () if isinstance(path, int) else (os.fspath(path),)  # as the system does
            code = getattr(errno, how)
            raise OSError(code, os.strerror(code), *named)
        return act()

    def note(self, line: str) -> None:
        self.write(self.notes, f"{line}\n".encode())
        if line.startswith("landed"):
            self.sync(self.notes)

    def is_below(self, path: Any, dir_fd: int | None = None) -> bool:
        full = place(path, dir_fd)
        return full == self.root or full.startswith(self.root + os.sep)

    def audit(self, name: str, args: tuple) -> None:
        """Note an event that none of the replaced functions has announced."""
        if self.busy or not (name in AUDITED or name == "open" and args[2] & WRITING):
            return
        at = args[-1] if name in ("os.mkdir", "os.remove", "os.rmdir") else -1
        if args[0] is not None and self.is_below(args[0], at if at >= 0 else None):
            self.note(f"missed: {name} {args[0]}")


def place(path: Any, dir_fd: int | None = None) -> str:
    """The full path of a path, or of an open file that is given by its number."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    base = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
    return os.path.normpath(os.path.join(base, os.fsdecode(path)))


def read_notes(notes: Path) -> tuple[list[Event], list[str]]:
    """The events of a command, and what was said of faults: landed ones, and missed events."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    said = [line for line in lines if line.startswith(("landed", "missed"))]
    parts = [line.split(" ", 2) for line in lines if line not in said]
    return [Event(int(number), kind, path) for number, kind, path in parts], said
