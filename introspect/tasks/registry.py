"""From the name of a task to its world: those of introspect/tasks/, and those in a file of yours.

A task of your own is named as FILE.py:CLASS, several tasks of one model are joined by +.
"""

import hashlib
import importlib
import sys
import traceback
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from introspect.fields import Refused, base_type, nearest
from introspect.tasks import TASKS
from introspect.tasks.world import World


def find_tasks(spec: str) -> dict[str, type]:
    """The tasks that "hint", "hint+refusal" or "my_task.py:Weather" names, in their order.

    Raises:
        Refused: no such task, a task named twice, or a file or class that is no task.
    """
    names = spec.split("+")
    if len(set(names)) < len(names):
        raise Refused(f"--task={spec}: names a task twice")
    return {name: find_task(name) for name in names}


def find_task(name: str) -> type:
    if name in TASKS:
        return TASKS[name]
    path, colon, attribute = name.rpartition(":")  # of FILE.py:CLASS
    if not colon:
        near = nearest(name, TASKS)
        raise Refused(f"--task={name}: must be of {', '.join(TASKS)}, or FILE.py:CLASS{near}")
    task = getattr(load(Path(path), name), attribute, None)
    if not (isinstance(task, type) and is_dataclass(task)):
        raise Refused(f"--task={name}: {path} must have a dataclass {attribute}")
    if not task.__dataclass_params__.frozen:
        raise Refused(f"--task={name}: must be frozen, @dataclass(frozen=True)")
    if not callable(getattr(task, "world", None)):
        raise Refused(f"--task={name}: must have a method world(self, seed)")
    for f in fields(task):
        if base_type(f.type) not in (int, float, str, bool):
            raise Refused(
                f"--task={name}: {f.name} must be an int, float, str or bool, written as a type "
                f"(no annotations from __future__), got {f.type!r}"
            )
        if f.default is MISSING:
            raise Refused(f"--task={name}: {f.name} must have a default, as in option(3, 'what')")
        if "help" not in f.metadata:
            raise Refused(f"--task={name}: {f.name} must be made by option(default, 'meaning')")
    return task


def load(path: Path, name: str) -> Any:
    """The module of a file, importable by its name, as worker processes need it."""
    if path.suffix != ".py" or not path.is_file():
        raise Refused(f"--task={name}: {path} must be a Python file that is there")
    if not path.stem.isidentifier():
        raise Refused(f"--task={name}: {path} must be named so that Python can import it")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module = run_of_user(f"--task={name}", path, lambda: importlib.import_module(path.stem))
    if Path(getattr(module, "__file__", None) or "").resolve() != path.resolve():
        raise Refused(f"--task={name}: there is another module {path.stem}; rename the file")
    return module


def run_of_user(what: str, path: Path, do: Any) -> Any:
    """do(); what goes wrong in the user's file is said in one line."""
    try:
        return do()
    except Refused as e:
        raise Refused(f"{what}: {e}") from None
    except (Exception, SystemExit) as e:
        frames = traceback.extract_tb(e.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).name == path.name]
        line = lines[-1] if lines else getattr(e, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        text = " ".join(str(e).split())
        raise Refused(f"{what}: {where}: {type(e).__name__}: {text}") from None


def source(name: str) -> str | None:
    """SHA-256 of the file of a task of one's own; None for those of introspect/tasks/."""
    if name in TASKS:
        return None
    return hashlib.sha256(Path(name.rpartition(":")[0]).read_bytes()).hexdigest()


def make_world(name: str, task: Any, seed: int) -> World:
    """task.world(seed).

    Raises:
        Refused: it fails, gives no world, or one that contradicts the protocol.
    """
    if name in TASKS:
        return task.world(seed)
    world = run_of_user(f"task {name}", Path(name.rpartition(":")[0]), lambda: task.world(seed))
    if not isinstance(world, World):
        raise Refused(f"task {name}: world(seed) must return a World, got {type(world).__name__}")
    return world


def prompts(world: World) -> set[str]:
    """Every prompt of a world as text."""
    shapes = [list(sequence[:-1]) for sequence in world.prompts]
    return {" ".join(row) for slots in shapes for row in world.slots[:, slots].tolist()}


def answers_of(worlds: dict[str, World]) -> tuple[str, ...]:
    """What the rows of the task head stand for: every answer of any world, once."""
    return tuple(dict.fromkeys(answer for world in worlds.values() for answer in world.answers))
