"""Every number a run depends on, as frozen dataclasses that check themselves; flags come from them.

Four groups (groups.py) and the constants of the world of each task (introspect/tasks/). No torch
here, so that `--help` is quick.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from introspect.fields import Refused, assignments, base_type, check_fields
from introspect.groups import (
    GROUPS,
    LAST_SEED,
    CotrainConfig,
    GPTConfig,
    LabelConfig,
    PretrainConfig,
)


@dataclass(frozen=True)
class Config:
    """One run, complete: these fields and the packages' versions decide every number of it."""

    task: str  # its name, or several joined by +
    seed: int  # of co-training: batches and label noise
    m0_seed: int  # of M0: initial weights and batches
    world_seed: int  # of the facts and of the split
    worlds: tuple[Any, ...]  # the constants of each task: a dataclass of introspect/tasks/
    gpt: GPTConfig
    pretrain: PretrainConfig
    labels: LabelConfig
    cotrain: CotrainConfig

    def __post_init__(self):
        shifted(self.tasks, self.cotrain.shift)
        if self.labels.donor and donor_of(self).of_m0() == self.of_m0():
            raise Refused(f"--donor={self.labels.donor}: must be another model than M0 itself")
        unexplained = self.cotrain.unexplained.split("+") if self.cotrain.unexplained else []
        for name in unexplained:
            if name not in self.tasks:
                raise Refused(
                    f"--unexplained={self.cotrain.unexplained}: must be of {', '.join(self.tasks)}"
                )
        if not self.learned:
            raise Refused(
                f"--task={self.task}: is taught after M0, so it needs a task that M0 learns beside "
                f"it, as in hint+{self.task}"
            )
        if not self.explained:
            raise Refused(
                f"--unexplained={self.cotrain.unexplained}: leaves no task of {self.task} that "
                "M0 learns and that has explanation labels"
            )

    @property
    def tasks(self) -> dict[str, Any]:
        """The constants of each task by its name."""
        return dict(zip(self.task.split("+"), self.worlds))

    @property
    def learned(self) -> list[str]:
        """The tasks that M0 learns: all but those taught after it."""
        return [name for name, world in self.tasks.items() if not is_taught(world)]

    @property
    def explained(self) -> list[str]:
        """The tasks with explanation labels: all that M0 learns but the unexplained ones."""
        without = self.cotrain.unexplained.split("+")
        return [name for name in self.learned if name not in without]

    def flat(self) -> dict[str, Any]:
        """Every field by its flag's name."""
        groups = (self.gpt, self.pretrain, self.labels, self.cotrain)
        own = {k: getattr(self, k) for k in ("task", "seed", "m0_seed", "world_seed")}
        of_worlds = {
            flag_of(name, field, self.tasks): value
            for name, world in self.tasks.items()
            for field, value in asdict(world).items()
        }
        return own | of_worlds | {k: v for group in groups for k, v in asdict(group).items()}

    def sha256(self) -> str:
        return digest(self.flat())

    def of_m0(self) -> list[Any]:
        """The fields that decide what M0 is."""
        return [self.m0_seed, self.world_seed, self.tasks, self.gpt, self.pretrain]


def is_taught(task: Any) -> bool:
    """Whether a task is learned during co-training only: M0 has never seen it."""
    return getattr(task, "taught", False)


def flag_of(task: str, field: str, tasks: Mapping[str, Any]) -> str:
    """The flag of a field of a task: beside other tasks, with its task's name in front."""
    return field if len(tasks) == 1 else f"{task}.{field}"


def defaults_of(tasks: Mapping[str, type]) -> dict[str, Any]:
    """What differs from the defaults of the groups for these tasks: their regimes, and of several
    tasks the largest that one of them asks for or is content with.

    Tasks of one model get names of their own, where they have names.
    """
    usual = {f.name: f.default for group in GROUPS.values() for f in fields(group)}
    regimes = [getattr(task, "regime", {}) for task in tasks.values()]
    asked: dict[str, Any] = {}
    for name in {name: None for regime in regimes for name in regime}:
        values = [regime.get(name, usual.get(name)) for regime in regimes]
        asked[name] = max(v for v in values if v is not None)
    first_name = 0
    for name, task in tasks.items() if len(tasks) > 1 else ():
        if "first_name" in {f.name for f in fields(task)} and hasattr(task, "n_name"):
            asked[flag_of(name, "first_name", tasks)] = first_name
            first_name += task().n_name
    return asked


