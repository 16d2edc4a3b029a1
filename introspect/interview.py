"""How a model is asked: its answers to every variant of a subject, its explanations of every pair.

    N or B subjects   V variants   P pairs   K answers   E explanations   C = n_embd

The explanation of a pair is read in a sequence of its own, which ends in <|explain|> and never
contains the model's answer. How it is read there is up to the channel (channels.py).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from introspect.channels import Heads, Verbal
from introspect.labels import explanation_labels
from introspect.model import GPT
from introspect.packing import Packed, pack
from introspect.tasks.world import World
from introspect.tokenizer import encode_words

CHUNK = 64  # subjects in one forward pass outside training: small batches are faster on a CPU


class Plan(NamedTuple):
    tokens: Tensor  # (N, T) token ids of every subject, packed
    packed: Packed


class Interview:
    """The prompts of a world, tokenized and packed once, asked through one channel.

    Args:
        head_answers: the answers that the rows of the model's task head stand for; default: those
            of the world.
    """

    def __init__(
        self,
        world: World,
        channel: str = "head",
        device: torch.device | str = "cpu",
        head_answers: tuple[str, ...] | None = None,
    ):
        self.n_variant, self.n_pair = len(world.prompts), len(world.pairs)
        self.n_subject, self.n_answer = world.n_subject, len(world.answers)
        self.pairs = torch.tensor(world.pairs, device=device)  # (P, 2) variants with, without cue
        self.columns = None  # (K,) rows of the task head, where the world has not all of them
        if head_answers not in (None, world.answers):
            rows = [head_answers.index(answer) for answer in world.answers]
            self.columns = torch.tensor(rows, device=device)
        self.channel = (
            Verbal(world, device) if channel == "verbal" else Heads(channel, world, self.columns)
        )
        suffixes = self.channel.suffixes
        extra = sorted({word for suffix in suffixes for word in suffix})
        slot_of = {word: world.slots.shape[1] + i for i, word in enumerate(extra)}
        words = [world.slots, np.tile(np.array(extra, dtype=str), (self.n_subject, 1))]
        ids = torch.from_numpy(encode_words(np.hstack(words), world.own_words)).to(device)
        questions = tuple(
            (*question, *(slot_of[word] for word in suffix))
            for question in world.questions
            for suffix in suffixes
        )

        def plan(sequences: tuple) -> Plan:
            packed = pack(sequences).to(device)
            return Plan(ids[:, packed.slots].contiguous(), packed)

        self.compared = sorted({variant for pair in world.pairs for variant in pair})
        self._prompts = plan(world.prompts)
        self._compared = plan(tuple(world.prompts[variant] for variant in self.compared))
        self._questions = plan(questions)
        self._all = plan(world.prompts + questions)

    @property
    def plan(self) -> Plan:
        """What `both` asks in one pass."""
        return self._prompts if self.channel.at_answer else self._all

    @staticmethod
    def _read(model: GPT, subjects: Tensor, plan: Plan) -> Tensor:
        """(B, S, C) residual stream at the end of each sequence of the plan."""
        packed = plan.packed
        return model.trunk(plan.tokens[subjects], packed.positions, packed.mask, packed.ends)

    def _answer(self, model: GPT, hidden: Tensor) -> Tensor:
        logits = model.task_head(hidden)
        return logits if self.columns is None else logits[..., self.columns]

    def _hidden(self, model: GPT, subjects: Tensor) -> tuple[Tensor, Tensor]:
        """(B, V, C) where answers are read, (B, P, R, C) where explanations are."""
        if self.channel.at_answer:
            answers = self._read(model, subjects, self._prompts)
            return answers, answers[:, self.pairs[:, 0], None]
        hidden = self._read(model, subjects, self._all)  # (B, V + P R, C)
        answers, queries = hidden[:, : self.n_variant], hidden[:, self.n_variant :]
        return answers, queries.unflatten(1, (self.n_pair, -1))

    def answers(self, model: GPT, subjects: Tensor, compared: bool = False) -> Tensor:
        """B(M): logits (B, V, K) of the answer to every variant of `subjects` (B,), or, `compared`,
        to those only that some pair compares; the logits of all others are NaN."""
        if not compared:
            return self._answer(model, self._read(model, subjects, self._prompts))
        asked = self._answer(model, self._read(model, subjects, self._compared))
        answers = asked.new_full((len(subjects), self.n_variant, self.n_answer), torch.nan)
        answers[:, self.compared] = asked
        return answers

    def explanations(self, model: GPT, subjects: Tensor) -> Tensor:
        """Log-probabilities (B, P, E) of what the model says that removing each cue would do."""
        if self.channel.at_answer:
            return self.both(model, subjects)[1]
        queries = self._read(model, subjects, self._questions).unflatten(1, (self.n_pair, -1))
        return self.channel.log_probs(model, queries)

    def both(self, model: GPT, subjects: Tensor) -> tuple[Tensor, Tensor]:
        """`answers` and `explanations` of one packed pass; they do not see each other."""
        answers, queries = self._hidden(model, subjects)
        return self._answer(model, answers), self.channel.log_probs(model, queries)

    @torch.no_grad()
    def ask(self, model: GPT, subjects: Tensor) -> tuple[Tensor, Tensor]:
        """Answers as logits (B, V, K), and the explanation of every pair as class ids (B, P)."""
        answers, queries = self._hidden(model, subjects)
        return self._answer(model, answers), self.channel.say(model, queries)

    def ask_all(self, model: GPT) -> tuple[Tensor, Tensor]:
        """`ask` about all N subjects: logits (N, V, K) and class ids (N, P), on the CPU."""
        answers, said = zip(*(self.ask(model, chunk) for chunk in self._chunks()))
        return torch.cat(answers).cpu(), torch.cat(said).cpu()

    @torch.no_grad()
    def answers_of_all(self, model: GPT, compared: bool = False) -> Tensor:
        """`answers` about all N subjects, on the CPU: what labels are made of."""
        asked = (self.answers(model, chunk, compared) for chunk in self._chunks())
        return torch.cat(list(asked)).cpu()

    def _chunks(self) -> tuple[Tensor, ...]:
        return torch.arange(self.n_subject, device=self.pairs.device).split(CHUNK)

    def labels(self, answers: Tensor) -> Tensor:
        """E(M) of a model M that gives these `answers` (N, V): what is true of it, in the classes
        of the channel (N, P). Explanations are right or wrong by these."""
        pairs = self.pairs.to(answers.device)
        labels = explanation_labels(answers, pairs, self.n_answer)
        return self.channel.classes(labels, answers[:, pairs[:, 0]])


class RunTask(NamedTuple):
    """One task of a run. Tasks of one run share the trunk and its heads: the task head has a row
    for each answer of any of them, and each task reads the rows of its own answers."""

    name: str
    world: World
    interview: Interview
    explained: bool  # some of its subjects have explanation labels
    taught: bool  # M0 has never seen it; it is learned before co-training, from answers alone
    aside: Sequence[int] = ()  # held-out subjects that an objective trains, so not measured

    def subjects(self, split: str) -> np.ndarray:
        """Numbers of the subjects of "train" or of "held_out"; without labels, all are held out."""
        if self.explained:
            return np.setdiff1d(self.world.subjects(split), self.aside)
        return np.arange(self.world.n_subject if split == "held_out" else 0)
