"""Stage A: M0 learns its worlds from their answers alone. No explanation is trained here."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from introspect import checkpoint
from introspect.config import PretrainConfig
from introspect.interview import Interview, RunTask
from introspect.losses import world_loss
from introspect.model import GPT
from introspect.optim import muon_and_adamw, set_rates, trapezoid
from introspect.parallel import average, part
from introspect.restore import count_bytes, restore
from introspect.streams import rng
from introspect.tasks.world import World

SAVE_INTERVAL = 200  # updates between two checkpoints

Progress = Callable[[str, int], None]  # what is being done, passes over a subject since the last
# call; negative: passes that need not be done, since a cache or a checkpoint has them


def silent(what: str, passes: int) -> None:
    """No progress to show."""


class Diverged(Exception):
    """NaN or infinity in loss, gradient or weights. Exit code 3."""


def check_finite(step: int, stage: str, **values: torch.Tensor) -> None:
    """Stop before a NaN or an infinity reaches the weights."""
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise Diverged(f"{stage}: {name} is not finite at step {step}; try a lower rate")


def weight_norm(model: GPT) -> torch.Tensor:
    """The norm of all weights together, which is not finite where any of them is not."""
    return torch.nn.utils.get_total_norm([p.detach() for p in model.parameters()])


def sampled_world_loss(
    model: GPT, interview: Interview, world: World, n: int, draw: np.random.Generator
) -> torch.Tensor:
    """`world_loss` on n subjects drawn without replacement, with an answer to every variant of
    their prompts drawn from the world."""
    batch = draw.choice(world.n_subject, n, replace=False)
    batch, answers = part(batch), part(world.draw(batch, draw))
    device = interview.pairs.device
    answers = torch.from_numpy(answers).to(device)  # (B, V)
    shown = torch.from_numpy(world.shown[batch]).float().to(device)  # (B, V)
    subjects = torch.from_numpy(batch).to(device)  # (B,)
    return world_loss(interview.answers(model, subjects), answers, shown)


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
) -> GPT:
    """The model after `until` updates on the worlds of `tasks`; continues what is in `folder`.

    Each update draws as many subjects of each task, and all variants of their prompts count as
    often as the world shows them (losses.world_loss). By default it goes on to the stage's end.

    Args:
        made_of: hash of what decides the weights; checkpoints of another one are refused.
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
        n = passes // len(tasks)
        losses = [sampled_world_loss(model, t.interview, t.world, n, draw) for t in tasks]

        # 2. one update
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
        if step % SAVE_INTERVAL == 0 or step == until:
            inner = [optimizer.state_dict() for optimizer in optimizers]
            state = {"model": model.state_dict(), "optimizers": inner}
            checkpoint.save_step(folder, step, state, {}, made_of)
    return model.eval().requires_grad_(False)
