"""What is timed against what: our packed path, one pass a prompt, and other libraries.

All ways of a group compute the same numbers from the same weights, and tests check that they do.
"""

import io
import statistics
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from introspect.analysis.bench_peers import (
    Peers,
    captum_labels,
    make_gpt2,
    make_nanogpt,
    read_nanogpt,
)
from introspect.analysis.bench_timing import Clock, Do, time_rounds
from introspect.config import Config, GPTConfig
from introspect.interview import CHUNK, Interview
from introspect.losses import behavior_kl, explanation_loss
from introspect.model import GPT
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.world import World, with_cues
from introspect.tokenizer import encode_words, names, vocab_size

Read = Callable[[Tensor], Tensor]  # (n, T) token ids -> (n, C) normalized, at the last token
TEXT = 12, 64  # sequences and tokens of a language-model step, as nanoGPT's for a CPU
ONE_BY_ONE, AT_END = "one by one", "one by one, last block at the end"
CURVES = {  # what varies -> (words of a subject, cues, width)
    "cues": [(16, 1, 64), (16, 4, 64), (16, 16, 64)],
    "words": [(2, 4, 64), (16, 4, 64), (62, 4, 64)],
    "width": [(16, 4, 32), (16, 4, 64), (16, 4, 128), (16, 4, 256)],
}


class Group(NamedTuple):
    """Ways to compute one thing. A further way, such as stacked runs, is one more entry."""

    title: str
    ways: dict[str, Do]  # the first is ours; each returns what it computed
    labels: int = 0  # that a call makes, if it makes any


