"""Saves the gradients of one update of each stage: python -m tests.parallel_gradients FILE.

Started by torchrun, every process computes those of its part of the batch, and they are averaged.
"""

import os
import sys

import torch

from introspect.losses import world_loss
from introspect.parallel import average, joined
from introspect.pretrain import draw_world_batch
from introspect.runs.build import build
from introspect.runs.stages import make_labels, make_tasks, new_model
from introspect.streams import rng
from introspect.tasks.registry import find_tasks
from introspect.terms import ask, draw_batches, judge, supervise
from tests.several import SIZES, TINY

FIELDS = dict(batch_size=4, anchor="all", kl_weight=0.7)


def compute(cache):
    """(terms and gradients of pretraining, those of co-training), each as one vector."""
    cfg = build(find_tasks("hint"), TINY | SIZES["hint"] | FIELDS)
    tasks = make_tasks(cfg, "cpu")
    [task] = tasks
    model, other = new_model(cfg, tasks).double(), new_model(cfg, tasks)
    frozen = make_labels(cfg, tasks, other, cache, "cpu")
    supervised = [supervise(task, labels, cfg.cotrain, torch.device("cpu")) for labels in frozen]
    for p in model.parameters():  # away from M0, so that the anchor has a gradient
        p.data += 0.1 * torch.sin(torch.arange(p.numel())).view_as(p)
    vectors = []
    for stage in ("pretrain", "cotrain"):
        model.zero_grad()
        if stage == "pretrain":
            batch = draw_world_batch(task.world, 8, rng(0, stage, 3), torch.device("cpu"))
            answers = task.interview.answers(model, batch.subjects)
            loss = world_loss(answers, batch.answers, batch.shown)
            terms = {}
        else:
            batches = draw_batches(3, supervised, [], cfg.cotrain, 0, False)
            loss, terms = judge(batches, [ask(model, batch) for batch in batches], cfg.cotrain)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        every = [loss.detach(), *terms.values(), *gradients]
        average(every)
        vectors.append(torch.cat([tensor.flatten() for tensor in every]))
    return vectors


if __name__ == "__main__":
    from pathlib import Path

    with joined("cpu", os.environ) as (rank, _):
        computed = compute(Path(sys.argv[1]).parent / f"cache-{rank}")
        torch.save(computed, f"{sys.argv[1]}.{rank}")