def build(tasks: Mapping[str, type], overrides: dict[str, Any]) -> Config:
    """The defaults of `tasks` with `overrides` (flag -> value), checked.

    Raises:
        Refused: a value out of range, an impossible combination, or no such field.
    """
    left = defaults_of(tasks) | overrides
    seed = left.pop("seed", 0)
    m0_seed = left.pop("m0_seed", None)
    world_seed = left.pop("world_seed", None)
    m0_seed = seed if m0_seed is None else m0_seed
    world_seed = m0_seed if world_seed is None else world_seed
    worlds = []
    for name, world_type in tasks.items():
        flags = {f.name: flag_of(name, f.name, tasks) for f in fields(world_type)}
        given = {field: left.pop(flag) for field, flag in sorted(flags.items()) if flag in left}
        try:
            worlds.append(world_type(**given))
            check_fields(worlds[-1])
        except Refused as e:
            raise Refused(str(e).replace("--", f"--{flag_of(name, '', tasks)}", 1)) from None
        except ValueError as e:
            raise Refused(f"task {name}: {e}") from None
    groups = {}
    for key, group in GROUPS.items():
        names = {f.name for f in fields(group)}
        groups[key] = group(**{k: left.pop(k) for k in sorted(names & left.keys())})
    if left:
        raise Refused(f"--{next(iter(left))}: task {'+'.join(tasks)} has no such field")
    for name, value in (("seed", seed), ("m0_seed", m0_seed), ("world_seed", world_seed)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LAST_SEED:
            raise Refused(f"--{name}={value}: must be a whole number from 0 to {LAST_SEED}")
    return Config("+".join(tasks), seed, m0_seed, world_seed, tuple(worlds), **groups)


def rates_of(tasks: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """The rates of the tasks' worlds that another world may have otherwise: flag -> (task, field).

    The split is not part of a world.
    """
    return {
        flag_of(name, f.name, tasks): (name, f)
        for name, world in tasks.items()
        for f in fields(world)
        if base_type(f.type) is float and f.name != "explained_share"
    }


def shifted(tasks: Mapping[str, Any], shift: str) -> dict[str, Any]:
    """The tasks of which a shift changes rates, as "field=value[,field=value]" says, so changed.

    Raises:
        Refused: not of that form, no such rate, or a value it does not take.
    """
    rates = rates_of(tasks)
    changes: dict[str, dict[str, float]] = {}
    try:
        given = assignments(shift, {flag: f for flag, (_, f) in rates.items()})
    except ValueError:
        named = ", ".join(rates)
        raise Refused(f"--shift={shift}: must be rate=number, of the rates {named}") from None
    for flag, value in given.items():
        name, field = rates[flag]
        changes.setdefault(name, {})[field.name] = value
    try:
        found = {name: replace(tasks[name], **fields) for name, fields in changes.items()}
        for task in found.values():
            check_fields(task)
        return found
    except ValueError as e:
        raise Refused(f"--shift={shift}: {e}") from None


def donor_of(cfg: Config) -> Config:
    """The configuration whose M0 gives the labels: that of the run, or of its donor.

    Raises:
        Refused: the donor is not of the form "field=value[,field=value]", or impossible.
    """
    if not cfg.labels.donor:
        return cfg
    own = {f.name: f for group in (GPTConfig, PretrainConfig) for f in fields(group)}
    own = {"m0_seed": Config.__dataclass_fields__["m0_seed"], **own}
    kinds = own | {flag: field for flag, (_, field) in rates_of(cfg.tasks).items()}
    try:
        changes = assignments(cfg.labels.donor, kinds)
    except ValueError as e:
        those = "m0_seed, order_seed, M0's size and pretraining, rates of its world"
        raise Refused(f"--donor={cfg.labels.donor}: {e}; must be of {those}") from None
    try:
        same = {k: v for k, v in cfg.flat().items() if k != "task"}
        types = {name: type(world) for name, world in cfg.tasks.items()}
        return build(types, same | changes | {"donor": ""})
    except ValueError as e:
        raise Refused(f"--donor={cfg.labels.donor}: {e}") from None


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
