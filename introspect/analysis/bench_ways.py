"""What is timed against what: our packed path, one pass a prompt, and other libraries.

All ways of a group compute the same numbers from the same weights.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from introspect.analysis import bench_peers
from introspect.analysis.bench_peers import Peers, Read
from introspect.analysis.bench_timing import Clock, Do, Group, time_rounds
from introspect.analysis.passes import Site, find_nodes, in_last_block, list_points
from introspect.analysis.patching import interchange, list_sites
from introspect.config import Config, GPTConfig
from introspect.interview import CHUNK, Interview, RunTask
from introspect.losses import behavior_kl, explanation_loss
from introspect.model import GPT
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.world import World, with_cues
from introspect.tokenizer import encode_words, names, vocab_size

Ask = Callable[[], tuple[Tensor, Tensor]]  # answers (B, V, K) and explanations (B, P, E)
TEXT = 12, 64  # sequences and tokens of a language-model step, as nanoGPT's for a CPU
PACKED, AT_END, ONE_BY_ONE = "packed", "one by one, last block at the end", "one by one"
LONG = 62, 8, 64  # words of a subject, cues, width: 64 tokens with the cue's question
CURVES = {  # what varies -> (words of a subject, cues, width)
    "cues": [(16, 1, 64), (16, 4, 64), (16, 16, 64)],
    "words": [(2, 4, 64), (16, 4, 64), (62, 4, 64)],
    "width": [(16, 4, 32), (16, 4, 64), (16, 4, 128), (16, 4, 256)],
}


def start(cfg: Config, device: str) -> tuple[RunTask, Callable[[], GPT]]:
    """The task of a study, and what makes its untrained model."""
    (task,) = tasks = make_tasks(cfg, device)
    return task, lambda: enlarge_heads(new_model(cfg, tasks).to(device))


@torch.no_grad()
def enlarge_heads(model: GPT) -> GPT:
    """The same model with heads ten times as large, so that its loss depends on its trunk."""
    for head in (model.task_head, model.explain_head):
        head.weight.mul_(10)
    return model


def token_ids(world: World, n: int, device: str) -> Tensor:
    """(n, S) tokens in the slots of the first n subjects."""
    return torch.from_numpy(encode_words(world.slots[:n])).to(device)


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


def read_at_end(model: GPT, ids: Tensor) -> Tensor:
    """Computes the last block only where it is read."""
    return model.trunk(ids, at=torch.tensor([ids.shape[1] - 1], device=ids.device))[:, 0]


def list_ways(model: GPT, world: World, interview: Interview, ids: Tensor) -> dict[str, Ask]:
    """Our three ways to ask the first subjects."""
    subjects = torch.arange(len(ids), device=ids.device)
    reads = {AT_END: partial(read_at_end, model), ONE_BY_ONE: lambda x: model.trunk(x)[:, -1]}
    packed = {PACKED: partial(interview.both, model, subjects)}
    return packed | {w: partial(ask_one_by_one, r, model, world, ids) for w, r in reads.items()}


def update_loss(ask: Ask) -> Tensor:
    """The loss of arm `reg`, with labels and a reference that take no time to make."""
    answers, explanations = ask()
    labels = torch.zeros(explanations.shape[:2], dtype=torch.int64, device=answers.device)
    return explanation_loss(explanations, labels) + behavior_kl(answers, torch.zeros_like(answers))


def train(loss_of: Callable[[], Tensor], *modules: nn.Module) -> Do:
    """Forward, backward and a step of fused AdamW; returns the loss."""
    weights = [p for module in modules for p in module.parameters()]
    optimizer = torch.optim.AdamW(weights, 1e-3, fused=True)

    def update() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return update


def our_updates(make: Callable[[], GPT], *asked: Any) -> dict[str, Do]:
    """An update in our three ways, each of a model of its own, so that all begin alike."""
    ways = {}
    for name in (PACKED, AT_END, ONE_BY_ONE):
        model = make()
        ways[name] = train(partial(update_loss, list_ways(model, *asked)[name]), model)
    return ways


def peer_updates(
    make: Callable[[], GPT], world: World, ids: Tensor, peers: Peers, g: GPTConfig
) -> dict[str, Do]:
    """The same update with the trunks of other libraries, one pass a prompt."""
    ways = {}
    for name, (read, trunk) in bench_peers.trunks(peers, make(), g).items():
        model = make()
        loss_of = partial(update_loss, partial(ask_one_by_one, read, model, world, ids))
        ways[f"{name}, one by one"] = train(loss_of, trunk, model.task_head, model.explain_head)
    return ways


def compare_cotraining(cfg: Config, device: str, peers: Peers) -> Group:
    """One co-training update: forward, backward and AdamW."""
    (task, make), n = start(cfg, device), cfg.cotrain.batch_size
    ids = token_ids(task.world, n, device)
    ways = our_updates(make, task.world, task.interview, ids)
    ways |= peer_updates(make, task.world, ids, peers, cfg.gpt)
    return Group(f"co-training update: {cfg.task}, {n} subjects", ways)


def compare_text_steps(cfg: Config, device: str, peers: Peers) -> Group:
    """A step of a language model, which predicts the next token everywhere; all by fused AdamW.

    Peers have one matrix for embedding and head, we have two of the same values.
    """
    (B, T), cfg = TEXT, replace(cfg, gpt=replace(cfg.gpt, block_size=TEXT[1]))
    model = start(cfg, device)[1]()
    model.lm_head.weight.data.copy_(model.token.weight)
    drawn = torch.from_numpy(np.random.default_rng(0).integers(vocab_size(), size=(B, T + 1)))
    ids, targets = drawn.to(device)[:, :-1].contiguous(), drawn.to(device)[:, 1:].contiguous()

    def loss_of(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    ways = {"ours": train(lambda: loss_of(model.lm_head(model.trunk(ids))), model)}
    if peers.nanogpt:
        nano = bench_peers.make_nanogpt(peers.nanogpt, model, cfg.gpt)
        ways["nanoGPT"] = train(lambda: nano(ids, targets)[1], nano)
    if peers.transformers:
        gpt2 = bench_peers.make_gpt2(peers.transformers, model, cfg.gpt)
        ways["transformers' GPT-2"] = train(lambda: loss_of(gpt2(input_ids=ids).logits), gpt2)
    return Group(f"language-model step: {B} x {T} tokens, {vocab_size()} classes", ways)


@torch.no_grad()
def choose(ask: Ask) -> list[Tensor]:
    """The classes of answers (B, V) and of explanations (B, P)."""
    return [scores.argmax(-1) for scores in ask()]


def compare_triples(cfg: Config, device: str) -> Group:
    """Triples (answer with a cue, answer without it, explanation) of one chunk of subjects."""
    task, make = start(cfg, device)
    ids, count = token_ids(task.world, CHUNK, device), CHUNK * len(task.world.pairs)
    asks = list_ways(make(), task.world, task.interview, ids)
    ways = {name: partial(choose, ask) for name, ask in asks.items()}
    return Group(f"triples: {cfg.task}, {CHUNK} subjects", ways, 0.0, count=count, unit="triples")


def compare_labels(cfg: Config, device: str, peers: Peers, clock: Clock) -> Group:
    """Labels of one chunk of subjects, from answers."""
    (_, world, interview, *_), make = start(cfg, device)
    model, subjects = make(), torch.arange(CHUNK, device=device)

    @torch.no_grad()
    def ours() -> Tensor:
        return interview.labels(interview.answers(model, subjects, compared=True).argmax(-1))

    ways, count = {"ours": ours}, CHUNK * len(world.pairs)
    if peers.captum:
        read, ids = partial(read_at_end, model), token_ids(world, CHUNK, device)
        ablate, n_feature = bench_peers.captum_labels(peers.captum, read, model, world, ids)
        best = find_best(ablate, n_feature, clock)
        for m, kind in {best: "best", 1: "default" if best > 1 else "default, best"}.items():
            ways[f"captum, {m} at a time ({kind})"] = partial(ablate, m)
    return Group(f"labels: {cfg.task}, {CHUNK} subjects", ways, 0.0, count=count, unit="labels")


def find_best(ablate: Callable[[int], Any], n_feature: int, clock: Clock) -> int:
    """The perturbations_per_eval that is fastest in five rounds."""
    tried = sorted({2**i for i in range(n_feature.bit_length())} | {n_feature})
    timed = time_rounds({m: partial(ablate, m) for m in tried}, 5, clock, lambda: None)
    return min(tried, key=lambda m: statistics.median(timed.seconds[m]))


def patch_by_hand(
    model: GPT, task: RunTask, subjects: Tensor, sources: Tensor, sites: list[Site]
) -> Tensor:
    """(S, 2, n, P) labels and explanations with the activations of `sources` at each site: a whole
    pass for each, with a hook, as one would write it."""
    interview, nodes, kept = task.interview, find_nodes(task), {}

    def hear(chunk: Tensor, hooks: dict[str, Callable]) -> Tensor:
        points = [(model.get_submodule(point), see) for point, see in hooks.items()]
        handles = [module.register_forward_pre_hook(see) for module, see in points]
        logits, said = interview.ask(model, chunk)
        for handle in handles:
            handle.remove()
        return torch.stack([interview.labels(logits.argmax(-1)), said]).cpu()

    def keep(point: str, _: nn.Module, inputs: tuple[Tensor]) -> None:
        kept[point] = inputs[0]

    def put(site: Site, _: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        x = inputs[0].clone()
        rows = slice(None) if in_last_block(model, site.point) else nodes[site.tokens]
        x[:, rows, site.low : site.high] = kept[site.point][:, rows, site.low : site.high]
        return x

    hear(sources, {point: partial(keep, point) for point in list_points(model)})
    return torch.stack([hear(subjects, {site.point: partial(put, site)}) for site in sites])


def compare_patching(cfg: Config, device: str) -> Group:
    """The sweep over all sites for one chunk of subjects, each with another one as its source."""
    (task, make), subjects = start(cfg, device), torch.arange(CHUNK, device=device)
    model = make()
    sites = list_sites(model)
    asked = model, task, subjects, subjects.roll(1), sites

    def ours() -> Tensor:
        swept = interchange(*asked)
        return torch.stack([swept.patched_labels, swept.patched_said], dim=1)

    ways = {"ours": ours, "hooks by hand, whole passes": partial(patch_by_hand, *asked)}
    title = f"patching sweep: {cfg.task}, {CHUNK} subjects, {len(sites)} sites"
    return Group(title, ways, 0.0, count=len(sites), unit="sites")


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


def compare_sizes(
    n_word: int, n_cue: int, width: int, device: str, n_subject: int = 8, peers: Peers = Peers()
) -> Group:
    """A co-training update at one size of prompts and model."""
    world = late_cues(n_subject, n_word, n_cue)
    g, K = GPTConfig(n_embd=width, block_size=world.longest_prompt), len(world.answers)
    ids = token_ids(world, n_subject, device)

    def make() -> GPT:
        return enlarge_heads(GPT(g, vocab_size(), K, world.n_explanation).to(device))

    ways = our_updates(make, world, Interview(world, device=device), ids)
    ways |= peer_updates(make, world, ids, peers, g)
    return Group(f"{n_word} words, {n_cue} cues, width {width}", ways)
