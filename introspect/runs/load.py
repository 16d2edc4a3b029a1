"""A finished run as its folder has it: its last checkpoint, or another, asked everything again."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from introspect import checkpoint
from introspect.adapters import trainable
from introspect.config import Config
from introspect.fields import Refused
from introspect.forms import DESCRIPTION
from introspect.labels import Frozen
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.reading import read_json
from introspect.restore import newest_of_run, restore_model
from introspect.runs.build import build, sources
from introspect.runs.device import resolve_device
from introspect.runs.stages import (
    ask_through,
    labels_folder,
    load_labels,
    make_tasks,
    new_model,
    run_key,
)
from introspect.tasks.registry import check_named, find_tasks


class Loaded(NamedTuple):
    config: Config
    model: GPT  # of the checkpoint of that step
    frozen: list[Frozen]  # labels of each task
    snapshots: list[Snapshot]  # of each task
    step: int


def read_config(out: Path, named: str) -> tuple[dict, Config]:
    """The config.json of a run's folder, and the configuration that it describes."""
    description = read_json(out / "config.json", DESCRIPTION)
    fields = dict(description["config"])
    task = fields.pop("task")
    check_named(task, named)
    if sources(task) != description["source"]:
        raise Refused(f"{task}: its file must be as it was when the run was made")
    return description, build(find_tasks(task), fields)


def load(out: Path, named: str, at: int | None = None) -> Loaded:
    """The run in a folder that train.py or eval.py wrote, at its last step or at step `at`."""
    description, config = read_config(out, named)
    if description["device"] not in ("cpu", "cuda"):
        raise Refused(f"{out / 'config.json'}: device must be cpu or cuda")
    device = resolve_device(description["device"])
    return load_run(out, config, out / description["cache"], device, at)


def list_steps(out: Path) -> list[int]:
    """The steps of the checkpoints that the run in `out` has, the first of them first."""
    return sorted({step for step, _ in checkpoint.numbered(out / "checkpoints")})


def load_run(out: Path, config: Config, cache: Path, device: str, at: int | None = None) -> Loaded:
    """The last checkpoint of the run in `out`, with the frozen labels of its cache.

    Writes nothing: where the labels are not there, there is no measurement.

    Args:
        at: the step of the checkpoint, where it is not the last.

    Raises:
        Refused: its checkpoint or its labels are not there or not of this configuration.
    """
    torch.set_num_threads(1)
    c, parent = config.cotrain, out / "checkpoints"
    if not any(folder.is_dir() for _, folder in checkpoint.numbered(parent)):
        raise Refused(f"{out}: must hold a checkpoint; train.py with the same --out_dir makes one")
    steps = list_steps(out)
    if at not in (None, *steps):
        near = min(steps, key=lambda step: abs(step - at))
        raise Refused(
            f"--at={at}: {out} has no checkpoint of that step, the nearest is of {near}; a run "
            "made with train.py --keep_checkpoints=true has one of every evaluation"
        )
    files = [folder / "state.pt" for _, folder in checkpoint.numbered(parent)]
    largest = max(map(os.path.getsize, filter(os.path.isfile, files)), default=0)
    if largest < least_bytes(config):  # else a line of text could ask for any amount of memory
        raise Refused(
            f"{parent}: must hold a checkpoint of the model in {out / 'config.json'}; these are "
            "smaller, so cut short or of another model: remove them to begin again"
        )
    for name in config.tasks:
        labels = labels_folder(config, name, cache, device)
        if not os.path.isdir(labels):
            raise Refused(f"{labels}: the frozen labels of {out} must be there; was one moved?")
    tasks = ask_through(make_tasks(config, device), c.channel, device)
    model = new_model(config, tasks).to(device)
    trainable(model, c.channel, c.adapter_rank, config.seed)  # puts adapters in, where it has some
    key = run_key(config, device, was_stacked(out))
    step, state, _ = newest_of_run(out, model, c, key, at)
    if at not in (None, step):
        raise checkpoint.Corrupt(f"{out}: its checkpoint of step {at} is not whole")
    frozen = [load_labels(config, task, cache, device) for task in tasks]
    restore_model(state.get("model"), model, f"{out}, step {step}")
    model.eval().requires_grad_(False)
    snapshots = [Snapshot(model, *each) for each in zip(tasks, frozen)]
    return Loaded(config, model, frozen, snapshots, step)


def was_stacked(out: Path) -> bool:
    """Whether the run in `out` is trained in a stack, as its config.json says, where it has one."""
    path = out / "config.json"
    return path.exists() and read_json(path, DESCRIPTION).get("stacked", False)


def least_bytes(config: Config) -> int:
    """Fewer bytes than a checkpoint of this configuration has: those of its largest weights."""
    n_layer, C = config.gpt.n_layer, config.gpt.n_embd
    rank = config.cotrain.adapter_rank if config.cotrain.channel != "probe" else 0
    return 4 * C * (n_layer * (12 * C + 16 * (rank or 0)) + config.gpt.block_size)
