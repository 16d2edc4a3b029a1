"""Stage A: M0 learns its worlds, and later those of tasks that come after it.

Both are cached by the hash of everything that makes them.
"""

import copy
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from introspect import checkpoint
from introspect.config import Config, digest
from introspect.interview import Interview
from introspect.losses import world_loss
from introspect.model import GPT
from introspect.optim import muon_and_adamw, set_rates, trapezoid
from introspect.parts import Part
from introspect.streams import rng
from introspect.tasks.registry import hash_file, joint_answers
from introspect.tasks.world import World
from introspect.tokenizer import vocab_size

SAVE_INTERVAL = 200  # updates between two checkpoints

Progress = Callable[[str, int], None]  # what is being done, passes over a subject since the last
# call; negative: passes that need not be done, since a cache or a checkpoint has them


def silent(what: str, passes: int) -> None:
    """No progress to show."""


class Diverged(Exception):
    """NaN or infinity in loss, gradient or weights. Exit code 3."""


def new_model(cfg: Config, worlds: dict[str, World]) -> GPT:
    """Untrained weights, a function of `m0_seed`."""
    K = len(joint_answers(worlds))
    return GPT(cfg.gpt, vocab_size(), n_answer=K, n_explanation=K + 1, seed=cfg.m0_seed)


def m0_key(cfg: Config, device: str) -> str:
    """Hash of everything that decides the weights of M0."""
    worlds = [[name, asdict(task), hash_file(name)] for name, task in cfg.tasks.items()]  # in order
    parts = [worlds, asdict(cfg.gpt), asdict(cfg.pretrain)]
    return digest([*parts, cfg.m0_seed, cfg.world_seed, device])


def check_finite(step: int, stage: str, **values: torch.Tensor) -> None:
    """Stop before a NaN or an infinity reaches the weights."""
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise Diverged(f"{stage}: {name} is not finite at step {step}; try a lower rate")


def check_weights(step: int, stage: str, model: GPT) -> None:
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    check_finite(step, stage, weights=weights)


def loss_of_world(
    model: GPT, interview: Interview, world: World, n: int, draw: np.random.Generator
) -> torch.Tensor:
    """Of n subjects drawn without replacement, and of answers of the world to every variant."""
    batch = draw.choice(world.n_subject, n, replace=False)
    device = interview.with_cue.device
    answers = torch.from_numpy(world.draw(batch, draw)).to(device)  # (B, V)
    shown = torch.from_numpy(world.shown[batch]).float().to(device)  # (B, V)
    subjects = torch.from_numpy(batch).to(device)  # (B,)
    return world_loss(interview.answers(model, subjects), answers, shown)


def pretrain(
    cfg: Config,
    parts: list[Part],
    cache: Path,
    device: str,
    progress: Progress | None = None,
    until: int | None = None,
) -> GPT:
    """M0, or its checkpoint after `until` updates, from the cache or trained."""
    learned = [part for part in parts if not part.taught]
    model = new_model(cfg, {part.name: part.world for part in parts}).to(device)
    stage = Stage("pretrain", f"M0 of seed {cfg.m0_seed}", cfg.pretrain.pretrain_steps)
    folder = cache / f"m0-{m0_key(cfg, device)[:16]}"
    until = stage.steps if until is None else until
    return learn(cfg, model, learned, stage, folder, device, progress or silent, until)


def taught_key(cfg: Config, device: str) -> str:
    """Hash of everything that decides the weights that co-training starts from."""
    return digest([m0_key(cfg, device), cfg.cotrain.teach_steps])


def teach(
    cfg: Config,
    m0: GPT,
    parts: list[Part],
    cache: Path,
    device: str,
    progress: Progress | None = None,
) -> GPT:
    """M0 after it has learned the tasks that come later, from answers alone, while it goes on with
    those that it knows; M0 itself where there are none. Learns as M0 does."""
    if not any(part.taught for part in parts):
        return m0
    stage = Stage("teach", f"new tasks of seed {cfg.m0_seed}", cfg.cotrain.teach_steps)
    folder = cache / f"taught-{taught_key(cfg, device)[:16]}"
    model = copy.deepcopy(m0).train().requires_grad_(True)
    return learn(cfg, model, parts, stage, folder, device, progress or silent, stage.steps)


class Stage(NamedTuple):
    """What tells one stage of learning from another."""

    stream: str  # of its batches
    title: str
    steps: int  # over which the rates rise and fall


def learn(
    cfg: Config,
    model: GPT,
    parts: list[Part],
    stage: Stage,
    folder: Path,
    device: str,
    progress: Progress,
    until: int,
) -> GPT:
    """The model after `until` updates on the worlds of `parts`; continues what is in `folder`.

    Each update draws subjects without replacement, as many of each task, and, for every variant of
    their prompts, an answer of the world; the variants count as often as the world shows them
    (losses.world_loss).
    """
    optimizers = muon_and_adamw(model, cfg.pretrain)
    peaks = [group["lr"] for o in optimizers for group in o.param_groups]
    passes = cfg.pretrain.pretrain_batch_size
    order = cfg.m0_seed if cfg.pretrain.order_seed is None else cfg.pretrain.order_seed
    step = 0
    if saved := checkpoint.newest(folder, until):
        step, state, _ = saved
        model.load_state_dict(state["model"])
        for optimizer, o in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(o)
        if step < until:
            print(f"{stage.title}: resumed from step {step}", file=sys.stderr)

    progress(stage.title, -step * passes)
    while step < until:
        # 1. one batch of each task
        draw = rng(order, stage.stream, step)
        n = passes // len(parts)
        losses = [loss_of_world(model, part.interview, part.world, n, draw) for part in parts]

        # 2. one update
        loss = sum(losses) / len(losses)
        model.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        check_finite(step, stage.title, loss=loss, gradient=norm)
        warmup, cooldown = cfg.pretrain.pretrain_warmup, cfg.pretrain.pretrain_cooldown
        set_rates(optimizers, peaks, trapezoid(step, stage.steps, warmup, cooldown))
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        progress(stage.title, passes)

        # 3. save: what continues a killed run, and in the end the model itself
        if step % SAVE_INTERVAL == 0 or step == until:
            check_weights(step, stage.title, model)
            inner = [optimizer.state_dict() for optimizer in optimizers]
            state = {"model": model.state_dict(), "optimizers": inner}
            checkpoint.save_step(folder, step, state, {"step": step})
    return model.eval().requires_grad_(False)
