"""How a model is asked: its answers to every variant of a subject, its explanations of every pair.

    B subjects   V variants   P pairs   K answers   E = K + 1 explanations   C = n_embd

The explanation of a pair is read in a sequence of its own, which ends in <|explain|> and never
contains the model's answer. The channels differ in how it is read there:

    head    explanation head at <|explain|>                                (the default)
    tied    "would change to k" through row k of the task head, "would stay" through its own row
    probe   explanation head, and nothing else is trained: what M0 shows by itself
    same    explanation head at <|answer|>, where the answer itself is read
"""

from typing import NamedTuple

import torch
from torch import Tensor

from introspect.model import GPT
from introspect.packing import Packed, pack
from introspect.tasks.world import World
from introspect.tokenizer import encode_words

CHUNK = 64  # subjects in one forward pass outside training: small batches are faster on a CPU


class Plan(NamedTuple):
    tokens: Tensor  # (N, T) token ids of every subject, packed
    packed: Packed


class Interview:
    """The prompts of a world, tokenized and packed once, asked through one channel."""

    def __init__(self, world: World, channel: str = "head", device: torch.device | str = "cpu"):
        self.channel = channel
        self.n_variant = len(world.prompts)
        self.n_subject = world.n_subject
        self.with_cue = torch.tensor([x for x, _ in world.pairs], device=device)  # (P,) variants
        ids = torch.from_numpy(encode_words(world.slots)).to(device)  # (N, S)

        def plan(sequences: tuple) -> Plan:
            packed = pack(sequences).to(device)
            return Plan(ids[:, packed.slots].contiguous(), packed)

        self._prompts = plan(world.prompts)
        self._questions = plan(world.questions)
        self._all = plan(world.prompts + world.questions)

    @staticmethod
    def _read(model: GPT, subjects: Tensor, plan: Plan) -> Tensor:
        """(B, S, C) residual stream at the end of each sequence of the plan."""
        packed = plan.packed
        return model.trunk(plan.tokens[subjects], packed.positions, packed.mask, packed.ends)

    def _explain(self, model: GPT, hidden: Tensor) -> Tensor:
        """Explanation logits (B, P, E) from the residual stream (B, P, C) where they are read."""
        if self.channel == "tied":
            stay = model.explain_head(hidden)[..., -1:]  # (B, P, 1)
            return torch.cat([model.task_head(hidden), stay], dim=-1)
        return model.explain_head(hidden.detach() if self.channel == "probe" else hidden)

    def answers(self, model: GPT, subjects: Tensor) -> Tensor:
        """B(M): logits (B, V, K) of the answer to every variant of `subjects` (B,)."""
        return model.task_head(self._read(model, subjects, self._prompts))

    def explanations(self, model: GPT, subjects: Tensor) -> Tensor:
        """Logits (B, P, E) of what the model says removing each cue would do."""
        if self.channel == "same":
            hidden = self._read(model, subjects, self._prompts)  # (B, V, C)
            return self._explain(model, hidden[:, self.with_cue])
        return self._explain(model, self._read(model, subjects, self._questions))

    def both(self, model: GPT, subjects: Tensor) -> tuple[Tensor, Tensor]:
        """`answers` and `explanations` of one packed pass; they do not see each other."""
        if self.channel == "same":
            hidden = self._read(model, subjects, self._prompts)  # (B, V, C)
            return model.task_head(hidden), self._explain(model, hidden[:, self.with_cue])
        hidden = self._read(model, subjects, self._all)  # (B, V + P, C)
        answers, queries = hidden[:, : self.n_variant], hidden[:, self.n_variant :]
        return model.task_head(answers), self._explain(model, queries)

    @torch.no_grad()
    def everything(self, model: GPT) -> tuple[Tensor, Tensor]:
        """`both` for all N subjects, on the CPU: (N, V, K) and (N, P, E)."""
        device = self.with_cue.device
        chunks = torch.arange(self.n_subject, device=device).split(CHUNK)
        answers, explanations = zip(*(self.both(model, chunk) for chunk in chunks))
        return torch.cat(answers).cpu(), torch.cat(explanations).cpu()