def ask_one_by_one(read: Read, model: GPT, world: World, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Answers (B, V, K) and explanations (B, P, E), every prompt in a causal pass of its own.

    Prompts of one length share a batch. `ids` (B, S) are the tokens in the slots of the subjects.
    """
    sequences = world.prompts + world.questions
    ends: dict[int, Tensor] = {}  # sequence -> (B, C) at its last token
    for length in sorted({len(s) for s in sequences}):
        alike = [i for i, s in enumerate(sequences) if len(s) == length]
        rows = torch.cat([ids[:, list(sequences[i])] for i in alike])  # (B * |alike|, length)
        ends |= dict(zip(alike, read(rows).split(len(ids))))
    stacked = torch.stack([ends[i] for i in range(len(sequences))], dim=1)  # (B, V + P, C)
    V = len(world.prompts)
    return model.task_head(stacked[:, :V]), model.explain_head(stacked[:, V:]).log_softmax(-1)


def update_loss(answers: Tensor, explanations: Tensor) -> Tensor:
    """The loss of arm `reg`, with labels and a reference that take no time to make."""
    labels = torch.zeros(explanations.shape[:2], dtype=torch.int64, device=answers.device)
    return explanation_loss(explanations, labels) + behavior_kl(answers, torch.zeros_like(answers))


def descend(loss_of: Callable[[], Tensor], *modules: nn.Module) -> Do:
    """Forward and backward pass of a loss; returns the loss."""

    def update() -> Tensor:
        for module in modules:
            module.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        return loss.detach()

    return update


def our_reads(model: GPT) -> dict[str, Read]:
    """Our model, one pass a prompt: computing the last block where it is read, or everywhere."""

    def read_end(ids: Tensor) -> Tensor:
        return model.trunk(ids, at=torch.tensor([ids.shape[1] - 1], device=ids.device))[:, 0]

    return {AT_END: read_end, ONE_BY_ONE: lambda ids: model.trunk(ids)[:, -1]}


def token_ids(world: World, n: int, device: str) -> Tensor:
    """(n, S) tokens in the slots of the first n subjects."""
    return torch.from_numpy(encode_words(world.slots[:n])).to(device)


def one_by_one(read: Read, model: GPT, world: World, ids: Tensor) -> Callable[[], Tensor]:
    """The loss of an update that asks every prompt in a pass of its own."""
    return lambda: update_loss(*ask_one_by_one(read, model, world, ids))


def our_updates(model: GPT, world: World, interview: Interview, ids: Tensor) -> dict[str, Do]:
    """Forward and backward pass of an update on the first subjects, in our three ways."""
    subjects = torch.arange(len(ids), device=ids.device)
    ways = {"packed": descend(lambda: update_loss(*interview.both(model, subjects)), model)}
    for name, read in our_reads(model).items():
        ways[name] = descend(one_by_one(read, model, world, ids), model)
    return ways


def compare_updates(cfg: Config, device: str, peers: Peers) -> Group:
    """Loss and gradient of one co-training update."""
    tasks = make_tasks(cfg, device)
    ((_, world, interview, *_),) = tasks
    model, n = new_model(cfg, tasks).to(device), cfg.cotrain.batch_size
    ids = token_ids(world, n, device)
    ways = our_updates(model, world, interview, ids)
    reads = {}
    if peers.nanogpt:
        nano = make_nanogpt(peers.nanogpt, model, cfg.gpt)
        reads["nanoGPT's blocks, one by one"] = (lambda x: read_nanogpt(nano.transformer, x)), nano
    if peers.transformers:
        gpt2 = make_gpt2(peers.transformers, model, cfg.gpt).transformer
        reads["transformers' GPT-2, one by one"] = (lambda x: gpt2(x)[0][:, -1]), gpt2
    for name, (read, peer) in reads.items():
        ways[name] = descend(one_by_one(read, model, world, ids), model, peer)
    return Group(f"co-training, forward and backward: {cfg.task}, {n} subjects", ways)


def text_step(
    loss_of: Callable[[], Tensor], module: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> Do:
    """Forward, backward and a step of the optimizer, by default fused AdamW; returns the loss."""
    optimizer = optimizer or torch.optim.AdamW(module.parameters(), 1e-3, fused=True)
    update = descend(loss_of, module)
    return lambda: (update(), optimizer.step())[0]


def compare_text_steps(cfg: Config, device: str, peers: Peers) -> Group:
    """One step of a language model, which predicts the next token everywhere.

    Peers have one matrix for embedding and head, we have two of the same values.
    """
    (B, T), cfg = TEXT, replace(cfg, gpt=replace(cfg.gpt, block_size=TEXT[1]))
    model = new_model(cfg, make_tasks(cfg, device)).to(device)
    model.lm_head.weight.data.copy_(model.token.weight)
    drawn = np.random.default_rng(0).integers(vocab_size(), size=(B, T + 1))
    ids, following = torch.from_numpy(drawn[:, :-1].copy()), torch.from_numpy(drawn[:, 1:].copy())
    ids, following = ids.to(device), following.to(device)

    def loss_of(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), following.flatten())

    ways = {"ours": text_step(lambda: loss_of(model.lm_head(model.trunk(ids))), model)}
    if peers.nanogpt:
        fused, shipped = (make_nanogpt(peers.nanogpt, model, cfg.gpt) for _ in range(2))
        with redirect_stdout(io.StringIO()):  # it says how many weights decay
            own = shipped.configure_optimizers(0.1, 1e-3, (0.9, 0.999), device)
        ways["nanoGPT, fused AdamW"] = text_step(lambda: fused(ids, following)[1], fused)
        ways["nanoGPT, its own AdamW"] = text_step(lambda: shipped(ids, following)[1], shipped, own)
    if peers.transformers:
        gpt2 = make_gpt2(peers.transformers, model, cfg.gpt)
        name = "transformers' GPT-2, fused AdamW"
        ways[name] = text_step(lambda: loss_of(gpt2(input_ids=ids).logits), gpt2)
    return Group(f"language-model step: {B} x {T} tokens, {vocab_size()} classes", ways)


def compare_labels(cfg: Config, device: str, peers: Peers, clock: Clock) -> Group:
    """Labels of one chunk of subjects, from answers."""
    tasks = make_tasks(cfg, device)
    ((_, world, interview, *_),) = tasks
    model = new_model(cfg, tasks).to(device)
    subjects, ids = torch.arange(CHUNK, device=device), token_ids(world, CHUNK, device)

    def answer() -> Tensor:
        with torch.no_grad():
            return interview.labels(interview.answers(model, subjects).argmax(-1))

    ways = {
        "ours as called, explanations too": lambda: interview.labels(
            interview.ask(model, subjects)[0].argmax(-1)
        ),
        "ours, answers alone": answer,
    }
    if peers.captum:
        read = our_reads(model)[AT_END]
        ablate, n_feature = captum_labels(peers.captum, read, model, world, ids)
        best = find_best(ablate, n_feature, clock)
        ways[f"captum, one at a time (default{', best' if best == 1 else ''})"] = lambda: ablate(1)
        if best > 1:
            ways[f"captum, {best} at a time (best)"] = lambda: ablate(best)
    return Group(f"labels: {cfg.task}, {CHUNK} subjects", ways, CHUNK * len(world.pairs))


def find_best(ablate: Callable[[int], Any], n_feature: int, clock: Clock) -> int:
    """The perturbations_per_eval that is fastest in five rounds."""
    tried = sorted({2**i for i in range(n_feature.bit_length()) if 2**i < n_feature} | {n_feature})
    ways = {str(m): (lambda m: lambda: ablate(m))(m) for m in tried}
    timed = time_rounds(ways, 5, clock, lambda: None)
    return min(tried, key=lambda m: statistics.median(timed.seconds(str(m))))


def late_cues(n_subject: int, n_word: int, n_cue: int) -> World:
    """Subjects of random words, each followed by no cue or by one of n_cue, and four answers."""
    draw, words, answers = np.random.default_rng(0), np.array(names()), ("A", "B", "C", "D")
    V = 1 + n_cue
    return with_cues(
        words[draw.integers(n_cue, len(words), size=(n_subject, n_word))],
        cues=names()[:n_cue],
        answers=answers,
        ideal=np.full((n_subject, V, len(answers)), 1 / len(answers)),
        shown=np.full((n_subject, V), 1 / V),
        explained=np.arange(n_subject) % 2 == 0,
    )


def compare_sizes(n_word: int, n_cue: int, width: int, device: str, n_subject: int = 8) -> Group:
    """Our ways to compute the loss and gradient of an update, at one size of prompts and model."""
    world = late_cues(n_subject, n_word, n_cue)
    cfg = GPTConfig(n_embd=width, block_size=world.longest_prompt)
    model = GPT(cfg, vocab_size(), len(world.answers), world.n_explanation).to(device)
    ids = token_ids(world, n_subject, device)
    ways = our_updates(model, world, Interview(world, device=device), ids)
    return Group(f"{n_word} words, {n_cue} cues, width {width}", ways)
