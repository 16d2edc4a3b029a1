"""Muon: a gradient's momentum, made orthogonal, is the step of a matrix (Jordan et al. 2024).

    M <- 0.95 M + 0.05 G                                    momentum of the gradient G
    N  = 0.95 M + 0.05 G                                    Nesterov: one step ahead
    W <- (1 - lr decay) W - lr 0.2 sqrt(max(m, n)) orthogonal(N)      W (m, n)

The factor of the step gives it the root mean square of AdamW's (Liu et al. 2025, arXiv:2502.16982),
so that rates of both are alike. This is torch.optim.Muon with adjust_lr_fn="match_rms_adamw", but
for the precision of `orthogonal`: there it is computed in bfloat16, here in that of the weights.
On a CPU that is no slower where bfloat16 has units of its own, and many times faster where it has
none; matrices of one shape are orthogonalized together.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # a, b, c: steep at 0, where singular values must rise
ITERATIONS = 5


def orthogonal(x: Tensor) -> Tensor:
    """U S' V^T for matrices x = U S V^T (..., m, n), with S' near 1: within 0.7 .. 1.2 unless a
    singular value is below 1 % or so of the norm of all.

    Newton-Schulz iteration after division by that norm: s <- a s + b s^3 + c s^5 for every singular
    value s, which is x <- a x + b (x x^T) x + c (x x^T)^2 x, five times.
    """
    a, b, c = COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x  # x x^T is then the smaller of the two squares
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """The updates above, of weights that are matrices.

    Args:
        lr: the rate, >= 0. weight_decay: >= 0, as a share of the weight for each unit of the rate.

    Raises:
        ValueError: a weight that is no matrix.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.dim() != 2:
                raise ValueError(f"Muon is for matrices, got a weight of shape {tuple(p.shape)}")

    @torch.no_grad()
    def step(self) -> None:
        """One update of every weight with a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, weights in by_shape.items():
                steps = orthogonal(torch.stack([self._look_ahead(p) for p in weights]))
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for p, step in zip(weights, steps):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=scale)

    def _look_ahead(self, p: nn.Parameter) -> Tensor:
        """Take the gradient of `p` into its momentum; returns what is made orthogonal."""
        if p not in self.state:
            self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        momentum = self.state[p]["momentum_buffer"].lerp_(p.grad, 1 - MOMENTUM)
        return p.grad.lerp(momentum, MOMENTUM)
