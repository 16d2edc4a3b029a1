"""Stage A: M0 learns the world. Cached by the hash of everything that makes it."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from introspect import checkpoint
from introspect.config import Config, digest
from introspect.interview import Interview
from introspect.losses import world_loss
from introspect.model import GPT
from introspect.optim import muon_and_adamw, set_rates, trapezoid
from introspect.streams import rng
from introspect.tasks.world import World
from introspect.tokenizer import vocab_size

SAVE_INTERVAL = 200  # updates between two checkpoints

Progress = Callable[[str, int], None]  # what is being done, passes over a subject since the last
# call; negative: passes that need not be done, since a cache or a checkpoint has them


def silent(what: str, passes: int) -> None:
    """No progress to show."""


class Diverged(Exception):
    """NaN or infinity in loss, gradient or weights. Exit code 3."""


def new_model(cfg: Config, world: World) -> GPT:
    """Untrained weights, a function of `m0_seed`."""
    return GPT(cfg.gpt, vocab_size(), len(world.answers), world.n_explanation, seed=cfg.m0_seed)


def m0_key(cfg: Config, device: str) -> str:
    """Hash of everything that decides the weights of M0."""
    parts = [cfg.task, asdict(cfg.world), asdict(cfg.gpt), asdict(cfg.pretrain)]
    return digest([*parts, cfg.m0_seed, cfg.world_seed, device])


def check_finite(step: int, stage: str, **values: torch.Tensor) -> None:
    """Stop before a NaN or an infinity reaches the weights."""
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise Diverged(f"{stage}: {name} is not finite at step {step}; try a lower rate")


def check_weights(step: int, stage: str, model: GPT) -> None:
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    check_finite(step, stage, weights=weights)


def pretrain(
    cfg: Config,
    world: World,
    interview: Interview,
    cache: Path,
    device: str,
    progress: Progress | None = None,
    until: int | None = None,
) -> GPT:
    """M0, or its checkpoint after `until` updates, from the cache or trained.

    Each update draws subjects without replacement and, for every variant of their prompts, an
    answer of the world; the variants count as often as the world shows them (losses.world_loss).
    """
    total = cfg.pretrain.pretrain_steps
    until = total if until is None else until
    folder = cache / f"m0-{m0_key(cfg, device)[:16]}"
    model = new_model(cfg, world).to(device)
    optimizers = muon_and_adamw(model, cfg.pretrain)
    peaks = [group["lr"] for o in optimizers for group in o.param_groups]
    shown = torch.from_numpy(world.shown).float().to(device)  # (N, V)
    step = 0
    if saved := checkpoint.newest(folder, until):
        step, state, _ = saved
        model.load_state_dict(state["model"])
        for optimizer, o in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(o)
        if step < until:
            print(f"M0 of seed {cfg.m0_seed}: resumed from step {step}", file=sys.stderr)

    title, passes = f"M0 of seed {cfg.m0_seed}", cfg.pretrain.pretrain_batch_size
    progress = progress or silent
    progress(title, -step * passes)
    while step < until:
        # 1. one batch: answers of the world to every variant of some subjects
        draw = rng(cfg.m0_seed, "pretrain", step)
        batch = draw.choice(world.n_subject, cfg.pretrain.pretrain_batch_size, replace=False)
        answers = torch.from_numpy(world.draw(batch, draw)).to(device)  # (B, V)
        subjects = torch.from_numpy(batch).to(device)  # (B,)

        # 2. one update
        logits = interview.answers(model, subjects)  # (B, V, K)
        loss = world_loss(logits, answers, shown[subjects])
        model.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        check_finite(step, title, loss=loss, gradient=norm)
        warmup, cooldown = cfg.pretrain.pretrain_warmup, cfg.pretrain.pretrain_cooldown
        set_rates(optimizers, peaks, trapezoid(step, total, warmup, cooldown))
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        progress(title, passes)

        # 3. save: what continues a killed run, and in the end M0 itself
        if step % SAVE_INTERVAL == 0 or step == until:
            check_weights(step, title, model)
            inner = [optimizer.state_dict() for optimizer in optimizers]
            state = {"model": model.state_dict(), "optimizers": inner}
            checkpoint.save_step(folder, step, state, {"step": step})
    return model.eval().requires_grad_(False)
