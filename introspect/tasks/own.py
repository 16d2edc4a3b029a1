"""What binds a run to a task of one's own: what its code says, its world, and its seed."""

import ast
import hashlib
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from introspect.fields import Refused
from introspect.reading import MB, read_bytes
from introspect.tasks import TASKS
from introspect.tasks.registry import make_world
from introspect.tasks.world import World


def hash_code(name: str) -> str | None:
    """SHA-256 of what the file of a task of yours says, so that comments, docstrings and layout may
    change; None for a task of introspect/tasks/."""
    if name in TASKS:
        return None
    data = read_bytes(Path(name.rpartition(":")[0]), MB)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come when the file is run
            data = repr(outline(ast.parse(data))).encode()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass  # not code that can be run: its bytes
    return hashlib.sha256(data).hexdigest()


def outline(code: Any) -> Any:
    """A syntax tree as nested lists without places, texts that are statements, such as docstrings,
    and empty parts, which versions of Python add.

    >>> outline(ast.parse("1  # one")) == outline(ast.parse("'one'; 1"))
    True
    """
    if isinstance(code, list):
        return [outline(part) for part in code if not is_text(part)]
    if isinstance(code, ast.AST):
        parts = [(name, outline(part)) for name, part in ast.iter_fields(code)]
        return [type(code).__name__, *(part for part in parts if part[1] not in (None, []))]
    return code


def is_text(code: Any) -> bool:
    """Whether a statement is a text, which does nothing."""
    is_constant = isinstance(code, ast.Expr) and isinstance(code.value, ast.Constant)
    return is_constant and isinstance(code.value.value, str)


def hash_own(name: str, task: Any, seed: int) -> str | None:
    """Hash of a task of yours: of its code and of its world, since code may import and read what is
    not in its file, such as a list of words; None for a task of introspect/tasks/.

    Numbers count with six decimals, so that another CPU makes the same hash.
    """
    if name in TASKS:
        return None
    world, found = make_world(name, task, seed), hashlib.sha256(hash_code(name).encode())
    for f in fields(World):
        part = getattr(world, f.name)
        if isinstance(part, np.ndarray) and part.dtype.kind == "f":
            part = (part.round(6) + 0.0).tobytes()  # + 0.0: no negative zero
        found.update(repr(part.tolist() if isinstance(part, np.ndarray) else part).encode())
    return found.hexdigest()


def check_seed(name: str, task: Any, seed: int) -> None:
    """Refuse a world of a task of yours that is not a function of its seed, or does not depend on
    it: then runs of several seeds would be runs of one world."""
    if name in TASKS:
        return
    world = make_world(name, task, seed)
    if not same_world(world, make_world(name, task, seed)):
        raise Refused(f"task {name}: world({seed}) must be the same every time; draw from its seed")
    if all(same_world(world, make_world(name, task, seed ^ other)) for other in (1, 2, 3)):
        raise Refused(
            f"task {name}: world(seed) ignores its seed; must be another world for another seed, "
            "as with rng(seed, 'facts')"
        )


def same_world(one: World, other: World) -> bool:
    """Whether two worlds are equal in everything."""
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(World)]
    return all(np.array_equal(*p) if isinstance(p[0], np.ndarray) else p[0] == p[1] for p in pairs)
