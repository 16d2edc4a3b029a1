"""Updates of several runs of one shape: all in one model (runs/stacked.py) against one by one."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from introspect.analysis.bench_timing import Do, Group
from introspect.analysis.bench_ways import start, train, update_loss
from introspect.config import Config
from introspect.interview import RunTask
from introspect.model import GPT
from introspect.runs.stacked import Joint, StackedGPT

RUNS = 8


def ask_stacked(
    models: Sequence[GPT], task: RunTask, subjects: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Answers and explanations of each model, from one pass."""
    joint = Joint([task.interview] * len(models))
    joined = torch.cat([subjects + first for first in joint.first])
    answers, said = joint.both(StackedGPT(models), joined)
    return list(zip(answers.chunk(len(models)), said.chunk(len(models))))


def update_stacked(models: Sequence[GPT], task: RunTask, subjects: Tensor) -> Do:
    """An update of all models; returns their losses together."""

    def loss() -> Tensor:
        asked = ask_stacked(models, task, subjects)
        return torch.stack([update_loss(lambda: own) for own in asked]).sum()

    return train(loss, *models)


def update_alone(models: Sequence[GPT], task: RunTask, subjects: Tensor) -> Do:
    """An update of each model by itself; returns their losses together."""
    updates = [
        train(lambda m=model: update_loss(lambda: task.interview.both(m, subjects)), model)
        for model in models
    ]
    return lambda: torch.stack([update() for update in updates]).sum()


def compare_stacked(cfg: Config, device: str, width: int, batch: int) -> Group:
    """RUNS co-training updates at once and one after the other."""
    cfg = replace(cfg, gpt=replace(cfg.gpt, n_embd=width))
    task, make = start(cfg, device)
    subjects, models = torch.arange(batch, device=device), [make() for _ in range(RUNS)]
    ways = {
        f"{RUNS} runs stacked": update_stacked(copy.deepcopy(models), task, subjects),
        f"{RUNS} runs one by one": update_alone(models, task, subjects),
    }
    title = f"{RUNS} co-training updates: {cfg.task}, width {width}, {batch} subjects"
    return Group(title, ways)
