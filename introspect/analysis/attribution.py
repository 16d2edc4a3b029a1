"""Attribution: how much each feature of an input contributes to a score, by definition.

    B items   F features   n rows of one call   b baseline   a_i, phi_i attribution of feature i

"Removed" means: feature i of an item takes the value of feature i of its baseline, all others stay.
Nothing is deleted, resampled or averaged, so every number depends on the baseline as much as on x.
All attributions are linear in the score, 0 for a dummy (a feature that the score ignores) and equal
for symmetric features (whose exchange changes neither score nor x nor b). What sets them apart is
whether they are complete: whether those of an item sum to score(x) - score(b).

Every function evaluates `chunk` rows a call (memory against calls, never the result), returns no
gradient, and raises ValueError for an x that is empty or not (B, F), a baseline that does not
broadcast to it or would change its dtype, chunk < 1, and a score of another shape or kind.
"""

from collections.abc import Callable
from math import comb

import numpy as np
import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]  # (n, F) -> (n,) floating point, every row on its own
Baseline = Tensor | float  # number or tensor that broadcasts to (B, F), in the units of x
MAX_SHAPLEY = 16  # features; beyond, enumeration stops being a reference and becomes a wait
CHUNK = 4096  # rows


def leave_one_out(score: Score, x: Tensor, baseline: Baseline, chunk: int = CHUNK) -> Tensor:
    """a_i = score(x) - score(x with feature i removed).

    Li, Monroe & Jurafsky 2016 (arXiv:1612.08220). Costs B (F + 1) evaluations.

    Returns:
        (B, F), as x, in units of `score`. Complete for additive scores. An effect that needs two
        features counts twice, and one for which either suffices not at all:

    >>> x = torch.ones(1, 2)
    >>> leave_one_out(lambda z: z.prod(1), x, 0.0), shapley(lambda z: z.prod(1), x, 0.0)
    (tensor([[1., 1.]]), tensor([[0.5000, 0.5000]]))
    """
    v = _one_removed(score, x, _checked(x, baseline, chunk), chunk)  # (B, F + 1)
    return v[:, -1:] - v[:, :-1]


def flips(answer: Score, x: Tensor, baseline: Baseline, chunk: int = CHUNK) -> Tensor:
    """[answer(x) != answer(x with feature i removed)]: leave-one-out for class ids.

    What Guo et al. 2026 (arXiv:2606.32038) ask of a cue, of every feature: B (F + 1) evaluations.

    Args:
        answer: maps (n, F) to (n,) class ids, integer or bool, every row on its own.

    Returns:
        (B, F) bool, as x. False for a dummy, but also where other features make up for the loss.
    """
    v = _one_removed(answer, x, _checked(x, baseline, chunk), chunk, ids=True)  # (B, F + 1)
    return v[:, :-1] != v[:, -1:]


def shapley(score: Score, x: Tensor, baseline: Baseline, chunk: int = CHUNK) -> Tensor:
    """Exact Shapley values of v(S) = score(x with every feature outside S removed).

        phi_i = sum_{S without i} |S|! (F - |S| - 1)! / F!  (v(S + i) - v(S))

    Shapley 1953; of this game, "baseline Shapley": Sundararajan & Najmi 2020 (arXiv:1908.08474).
    Costs B 2^F evaluations, summed in float64.

    Returns:
        (B, F), as x, in units of `score`. Complete for every score.

    Raises:
        ValueError: F > 16.
    """
    baseline, F = _checked(x, baseline, chunk), x.shape[1]
    if F > MAX_SHAPLEY:
        raise ValueError(f"exact Shapley needs 2^F evaluations: F <= {MAX_SHAPLEY}, got F = {F}")
    subset = torch.arange(2**F, device=x.device)[:, None]
    keep = (subset >> torch.arange(F, device=x.device)) % 2 == 1  # (2^F, F): bit i is feature i
    size = keep[: 2 ** (F - 1)].sum(1)  # (2^(F-1),) of the subsets of F - 1 features, in order
    by_size = [1 / (F * comb(F - 1, s)) for s in range(F)]  # s! (F - s - 1)! / F!
    weight = torch.tensor(by_size, dtype=torch.float64, device=x.device)[size]
    group, phi = max(1, chunk >> F), []  # items a time, lest all B 2^F scores be held
    for some_x, some_b in zip(x.split(group), baseline.split(group)):
        v = _ablated(score, some_x, some_b, keep, chunk)  # (group, 2^F)
        cube = v.double().unflatten(1, (2,) * F)  # (group, 2, .., 2): bit i is dimension F - i
        gain = torch.stack([cube.diff(dim=F - i).flatten(1) for i in range(F)], 1)
        phi.append((gain * weight).sum(2).to(v.dtype))  # (group, F); gain is (group, F, 2^(F-1))
    return torch.cat(phi)


def integrated_gradients(
    score: Score, x: Tensor, baseline: Baseline, n_step: int = 50, chunk: int = CHUNK
) -> Tensor:
    """a_i = (x_i - b_i) int_0^1 d score / d x_i (b + t (x - b)) dt.

    Sundararajan, Taly & Yan 2017 (arXiv:1703.01365). No feature is removed alone: all move together
    on the straight line from b to x. The integral is Gauss-Legendre quadrature (our choice, and
    Captum's default), exact if the score on that line is a polynomial of degree <= 2 n_step. The
    error falls exponentially in n_step for an analytic score, as 1 / n_step at a kink, and stays
    at a jump, which has no gradient. Costs B n_step gradients and holds them all.

    Returns:
        (B, F), as x, in units of `score`. Complete but for the error: measure it by `completeness`.

    Raises:
        ValueError: n_step < 1, x is not floating point, or the score has no gradient.
    """
    if n_step < 1:
        raise ValueError(f"n_step must be at least 1, got {n_step}")
    t, weight = map(torch.from_numpy, np.polynomial.legendre.leggauss(n_step))  # on (-1, 1)
    return _on_the_line(score, x, _checked(x, baseline, chunk), (1 + t) / 2, weight / 2, chunk)


