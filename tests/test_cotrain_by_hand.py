"""Whole trainings are those that are written out by hand."""

import copy
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from introspect import cotrain
from introspect.adapters import trainable
from introspect.streams import rng
from introspect.tokenizer import ANSWER, EXPLAIN, encode
from tests.test_cotrain import SMALL, Run, small

STEPS = dict(
    max_steps=4, learning_rate=0.02, warmup_steps=3, weight_decay=0.3, kl_weight=0.7,
    explain_weight=1.3, seed=3, draw_seed=0, m0_seed=1, n_layer=2, eval_interval=4,
)


def loss_by_hand(model, world, labels, reference, step, c):
    """CE and KL of prompts asked one by one, each in a plain causal pass; in channel head."""
    def read(text):
        return model.trunk(torch.tensor([encode(text)]))[0, -1]

    def kl_of(subjects):
        terms = []
        for s, v in product(subjects, range(len(world.prompts))):
            log_p = model.task_head(read(world.text(s, v) + ANSWER)).log_softmax(0)
            log_p0 = reference[s, v].log_softmax(0)
            terms.append((log_p0.exp() * (log_p0 - log_p)).sum())
        return sum(terms) / len(terms)

    batch = rng(0, "explain", step).choice(np.flatnonzero(world.explained), 4, replace=False)
    ces = []
    for s, (p, (x, _)) in product(batch, enumerate(world.pairs)):
        log_p = model.explain_head(read(world.text(s, x) + EXPLAIN)).log_softmax(0)
        ces.append(-log_p[labels[s, p]])
    loss = 1.3 * sum(ces) / len(ces)
    if c.kl_weight and c.anchor == "all":
        batch = rng(0, "anchor", step).choice(len(world.slots), 4, replace=False)
    return loss + c.kl_weight * kl_of(batch) if c.kl_weight else loss


def adamw_by_hand(weights, gradients, state, step, rate, decay, betas=(0.9, 0.999), eps=1e-8):
    """One update in place: decoupled decay, then the mean gradient over its root mean square."""
    for p, g in zip(weights, gradients):
        m, v = state.setdefault(id(p), [torch.zeros_like(p), torch.zeros_like(p)])
        m.mul_(betas[0]).add_(g, alpha=1 - betas[0])
        v.mul_(betas[1]).add_(g * g, alpha=1 - betas[1])
        mean, square = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
        p.sub_(rate * decay * p).sub_(rate * mean / (square.sqrt() + eps))


@pytest.mark.parametrize("arm, clip", [  # a bound that clips some of the updates and not others
    ({}, 3.0), ({"kl_weight": 0.0}, 3.0), ({"anchor": "all"}, 3.0), ({"adapter_rank": 2}, 1.7)],
    ids=str)
def test_a_whole_training_is_the_one_written_out_by_hand(arm, clip, tmp_path):
    """In float64: prompts one by one, clipping, warm-up and AdamW in plain arithmetic."""
    run = Run(small(SMALL | STEPS | arm))
    (task,), c, start = run.tasks, small(SMALL | STEPS | arm).cotrain, run.model.double()
    frozen = run.frozen[0]._replace(reference=run.frozen[0].reference.double())
    hand = copy.deepcopy(start)
    weights = trainable(hand, "head", c.adapter_rank, 3)
    norms, state = [], {}
    for step in range(4):
        loss = loss_by_hand(hand, task.world, frozen.targets, frozen.reference, step, c)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        used = [(p, g) for p, g in zip(weights, gradients) if g is not None]
        norm = sum(g.square().sum() for _, g in used).sqrt().item()
        norms.append(norm)
        scaled = [g * min(1, clip / (norm + 1e-6)) for _, g in used]
        rate = 0.02 * min(1, (step + 1) / 3)
        with torch.no_grad():
            adamw_by_hand([p for p, _ in used], scaled, state, step + 1, rate, 0.3)
    model = copy.deepcopy(start)
    trained = cotrain.cotrain(model, [task], [frozen], replace(c, grad_clip=clip), 3, tmp_path, "")
    assert [row["step"] for row in trained.rows] == [0, 4]
    assert min(norms) < clip < max(norms)  # guard
    for (name, p), q in zip(model.named_parameters(), hand.parameters()):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-9, msg=name)
