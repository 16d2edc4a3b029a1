"""A GPT trunk with three heads: one answers, one explains, one writes words.

Shapes, used in every comment below:
    B batch   T tokens   C = n_embd   H = n_head   D = C / H   A tokens that are read (`at`)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from introspect.config import GPTConfig


class CausalSelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(D)) V over the tokens `mask` allows (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, cfg: GPTConfig):
        super().__init__()
        self.n_head = cfg.n_head
        self.qkv = nn.Linear(cfg.n_embd, 3 * cfg.n_embd, bias=False)
        self.proj = nn.Linear(cfg.n_embd, cfg.n_embd, bias=False)

    def forward(self, x: Tensor, mask: Tensor, at: Tensor | None) -> Tensor:
        B, T, C = x.shape
        heads = self.qkv(x).view(B, T, 3, self.n_head, -1)  # (B, T, 3, H, D)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        if at is not None:
            q, mask = q[:, :, at], mask[at]  # (B, H, A, D), (A, T)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, H, T or A, D)
        y = y.transpose(1, 2).reshape(B, -1, C)  # heads side by side again
        return self.proj(y)


class MLP(nn.Module):
    """W2 gelu(W1 x), four times as wide inside."""

    def __init__(self, cfg: GPTConfig):
        super().__init__()
        self.up = nn.Linear(cfg.n_embd, 4 * cfg.n_embd, bias=False)
        self.down = nn.Linear(4 * cfg.n_embd, cfg.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); only at the tokens `at`, where given.

    `resid` passes the block's output on: a place to read it or to replace it (GPT.hooked).
    """

    def __init__(self, cfg: GPTConfig):
        super().__init__()
        self.norm_1 = nn.LayerNorm(cfg.n_embd, bias=False)
        self.attn = CausalSelfAttention(cfg)
        self.norm_2 = nn.LayerNorm(cfg.n_embd, bias=False)
        self.mlp = MLP(cfg)
        self.resid = nn.Identity()

    def forward(self, x: Tensor, mask: Tensor, at: Tensor | None = None) -> Tensor:
        attn = self.attn(self.norm_1(x), mask, at)
        x = attn + (x if at is None else x[:, at])  # (B, T or A, C)
        return self.resid(x + self.mlp(self.norm_2(x)))


class GPT(nn.Module):
    """Token and position embedding, `n_layer` blocks, and the heads.

    Args:
        n_answer: classes of the task head, B(M).
        n_explanation: classes of the explanation head.
        vocab_size: rows of the embedding, and classes of the language-model head.
        seed: everything drawn here depends on it and on nothing else.
    """

    def __init__(
        self, cfg: GPTConfig, vocab_size: int, n_answer: int, n_explanation: int, seed: int = 0
    ):
        super().__init__()
        self.token = nn.Embedding(vocab_size, cfg.n_embd)
        self.position = nn.Embedding(cfg.block_size, cfg.n_embd)
        self.embed = nn.Identity()  # passes the embeddings on: a place to read or replace them
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.n_layer))
        self.norm = nn.LayerNorm(cfg.n_embd, bias=False)
        self.task_head = nn.Linear(cfg.n_embd, n_answer)
        self.explain_head = nn.Linear(cfg.n_embd, n_explanation)
        self.lm_head = nn.Linear(cfg.n_embd, vocab_size, bias=False)
        self._initialize(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        """Norms 1, biases 0; embeddings 0.5, heads 0.02, matrices 1 / sqrt(inputs): our choice."""
        for name, p in self.named_parameters():
            if p.dim() == 1:
                p.fill_(1.0 if "norm" in name else 0.0)
            else:
                kind = name.split(".")[0]
                std = {"token": 0.5, "position": 0.5}.get(kind, p.shape[1] ** -0.5)
                p.normal_(0, 0.02 if "head" in kind else std, generator=generator)

    def trunk(
        self,
        idx: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """The residual stream after the last block, normalized, at the tokens that will be read.

        Args:
            idx: (B, T) token ids.
            positions: (T,) position of each token in its own sequence; default 0 .. T - 1.
            mask: (T, T) bool, True where row may attend to column; default causal. With `positions`
                it describes several sequences packed into one (packing.py).
            at: (A,) tokens to read; default all. The last block computes nothing for the others.

        Returns:
            (B, A, C), or (B, T, C) without `at`.
        """
        T = idx.shape[1]
        if positions is None:
            positions = torch.arange(T, device=idx.device)
        if mask is None:
            mask = torch.ones(T, T, dtype=torch.bool, device=idx.device).tril()
        x = self.embed(self.token(idx) + self.position(positions))  # (B, T, C)
        for block in self.blocks[:-1]:
            x = block(x, mask)
        return self.norm(self.blocks[-1](x, mask, at))

    @contextmanager
    def hooked(self, point: str, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        """Within the context, `see` gets the input of the module `point` and replaces it unless it
        returns None. Afterwards nothing is left of it, even after an error.

        Args:
            point: `embed`, or in block i `blocks.i.attn.proj` (its input is the heads side by
                side), `blocks.i.mlp.down` (the neurons) or `blocks.i.resid` (the residual stream).
        """
        module = self.get_submodule(point)
        handle = module.register_forward_pre_hook(lambda _, inputs: see(*inputs))
        try:
            yield
        finally:
            handle.remove()
