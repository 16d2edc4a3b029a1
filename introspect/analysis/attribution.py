"""Attribution: how much each feature of an input contributes to a score.

    B items   F features   n rows of one call   b baseline   a_i, phi_i attribution of feature i

"Removed" means that feature i of an item takes its value in the baseline and all others stay.
Nothing is deleted, resampled or averaged, so every number depends on the baseline as much as on x.
All attributions are linear in the score. A feature that the score ignores (a dummy) gets 0. Two
features get the same if exchanging them changes neither the score nor x nor b (symmetry). Methods
differ in whether they are complete: do the features of an item sum to score(x) - score(b)?

Attributions are (B, F), as x, in units of the score, without a gradient. Every function calls the
score on at most `chunk` rows at a time, which limits memory and never changes the result. It raises
ValueError if x is empty or not (B, F), if the baseline does not broadcast to x or would change its
dtype, if chunk < 1, and if the score returns another shape or kind.
"""

from collections.abc import Callable
from math import comb

import numpy as np
import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]  # (n, F) -> (n,) floating point; each row is independent
Baseline = Tensor | float  # number or tensor that broadcasts to (B, F), in the units of x
MAX_SHAPLEY = 16  # features; enumerating 2^F subsets of more takes too long
CHUNK = 4096  # rows


def leave_one_out(score: Score, x: Tensor, baseline: Baseline, chunk: int = CHUNK) -> Tensor:
    """a_i = score(x) - score(x with feature i removed).

    Li, Monroe & Jurafsky 2016 (arXiv:1612.08220). Costs B (F + 1) evaluations. Complete for
    additive scores. It counts an effect that needs two features twice, and misses an effect for
    which either of two suffices.

    >>> x = torch.ones(1, 2)
    >>> leave_one_out(lambda z: z.prod(1), x, 0.0), shapley(lambda z: z.prod(1), x, 0.0)
    (tensor([[1., 1.]]), tensor([[0.5000, 0.5000]]))
    """
    v = _one_removed(score, x, baseline, chunk)
    return v[:, -1:] - v[:, :-1]


def flips(answer: Score, x: Tensor, baseline: Baseline, chunk: int = CHUNK) -> Tensor:
    """[answer(x) != answer(x with feature i removed)]: leave-one-out for class ids.

    Asks about every feature what Guo et al. 2026 (arXiv:2606.32038) ask about a cue. Costs
    B (F + 1) evaluations of `answer`, which maps (n, F) to (n,) class ids, integer or bool. Returns
    (B, F) bool, False for a dummy, but also if other features make up for the loss.
    """
    v = _one_removed(answer, x, baseline, chunk, ids=True)
    return v[:, :-1] != v[:, -1:]


