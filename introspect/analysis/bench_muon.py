"""An update of pretraining with our Muon and with torch's, and a step of each alone."""

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor, nn

from introspect.analysis.bench_timing import Do, Group, flatten
from introspect.config import Config
from introspect.interview import RunTask
from introspect.losses import world_loss
from introspect.model import GPT
from introspect.muon import Muon
from introspect.optim import muon_and_adamw, set_rates, trapezoid
from introspect.pretrain import draw_world_batch
from introspect.runs.stages import make_tasks, new_model, order_seed
from introspect.streams import rng
from introspect.watch import check_finite, weight_norm

MakeMuon = Callable[[list[nn.Parameter], float, float], torch.optim.Optimizer]


def muon_of_torch(matrices: list[nn.Parameter], rate: float, decay: float) -> torch.optim.Muon:
    return torch.optim.Muon(matrices, rate, decay, adjust_lr_fn="match_rms_adamw")


MUONS = {"our Muon": Muon, "torch.optim.Muon": muon_of_torch}


def pretraining(cfg: Config, model: GPT, tasks: list[RunTask], make_muon: MakeMuon = Muon) -> Do:
    """The updates of `pretrain.learn`, one a call; returns the loss."""
    c, numbers = cfg.pretrain, count()
    muon, adamw = muon_and_adamw(model, c)
    matrices = muon.param_groups[0]["params"]
    muon = make_muon(matrices, c.muon_learning_rate, c.pretrain_weight_decay)
    peaks = [group["lr"] for o in (muon, adamw) for group in o.param_groups]

    def update() -> Tensor:
        step = next(numbers) % c.pretrain_steps
        draw, n = rng(order_seed(cfg), "pretrain", step), c.pretrain_batch_size // len(tasks)
        batches = [draw_world_batch(t.world, n, draw, model.token.weight.device) for t in tasks]
        losses = [
            world_loss(t.interview.answers(model, b.subjects), b.answers, b.shown)
            for t, b in zip(tasks, batches)
        ]
        loss = sum(losses) / len(losses)
        model.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        check_finite(step, "bench", loss=loss, gradient=torch.nn.utils.get_total_norm(gradients))
        factor = trapezoid(step, c.pretrain_steps, c.pretrain_warmup, c.pretrain_cooldown)
        set_rates([muon, adamw], peaks, factor)
        muon.step()
        adamw.step()
        check_finite(step, "bench", weights=weight_norm(model))
        return loss.detach()

    return update


def compare_pretraining(cfg: Config, device: str) -> Group:
    """One and the same update with either Muon."""
    tasks, ways = make_tasks(cfg, device), {}
    for name, make in MUONS.items():
        ways[name] = pretraining(cfg, new_model(cfg, tasks).to(device), tasks, make)
    n = cfg.pretrain.pretrain_batch_size
    return Group(f"pretraining update: {cfg.task}, {n} subjects", ways)


def compare_muon(cfg: Config, device: str) -> Group:
    """A first step of either Muon on normal gradients, of each matrix of the blocks."""
    model = new_model(cfg, make_tasks(cfg, device))
    draw = torch.Generator().manual_seed(0)
    shapes = [p.shape for p in model.blocks.parameters() if p.dim() == 2]
    gradients = [torch.randn(shape, generator=draw).to(device) for shape in shapes]

    def step_of(make: MakeMuon, dtype: torch.dtype) -> Do:
        matrices = [nn.Parameter(torch.zeros_like(g, dtype=dtype)) for g in gradients]
        for p, g in zip(matrices, gradients):
            p.grad = g.to(dtype)
        optimizer = make(matrices, 1.0, 0.0)
        return lambda: (matrices, optimizer.step())[0]

    ways = {name: step_of(make, torch.float32) for name, make in MUONS.items()}
    title = f"Muon alone, {len(shapes)} matrices; differences from float64"
    return Group(title, ways, tolerance=0.1, exact=flatten(step_of(Muon, torch.float64)))
