"""Low-rank adapters: how much room explanation training gets (Hu et al. 2021, arXiv:2106.09685).

    y = W x + B (A x),   A (r, inputs) drawn at random, B (outputs, r) zero at first

A and B are trained and W is not, so that the change of W has at most rank r. There is no other
factor before B: our choice, since the paper names its ranks only.
"""

import torch
from torch import Tensor, nn

from introspect.model import GPT

MATRICES = ("attn.qkv", "attn.proj", "mlp.up", "mlp.down")  # of each block


class LowRank(nn.Module):
    """A frozen linear map without bias and a trained addition of rank r.

    It is W x + B (A x), or (W + B A) x where that is less work: for n tokens, the gradient of W
    takes n * inputs * outputs operations, A and B apart 3 n r (inputs + outputs).
    """

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator):
        super().__init__()
        outputs, inputs = linear.weight.shape
        self.linear, self.in_features = linear, inputs
        self.merged = 3 * rank * (inputs + outputs) >= inputs * outputs
        a = torch.empty(rank, inputs).normal_(0, inputs**-0.5, generator=generator)
        self.a = nn.Parameter(a.to(linear.weight))
        self.b = nn.Parameter(linear.weight.new_zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        rows, weight = x.flatten(0, -2), self.linear.weight
        if self.merged:
            y = rows @ torch.addmm(weight, self.b, self.a).T
        else:
            y = torch.addmm(rows @ weight.T, rows @ self.a.T, self.b.T)
        return y.view(*x.shape[:-1], -1)


def adapt(model: GPT, rank: int, seed: int) -> list[nn.Parameter]:
    """Put an addition of this rank beside every matrix of the trunk, which stays as it is.

    The model computes what it did, since every addition is zero at first.

    Returns:
        A and B of every matrix, which alone are to be trained.
    """
    generator, added = torch.Generator().manual_seed(seed), []
    for block in model.blocks:
        for name in MATRICES:
            module, _, last = name.rpartition(".")
            inner = block.get_submodule(module)
            adapter = LowRank(getattr(inner, last), rank, generator)
            setattr(inner, last, adapter)
            added += [adapter.a, adapter.b]
    return added


def trainable(model: GPT, channel: str, rank: int | None, seed: int) -> list[nn.Parameter]:
    """The weights that co-training moves; the others are frozen.

    All weights; or, in channel `probe`, the explanation head; or, where a rank is given, adapters
    of this rank, which are put in here, and the head that says the explanation.
    """
    if channel != "probe" and rank is None:
        return list(model.requires_grad_(True).parameters())
    model.requires_grad_(False)
    added = adapt(model, rank, seed) if rank and channel != "probe" else []
    return [*added, *explaining_head(model, channel).requires_grad_(True).parameters()]


def explaining_head(model: GPT, channel: str) -> nn.Linear:
    """The head that says the explanation."""
    return model.lm_head if channel == "verbal" else model.explain_head
