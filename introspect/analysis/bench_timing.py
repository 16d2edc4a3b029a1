"""How ways to compute one thing are timed against each other, and when they are not.

A round calls every way twice, in the order A B C C B A, so that a machine that slows down steadily
slows all of them alike. Times are CPU seconds of this process, all its threads together; on a GPU,
seconds until it is done. Ratios are taken within rounds, since only they carry over to other days.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

Clock = Callable[[], tuple[float, float]]  # (CPU seconds, wall seconds), both since any moment
Do = Callable[[], Any]  # one call; a generator function yields the name of each part as it ends
WAITS = 1.15  # largest wall / CPU time of the probes together: our choice
SPREAD = 1.2  # largest third / first quartile of their CPU times: our choice
LIMITED = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


class Timed(NamedTuple):
    """What some rounds took."""

    spent: dict[str, list[dict[str, float]]]  # way -> of each round, part -> seconds of a call
    probes: list[tuple[float, float]]  # (CPU, wall) seconds of a matrix product before each round

    def seconds(self, way: str) -> list[float]:
        """Of a call, in each round."""
        return [sum(parts.values()) for parts in self.spent[way]]


class Ratio(NamedTuple):
    middle: float
    low: float | None  # None: too few rounds for an interval
    high: float | None


def clock_of(device: str) -> Clock:
    """The clock of a device. What a GPU takes is wall time, so nothing on it seems to wait."""

    def read() -> tuple[float, float]:
        if device == "cuda":
            torch.cuda.synchronize()
            return (now := time.perf_counter()), now
        return time.process_time(), time.perf_counter()

    return read


def split_call(do: Do, read: Callable[[], float]) -> dict[str, float]:
    """By how much `read` rises in one call, part by part; a way without parts has one, ""."""
    spent: dict[str, float] = {}
    before = read()
    result = do()
    for part in result if isinstance(result, Generator) else [""]:
        now = read()
        spent[part] = spent.get(part, 0.0) + now - before
        before = read()
    return spent


def time_rounds(ways: Mapping[str, Do], rounds: int, clock: Clock, probe: Do) -> Timed:
    """`rounds` rounds, after one call of each way to warm up; `probe` is timed before each."""
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    probes = []
    for do in (*ways.values(), probe):
        split_call(do, lambda: 0.0)
    for _ in range(rounds):
        cpu, wall = clock()
        probe()
        after = clock()
        probes.append((after[0] - cpu, after[1] - wall))
        order = [*ways, *reversed(ways)]
        calls = [split_call(ways[name], lambda: clock()[0]) for name in order]
        for name, first, second in zip(ways, calls, reversed(calls)):
            spent[name].append({part: (first[part] + second[part]) / 2 for part in first})
    return Timed(spent, probes)


def bound_median(ratios: Sequence[float]) -> Ratio:
    """The median of n independent ratios and an interval that covers the true one in 95 % of cases.

        [r_(k), r_(n+1-k)],   the largest k with 2 P(Bin(n, 1/2) < k) <= 0.05

    It inverts the sign test and so assumes no distribution. Below n = 6 there is no such k.

    >>> bound_median([2.0, 3.0, 1.0, 5.0, 4.0, 6.0])
    Ratio(middle=3.5, low=1.0, high=6.0)
    """
    n, ordered = len(ratios), sorted(ratios)
    tails = [2 * sum(comb(n, i) for i in range(k)) / 2**n for k in range(1, n // 2 + 1)]
    k = sum(tail <= 0.05 for tail in tails)
    middle = statistics.median(ordered)
    return Ratio(middle, ordered[k - 1], ordered[n - k]) if k else Ratio(middle, None, None)


def compare(timed: Timed, way: str, first: str) -> Ratio:
    """How many times as fast `first` is as `way`, from their ratios within rounds."""
    return bound_median([b / a for a, b in zip(timed.seconds(first), timed.seconds(way))])


def find_noise(probes: Sequence[tuple[float, float]]) -> str:
    """Why a machine is too busy for a ratio, or "".

    Both signs come from a matrix product of fixed size: it waits for a core (its wall time is more
    than WAITS x its CPU time, over all probes), or it does not always run at the same speed (the
    third quartile of its CPU times is more than SPREAD x the first).
    """
    waits = sum(wall for _, wall in probes) / sum(cpu for cpu, _ in probes)
    quarter, _, three = statistics.quantiles((cpu for cpu, _ in probes), n=4)
    if waits > WAITS:
        return f"a matrix product takes {waits:.2f} x its CPU time"
    if three > SPREAD * quarter:
        return f"CPU times of a matrix product spread by {three / quarter:.2f} x"
    return ""


def attention_operations(q: Any, k: Any, *_: Any, **__: Any) -> int:
    """Q K^T and P V of (B, H, A, D) queries and (B, H, T, D) keys: 4 B H A T D, masked ones too."""
    B, H, A, D = q
    return 4 * B * H * A * k[2] * D


def attention_backward_operations(_: Any, q: Any, k: Any, *__: Any, **___: Any) -> float:
    """Five products, as the one of the scores is made again: 10 B H A T D."""
    return 5 * attention_operations(q, k) // 2


FUSED = {  # what the counter of PyTorch leaves out
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_operations,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        attention_backward_operations,
}


def count_operations(do: Do) -> dict[str, float]:
    """Operations of the matrix products of one call as it runs, part by part: 2 m n k each."""
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
        return split_call(do, counter.get_total_flops)


def square(n: int, device: str, dtype: torch.dtype = torch.float32) -> Callable[[], Tensor]:
    """A product of two n x n matrices."""
    a = torch.rand(n, n, device=device).to(dtype)
    return lambda: a @ a


def measure_rate(n: int, clock: Clock, device: str, dtype: torch.dtype = torch.float32) -> float:
    """Operations per second, 2 n^3 / t, of a matrix product, the best of five after a first."""
    do = square(n, device, dtype)
    return 2 * n**3 / min(split_call(do, lambda: clock()[0])[""] for _ in range(6))


def name_cpu(info: Path = Path("/proc/cpuinfo")) -> str:
    """The model of this CPU; its family and model number too, as clouds hide the rest."""
    try:
        pairs = [line.partition(":") for line in info.read_text().split("\n\n")[0].splitlines()]
    except OSError:
        return platform.processor() or platform.machine()
    of = {key.strip(): value.strip() for key, _, value in pairs}
    numbers = f"family {of.get('cpu family', '?')} model {of.get('model', '?')}"
    return f"{of.get('model name', platform.machine())} ({numbers})"


def describe_machine(device: str, rate: float, clock: Clock) -> str:
    """What the times were taken on."""
    limits = [f"{name}={os.environ[name]}" for name in LIMITED if name in os.environ]
    bf16 = measure_rate(256, clock, device, torch.bfloat16)
    name = torch.cuda.get_device_name() if device == "cuda" else name_cpu()
    return "\n".join([
        f"{name}, {os.cpu_count()} CPUs, one thread",
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}",
        f"matrix products: float32 {rate / 1e9:.0f} GFLOP/s, bfloat16 {bf16 / 1e9:.0f} GFLOP/s",
        *([f"held below what this CPU can do by {' '.join(limits)}"] if limits else []),
    ])
