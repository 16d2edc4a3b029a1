"""From the name of a task to its world.

A task is one of introspect/tasks/, or one in a file of yours, named as FILE.py:CLASS. Several tasks
that one model learns are joined by +.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from introspect.fields import Refused, base_type, nearest
from introspect.tasks import TASKS
from introspect.tasks.world import World


def find_tasks(spec: str) -> dict[str, type]:
    """The tasks in "hint", "hint+refusal" or "my_task.py:Weather", in their order.

    Raises:
        Refused: no such task, a task named twice, or a file or class that is no task.

    >>> [task().n_answer for task in find_tasks("hint+jabberwocky").values()]
    [4, 4]
    """
    names = spec.split("+")
    if len(set(names)) < len(names):
        raise Refused(f"--task={spec}: names a task twice")
    return {name: find_task(name) for name in names}


def find_task(name: str) -> type:
    """The class of one task; raises as `find_tasks` does."""
    if name in TASKS:
        return TASKS[name]
    path, colon, class_name = name.rpartition(":")
    if not colon:
        near = nearest(name, TASKS)
        raise Refused(f"--task={name}: must be of {', '.join(TASKS)}, or FILE.py:CLASS{near}")
    module = load_module(Path(path), f"--task={name}")
    if wrong := next(problems(module, path, class_name), None):
        raise Refused(f"--task={name}: {wrong}")
    return getattr(module, class_name)


def problems(module: Any, path: str, class_name: str) -> Iterator[str]:
    """What keeps this attribute of a module from being a task. Only the first problem is sure to be
    one."""
    task = getattr(module, class_name, None)
    if not (isinstance(task, type) and is_dataclass(task)):
        there = [key for key, value in vars(module).items()
                 if isinstance(value, type) and is_dataclass(value)
                 and value.__module__ == module.__name__]  # fmt: skip
        yield f"{path} must have a dataclass {class_name}; it has {', '.join(there) or 'none'}"
    if not task.__dataclass_params__.frozen:
        yield "must be frozen, @dataclass(frozen=True)"
    if not callable(getattr(task, "world", None)):
        yield "must have a method world(self, seed)"
    for f in fields(task):
        if base_type(f.type) not in (int, float, str, bool):
            yield (
                f"{f.name} must be an int, float, str or bool, written as a type "
                f"(no annotations from __future__), got {f.type!r}"
            )
        if f.default is MISSING:
            yield f"{f.name} must have a default, as in option(3, 'what')"
        if "help" not in f.metadata:
            yield f"{f.name} must be made by option(default, 'meaning')"


def check_named(spec: str, named: str) -> None:
    """Refuse a task's file that the user did not name: it would run as a program.

    Args:
        spec: the tasks that a folder names. named: the tasks that the user names.
    """
    trusted = {locate(name) for name in named.split("+")}
    for name in spec.split("+"):
        if name not in TASKS and locate(name) not in trusted:
            raise Refused(
                f"--task={named}: the task is a file, {name}, and would run as a program; if you "
                f"trust it, name it: --task={spec}"
            )


def locate(name: str) -> tuple[str, str]:
    """The file and the class of a task of the user's own."""
    path, _, class_name = name.rpartition(":")
    try:
        return os.path.realpath(path), class_name
    except ValueError:  # no file can have this name
        return path, class_name


def load_module(path: Path, what: str) -> Any:
    """The module in a file that `what` names. Worker processes can import it by its name."""
    if path.suffix != ".py" or not os.path.isfile(path):
        raise Refused(f"{what}: {path} must be a Python file that is there")
    if not path.stem.isidentifier():
        raise Refused(f"{what}: {path} must be named so that Python can import it")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    if path.stem not in sys.modules:
        check_alone(path, what)
    module = run_user_code(what, path, lambda: importlib.import_module(path.stem))
    if Path(getattr(module, "__file__", None) or "").resolve() != path.resolve():
        raise Refused(f"{what}: there is another module {path.stem}; rename the file")
    return module


def check_alone(path: Path, what: str) -> None:
    """Make sure that to import the module in a file is to run this file: nothing else beside it,
    such as a folder of this name, and nothing that was compiled before, from who knows what."""
    found = importlib.util.find_spec(path.stem)
    if found is None or not found.origin or Path(found.origin).resolve() != path.resolve():
        raise Refused(f"{what}: there is another module {path.stem}; rename the file")
    try:
        Path(importlib.util.cache_from_source(str(path.resolve()))).unlink(missing_ok=True)
    except OSError as e:
        raise Refused(f"{what}: {e.filename}: must be removed ({e.strerror})") from None


def run_user_code(what: str, path: Path, run: Callable[[], Any]) -> Any:
    """run(), which calls code in the user's file; an error becomes one line with its place."""
    try:
        return run()
    except Refused as e:
        raise Refused(f"{what}: {e}") from None
    except (Exception, SystemExit) as e:
        frames = traceback.extract_tb(e.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).name == path.name]
        line = lines[-1] if lines else getattr(e, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        text = " ".join(str(e).split())
        raise Refused(f"{what}: {where}: {type(e).__name__}: {text}") from None


def make_world(name: str, task: Any, seed: int) -> World:
    """task.world(seed).

    Raises:
        Refused: it fails, returns something else than a world, or a world that is not consistent.
    """
    if name in TASKS:
        return task.world(seed)
    path = Path(name.rpartition(":")[0])
    world = run_user_code(f"task {name}", path, lambda: task.world(seed))
    if not isinstance(world, World):
        raise Refused(f"task {name}: world(seed) must return a World, got {type(world).__name__}")
    return world


def prompt_texts(world: World) -> set[str]:
    """Every prompt of a world as text."""
    sequences = [list(prompt[:-1]) for prompt in world.prompts]
    return {" ".join(row) for slots in sequences for row in world.slots[:, slots].tolist()}


def joint_answers(worlds: dict[str, World]) -> tuple[str, ...]:
    """What the rows of the task head stand for: every answer of any world, once."""
    return tuple(dict.fromkeys(answer for world in worlds.values() for answer in world.answers))
