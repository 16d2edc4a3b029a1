"""Runs of one shape trained together: one forward and one backward pass for all of them.

    R runs   B subjects of each   T tokens   A tokens that are read   C = n_embd   H = n_head

The weights of the runs are stacked once an update, (R, ...), and every matrix product of the pass
is a batch of R products. All else is that of a run alone: what it draws, its loss, its clipping,
its optimizer and checkpoints. The sum of the losses is differentiated once; the loss of one run
does not depend on the weights of another, so that each gets its own gradient.

A run's numbers do not depend on its company: on a CPU its weights have the same bits in any stack,
also in one of one run. A product of matrices rounds by where in a cache line they begin, so the
part of a run in every array must be whole lines. Weights differ in the last digits from those of
the run by itself (cotrain.py), since attention and biases are added up in another order. So a run
is trained in a stack or not from its beginning to its end; its checkpoints say which (run_key).
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from introspect.config import Config, digest
from introspect.cotrain import Training
from introspect.interview import Interview
from introspect.model import GPT
from introspect.runs.build import shifted, worlds_of
from introspect.runs.moments import Recorded
from introspect.runs.run import conclude, finished, prepare
from introspect.terms import Asked, Reply, ask, judge
from introspect.tokenizer import vocab_size
from introspect.watch import Diverged, Progress, silent

LINE = 16  # numbers in a cache line, and in the widest vector of a CPU


def kind_of(cfg: Config) -> str:
    """A hash that runs have in common which can be stacked; empty for a run that cannot be.

    It is of what decides the shapes of a pass: size, channel, prompts and answers of every task,
    terms of the loss, batch size, and how many updates and evaluations there are. Seeds, weights of
    the terms, learning rates and labels are free. A run cannot be stacked if it has adapters, if
    it explains in words (LogTotal is of one vocabulary), if its anchor reaches some weights only,
    or if its width or the subjects that it asks of one task at a time are no multiple of 16.
    """
    g, c = cfg.gpt, cfg.cotrain
    anchored = cfg.learned if c.kl_weight and c.anchor == "all" else []
    asked = cfg.explained, anchored, list(shifted(cfg.tasks, c.shift))
    sizes = [g.n_embd, *(c.batch_size // len(tasks) for tasks in asked if tasks)]
    odd = any(n % LINE for n in sizes)
    alone = c.adapter_rank is not None or c.channel == "verbal" or c.anchor_reach != "all"
    if odd or alone:
        return ""
    size = g.n_layer, g.n_head, g.n_embd, g.block_size, c.channel, c.batch_size
    terms = c.kl_weight > 0, bool(c.objective), cfg.labels.refreshed
    worlds = worlds_of(cfg)
    shapes = [(n, w.prompts, w.questions, w.pairs, w.answers) for n, w in worlds.items()]
    n_row = vocab_size(next(iter(worlds.values())).own_words)
    return digest([size, asked, terms, shapes, n_row, c.max_steps, c.eval_interval])


class StackedGPT:
    """R models of one shape as one, which an interview asks as it asks a GPT; for one update.

    Token ids and hidden vectors of the runs are one after another in their first dimension, R * B.
    """

    def __init__(self, models: Sequence[GPT]):
        self.n_run, self.n_layer = len(models), len(models[0].blocks)
        self.n_head = models[0].blocks[0].attn.n_head
        self._own: list[dict[str, nn.Parameter]] = [dict(m.named_parameters()) for m in models]
        self._stacked: dict[str, Tensor] = {}

    def weight(self, name: str) -> Tensor:
        """(R, ...) the parameter of this name of each model, stacked when it is first used."""
        if name not in self._stacked:
            self._stacked[name] = torch.stack([own[name] for own in self._own])
        return self._stacked[name]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """LayerNorm of (R, n, C)."""
        return F.layer_norm(x, x.shape[-1:]) * self.weight(f"{name}.weight")[:, None]

    def _linear(self, x: Tensor, name: str, bias: bool = False) -> Tensor:
        """(R, n, inputs) -> (R, n, outputs)."""
        matrices = self.weight(f"{name}.weight").mT
        if bias:
            return torch.baddbmm(self.weight(f"{name}.bias")[:, None], x, matrices)
        return torch.bmm(x, matrices)

    def _embed(self, idx: Tensor, positions: Tensor) -> Tensor:
        """(R * B, T) token ids -> (R, B, T, C)."""
        token, R = self.weight("token.weight"), self.n_run
        first = torch.arange(R, device=idx.device) * token.shape[1]  # rows of each run's embedding
        rows = idx.unflatten(0, (R, -1)) + first[:, None, None]
        x = F.embedding(rows, token.flatten(0, 1))
        return x + self.weight("position.weight")[:, positions][:, None]

    def _attend(self, x: Tensor, block: str, mask: Tensor, at: Tensor | slice) -> Tensor:
        """Attention of (R, B, T, C) at the tokens `at`, (R, B, A, C); `mask` (T, T) is added."""
        R, B, T, _ = x.shape
        h = self._norm(x.flatten(1, 2), f"{block}.norm_1")
        qkv = self._linear(h, f"{block}.attn.qkv").view(R * B, T, 3, self.n_head, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (R * B, H, T, D)
        scores = q[:, :, at] @ k.mT / math.sqrt(q.shape[-1]) + mask[at]  # (R * B, H, A, T)
        y = (scores.softmax(-1) @ v).transpose(1, 2)  # (R * B, A, H, D)
        y = y.reshape(R, -1, x.shape[-1])  # heads side by side again
        return self._linear(y, f"{block}.attn.proj").view(R, B, -1, x.shape[-1])

    def trunk(self, idx: Tensor, positions: Tensor, mask: Tensor, at: Tensor) -> Tensor:
        """(R * B, A, C), as GPT.trunk has it for each run."""
        x = self._embed(idx, positions)
        added = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -math.inf)
        for i in range(self.n_layer):
            block = f"blocks.{i}"
            read = at if i == self.n_layer - 1 else slice(None)
            x = self._attend(x, block, added, read) + x[:, :, read]
            h = self._norm(x.flatten(1, 2), f"{block}.norm_2")
            h = self._linear(F.gelu(self._linear(h, f"{block}.mlp.up")), f"{block}.mlp.down")
            x = x + h.view(x.shape)
        return self._norm(x.flatten(1, 2), "norm").view(-1, *x.shape[2:])

    def _head(self, hidden: Tensor, name: str) -> Tensor:
        """(R * B, ..., C) -> (R * B, ..., classes)."""
        rows = hidden.reshape(self.n_run, -1, hidden.shape[-1])
        return self._linear(rows, name, bias=True).view(*hidden.shape[:-1], -1)

    def task_head(self, hidden: Tensor) -> Tensor:
        return self._head(hidden, "task_head")

    def explain_head(self, hidden: Tensor) -> Tensor:
        return self._head(hidden, "explain_head")


class Joint(Interview):
    """Interviews of one layout as one, with the subjects of each after those of the one before."""

    def __init__(self, interviews: Sequence[Interview]):
        vars(self).update(vars(interviews[0]))
        sizes = [each.n_subject for each in interviews]
        *self.first, self.n_subject = accumulate([0, *sizes])  # number of each one's first subject
        for name in ("_prompts", "_questions", "_all"):
            plans = [getattr(each, name) for each in interviews]
            setattr(self, name, plans[0]._replace(tokens=torch.cat([p.tokens for p in plans])))


class Stack:
    """Runs in training, at one step, that make their updates together."""

    def __init__(self, trainings: Sequence[Training]):
        self.trainings = list(trainings)
        together = zip(*(t.tasks for t in trainings))
        self.joint = {tasks[0].name: Joint([t.interview for t in tasks]) for tasks in together}

    def join(self, asked: Sequence[Asked]) -> Asked:
        """What each run asks about subjects of one task as one question."""
        first, supervised = asked[0], asked[0].supervised
        joint = self.joint[supervised.task.name]
        subjects = torch.cat([own.subjects + start for own, start in zip(asked, joint.first)])
        task = supervised.task._replace(interview=joint)
        return first._replace(supervised=supervised._replace(task=task), subjects=subjects)

    def replies(self, batches: Sequence[list[Asked]]) -> list[list[Reply]]:
        """Of each run, the replies to its batches."""
        model, R = StackedGPT([t.model for t in self.trainings]), len(self.trainings)
        by_batch = []
        for asked in zip(*batches, strict=True):
            parts = [[None] * R if x is None else x.chunk(R) for x in ask(model, self.join(asked))]
            by_batch.append([Reply(*own) for own in zip(*parts)])
        return [list(own) for own in zip(*by_batch)]

    def update(self) -> dict[Training, Diverged]:
        """One update of each run; returns those that diverged in it."""
        batches, diverged = [t.draw() for t in self.trainings], {}
        replies = self.replies(batches)
        judged = [judge(b, r, t.c) for t, b, r in zip(self.trainings, batches, replies)]
        for training in self.trainings:
            training.optimizer.zero_grad(set_to_none=True)
        sum(loss for loss, _ in judged).backward()
        for training, (loss, terms) in zip(self.trainings, judged):
            try:
                training.update(loss, terms)
            except Diverged as e:
                diverged[training] = e
        return diverged


def train_together(trainings: Sequence[Training]) -> dict[Training, Diverged]:
    """Train runs of one kind to their ends; returns those that diverged, which leave the others.

    Runs that were killed at several steps are continued so that those behind go first.
    """
    going, diverged = list(trainings), {}
    stack = Stack([])
    while going := [t for t in going if t not in diverged and t.evaluate()]:
        last = min(t.step for t in going)
        if stack.trainings != (behind := [t for t in going if t.step == last]):
            stack = Stack(behind)
        diverged |= stack.update()
    return diverged


def run_together(
    runs: Sequence[tuple[str, Config, Path]],
    cache: Path,
    device: str,
    progress: Progress = silent,
    m0_progress: Progress = silent,
) -> list[dict[str, Any] | Diverged]:
    """Runs of one kind, each as run.run makes it and writes it, in a stack.

    Args:
        runs: (arm, configuration, folder) of each.

    Returns:
        Of each run its result, or why it diverged. The seconds of a result are those of the stack.
    """
    ends: dict[Path, dict[str, Any] | Diverged] = {}
    given = {}
    for arm, cfg, out in runs:
        try:
            ends[out] = finished(out, cfg)
            if not ends[out]:
                given[out] = prepare(cfg, arm, out, cache, device, m0_progress, stacked=True)
        except Diverged as e:
            ends[out] = e
    trainings = {out: Recorded(**each, progress=progress) for out, each in given.items()}
    diverged = train_together(list(trainings.values()))
    for arm, cfg, out in runs:
        if training := trainings.get(out):
            ends[out] = diverged.get(training) or conclude(
                cfg, arm, device, given[out], training.end(), stacked=True
            )
    return [ends[out] for _, _, out in runs]
