"""A finished run as its folder has it: the last checkpoint, asked everything again."""

from pathlib import Path
from typing import NamedTuple

import torch

from introspect import checkpoint
from introspect.adapters import trainable
from introspect.config import Config
from introspect.fields import Refused
from introspect.labels import Frozen
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.runs.stages import (
    ask_through,
    labels_folder,
    load_labels,
    make_tasks,
    new_model,
)


class Loaded(NamedTuple):
    config: Config
    model: GPT  # of the last checkpoint
    frozen: list[Frozen]  # labels of each task
    snapshots: list[Snapshot]  # of each task
    step: int


def load_run(out: Path, config: Config, cache: Path, device: str) -> Loaded:
    """The last checkpoint of the run in `out`, with the frozen labels of its cache.

    Writes nothing: where the labels are not there, there is no measurement.

    Raises:
        Refused: its checkpoint or its labels are not there or not of this configuration.
    """
    torch.set_num_threads(1)
    saved = checkpoint.newest(out / "checkpoints")
    if not saved:
        raise Refused(f"{out}: must hold a checkpoint; train.py with the same --out_dir makes one")
    frozen = []
    for name in config.tasks:
        labels = labels_folder(config, name, cache, device)
        if not labels.exists():
            raise Refused(f"{labels}: the frozen labels of {out} must be there; was one moved?")
        frozen.append(load_labels(labels))
    step, state, _ = saved
    c = config.cotrain
    tasks = ask_through(make_tasks(config, device), c.channel, device)
    model = new_model(config, tasks).to(device)
    trainable(model, c.channel, c.adapter_rank, config.seed)  # puts adapters in, where it has some
    try:
        model.load_state_dict(state["model"])
    except RuntimeError:
        raise Refused(f"{out}: its checkpoint must be of its config.json, and is not") from None
    model.eval().requires_grad_(False)
    snapshots = [Snapshot(model, *each) for each in zip(tasks, frozen)]
    return Loaded(config, model, frozen, snapshots, step)
