"""How long an update takes: packed against one pass a prompt, and against the machine's own peak.

The two ways are timed in turn, so that a machine that slows down slows both; their ratio is what
carries over to other machines. Both compute the same loss, which a test holds them to.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from introspect.config import Config
from introspect.losses import behavior_kl, explanation_loss
from introspect.model import GPT
from introspect.runs.build import worlds_of
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.world import World
from introspect.tokenizer import encode_words


def one_by_one(model: GPT, world: World, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Answers (B, V, K) and explanations (B, P, E), every prompt in a causal pass of its own.

    Prompts of one length share a batch; `ids` (B, S) are the tokens of the subjects' slots.
    """
    sequences = world.prompts + world.questions
    ends: dict[int, Tensor] = {}  # sequence -> (B, C) at its last token
    for length in {len(s) for s in sequences}:
        alike = [i for i, s in enumerate(sequences) if len(s) == length]
        rows = torch.cat([ids[:, list(sequences[i])] for i in alike])  # (B * |alike|, length)
        hidden = model.trunk(rows)[:, -1]  # (B * |alike|, C)
        ends |= dict(zip(alike, hidden.split(len(ids))))
    stacked = torch.stack([ends[i] for i in range(len(sequences))], dim=1)  # (B, V + P, C)
    V = len(world.prompts)
    return model.task_head(stacked[:, :V]), model.explain_head(stacked[:, V:]).log_softmax(-1)


def update_loss(answers: Tensor, explanations: Tensor) -> Tensor:
    """The loss of arm `reg` with labels and reference that cost nothing to make."""
    labels = torch.zeros(explanations.shape[:2], dtype=torch.int64, device=answers.device)
    return explanation_loss(explanations, labels) + behavior_kl(answers, torch.zeros_like(answers))


def ways(cfg: Config, device: str) -> tuple[GPT, dict[str, Callable[[], Tensor]]]:
    """A model, and the loss of one co-training update on it in both ways."""
    tasks = make_tasks(cfg, device)
    ((_, world, interview, *_),) = tasks
    model = new_model(cfg, tasks).to(device)
    subjects = torch.arange(cfg.cotrain.batch_size, device=device)
    ids = torch.from_numpy(encode_words(world.slots[: len(subjects)])).to(device)
    return model, {
        "packed": lambda: update_loss(*interview.both(model, subjects)),
        "one by one": lambda: update_loss(*one_by_one(model, world, ids)),
    }


def seconds(do: Callable[[], None], device: str) -> float:
    started = time.perf_counter()
    do()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak(device: str, n: int = 1024) -> float:
    """Floating-point operations a second of a large float32 matrix product, best of five."""
    a = torch.rand(n, n, device=device)
    return 2 * n**3 / min(seconds(lambda: a @ a, device) for _ in range(5))


def matrix_operations(cfg: Config, n_token: int) -> float:
    """Of the blocks' matrices, forward and backward: 6 for each weight and token."""
    return 6 * 12 * cfg.gpt.n_embd**2 * cfg.gpt.n_layer * n_token


def bench(cfg: Config, device: str, repeats: int) -> str:
    """The table: median time of forward and backward in both ways, ratio, share of the peak."""
    torch.set_num_threads(1)
    model, loss_of = ways(cfg, device)

    def update(way: str) -> None:
        model.zero_grad(set_to_none=True)
        loss_of[way]().backward()

    for way in loss_of:  # the first one of each warms up
        update(way)
    times = {way: [] for way in loss_of}
    for _ in range(repeats):
        for way in loss_of:
            times[way].append(seconds(lambda: update(way), device))
    ratios = [slow / fast for fast, slow in zip(times["packed"], times["one by one"])]
    (world,) = worlds_of(cfg).values()
    sequences = world.prompts + world.questions
    nodes = len({s[:end] for s in sequences for end in range(1, len(s) + 1)})
    tokens = {"packed": nodes, "one by one": sum(map(len, sequences))}
    top = peak(device)
    lines = [f"one update, forward and backward, {cfg.cotrain.batch_size} subjects, {device}"]
    for way, spent in times.items():
        middle, n = statistics.median(spent), tokens[way] * cfg.cotrain.batch_size
        share = matrix_operations(cfg, n) / middle / top
        lines.append(f"{way:<11} {1e3 * middle:7.2f} ms  {n:6d} tokens  {share:4.0%} of the peak")
    quarter, half, three = statistics.quantiles(ratios, n=4)
    lines.append(f"packed is {half:.2f} times as fast ({quarter:.2f} to {three:.2f}, quartiles)")
    lines.append(f"peak: {top / 1e9:.0f} Gflop/s, a matrix product on one thread")
    return "\n".join(lines)
