"""The benchmark compares two ways of computing one and the same thing."""

import torch

from introspect.analysis.bench import bench, matrix_operations, ways
from introspect.runs.build import build
from introspect.tasks.hint import Hint

CONFIG = build({"hint": Hint}, {"n_entity": 6, "n_attribute": 6, "batch_size": 8})


def gradient(model, loss):
    model.zero_grad(set_to_none=True)
    loss().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_both_ways_have_the_same_loss_and_gradient():
    model, _, loss_of = ways(CONFIG, "cpu")
    model.double()
    packed, one_by_one = (loss_of[way] for way in ("packed", "one by one"))
    torch.testing.assert_close(packed(), one_by_one(), rtol=0, atol=1e-12)
    first, second = gradient(model, packed), gradient(model, one_by_one)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)
    assert first.abs().max() > 1e-3  # and there is one


def test_operations_are_six_for_every_weight_of_the_blocks_and_token():
    model, *_ = ways(CONFIG, "cpu")
    weights = sum(p.numel() for p in model.blocks.parameters() if p.dim() == 2)
    assert matrix_operations(CONFIG, 10) == 6 * weights * 10


def test_the_table_counts_the_tokens_of_both_ways():
    lines = bench(CONFIG, "cpu", repeats=4).splitlines()
    assert f"{15 * 8} tokens" in lines[1]  # two names, 4 hints, 5 answers, 4 explanations
    assert f"{(3 + 8 * 4) * 8} tokens" in lines[2]  # 3 without a hint, 4 and 4 with one
