"""How an explanation is read: in which classes, from which head, at which tokens.

    B subjects   P pairs   R tokens read for each   C = n_embd   K answers   E explanations

    head    explanation head at <|explain|>                                (the default)
    tied    "would change to k" through row k of the task head, "would stay" through its own row
    probe   explanation head, and nothing else is trained: what M0 shows by itself
    same    explanation head at <|answer|>, where the answer itself is read
    verbal  the language-model head says a sentence, token by token, after <|explain|>

All but the last have E = K + 1 classes. A sentence also names the answer that stays, so there are
2 K sentences, and one more class for whatever is none of them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from introspect.labels import sentence_labels
from introspect.model import GPT
from introspect.tasks.world import SENTENCES, World
from introspect.tokenizer import encode_words


class Heads:
    """Explanations as one class, of the explanation head or of the task head."""

    suffixes: tuple[tuple[str, ...], ...] = ((),)  # R: what follows a question where it is read

    def __init__(self, name: str, world: World, columns: Tensor | None):
        self.name, self.world, self.columns = name, world, columns
        self.at_answer = name == "same"

    def log_probs(self, model: GPT, hidden: Tensor) -> Tensor:
        """(B, P, E) from the residual stream (B, P, 1, C)."""
        x = hidden[:, :, 0]  # (B, P, C)
        said = model.explain_head(x.detach() if self.name == "probe" else x)
        if self.name == "tied":
            said = torch.cat([model.task_head(x), said[..., -1:]], dim=-1)
        if self.columns is not None:  # the answers of this world, and "would stay"
            said = torch.cat([said[..., self.columns], said[..., -1:]], dim=-1)
        return said.log_softmax(-1)

    def p_change(self, log_probs: Tensor) -> Tensor:
        """(B, P) probability of saying that the answer would change."""
        return 1 - log_probs[..., -1].exp()

    def say(self, model: GPT, hidden: Tensor) -> Tensor:
        """(B, P) the likeliest class."""
        return self.log_probs(model, hidden).argmax(-1)

    def classes(self, labels: Tensor, with_cue: Tensor) -> Tensor:
        """Labels (N, P) as classes of this channel (N, P).

        Args:
            with_cue: (N, P) the answers with the cue that the labels are about.
        """
        return labels

    def words(self, label: int) -> str:
        return self.world.explanation(label)


class LogTotal(torch.autograd.Function):
    """log sum_w exp(W x)_w, what log-probabilities of any words w have in common.

        x (..., C), W (vocabulary, C) -> (..., 1)   p = softmax(W x)   d/dx = p W   d/dW = p^T x

    One array as large as W x is filled; log_softmax, its columns and their gradients fill several.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        rows = x.flatten(0, -2)  # (n, C)
        p = rows @ weight.T  # (n, vocabulary)
        top = p.amax(-1, keepdim=True)
        p.sub_(top).exp_()
        total = p.sum(-1, keepdim=True)  # (n, 1)
        ctx.save_for_backward(rows, p, total, p @ weight / total)
        return (top + total.log()).view(*x.shape[:-1], 1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        rows, p, total, mean = ctx.saved_tensors
        g = gradient.reshape(-1, 1)
        return (g * mean).view(*gradient.shape[:-1], -1), p.T @ (g / total * rows)


class Verbal:
    """Explanations as a sentence: "would change to B", "would stay B".

    The five places after a question at which a token of some sentence is due are all in one pass,
    since the sentences are a tree of four inner words. An answer's word ends a sentence.
    """

    suffixes = SENTENCES
    at_answer = False

    def __init__(self, world: World, device: torch.device | str):
        self.world, self.n_answer = world, len(world.answers)
        inner = ["would", "change", "to", "stay"]
        self.would, self.change, self.to, self.stay = encode_words(inner).tolist()
        said = torch.from_numpy(encode_words([*inner, *world.answers], world.own_words))
        self.said = said.to(device)  # (4 + K,) the words of sentences
        self.answers = self.said[4:]  # (K,)

    def log_probs(self, model: GPT, hidden: Tensor) -> Tensor:
        """(B, P, 2 K) log P(sentence) = sum of log P(token | those before), over all tokens."""
        weight = model.lm_head.weight
        p = F.linear(hidden, weight[self.said]) - LogTotal.apply(hidden, weight)  # (B, P, 5, 4 + K)
        would = p[:, :, 0, 0]
        to = would + p[:, :, 1, 1] + p[:, :, 2, 2]
        stay = would + p[:, :, 1, 3]
        changes = to[..., None] + p[:, :, 3, 4:]
        stays = stay[..., None] + p[:, :, 4, 4:]
        return torch.cat([changes, stays], dim=-1)

    def p_change(self, log_probs: Tensor) -> Tensor:
        """(B, P) probability of a sentence that says that the answer would change."""
        return log_probs[..., : self.n_answer].exp().sum(-1)

    def say(self, model: GPT, hidden: Tensor) -> Tensor:
        """(B, P) the sentence said by taking the likeliest token each time; 2 K: no sentence."""
        token = model.lm_head(hidden).argmax(-1)  # (B, P, 5)
        to_k, stay_k = (token[:, :, i, None] == self.answers for i in (3, 4))  # (B, P, K) each
        would = token[:, :, 0] == self.would
        changes = would & (token[:, :, 1] == self.change) & (token[:, :, 2] == self.to)
        stays = would & (token[:, :, 1] == self.stay)
        said = torch.cat([changes[..., None] & to_k, stays[..., None] & stay_k], dim=-1)
        return torch.where(said.any(-1), said.int().argmax(-1), 2 * self.n_answer)

    def classes(self, labels: Tensor, with_cue: Tensor) -> Tensor:
        return sentence_labels(labels, with_cue, self.n_answer)

    def words(self, label: int) -> str:
        K = self.n_answer
        if label < K:
            return self.world.explanation(label)
        return "no sentence" if label == 2 * K else f"would stay {self.world.answers[label - K]}"
