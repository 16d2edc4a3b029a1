"""Who is optimized by what, how far one update goes, and the rate as a function of the step."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect.config import GPTConfig, PretrainConfig
from introspect.model import GPT
from introspect.muon import Muon
from introspect.optim import muon_and_adamw, set_rates, trapezoid
from tests.cases import each


def gpt():
    cfg = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=4)
    return GPT(cfg, vocab_size=20, n_answer=3, n_explanation=4)


def test_muon_has_the_matrices_of_the_blocks_and_adamw_all_else_once():
    model = gpt()
    muon, adamw = muon_and_adamw(model, PretrainConfig())
    assert isinstance(muon, Muon) and isinstance(adamw, torch.optim.AdamW)
    name = {p: n for n, p in model.named_parameters()}
    groups = [[name[p] for g in o.param_groups for p in g["params"]] for o in (muon, adamw)]
    matrices = ("attn.qkv", "attn.proj", "mlp.up", "mlp.down")
    assert groups[0] == [f"blocks.{i}.{m}.weight" for i in (0, 1) for m in matrices]
    assert sorted(groups[0] + groups[1]) == sorted(name.values())


def updates(cfg):
    """Each parameter's change by one update along a random gradient, beside that gradient."""
    model, g = gpt(), torch.Generator().manual_seed(0)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=g)
    for optimizer in muon_and_adamw(model, cfg):
        optimizer.step()
    return {n: (p.detach() - before[n], p.grad) for n, p in model.named_parameters()}


def test_one_update_is_orthogonal_by_muon_and_the_sign_of_the_gradient_by_adamw():
    """Muon: -0.2 lr sqrt(max(A, B)) U V^T for a gradient U S V^T. Its Newton-Schulz iteration
    brings the singular values near 1 only, to 0.7 .. 1.2 (Jordan et al. 2024)."""
    cfg = PretrainConfig(
        muon_learning_rate=0.01, adamw_learning_rate=0.003, pretrain_weight_decay=0.0
    )
    for name, (change, grad) in updates(cfg).items():
        if "blocks" in name and "norm" not in name:
            step = -change / (0.01 * 0.2 * max(change.shape) ** 0.5)
            U, _, V = torch.linalg.svd(grad, full_matrices=False)
            inside = U.T @ step @ V.T
            assert (inside.diagonal() > 0.6).all() and (inside.diagonal() < 1.3).all()
            assert (inside - inside.diagonal().diag()).abs().max() < 1e-5
        else:
            torch.testing.assert_close(change, -0.003 * grad.sign(), rtol=0, atol=1e-6)


def test_decay_shrinks_the_matrices_only():
    without, with_decay = (
        updates(PretrainConfig(muon_learning_rate=0.01, pretrain_weight_decay=d)) for d in (0, 0.5)
    )
    start = dict(gpt().named_parameters())
    for name, (change, _) in without.items():
        extra = with_decay[name][0] - change
        shrunk = "blocks" in name and "norm" not in name
        expected = -0.01 * 0.5 * start[name].detach() if shrunk else torch.zeros_like(change)
        torch.testing.assert_close(extra, expected, rtol=0, atol=1e-6)


@each("step, factor", [(0, 1 / 4), (1, 2 / 4), (3, 1), (4, 1), (12, 1),
                       (13, 7 / 8), (16, 4 / 8), (19, 1 / 8)])
def test_trapezoid_of_20_updates_by_hand(step, factor):
    """Up over 0.2 * 20 = 4 updates, down over 0.4 * 20 = 8."""
    assert trapezoid(step, 20, warmup=0.2, cooldown=0.4) == pytest.approx(factor, abs=1e-12)


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
def test_trapezoid_rises_then_falls_and_never_leaves_0_to_1(total, warmup, cooldown):
    factors = np.array([trapezoid(s, total, warmup, cooldown) for s in range(total)])
    assert factors.min() > 0 and factors.max() <= 1
    change = np.sign(np.diff(factors))
    assert (np.diff(change) <= 0).all()  # up, flat, down: never up again
    assert factors[-1] <= factors.max()


def test_without_warmup_and_cooldown_the_rate_is_flat():
    assert {trapezoid(s, 10, 0, 0) for s in range(10)} == {1.0}


def test_each_optimizer_gets_its_own_peak():
    optimizers = muon_and_adamw(gpt(), PretrainConfig())
    for factor in (0.5, 0.25):  # a factor of the peak, not of the rate before
        set_rates(optimizers, [0.4, 0.02], factor)
        rates = [g["lr"] for o in optimizers for g in o.param_groups]
        assert rates == [0.4 * factor, 0.02 * factor]


def test_rates_come_from_the_configuration():
    cfg = PretrainConfig(muon_learning_rate=0.5, adamw_learning_rate=0.25)
    rates = [g["lr"] for o in muon_and_adamw(gpt(), cfg) for g in o.param_groups]
    assert rates == [0.5, 0.25]
