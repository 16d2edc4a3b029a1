"""From what a user sets to a configuration: defaults, donors, shifts, worlds, sizes that fit."""

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import numpy as np

from introspect.config import (
    GROUPS,
    LAST_SEED,
    Config,
    GPTConfig,
    PretrainConfig,
    name_flag,
)
from introspect.fields import Refused, assignments, base_type, check_fields
from introspect.tasks.registry import hash_file, make_world, prompt_texts
from introspect.tasks.world import SENTENCES, World


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
            asked[name_flag(name, "first_name", tasks)] = first_name
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
        flags = {f.name: name_flag(name, f.name, tasks) for f in fields(world_type)}
        given = {field: left.pop(flag) for field, flag in sorted(flags.items()) if flag in left}
        try:
            worlds.append(world_type(**given))
            check_fields(worlds[-1])
        except Refused as e:
            raise Refused(str(e).replace("--", f"--{name_flag(name, '', tasks)}", 1)) from None
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
    config = Config("+".join(tasks), seed, m0_seed, world_seed, tuple(worlds), **groups)
    check_parts(config)
    return config


def check_parts(config: Config) -> None:
    """Refuse fields that contradict each other."""
    shifted(config.tasks, config.cotrain.shift)
    if config.labels.donor and donor_of(config).m0_fields() == config.m0_fields():
        raise Refused(f"--donor={config.labels.donor}: must be another model than M0 itself")
    unexplained = config.cotrain.unexplained.split("+") if config.cotrain.unexplained else []
    for name in unexplained:
        if name not in config.tasks:
            raise Refused(
                f"--unexplained={config.cotrain.unexplained}: must be of {', '.join(config.tasks)}"
            )
    if not config.learned:
        raise Refused(
            f"--task={config.task}: is taught after M0, so it needs a task that M0 learns beside "
            f"it, as in hint+{config.task}"
        )
    if not config.explained:
        raise Refused(
            f"--unexplained={config.cotrain.unexplained}: leaves no task of {config.task} that "
            "M0 learns and that has explanation labels"
        )


def rates_of(tasks: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """The rates of the tasks' worlds that another world may have otherwise: flag -> (task, field).

    The split is not part of a world.
    """
    return {
        name_flag(name, f.name, tasks): (name, f)
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


def sources(cfg: Config) -> str:
    """The hashes of the files of one's own tasks, cut to 12 digits; empty where there is none."""
    own = {name: hash_file(name) for name in cfg.tasks}
    return " ".join(f"{name}={sha256[:12]}" for name, sha256 in own.items() if sha256)


def make_shifted(cfg: Config, name: str, before: World) -> World:
    """The world of a task as the concurrent objective has it; `before` is the one without it."""
    shift = cfg.cotrain.shift
    try:
        world = make_world(name, shifted(cfg.tasks, shift)[name], cfg.world_seed)
    except Refused as e:
        raise Refused(f"--shift={shift}: {e}") from None
    if world.prompts != before.prompts or not np.array_equal(world.slots, before.slots):
        raise Refused(f"--shift={shift}: must leave the prompts of task {name} as they are")
    return world


def worlds_of(cfg: Config) -> dict[str, World]:
    """The world of each task.

    Raises:
        Refused: two tasks have a prompt in common, so that a model could not tell them apart.
    """
    worlds = {name: make_world(name, task, cfg.world_seed) for name, task in cfg.tasks.items()}
    for (a, one), (b, other) in combinations(worlds.items(), 2):
        if shared := prompt_texts(one) & prompt_texts(other):
            raise Refused(
                f"--task={cfg.task}: {a} and {b} have a prompt in common, {min(shared)!r}; "
                "give each its own names"
            )
    return worlds


def check_sizes(config: Config) -> None:
    """Refuse what only shows when the parts of a run meet."""
    p, c = config.pretrain, config.cotrain
    worlds = worlds_of(config)
    said = max(map(len, SENTENCES)) if c.channel == "verbal" else 0
    moved = shifted(config.tasks, c.shift)
    for name, world in worlds.items():
        need, n, labeled = world.longest_prompt + said, world.n_subject, int(world.explained.sum())
        if config.gpt.block_size < need:
            raise Refused(
                f"--block_size={config.gpt.block_size}: task {name} has prompts of {need} tokens"
            )
        stages = config.learned, list(worlds)  # pretraining, and teaching beside what M0 knows
        among = [(s, p.pretrain_batch_size, "--pretrain_batch_size", n, "subjects") for s in stages]
        among += [(config.explained, c.batch_size, "--batch_size", labeled, "explained subjects")]
        among += [(list(moved), c.batch_size, "--batch_size", n, "subjects")]
        among += [(config.learned, c.batch_size, "--batch_size", n, "subjects")]
        for those, size, flag, most, what in among:
            if name in those and not len(those) <= size <= most * len(those):
                each = f" for each of {len(those)} tasks" if len(those) > 1 else ""
                raise Refused(f"{flag}={size}: task {name} has {most} {what}, 1 to so many{each}")
        if name in moved:
            make_shifted(config, name, world)
        if c.channel == "same" and len({x for x, _ in world.pairs}) < len(world.pairs):
            raise Refused(
                f"--channel=same: task {name} asks about several features at one answer; must be "
                "head, tied, probe or verbal"
            )
