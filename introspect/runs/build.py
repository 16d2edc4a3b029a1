"""From flags to a checked configuration, and from a configuration to its worlds."""

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
from introspect.fields import Refused, assignments, base_type, check_fields, nearest
from introspect.tasks.own import check_seed, hash_code
from introspect.tasks.registry import make_world, prompt_texts
from introspect.tasks.world import SENTENCES, World


def defaults_of(tasks: Mapping[str, type]) -> dict[str, Any]:
    """The defaults of these tasks that differ from the general ones, by flag.

    They are the tasks' regimes; of several tasks, each value is the largest that any of them wants,
    where a task without a regime for it wants the general default. Tasks of one model that take
    names from the vocabulary each get names of their own.
    """
    usual = {f.name: f.default for group in GROUPS.values() for f in fields(group)}
    regimes = [getattr(task, "regime", {}) for task in tasks.values()]
    defaults: dict[str, Any] = {}
    for name in {name: None for regime in regimes for name in regime}:
        values = [regime.get(name, usual.get(name)) for regime in regimes]
        defaults[name] = max(v for v in values if v is not None)
    first_name = 0
    for name, task in tasks.items() if len(tasks) > 1 else ():
        if "first_name" in {f.name for f in fields(task)} and hasattr(task, "n_name"):
            defaults[name_flag(name, "first_name", tasks)] = first_name
            first_name += task().n_name
    return defaults


