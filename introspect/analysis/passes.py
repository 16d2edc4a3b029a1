"""A pass over the prompts of some subjects that is kept, and goes on from any point of it.

    B subjects   T tokens of the packed prompts   A tokens that are read   C = n_embd   P pairs

A *point* is a module whose input can be read and replaced (GPT.hooked): `embed`, and in block i
`blocks.i.attn.proj` (heads side by side), `blocks.i.mlp.down` (neurons) and `blocks.i.resid` (the
residual stream). A *site* is a slice of its channels at some tokens. What a pass computes before a
point does not depend on the input of the point, so with another input only the rest is computed,
by the same operations on the same shapes as in a whole pass.
"""

import copy
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from introspect.interview import RunTask
from introspect.model import GPT

TOKENS = ("subject", "cue", "query")


class Site(NamedTuple):
    point: str  # a module of the model, whose input is replaced
    tokens: str  # one of TOKENS
    low: int  # channels low .. high - 1
    high: int

    @property
    def place(self) -> str:
        """Sites of one place differ in their channels only, and are each other's null."""
        return f"{self.point} {self.tokens}"


def list_points(model: GPT) -> list[str]:
    """In the order in which a pass reaches them."""
    inside = ("attn.proj", "mlp.down", "resid")
    return ["embed", *(f"blocks.{i}.{p}" for i in range(len(model.blocks)) for p in inside)]


def in_last_block(model: GPT, point: str) -> bool:
    return point.startswith(f"blocks.{len(model.blocks) - 1}.")


def find_nodes(part: RunTask) -> dict[str, Tensor]:
    """Node numbers in the packed prompts of a part: query, the last token of each sequence, which
    is read; subject, tokens in every prompt; cue, all others, each of which some prompt lacks."""
    packed, prompts = part.interview.plan.packed, part.world.prompts
    common = set.intersection(*map(set, prompts))
    query = torch.zeros_like(packed.slots, dtype=torch.bool)
    query[packed.ends] = True
    subject = torch.tensor([int(slot) in common for slot in packed.slots], device=query.device)
    masks = {"subject": subject & ~query, "cue": ~subject & ~query, "query": query}
    return {tokens: mask.nonzero()[:, 0] for tokens, mask in masks.items()}


class Pass:
    """One pass of a model over the packed prompts of `subjects` (B,), for inference.

    Attributes:
        inputs: the input of each point, (B, T, channels); in the last block (B, A, channels).
        hidden: (B, A, C) output of the trunk.
        before_attn: the residual stream that the attention of each block reads, (B, T, C).
        before_mlp: that which the MLP of each block reads, (B, T, C); of the last block (B, A, C).
    """

    @torch.no_grad()
    def __init__(self, model: GPT, part: RunTask, subjects: Tensor):
        plan = part.interview.plan
        self.model, self.part, self.subjects, self.packed = model, part, subjects, plan.packed
        self.nodes = find_nodes(part)
        self.inputs: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for point in list_points(model):
                see = partial(self.inputs.__setitem__, point)
                stack.enter_context(model.hooked(point, see))
            _, positions, mask, ends = self.packed
            self.hidden = model.trunk(plan.tokens[subjects], positions, mask, ends)
        last = len(model.blocks) - 1
        before = ["embed", *(f"blocks.{i}.resid" for i in range(last))]
        self.before_attn = [self.inputs[point] for point in before]
        self.before_mlp = [
            block.attn.proj(self.inputs[f"blocks.{i}.attn.proj"])
            + (self.before_attn[i][:, ends] if i == last else self.before_attn[i])
            for i, block in enumerate(model.blocks)
        ]

    def patched(self, site: Site, values: Tensor) -> Tensor:
        """The input of the site's point, with those of `values`, of its shape, at the site."""
        x = self.inputs[site.point].clone()
        last = in_last_block(self.model, site.point)  # it has a row for each token that is read
        rows = slice(None) if last else self.nodes[site.tokens]
        x[:, rows, site.low : site.high] = values[:, rows, site.low : site.high]
        return x

    @torch.no_grad()
    def finish(self, point: str, x: Tensor) -> Tensor:
        """(B, A, C) output of the trunk if the input of `point` is x, of the shape of its input."""
        if torch.equal(x, self.inputs[point]):
            return self.hidden
        blocks, i = self.model.blocks, -1
        if point != "embed":
            _, number, name = point.split(".", 2)
            i = int(number)
            if name == "attn.proj":
                stream = self.before_attn[i]
                last = in_last_block(self.model, point)
                x = blocks[i].attn.proj(x) + (stream[:, self.packed.ends] if last else stream)
                x = x + blocks[i].mlp(blocks[i].norm_2(x))
            elif name == "mlp.down":
                x = self.before_mlp[i] + blocks[i].mlp.down(x)
        for block in blocks[i + 1 :]:
            x = block(x, self.packed.mask, self.packed.ends if block is blocks[-1] else None)
        return self.model.norm(x)

    def heard(self, hidden: Tensor) -> Tensor:
        """(2, B, P) on the CPU: the labels that the answers give, and the explanations, if the
        output of the trunk is `hidden` (B, A, C)."""
        model = copy.copy(self.model)  # of the same weights
        model.trunk = lambda *_: hidden
        asked = self.part.interview
        logits, said = (t.cpu() for t in asked.ask(model, self.subjects))
        return torch.stack([asked.labels(logits.argmax(-1)), said])
