"""How long an update takes: packed against one pass for each prompt, and against a matrix product.

The two ways are timed in turn, so that a machine that slows down slows both. Only their ratio
carries over to other machines. Both compute the same loss, and a test checks that they do.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from introspect.config import Config
from introspect.losses import behavior_kl, explanation_loss
from introspect.model import GPT
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.world import World
from introspect.tokenizer import encode_words


def ask_one_by_one(model: GPT, world: World, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Answers (B, V, K) and explanations (B, P, E), every prompt in a causal pass of its own.

    Prompts of one length share a batch. `ids` (B, S) are the tokens in the slots of the subjects.
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
    """The loss of arm `reg`, with labels and a reference that take no time to make."""
    labels = torch.zeros(explanations.shape[:2], dtype=torch.int64, device=answers.device)
    return explanation_loss(explanations, labels) + behavior_kl(answers, torch.zeros_like(answers))


def ways(cfg: Config, device: str) -> tuple[GPT, World, dict[str, Callable[[], Tensor]]]:
    """A model, its world, and the loss of one co-training update computed in both ways."""
    tasks = make_tasks(cfg, device)
    ((_, world, interview, *_),) = tasks
    model = new_model(cfg, tasks).to(device)
    subjects = torch.arange(cfg.cotrain.batch_size, device=device)
    ids = torch.from_numpy(encode_words(world.slots[: len(subjects)])).to(device)
    return model, world, {
        "packed": lambda: update_loss(*interview.both(model, subjects)),
        "one by one": lambda: update_loss(*ask_one_by_one(model, world, ids)),
    }


def time_call(do: Callable[[], None], device: str) -> float:
    """Seconds until `do` has run, on the device as well."""
    started = time.perf_counter()
    do()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure_peak(device: str, n: int = 1024) -> float:
    """Floating-point operations per second of a large float32 matrix product, best of five."""
    a = torch.rand(n, n, device=device)
    return 2 * n**3 / min(time_call(lambda: a @ a, device) for _ in range(5))


def matrix_operations(cfg: Config, n_token: int) -> float:
    """Operations of the blocks' matrices, forward and backward: 6 for each weight and token."""
    return 6 * 12 * cfg.gpt.n_embd**2 * cfg.gpt.n_layer * n_token


def bench(cfg: Config, device: str, repeats: int) -> str:
    """The table: median time of forward and backward in both ways, ratio, share of the peak."""
    torch.set_num_threads(1)
    model, world, loss_of = ways(cfg, device)

    def update(way: str) -> None:
        model.zero_grad(set_to_none=True)
        loss_of[way]().backward()

    rounds = [
        [time_call(lambda: update(way), device) for way in loss_of] for _ in range(1 + repeats)
    ]
    times = dict(zip(loss_of, zip(*rounds[1:])))  # without the first round, which warms up
    sequences = world.prompts + world.questions
    nodes = {s[:end] for s in sequences for end in range(1, len(s) + 1)}
    tokens = {"packed": len(nodes), "one by one": sum(map(len, sequences))}
    top = measure_peak(device)
    lines = [f"one update, forward and backward, {cfg.cotrain.batch_size} subjects, {device}"]
    for way, spent in times.items():
        middle, n = statistics.median(spent), tokens[way] * cfg.cotrain.batch_size
        share = matrix_operations(cfg, n) / middle / top
        lines.append(f"{way:<11} {1e3 * middle:7.2f} ms  {n:6d} tokens  {share:4.0%} of the peak")
    ratios = [slow / fast for fast, slow in zip(times["packed"], times["one by one"])]
    quarter, half, three = statistics.quantiles(ratios, n=4)
    lines.append(f"packed is {half:.2f} times as fast ({quarter:.2f} to {three:.2f}, quartiles)")
    threads = " on one thread" if device == "cpu" else ""
    return "\n".join([*lines, f"peak: {top / 1e9:.0f} Gflop/s, a matrix product{threads}"])
