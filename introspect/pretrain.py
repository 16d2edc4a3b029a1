"""Stage A: M0 learns its worlds from their answers alone. No explanation is trained here."""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from introspect import checkpoint
from introspect.config import PretrainConfig
from introspect.interview import RunTask
from introspect.losses import world_loss
from introspect.model import GPT
from introspect.optim import muon_and_adamw, set_rates, trapezoid
from introspect.parallel import average, part
from introspect.restore import count_bytes, restore
from introspect.streams import rng
from introspect.tasks.world import World
from introspect.watch import Progress, check_finite, silent, weight_norm

SAVE_INTERVAL = 200  # updates between two checkpoints


class WorldBatch(NamedTuple):
    """Subjects with answers of the world to every variant of their prompts."""

    subjects: torch.Tensor  # (B,)
    answers: torch.Tensor  # (B, V) int64, drawn from the world
    shown: torch.Tensor  # (B, V) how often the world shows each variant


def draw_world_batch(
    world: World, n: int, draw: np.random.Generator, device: torch.device
) -> WorldBatch:
    """n subjects of a world, without replacement; of several processes, the part of this one."""
    batch = draw.choice(world.n_subject, n, replace=False)
    batch, answers = part(batch), part(world.draw(batch, draw))
    shown = torch.from_numpy(world.shown[batch]).float()
    arrays = torch.from_numpy(batch), torch.from_numpy(answers), shown
    return WorldBatch(*(array.to(device) for array in arrays))


class Stage(NamedTuple):
    """What tells one stage of learning from another."""

    stream: str  # name of the random stream of its batches
    title: str  # what is shown while it runs
    steps: int  # updates over which the rates rise and fall


def learn(
    model: GPT,
    tasks: list[RunTask],
    c: PretrainConfig,
    order_seed: int,
    stage: Stage,
    folder: Path,
    progress: Progress = silent,
    until: int | None = None,
    made_of: str = "",
    kept: Collection[int] = (),
) -> GPT:
    """The model after `until` updates on the worlds of `tasks`; continues what is in `folder`.

    Each update draws as many subjects of each task, and all variants of their prompts count as
    often as the world shows them (losses.world_loss). By default it goes on to the stage's end.

    Args:
        made_of: hash of what decides the weights; checkpoints of another one are refused.
        kept: updates whose checkpoints stay in `folder`, since somebody will ask for them.
    """
    optimizers = muon_and_adamw(model, c)
    peaks = [group["lr"] for o in optimizers for group in o.param_groups]
    passes, step = c.pretrain_batch_size, 0
    until = stage.steps if until is None else until
    if saved := checkpoint.newest(folder, until, made_of, count_bytes(model)):
        step, state, _ = saved
        restore(state, model, optimizers, step, f"{folder}, step {step}")
        checkpoint.prune(folder, step)
        if step < until:
            print(f"{stage.title}: resumed from step {step}", file=sys.stderr)

    progress(stage.title, -step * passes)
    while step < until:
        # 1. one batch of each task
        draw = rng(order_seed, stage.stream, step)
        n, device = passes // len(tasks), model.token.weight.device
        batches = [draw_world_batch(t.world, n, draw, device) for t in tasks]

        # 2. one update
        losses = [
            world_loss(t.interview.answers(model, batch.subjects), batch.answers, batch.shown)
            for t, batch in zip(tasks, batches)
        ]
        loss = sum(losses) / len(losses)
        model.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        average([*gradients, loss])
        norm = torch.nn.utils.get_total_norm(gradients)
        check_finite(step, stage.title, loss=loss, gradient=norm)
        factor = trapezoid(step, stage.steps, c.pretrain_warmup, c.pretrain_cooldown)
        set_rates(optimizers, peaks, factor)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        check_finite(step, stage.title, weights=weight_norm(model))
        progress(stage.title, passes)

        # 3. save: what continues a killed run, and in the end the model itself
        if step % SAVE_INTERVAL == 0 or step == until or step in kept:
            inner = [optimizer.state_dict() for optimizer in optimizers]
            state = {"model": model.state_dict(), "optimizers": inner}
            checkpoint.save_step(folder, step, state, {}, made_of, step in kept)
    return model.eval().requires_grad_(False)
