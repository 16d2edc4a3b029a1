"""What a run is made of, each part made once and handed on: tasks, M0, start, frozen labels.

M0s, what they were taught later, and labels are cached by the hash of everything that makes them,
and shared by all runs that need them.
"""

import copy
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

from introspect import checkpoint
from introspect.config import Config, digest, without_unset
from introspect.fields import Refused
from introspect.interview import Interview, RunTask
from introspect.labels import DROPPED, Frozen, freeze
from introspect.model import GPT
from introspect.objective import choose_aside
from introspect.pretrain import Stage, learn
from introspect.restore import check_tensor, count_bytes, restore_model
from introspect.runs.build import donor_of, worlds_of
from introspect.tasks.own import hash_own
from introspect.tasks.registry import joint_answers
from introspect.tokenizer import vocab_size
from introspect.watch import Progress, silent


class Ingredients(NamedTuple):
    """What co-training starts from."""

    tasks: list[RunTask]  # asked through the channel of the run
    m0: GPT
    start: GPT  # M0 after it was taught the tasks that come later; M0 itself where there are none
    frozen: list[Frozen]  # labels of each task


def make_ingredients(
    cfg: Config, cache: Path, device: str, progress: Progress = silent
) -> Ingredients:
    """Everything that a run needs before co-training, from the cache or made."""
    tasks = make_tasks(cfg, device)
    m0 = make_m0(cfg, tasks, cache, device, progress)
    start = teach(cfg, m0, tasks, cache, device, progress)
    frozen = make_labels(cfg, tasks, m0, cache, device, progress)
    return Ingredients(ask_through(tasks, cfg.cotrain.channel, device), m0, start, frozen)


def make_tasks(cfg: Config, device: str) -> list[RunTask]:
    """The tasks of a run, in the order in which they are named, asked through channel `head`."""
    worlds = worlds_of(cfg)
    answers = joint_answers(worlds)
    return [
        RunTask(
            name,
            world,
            Interview(world, "head", device, answers),
            explained=name in cfg.explained,
            taught=name not in cfg.learned,
            aside=choose_aside(world, cfg.world_seed) if cfg.cotrain.objective else (),
        )
        for name, world in worlds.items()
    ]


def ask_through(tasks: list[RunTask], channel: str, device: str) -> list[RunTask]:
    """The same tasks, asked through this channel."""
    if channel == "head":
        return tasks
    answers = joint_answers({task.name: task.world for task in tasks})
    return [t._replace(interview=Interview(t.world, channel, device, answers)) for t in tasks]


def new_model(cfg: Config, tasks: list[RunTask]) -> GPT:
    """Untrained weights, a function of `m0_seed`."""
    K = len(joint_answers({task.name: task.world for task in tasks}))
    n_row = vocab_size(tasks[0].world.own_words)  # the same of all tasks
    return GPT(cfg.gpt, n_row, n_answer=K, n_explanation=K + 1, seed=cfg.m0_seed)


def m0_key(cfg: Config, device: str) -> str:
    """Hash of everything that decides the weights of M0."""
    own = {name: hash_own(name, task, cfg.world_seed) for name, task in cfg.tasks.items()}
    worlds = [[name, asdict(task), own[name]] for name, task in cfg.tasks.items()]  # in order
    parts = [worlds, asdict(cfg.gpt), without_unset(asdict(cfg.pretrain))]
    return digest([*parts, cfg.m0_seed, cfg.world_seed, device])


def m0_folder(cfg: Config, cache: Path, device: str) -> Path:
    """Where M0 is cached: the checkpoints of its training, or the model of the run it is from."""
    return cache / f"m0-{m0_key(cfg, device)[:16]}"


def start_key(cfg: Config, device: str) -> str:
    """Hash of everything that decides the weights that co-training starts from."""
    return digest([m0_key(cfg, device), cfg.cotrain.teach_steps])


def order_seed(cfg: Config) -> int:
    """The seed of the batches from which M0 learns."""
    return cfg.m0_seed if cfg.pretrain.order_seed is None else cfg.pretrain.order_seed


def make_m0(
    cfg: Config,
    tasks: list[RunTask],
    cache: Path,
    device: str,
    progress: Progress = silent,
    until: int | None = None,
    kept: Collection[int] = (),
) -> GPT:
    """M0, or its checkpoint after `until` updates, from the cache or trained.

    Args:
        kept: updates whose checkpoints stay in the cache, for labels of them.
    """
    model = new_model(cfg, tasks).to(device)
    key, folder = m0_key(cfg, device), m0_folder(cfg, cache, device)
    if cfg.pretrain.begun_from:
        return load_begun(model, folder, key)
    stage = Stage("pretrain", f"M0 of seed {cfg.m0_seed}", cfg.pretrain.pretrain_steps)
    learned = [task for task in tasks if not task.taught]
    seed = order_seed(cfg)
    return learn(model, learned, cfg.pretrain, seed, stage, folder, progress, until, key, kept)


def load_begun(model: GPT, folder: Path, key: str) -> GPT:
    """The model of a finished run, from which this one begins (start.py).

    Raises:
        Refused: it is not in the cache.
    """
    if not folder.is_dir():
        raise Refused(f"{folder}: the model to begin from must be there; train.py --from puts it")
    state, _ = checkpoint.load(folder, key, count_bytes(model))
    restore_model(state.get("model"), model, str(folder))
    return model.eval().requires_grad_(False)


