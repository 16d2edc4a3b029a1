"""A run may start from a finished one, whose model then takes the place of M0 (train.py --from).

Its answers are asked for the labels, which are frozen anew, and held by the anchor; its explanation
head is trained on. So what was Self of the finished run is Self of the new one before any update.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from introspect import checkpoint
from introspect.config import Config
from introspect.fields import Refused
from introspect.runs.build import build
from introspect.runs.load import load, read_config
from introspect.runs.run import finished
from introspect.runs.stages import m0_folder, m0_key
from introspect.tasks.registry import find_tasks


def inherited(folder: Path, named: str) -> dict[str, Any]:
    """The fields of a run that begins from the finished one in `folder`: all that decide a model's
    world, size and pretraining, where they are not the defaults, and which run it was.

    Args:
        named: the tasks that the user names; a folder can make no other file run.

    Raises:
        Refused: it is no folder of a run, or of another task.
    """
    if not (folder / "config.json").exists():
        raise Refused(f"--from={folder}: must be the folder of a finished run")
    config = read_config(folder, named)[1]
    if config.task != named:
        raise Refused(f"--from={folder}: is a run of task {config.task}, not of {named}")
    usual, own = build(find_tasks(named), {}).flat(), made_of(config)
    fields = {name: value for name, value in own.items() if value != usual[name]}
    seeds = {"m0_seed": config.m0_seed, "world_seed": config.world_seed}
    return fields | seeds | {"begun_from": config.sha256()[:16]}


def made_of(config: Config) -> dict[str, Any]:
    """The fields that decide M0, by flag."""
    later = {*asdict(config.labels), *asdict(config.cotrain), "task", "seed"}
    return {name: value for name, value in config.flat().items() if name not in later}


def adopt(folder: Path, named: str, configs: Iterable[Config], cache: Path, device: str) -> None:
    """Put the model of the finished run in `folder` where these runs look for their M0.

    Raises:
        Refused: it is not finished, has adapters, or is of another world or size than a run.
    """
    for key, config in {m0_key(config, device): config for config in configs}.items():
        out = m0_folder(config, cache, device)
        if out.exists():
            continue
        run = load(folder, named)
        if not finished(folder, run.config):
            raise Refused(f"--from={folder}: must be finished; the command that made it goes on")
        if run.config.cotrain.adapter_rank:
            raise Refused(f"--from={folder}: must be a run without adapters")
        there, here = made_of(run.config), made_of(config)
        for name in here.keys() - {"begun_from"}:
            if here[name] != there[name]:
                raise Refused(f"--from={folder}: has {name}={there[name]}, not {here[name]}")
        state = {name: weight.cpu() for name, weight in run.model.state_dict().items()}
        checkpoint.save(out, {"model": state}, {}, key)