def shapley(score: Score, x: Tensor, baseline: Baseline, chunk: int = CHUNK) -> Tensor:
    """Exact Shapley values of v(S) = score(x with every feature outside S removed).

        phi_i = sum_{S without i} |S|! (F - |S| - 1)! / F!  (v(S + i) - v(S))

    Shapley 1953. For this v it is "baseline Shapley" (Sundararajan & Najmi 2020,
    arXiv:1908.08474). Costs B 2^F evaluations, summed in float64. Complete for every score.

    Raises:
        ValueError: F > 16.
    """
    baseline, F = _checked(x, baseline, chunk), x.shape[1]
    if F > MAX_SHAPLEY:
        raise ValueError(f"exact Shapley needs 2^F evaluations: F <= {MAX_SHAPLEY}, got F = {F}")
    subset = torch.arange(2**F, device=x.device)[:, None]
    keep = (subset >> torch.arange(F, device=x.device)) % 2 == 1  # (2^F, F): bit i is feature i
    size = keep[: 2 ** (F - 1)].sum(1)  # (2^(F-1),) sizes of the subsets of F - 1 features
    by_size = [1 / (F * comb(F - 1, s)) for s in range(F)]  # s! (F - s - 1)! / F!
    weight = torch.tensor(by_size, dtype=torch.float64, device=x.device)[size]
    group, phi = max(1, chunk >> F), []  # items at a time: B 2^F scores could fill the memory
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

    Sundararajan, Taly & Yan 2017 (arXiv:1703.01365). No feature is removed alone: all change
    together on the straight line from b to x. The integral is computed by Gauss-Legendre quadrature
    (our choice, and Captum's default), exact if the score on that line is a polynomial of degree
    <= 2 n_step. Its error falls exponentially in n_step for an analytic score and as 1 / n_step at
    a kink. At a jump, which has no gradient, it stays. Costs B n_step gradients and holds them all.
    Complete up to that error, which `completeness` measures.

    Raises:
        ValueError: n_step < 1, x is not floating point, or the score has no gradient.
    """
    if n_step < 1:
        raise ValueError(f"n_step must be at least 1, got {n_step}")
    t, weight = map(torch.from_numpy, np.polynomial.legendre.leggauss(n_step))  # on (-1, 1)
    return _on_the_line(score, x, baseline, (1 + t) / 2, weight / 2, chunk)


def gradient_x_input(score: Score, x: Tensor, baseline: Baseline, chunk: int = CHUNK) -> Tensor:
    """a_i = (x_i - b_i) d score / d x_i (x): leave-one-out to first order.

    Shrikumar et al. 2016 (arXiv:1605.01713), there with b = 0. Costs B gradients. Complete for
    affine scores; 0 if the score is flat at x.

    Raises:
        ValueError: x is not floating point, or the score has no gradient.
    """
    end = torch.ones(1, dtype=torch.float64)
    return _on_the_line(score, x, baseline, end, end, chunk)


def completeness(
    score: Score, x: Tensor, baseline: Baseline, attribution: Tensor, chunk: int = CHUNK
) -> Tensor:
    """sum_i a_i - (score(x) - score(b)), (B,): 0 iff complete, positive if too much is attributed.

    It is the quadrature error of `integrated_gradients`, the rounding error of `shapley`, and for
    the other methods the interactions that they miss or count twice. Costs 2 B evaluations. Raises
    ValueError if the shape of `attribution` is not that of x.
    """
    if attribution.shape != x.shape:
        raise ValueError(f"attribution is {tuple(attribution.shape)}, but x is {tuple(x.shape)}")
    none_or_all = torch.tensor([[False], [True]], device=x.device)
    v = _ablated(score, x, baseline, none_or_all, chunk)  # (B, 2)
    return attribution.detach().sum(1) - (v[:, 1] - v[:, 0])


def _checked(x: Tensor, baseline: Baseline, chunk: int) -> Tensor:
    """The baseline as (B, F) in the dtype of x; raises the errors that all functions share."""
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
    """score(z), (n,); raises ValueError for another shape, or another kind than `ids` asks for."""
    v, kind = score(z), "class ids, integer or bool" if ids else "floating point"
    if v.shape != z.shape[:1] or v.is_floating_point() == ids:
        got = f"{v.dtype} {tuple(v.shape)} (class ids are for `flips`, scores for the others)"
        raise ValueError(f"need {kind}, ({len(z)},) for {tuple(z.shape)}, got {got}")
    return v


@torch.no_grad()
def _ablated(score: Score, x: Tensor, baseline: Baseline, keep: Tensor, chunk: int, ids=False):
    """(B, n) scores of every item with only the features in each row of `keep`, (n, F) bool."""
    baseline, values = _checked(x, baseline, chunk), []
    for row in torch.arange(len(x) * len(keep), device=x.device).split(chunk):
        item, subset = row // len(keep), row % len(keep)
        values.append(_call(score, torch.where(keep[subset], x[item], baseline[item]), ids))
    return torch.cat(values).view(len(x), len(keep))


def _one_removed(score: Score, x: Tensor, baseline: Baseline, chunk: int, ids=False) -> Tensor:
    """(B, F + 1) scores: without each feature, then with all."""
    _checked(x, baseline, chunk)  # before the shape of x is used
    keep = ~torch.eye(x.shape[1] + 1, x.shape[1], dtype=torch.bool, device=x.device)
    return _ablated(score, x, baseline, keep, chunk, ids)


@torch.inference_mode(False)  # gradients are on inside, whatever the caller has set
def _on_the_line(score: Score, x: Tensor, baseline: Baseline, t: Tensor, weight: Tensor, chunk):
    """(B, F) (x - b) sum_k weight_k d score / d x (b + t_k (x - b)), t and weight (n,)."""
    baseline = _checked(x, baseline, chunk)
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
    mean = (g * weight.to(x.device)[:, None]).sum(1)  # (B, F) in float64, as the weights are
    return ((x - baseline) * mean).to(x.dtype)