def build(tasks: Mapping[str, type], overrides: dict[str, Any]) -> Config:
    """The configuration with the defaults of `tasks` and with `overrides` (flag -> value), checked.

    Raises:
        Refused: a value out of range, an impossible combination, or no such field.

    >>> from introspect.tasks.registry import find_tasks
    >>> build(find_tasks("rules"), {"seed": 3}).m0_seed
    3
    """
    left = defaults_of(tasks) | overrides
    seed = left.pop("seed", 0)
    m0_seed = seed if (value := left.pop("m0_seed", None)) is None else value
    world_seed = m0_seed if (value := left.pop("world_seed", None)) is None else value
    worlds = []
    for name, world_type in tasks.items():
        flags = {f.name: name_flag(name, f.name, tasks) for f in fields(world_type)}
        values = {field: left.pop(flag) for field, flag in sorted(flags.items()) if flag in left}
        try:
            worlds.append(world_type(**values))
            check_fields(worlds[-1])
        except Refused as e:
            raise Refused(str(e).replace("--", f"--{name_flag(name, '', tasks)}", 1)) from None
        except (ValueError, TypeError) as e:
            raise Refused(f"task {name}: {e}") from None
    groups = {}
    for key, group in GROUPS.items():
        names = {f.name for f in fields(group)}
        groups[key] = group(**{k: left.pop(k) for k in sorted(names & left.keys())})
    if left:
        name, every = next(iter(left)), [f.name for group in GROUPS.values() for f in fields(group)]
        every += [name_flag(t, f.name, tasks) for t, world in tasks.items() for f in fields(world)]
        near = nearest(str(name), every)
        raise Refused(f"--{name}: task {'+'.join(tasks)} has no such field{near}")
    for name, value in (("seed", seed), ("m0_seed", m0_seed), ("world_seed", world_seed)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LAST_SEED:
            raise Refused(f"--{name}={value}: must be a whole number from 0 to {LAST_SEED}")
    config = Config("+".join(tasks), seed, m0_seed, world_seed, tuple(worlds), **groups)
    check_parts(config)
    return config


def check_parts(config: Config) -> None:
    """Refuse fields that contradict each other."""
    donor, without = config.labels.donor, config.cotrain.unexplained
    shifted(config.tasks, config.cotrain.shift)
    if donor and donor_of(config).m0_fields() == config.m0_fields():
        raise Refused(f"--donor={donor}: must be another model than M0 itself")
    if without and not set(without.split("+")) <= config.tasks.keys():
        raise Refused(f"--unexplained={without}: must be of {', '.join(config.tasks)}")
    if config.pretrain.begun_from and (donor or config.labels.label_progress < 1):
        raise Refused(
            "--from: the run that is begun from gives the labels; leave out donor, label_progress"
        )
    if not config.learned:
        raise Refused(
            f"--task={config.task}: is taught after M0, so it needs a task that M0 learns beside "
            f"it, as in hint+{config.task}"
        )
    if not config.explained:
        raise Refused(
            f"--unexplained={without}: leaves no task of {config.task} that M0 learns and that "
            "has explanation labels"
        )


def rates_of(tasks: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """The rates by which another world of the same tasks may differ: flag -> (task, field).

    They are the fields of type float, except for the share of explained pairs.
    """
    return {
        name_flag(name, f.name, tasks): (name, f)
        for name, world in tasks.items()
        for f in fields(world)
        if base_type(f.type) is float and f.name != "explained_share"
    }


def shifted(tasks: Mapping[str, Any], shift: str) -> dict[str, Any]:
    """The tasks whose rates a shift, "rate=value[,rate=value]", changes, after the change.

    Raises:
        Refused: not of that form, no such rate, or a value that is not allowed.
    """
    rates = rates_of(tasks)
    changes: dict[str, dict[str, float]] = {}
    try:
        values = assignments(shift, {flag: f for flag, (_, f) in rates.items()})
    except ValueError:
        text = f"must be rate=number, of the rates {', '.join(rates)}"
        raise Refused(f"--shift={shift}: {text}") from None
    for flag, value in values.items():
        name, field = rates[flag]
        changes.setdefault(name, {})[field.name] = value
    try:
        changed = {name: replace(tasks[name], **fields) for name, fields in changes.items()}
        for task in changed.values():
            check_fields(task)
        return changed
    except ValueError as e:
        raise Refused(f"--shift={shift}: {e}") from None


def donor_of(cfg: Config) -> Config:
    """The configuration of the model that the labels describe: the donor, if there is one, or M0.

    Raises:
        Refused: the donor is not of the form "field=value[,field=value]", or impossible.
    """
    donor = cfg.labels.donor
    if not donor:
        return cfg
    kinds = {"m0_seed": Config.__dataclass_fields__["m0_seed"]}
    kinds |= {f.name: f for group in (GPTConfig, PretrainConfig) for f in fields(group)}
    kinds |= {flag: field for flag, (_, field) in rates_of(cfg.tasks).items()}
    try:
        changes = assignments(donor, kinds)
    except ValueError as e:
        text = "must be of m0_seed, order_seed, M0's size and pretraining, rates of its world"
        raise Refused(f"--donor={donor}: {e}; {text}") from None
    try:
        same = {k: v for k, v in cfg.flat().items() if k != "task"}
        types = {name: type(world) for name, world in cfg.tasks.items()}
        return build(types, same | changes | {"donor": ""})
    except ValueError as e:
        raise Refused(f"--donor={donor}: {e}") from None


def sources(task: str) -> str:
    """Hashes of the code of the user's own tasks, 12 digits each; empty if there are none."""
    hashes = {name: hash_code(name) for name in task.split("+")}
    return " ".join(f"{name}={sha256[:12]}" for name, sha256 in hashes.items() if sha256)


def check_objective(world: World, name: str, objective: str) -> None:
    """Refuse an objective that a task does not have."""
    names, with_cue = [*world.answers], [x for x, _ in world.pairs]
    if len(set(with_cue)) == len(with_cue) and not {y for _, y in world.pairs} & set(with_cue):
        names += ["follow", "ignore"]  # every prompt has one cue or none
    if objective not in names:
        raise Refused(f"--objective={objective}: task {name} has {', '.join(names)}")


def make_shifted(cfg: Config, name: str, before: World) -> World:
    """The world of a task with the rates of the shift; `before` is its world without the shift.

    Raises:
        Refused: the world fails, or the shift changes more than answers.
    """
    shift = cfg.cotrain.shift
    try:
        world = make_world(name, shifted(cfg.tasks, shift)[name], cfg.world_seed)
    except Refused as e:
        raise Refused(f"--shift={shift}: {e}") from None
    if world.prompts != before.prompts or not np.array_equal(world.slots, before.slots):
        raise Refused(f"--shift={shift}: must leave the prompts of task {name} as they are")
    return world


def worlds_of(cfg: Config) -> dict[str, World]:
    """The world of each task. All have the own words of all, so that a word is one token.

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
    own = tuple(dict.fromkeys(word for world in worlds.values() for word in world.own_words))
    if len(worlds) == 1 or not own:
        return worlds
    return {name: replace(world, own_words=own) for name, world in worlds.items()}


def check_sizes(config: Config) -> dict[str, World]:
    """The worlds; refuses sizes that do not fit them: of prompts, of batches, of the channel; and
    worlds that do not depend on their seed."""
    for name, task in config.tasks.items():
        check_seed(name, task, config.world_seed)
    p, c = config.pretrain, config.cotrain
    worlds, shifting = worlds_of(config), list(shifted(config.tasks, c.shift))
    sentence = max(map(len, SENTENCES)) if c.channel == "verbal" else 0
    for name, world in worlds.items():
        length, n = world.longest_prompt + sentence, world.n_subject
        if config.gpt.block_size < length:
            text = f"task {name} has prompts of {length} tokens"
            raise Refused(f"--block_size={config.gpt.block_size}: {text}")
        explained, aimed = int(world.explained.sum()), config.explained if c.objective else []
        aside = (n - explained) // 2
        batches = [  # (the tasks that share a batch, its size, flag, how many subjects there are)
            (config.learned, p.pretrain_batch_size, "--pretrain_batch_size", n, "subjects"),
            (list(worlds), p.pretrain_batch_size, "--pretrain_batch_size", n, "subjects"),
            (config.explained, c.batch_size, "--batch_size", explained, "explained subjects"),
            (aimed, c.batch_size, "--batch_size", aside, "subjects of the objective"),
            (shifting, c.batch_size, "--batch_size", n, "subjects"),
            (config.learned, c.batch_size, "--batch_size", n, "subjects"),
        ]
        for tasks, size, flag, most, what in batches:
            if name in tasks and not len(tasks) <= size <= most * len(tasks):
                each = f" for each of {len(tasks)} tasks" if len(tasks) > 1 else ""
                raise Refused(f"{flag}={size}: task {name} has {most} {what}, 1 to so many{each}")
        if c.objective and name in config.explained:
            check_objective(world, name, c.objective)
        if name in shifting:
            make_shifted(config, name, world)
        if c.channel == "same" and len({x for x, _ in world.pairs}) < len(world.pairs):
            raise Refused(
                f"--channel=same: task {name} asks about several features at one answer; must be "
                "head, tied, probe or verbal"
            )
    return worlds
