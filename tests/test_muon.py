"""Muon against the polynomial of singular values, against torch's, and in every shape."""

import pytest
import torch

from introspect.muon import Muon, orthogonal
from tests.cases import each


def matrices(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_singular_values(x):
    """The definition: each singular value, over the norm of all, goes through a polynomial."""
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u * s @ vh


@each("shape", [(4, 4), (3, 7), (7, 3), (1, 5), (5, 1), (64, 192)])
def test_orthogonal_is_the_polynomial_of_singular_values(shape):
    x = matrices(*shape)
    torch.testing.assert_close(orthogonal(x), by_singular_values(x), rtol=0, atol=1e-12)
    single = orthogonal(x.float())
    assert (single - by_singular_values(x)).abs().max() < 2e-5
    torch.testing.assert_close(orthogonal(1000 * x), orthogonal(x), rtol=0, atol=1e-12)


def test_matrices_together_are_each_as_alone():
    x = matrices(2, 3, 5, 4)
    torch.testing.assert_close(orthogonal(x)[1, 2], orthogonal(x[1, 2]), rtol=0, atol=1e-14)
    assert orthogonal(torch.zeros(3, 2)).eq(0).all()  # nothing to divide by


def weights():
    return [torch.nn.Parameter(matrices(*shape, seed=i).float())
            for i, shape in enumerate([(6, 4), (4, 6), (6, 4), (5, 5)])]  # fmt: skip


def train(optimizer, params, steps=20):
    for step in range(steps):
        for i, p in enumerate(params):
            p.grad = matrices(*p.shape, seed=100 * step + i).float()
        optimizer.step()
    return params


def test_it_is_the_muon_of_torch_up_to_its_bfloat16():
    ours, theirs, start = weights(), weights(), weights()
    train(Muon(ours, lr=0.01, weight_decay=0.3), ours)
    flags = dict(lr=0.01, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    train(torch.optim.Muon(theirs, **flags), theirs)
    for p, q, before in zip(ours, theirs, start):
        assert (p - q).norm() < 0.02 * (p - before).norm()


def test_a_weight_without_a_gradient_stays_and_has_no_state():
    params = weights()
    optimizer, before = Muon(params, lr=0.01, weight_decay=0.3), params[2].detach().clone()
    for p in (params[0], params[1], params[3]):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.equal(params[2], before) and params[2] not in optimizer.state


def test_a_loaded_state_goes_on_to_the_same_bits():
    whole, parts = weights(), weights()
    train(Muon(whole, lr=0.01, weight_decay=0.3), whole, 2)
    first = Muon(parts, lr=0.01, weight_decay=0.3)
    for step in range(2):
        for i, p in enumerate(parts):
            p.grad = matrices(*p.shape, seed=100 * step + i).float()
        first.step()
        state, first = first.state_dict(), Muon(parts, lr=9.0, weight_decay=9.0)
        first.load_state_dict(state)
    assert all(torch.equal(p, q) for p, q in zip(whole, parts))


def test_a_weight_that_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"for matrices, got a weight of shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1, weight_decay=0.0)