def teach(
    cfg: Config, m0: GPT, tasks: list[RunTask], cache: Path, device: str, progress: Progress
) -> GPT:
    """M0 after it has learned the tasks that come later, from answers alone, while it goes on with
    those that it knows; M0 itself where there are none."""
    if not any(task.taught for task in tasks):
        return m0
    stage = Stage("teach", f"new tasks of seed {cfg.m0_seed}", cfg.cotrain.teach_steps)
    key, seed = start_key(cfg, device), order_seed(cfg)
    folder = cache / f"taught-{key[:16]}"
    model = copy.deepcopy(m0).train().requires_grad_(True)
    return learn(model, tasks, cfg.pretrain, seed, stage, folder, progress, None, key)


def make_start(
    cfg: Config,
    cache: Path,
    device: str,
    progress: Progress = silent,
    kept: Collection[int] = (),
) -> GPT:
    """What co-training starts from, for the cache: many runs need it, and so do donors' labels;
    `kept` is that of `make_m0`."""
    tasks = make_tasks(cfg, device)
    m0 = make_m0(cfg, tasks, cache, device, progress, kept=kept)
    return teach(cfg, m0, tasks, cache, device, progress)


def labeled_step(cfg: Config) -> int:
    """After how many updates of its pretraining the model is asked that gives the labels."""
    return round(cfg.labels.label_progress * donor_of(cfg).pretrain.pretrain_steps)


def run_key(cfg: Config, device: str, stacked: bool = False) -> str:
    """Hash of everything that decides a run: its fields, its own tasks' source, the device, and
    whether it is trained in a stack (runs/stacked.py), which rounds otherwise."""
    return digest([cfg.sha256(), start_key(cfg, device), *(["stacked"] if stacked else [])])


def labels_key(cfg: Config, name: str, device: str) -> str:
    """Hash of everything that decides the labels of a task."""
    c, models = cfg.labels, [m0_key(cfg, device), m0_key(donor_of(cfg), device)]
    spoiled = c.label_noise or c.turned_share or c.donor_share < 1 or c.kept_changes < 1
    drawn = spoiled or c.label_order == "shuffled"
    seed = cfg.seed if drawn else None  # runs of other seeds share what is not drawn
    return digest([*models, name, without_unset(asdict(c)), seed])


def labels_folder(cfg: Config, name: str, cache: Path, device: str) -> Path:
    """Where the labels of a task are cached."""
    return cache / f"labels-{labels_key(cfg, name, device)[:16]}"


def make_labels(
    cfg: Config,
    tasks: list[RunTask],
    m0: GPT,
    cache: Path,
    device: str,
    progress: Progress = silent,
) -> list[Frozen]:
    """The frozen labels of each task, from the cache or made. M0 gives them, or an earlier
    checkpoint (`label_progress`), or a model that differs in some fields (`donor`)."""
    folders = [labels_folder(cfg, task.name, cache, device) for task in tasks]
    if not all(folder.exists() for folder in folders):
        donor, until = donor_of(cfg), labeled_step(cfg)
        labeled = m0
        if donor is not cfg or until < cfg.pretrain.pretrain_steps:
            learned = tasks if donor.tasks == cfg.tasks else make_tasks(donor, device)
            labeled = make_m0(donor, learned, cache, device, progress, until)
        for task, folder in zip(tasks, folders):
            reference = logits = task.interview.ask_all(m0)[0]  # as evaluations ask, to the bit
            if labeled is not m0:
                logits = task.interview.answers_of_all(labeled, compared=True)
            frozen = freeze(logits, reference, task.world, cfg.labels, cfg.seed)
            if not folder.exists():
                key, meta = labels_key(cfg, task.name, device), {"sha256": frozen.sha256()}
                checkpoint.save(folder, frozen._asdict(), meta, key)
    return [load_labels(cfg, task, cache, device) for task in tasks]


def load_labels(cfg: Config, task: RunTask, cache: Path, device: str) -> Frozen:
    """The cached labels of a task.

    Raises:
        Corrupt: not the labels of this world, or not with the hash that they were frozen with.
        Refused: made of another configuration.
    """
    folder, world = labels_folder(cfg, task.name, cache, device), task.world
    n, n_pair, n_answer = world.n_subject, len(world.pairs), len(world.answers)
    size = 8 * n * (4 * n_pair + len(world.prompts) * n_answer)
    state, meta = checkpoint.load(folder, labels_key(cfg, task.name, device), size)
    if state.keys() != set(Frozen._fields):
        raise checkpoint.Corrupt(f"{folder}: not the labels of this version; remove it")
    checked = {}
    shape = n, len(world.prompts), n_answer
    checked["reference"] = check_tensor(
        state.pop("reference"), shape, torch.float32, f"{folder}: reference"
    )
    for name, values in state.items():
        most = n_answer if name.endswith("answers") else world.n_explanation
        checked[name] = check_tensor(values, (n, n_pair), torch.int64, f"{folder}: {name}")
        least = DROPPED if name == "targets" and cfg.labels.kept_changes < 1 else 0
        if not ((least <= checked[name]) & (checked[name] < most)).all():
            raise checkpoint.Corrupt(f"{folder}: {name} must be from {least} to {most - 1}")
    frozen = Frozen(**checked)
    if frozen.sha256() != meta.get("sha256"):
        raise checkpoint.Corrupt(
            f"{folder}: labels do not have the hash they were frozen with; "
            "remove it to make them again"
        )
    return frozen


def hash_labels(frozen: list[Frozen]) -> str:
    """Hash of the labels of a run: of its only task, or of all."""
    hashes = [labels.sha256() for labels in frozen]
    return hashes[0] if len(hashes) == 1 else digest(hashes)
