"""How long the work of a run takes on this machine, against its floor and against other ways.

    floor = operations of its matrix products / the rate of one large float32 product

Times are medians of CPU milliseconds. `bench_timing` says how they are taken and when no ratio is
shown; `bench_muon` and `bench_ways` what is compared; `bench_peers` how other libraries are given
our work.
"""

import statistics
from collections.abc import Iterator

import torch

from introspect.analysis import bench_muon, bench_ways
from introspect.analysis import bench_timing as timing
from introspect.analysis.bench_peers import Peers, describe_peers, find_peers
from introspect.analysis.bench_stacked import compare_stacked
from introspect.analysis.bench_timing import Clock, Do, Group, Timed, find_noise
from introspect.analysis.bench_ways import AT_END, ONE_BY_ONE, PACKED
from introspect.config import Config
from introspect.versions import CODE

BUSY = "too busy for a ratio"
LEGEND = """
ms: CPU time, median of {} rounds. floor: its matrix products alone, at the float32 rate above
differs: largest difference from the first way over the largest number; of classes, which differ
ratio: the first way is so many times as fast, median and 95 % interval over rounds
"""


def row_of(name: str, timed: Timed, way: str, do: Do, rate: float) -> str:
    """Name, milliseconds, floor in milliseconds, and the share of the time that the floor is."""
    middle, floor = statistics.median(timed.seconds[way]), timing.count_operations(do) / rate
    share = "-" if find_noise(timed.probes) else f"{floor / middle:.0%}"
    return f"{name:<35}{1e3 * middle:8.2f}{1e3 * floor:8.2f}{share:>6}"


def show_ratio(timed: Timed, way: str, first: str) -> str:
    """"2.71 [2.65, 2.78]", or that the machine was too busy."""
    if find_noise(timed.probes):
        return BUSY
    ratio = timing.compare(timed, way, first)
    return f"{ratio.middle:#.3g} [{ratio.low:#.3g}, {ratio.high:#.3g}]"


def show_group(group: Group, differences: dict[str, float], timed: Timed, rate: float) -> str:
    """A row for each way; a way that makes things shows how many a second."""
    noise, first = find_noise(timed.probes), next(iter(group.ways))
    lines = [f"\n{group.title}", *([f"{BUSY}: {noise}"] if noise else [])]
    unit = f"{group.unit}/s" if group.count else ""
    lines.append(f"{'':<35}{'ms':>8}{'floor':>8}{'share':>6}{'differs':>9}{unit:>11}  ratio")
    for name, do in group.ways.items():
        made = group.count / statistics.median(timed.seconds[name])
        made = f"{made:,.0f}" if group.count else ""
        ratio = show_ratio(timed, name, first) if name != first else "1"
        row = row_of(name, timed, name, do, rate)
        lines.append(f"{row}{differences[name]:9.0e}{made:>11}  {ratio}")
    return "\n".join(lines)


def show_curve(title: str, points: list[tuple[Group, Timed]], rate: float) -> str:
    """A row for each size: our packed path, and one pass a prompt against it."""
    lines = [f"\nco-training update, packed, over {title}"]
    lines.append(f"{'':<35}{'ms':>8}{'floor':>8}{'share':>6}  ratio to {AT_END}; to {ONE_BY_ONE}")
    for group, timed in points:
        row = row_of(group.title, timed, PACKED, group.ways[PACKED], rate)
        ratios = {show_ratio(timed, way, PACKED): None for way in (AT_END, ONE_BY_ONE)}
        lines.append(f"{row}  {'; '.join(ratios)}")
    return "\n".join(lines)


def compared(cfgs: list[Config], device: str, peers: Peers, clock: Clock) -> Iterator[Group]:
    """The groups of ways, made one after the other."""
    yield bench_muon.compare_pretraining(cfgs[0], device)
    yield bench_muon.compare_muon(cfgs[0], device)
    for cfg in cfgs:
        yield bench_ways.compare_cotraining(cfg, device, peers)
        yield bench_ways.compare_triples(cfg, device)
        yield bench_ways.compare_labels(cfg, device, peers, clock)
    long = bench_ways.compare_sizes(*bench_ways.LONG, device, 32, peers)
    yield long._replace(title=f"co-training update: {long.title}")
    for width, batch in ((64, 32), (64, 16), (32, 32)):
        yield compare_stacked(cfgs[0], device, width, batch)
    yield bench_ways.compare_text_steps(cfgs[0], device, peers)
    yield bench_ways.compare_patching(cfgs[0], device)


def bench(cfgs: list[Config], device: str, rounds: int, nanogpt: str = "") -> Iterator[str]:
    """The tables, each as soon as it is there; the first of `cfgs` is the headline study."""
    torch.set_num_threads(1)
    peers, clock = find_peers(nanogpt), timing.clock_of(device)
    rate, probe = timing.measure_rate(1024, clock, device), timing.square(512, device)

    def time_group(group: Group) -> tuple[dict[str, float], Timed]:
        differences = timing.measure_differences(group)
        return differences, timing.time_rounds(group.ways, rounds, clock, probe)

    yield timing.describe_machine(device, rate, clock)
    yield f"introspect of source {CODE['source']}\n{describe_peers(peers)}"
    yield LEGEND.strip("\n").format(rounds)
    for group in compared(cfgs, device, peers, clock):
        yield show_group(group, *time_group(group), rate)
    for title, sizes in bench_ways.CURVES.items():
        groups = [bench_ways.compare_sizes(*size, device) for size in sizes]
        yield show_curve(title, [(group, time_group(group)[1]) for group in groups], rate)
