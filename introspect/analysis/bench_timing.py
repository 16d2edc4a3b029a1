"""How ways to compute one thing are timed against each other, and when they are not.

Before they are timed, all ways of a group are called once and have to compute the same numbers. A
round calls every way twice, in the order A B C C B A, so that a machine that slows down steadily
slows all of them alike. Times are CPU seconds of this process, all its threads together; on a GPU,
seconds until it is done. Ratios are taken within rounds, since only they carry over to other days.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from introspect.fields import Refused

Clock = Callable[[], tuple[float, float]]  # (CPU seconds, wall seconds), both since any moment
Do = Callable[[], Tensor | Iterable[Tensor]]  # one call; returns what it computed
WAITS = 1.15  # largest wall / CPU time of the probes together: our choice
SPREAD = 1.2  # largest third / first quartile of their CPU times: our choice


class Group(NamedTuple):
    """Ways to compute one thing."""

    title: str
    ways: dict[str, Do]  # the first is ours
    tolerance: float = 1e-4  # largest difference that counts as the same numbers
    exact: Tensor | None = None  # what they should compute, as one vector; default: the first way
    count: int = 0  # things that a call makes, if it makes any
    unit: str = ""  # what they are


class Timed(NamedTuple):
    """What some rounds took."""

    seconds: dict[str, list[float]]  # way -> of a call, in each round
    probes: list[tuple[float, float]]  # (CPU, wall) seconds of a matrix product before each round


class Ratio(NamedTuple):
    middle: float
    low: float
    high: float


def flatten(do: Do) -> Tensor:
    """What a call computes, as one vector."""
    result = do()
    tensors = [result] if isinstance(result, Tensor) else result
    return torch.cat([t.detach().flatten().cpu() for t in tensors])


def measure_differences(group: Group) -> dict[str, float]:
    """How far each way is from what it should compute, by a first call of each: of floating-point
    numbers the largest difference over the largest number, of whole ones the share that differs.

    Raises:
        Refused: one differs by more than the tolerance, so that its time would mean nothing.
    """
    computed = {name: flatten(do) for name, do in group.ways.items()}
    exact = next(iter(computed.values())) if group.exact is None else group.exact
    found = {}
    for name, numbers in computed.items():
        off = (numbers - exact).abs().double()
        share = off.max() / exact.abs().max() if exact.is_floating_point() else off.sign().mean()
        if not share <= group.tolerance:
            text = f"differs by {share:.1e}, and at most {group.tolerance:.0e} is allowed"
            raise Refused(f"{group.title}: {name}: {text}")
        found[name] = float(share)
    return found


def clock_of(device: str) -> Clock:
    """The clock of a device. What a GPU takes is wall time, so nothing on it seems to wait."""

    def read() -> tuple[float, float]:
        if device == "cuda":
            torch.cuda.synchronize()
            return (now := time.perf_counter()), now
        return time.process_time(), time.perf_counter()

    return read


def time_call(do: Callable[[], Any], clock: Clock) -> tuple[float, float]:
    """(CPU, wall) seconds of one call."""
    cpu, wall = clock()
    do()
    after = clock()
    return after[0] - cpu, after[1] - wall


def time_rounds(ways: Mapping[Any, Do], rounds: int, clock: Clock, probe: Callable) -> Timed:
    """`rounds` rounds, after one call of each way to warm up; `probe` is timed before each."""
    seconds: dict[Any, list[float]] = {name: [] for name in ways}
    probes = []
    for do in (*ways.values(), probe):
        do()
    for _ in range(rounds):
        probes.append(time_call(probe, clock))
        calls = [time_call(ways[name], clock)[0] for name in [*ways, *reversed(ways)]]
        for name, first, second in zip(ways, calls, reversed(calls)):
            seconds[name].append((first + second) / 2)
    return Timed(seconds, probes)


def bound_median(ratios: Sequence[float]) -> Ratio:
    """The median of n independent ratios and an interval that covers the true one in 95 % of cases.

        [r_(k), r_(n+1-k)],   the largest k with 2 P(Bin(n, 1/2) < k) <= 0.05

    It inverts the sign test and so assumes no distribution. There is such a k from n = 6 on.

    >>> bound_median([2.0, 3.0, 1.0, 5.0, 4.0, 6.0])
    Ratio(middle=3.5, low=1.0, high=6.0)
    """
    n, ordered = len(ratios), sorted(ratios)
    tails = [2 * sum(comb(n, i) for i in range(k)) / 2**n for k in range(1, n // 2 + 1)]
    k = sum(tail <= 0.05 for tail in tails)
    return Ratio(statistics.median(ordered), ordered[k - 1], ordered[n - k])


def compare(timed: Timed, way: str, first: str) -> Ratio:
    """How many times as fast `first` is as `way`, from their ratios within rounds."""
    return bound_median([b / a for a, b in zip(timed.seconds[first], timed.seconds[way])])


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


ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
FUSED = {  # what the counter of PyTorch leaves out; backward five products, of the scores again
    getattr(torch.ops.aten, ATTENTION): attention_operations,
    getattr(torch.ops.aten, f"{ATTENTION}_backward"):
        lambda _, q, k, *__, **___: 5 * attention_operations(q, k) // 2,
}


def count_operations(do: Do) -> int:
    """Operations of the matrix products of one call as it runs: 2 m n k each."""
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
        do()
    return counter.get_total_flops()


def square(n: int, device: str, dtype: torch.dtype = torch.float32) -> Callable[[], Tensor]:
    """A product of two n x n matrices."""
    a = torch.rand(n, n, device=device).to(dtype)
    return lambda: a @ a


def measure_rate(n: int, clock: Clock, device: str, dtype: torch.dtype = torch.float32) -> float:
    """Operations per second, 2 n^3 / t, of a matrix product, the best of six."""
    do = square(n, device, dtype)
    return 2 * n**3 / min(time_call(do, clock)[0] for _ in range(6))


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
    bf16 = measure_rate(256, clock, device, torch.bfloat16)
    name = torch.cuda.get_device_name() if device == "cuda" else name_cpu()
    return "\n".join([
        f"{name}, {os.cpu_count()} CPUs, one thread",
        f"torch {torch.__version__}, capability {torch.backends.cpu.get_cpu_capability()}",
        f"matrix products: float32 {rate / 1e9:.0f} GFLOP/s, bfloat16 {bf16 / 1e9:.0f} GFLOP/s",
    ])
