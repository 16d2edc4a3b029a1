"""The tasks, one a file. A task is a frozen dataclass of constants with `world(seed) -> World`."""

from introspect.tasks.hint import Hint

TASKS = {"hint": Hint}