def gradient_x_input(score: Score, x: Tensor, baseline: Baseline, chunk: int = CHUNK) -> Tensor:
    """a_i = (x_i - b_i) d score / d x_i (x): leave-one-out to first order.

    Shrikumar et al. 2016 (arXiv:1605.01713), with b = 0. Nothing is removed; costs B gradients.

    Returns:
        (B, F), as x, in units of `score`. Complete for affine scores; 0 where the score is flat.

    Raises:
        ValueError: x is not floating point, or the score has no gradient.
    """
    end = torch.ones(1, dtype=torch.float64)
    return _on_the_line(score, x, _checked(x, baseline, chunk), end, end, chunk)


def completeness(
    score: Score, x: Tensor, baseline: Baseline, attribution: Tensor, chunk: int = CHUNK
) -> Tensor:
    """sum_i a_i - (score(x) - score(b)): 0 iff complete, positive if too much is attributed.

    For `integrated_gradients` the error of the quadrature, for `shapley` rounding, for the others
    what interactions they miss or count twice. Returns (B,), costs 2 B evaluations;
    raises ValueError for an `attribution` of another shape than x.
    """
    if attribution.shape != x.shape:
        raise ValueError(f"attribution is {tuple(attribution.shape)}, but x is {tuple(x.shape)}")
    none_or_all = torch.tensor([[False], [True]], device=x.device)
    v = _ablated(score, x, _checked(x, baseline, chunk), none_or_all, chunk)  # (B, 2)
    return attribution.detach().sum(1) - (v[:, 1] - v[:, 0])


def _checked(x: Tensor, baseline: Baseline, chunk: int) -> Tensor:
    """The baseline as (B, F) of x's dtype; ValueError for what no function here can use."""
    if x.dim() != 2 or x.numel() == 0:
        raise ValueError(f"x must be (B, F) and not empty, got {tuple(x.shape)}")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 row, got {chunk}")
    b = torch.as_tensor(baseline, device=x.device)
    fits = b.dim() <= 2 and all(m in (1, n) for m, n in zip(b.shape[::-1], x.shape[::-1]))
    if not fits or torch.result_type(x, b) != x.dtype:
        shapes = f"{tuple(b.shape)} of {b.dtype} for {tuple(x.shape)} of {x.dtype}"
        raise ValueError(f"baseline must broadcast to x and its dtype, got {shapes}")
    return b.to(x.dtype).expand_as(x)


def _call(score: Score, z: Tensor, ids: bool = False) -> Tensor:
    v, kind = score(z), "class ids, integer or bool" if ids else "floating point"
    if v.shape != z.shape[:1] or v.is_floating_point() == ids:
        got = f"{v.dtype} {tuple(v.shape)} (class ids are for `flips`, scores for the others)"
        raise ValueError(f"need {kind}, ({len(z)},) for {tuple(z.shape)}, got {got}")
    return v


@torch.no_grad()
def _ablated(score: Score, x: Tensor, baseline: Tensor, keep: Tensor, chunk: int, ids=False):
    """(B, n) scores of every item with only the features of each row of `keep`, (n, F)."""
    values = []
    for row in torch.arange(len(x) * len(keep), device=x.device).split(chunk):
        item, subset = row // len(keep), row % len(keep)
        values.append(_call(score, torch.where(keep[subset], x[item], baseline[item]), ids))
    return torch.cat(values).view(len(x), len(keep))


def _one_removed(score: Score, x: Tensor, baseline: Tensor, chunk: int, ids=False) -> Tensor:
    """(B, F + 1) scores without each feature, then with all."""
    keep = ~torch.eye(x.shape[1] + 1, x.shape[1], dtype=torch.bool, device=x.device)
    return _ablated(score, x, baseline, keep, chunk, ids)


@torch.inference_mode(False)  # inside, gradients are on, whatever the caller has set
def _on_the_line(score: Score, x: Tensor, baseline: Tensor, t: Tensor, weight: Tensor, chunk: int):
    """(B, F) (x - b) sum_k weight_k d score / d x (b + t_k (x - b)), t and weight (n,)."""
    if not x.is_floating_point():
        raise ValueError(f"gradients need floating point x, got {x.dtype}")
    x, baseline, t, gradients = x.detach(), baseline.detach(), t.to(x), []
    for row in torch.arange(len(x) * len(t), device=x.device).split(chunk):
        item, k = row // len(t), row % len(t)
        z = torch.lerp(baseline[item], x[item], t[k, None]).requires_grad_()  # x itself at t = 1
        v = _call(score, z)
        g = torch.autograd.grad(v.sum(), z, allow_unused=True)[0] if v.requires_grad else None
        if g is None:
            raise ValueError("score has no gradient in x (a threshold?); leave_one_out needs none")
        gradients.append(g)
    g = torch.cat(gradients).view(len(x), len(t), -1)  # (B, n, F)
    mean = (g * weight.to(x.device)[:, None]).sum(1)  # (B, F), float64 as the weights
    return ((x - baseline) * mean).to(x.dtype)
