"""The tasks, one a file. A task is a frozen dataclass of constants with `world(seed) -> World`."""

from introspect.tasks.hint import Hint
from introspect.tasks.jabberwocky import Jabberwocky
from introspect.tasks.refusal import Refusal
from introspect.tasks.rules import Rules
from introspect.tasks.verdict import Verdict

TASKS = dict(hint=Hint, verdict=Verdict, refusal=Refusal, rules=Rules, jabberwocky=Jabberwocky)
