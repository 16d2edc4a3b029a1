"""How long the work of a run takes on this machine, against its floor and against other ways.

    floor = operations of its matrix products / the rate of one large float32 product

Times are medians of CPU milliseconds. `bench_timing` says how they are taken and when no ratio is
shown, `bench_ways` what is compared, `bench_peers` how other libraries are given our work.
"""

import statistics
from collections.abc import Iterator
from itertools import count

import torch

from introspect.adapters import trainable
from introspect.analysis.bench_peers import Peers, describe_peers, find_peers
from introspect.analysis.bench_timing import (
    Clock,
    Do,
    Timed,
    clock_of,
    compare,
    count_operations,
    describe_machine,
    find_noise,
    measure_rate,
    square,
    time_rounds,
)
from introspect.analysis.bench_ways import (
    AT_END,
    CURVES,
    ONE_BY_ONE,
    Group,
    compare_labels,
    compare_sizes,
    compare_text_steps,
    compare_updates,
)
from introspect.config import Config, CotrainConfig, PretrainConfig
from introspect.cotrain import loss_of_update, supervise
from introspect.interview import RunTask
from introspect.labels import Frozen, freeze
from introspect.measure import Snapshot, measure_all
from introspect.model import GPT
from introspect.optim import muon_and_adamw, set_rates, trapezoid
from introspect.pretrain import check_finite, sampled_world_loss, weight_norm
from introspect.runs.stages import make_tasks, new_model, order_seed
from introspect.streams import rng
from introspect.versions import CODE

BUSY = "too busy for a ratio"
HEADLINE = 5, 2  # worlds and arms of the headline study, which carries claims C1 and C2


def pretraining(model: GPT, tasks: list[RunTask], c: PretrainConfig, seed: int) -> Do:
    """The updates of `pretrain.learn`, one a call, cut where their parts end."""
    muon, adamw = optimizers = muon_and_adamw(model, c)
    peaks = [group["lr"] for o in optimizers for group in o.param_groups]
    numbers = count()

    def update() -> Iterator[str]:
        step = next(numbers) % c.pretrain_steps
        draw, n = rng(seed, "pretrain", step), c.pretrain_batch_size // len(tasks)
        losses = [sampled_world_loss(model, t.interview, t.world, n, draw) for t in tasks]
        loss = sum(losses) / len(losses)
        yield "batch and forward"
        model.zero_grad(set_to_none=True)
        loss.backward()
        yield "backward"
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        check_finite(step, "bench", loss=loss, gradient=norm)
        factor = trapezoid(step, c.pretrain_steps, c.pretrain_warmup, c.pretrain_cooldown)
        set_rates(optimizers, peaks, factor)
        yield "checks"
        muon.step()
        yield "Muon"
        adamw.step()
        yield "AdamW"
        check_finite(step, "bench", weights=weight_norm(model))
        yield "checks"

    return update


def cotraining(
    model: GPT, tasks: list[RunTask], frozen: list[Frozen], c: CotrainConfig, seed: int
) -> Do:
    """The updates of `cotrain.cotrain`, one a call, cut where their parts end."""
    trained = trainable(model.train(), c.channel, c.adapter_rank, seed)
    device = model.token.weight.device
    supervised = [supervise(task, labels, device) for task, labels in zip(tasks, frozen)]
    optimizer = torch.optim.AdamW(trained, c.learning_rate, weight_decay=c.weight_decay, fused=True)
    numbers = count()

    def update() -> Iterator[str]:
        step = next(numbers)
        loss, _ = loss_of_update(model, step, supervised, [], c, seed, False)
        yield "batch and forward"
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        yield "backward"
        norm = torch.nn.utils.clip_grad_norm_(trained, c.grad_clip)
        yield "clip"
        check_finite(step, "bench", loss=loss, gradient=norm)
        set_rates([optimizer], [c.learning_rate], min(1.0, (step + 1) / max(1, c.warmup_steps)))
        yield "checks"
        optimizer.step()
        yield "AdamW"
        check_finite(step, "bench", weights=weight_norm(model))
        yield "checks"

    return update


def figures(cfg: Config, device: str) -> dict[str, Do]:
    """What a run consists of, as it is run, in one call each."""
    (task,) = tasks = make_tasks(cfg, device)
    m0 = new_model(cfg, tasks).to(device)
    reference, _ = task.interview.ask_all(m0)

    def label() -> Frozen:
        return freeze(reference, reference, task.world, cfg.labels, cfg.seed)

    def evaluate() -> Iterator[str]:
        snapshot = Snapshot(m0, task, frozen)
        yield "asking"
        measure_all([snapshot])
        yield "measuring"

    def make_labels() -> Iterator[str]:
        task.interview.ask_all(m0)
        yield "asking"
        label()
        yield "freezing"

    frozen = label()
    fresh = [new_model(cfg, tasks).to(device) for _ in range(2)]
    return {
        "pretraining update": pretraining(fresh[0], tasks, cfg.pretrain, order_seed(cfg)),
        "co-training update": cotraining(fresh[1], tasks, [frozen], cfg.cotrain, cfg.seed),
        "evaluation": evaluate,
        "labels": make_labels,
    }


def add_up(cfg: Config, seconds: dict[str, float]) -> tuple[float, float]:
    """CPU seconds of one world of the headline study by arithmetic, and claims per CPU minute.

    s = pretrain_steps x pretraining + labels + arms (max_steps x co-training + n x evaluation)

    n evaluations are made by a run. What is left out: starting processes, checkpoints, reports.
    """
    c, (worlds, arms) = cfg.cotrain, HEADLINE
    n = c.max_steps // c.eval_interval + 1 + (c.max_steps % c.eval_interval > 0)
    arm = c.max_steps * seconds["co-training update"] + n * seconds["evaluation"]
    pretraining = cfg.pretrain.pretrain_steps * seconds["pretraining update"]
    world = pretraining + seconds["labels"] + arms * arm
    return world, 2 / (worlds * world / 60)


def row_of(name: str, seconds: float, operations: float, rate: float, busy: bool) -> str:
    """Name, milliseconds, floor in milliseconds, and the share of the time that the floor is."""
    floor = operations / rate
    share = "-" if busy else f"{floor / seconds:.0%}"
    return f"{name:<37}{1e3 * seconds:8.2f}{1e3 * floor:8.2f}{share:>6}"


def head(title: str, noise: str) -> list[str]:
    """What stands above the rows of a table."""
    note = [f"{BUSY}: {noise}"] if noise else []
    return ["", title, *note, f"{'':<37}{'ms':>8}{'floor':>8}{'share':>6}"]


def show_figures(cfg: Config, ways: dict[str, Do], timed: Timed, rate: float) -> str:
    """A row for each figure and its parts, and what they add up to."""
    noise, seconds = find_noise(timed.probes), {}
    lines = head(f"a run of {cfg.task}, as it is run", noise)
    for name, do in ways.items():
        operations = count_operations(do)
        seconds[name] = statistics.median(timed.seconds(name))
        lines.append(row_of(name, seconds[name], sum(operations.values()), rate, bool(noise)))
        for part, n in operations.items():
            middle = statistics.median(spent[part] for spent in timed.spent[name])
            lines.append(row_of(f"  {part}", middle, n, rate, bool(noise)))
    world, claims = add_up(cfg, seconds)
    lines.append(f"one world, two arms, by arithmetic: {world:.0f} CPU s")
    rate_text = BUSY if noise else f"{claims:.2f}"
    lines.append(f"claims per CPU minute (C1 and C2, {HEADLINE[0]} worlds): {rate_text}")
    return "\n".join(lines)


def show_ratio(timed: Timed, way: str, first: str) -> str:
    """"2.71 [2.65, 2.78]", or that the machine was too busy."""
    if find_noise(timed.probes):
        return BUSY
    ratio = compare(timed, way, first)
    if ratio.low is None:
        return f"{ratio.middle:#.3g} [too few rounds]"
    return f"{ratio.middle:#.3g} [{ratio.low:#.3g}, {ratio.high:#.3g}]"


def show_group(group: Group, timed: Timed, rate: float) -> str:
    """A row for each way; the ratio says how many times as fast the first one is."""
    noise, first = find_noise(timed.probes), next(iter(group.ways))
    lines = head(group.title, noise)
    for name, do in group.ways.items():
        middle = statistics.median(timed.seconds(name))
        line = row_of(name, middle, sum(count_operations(do).values()), rate, bool(noise))
        if group.labels:
            line += f"{group.labels / middle:9,.0f} /s"
        lines.append(line + (f"  {show_ratio(timed, name, first)}" if name != first else ""))
    return "\n".join(lines)


def show_curve(title: str, points: list[tuple[Group, Timed]], rate: float) -> str:
    """A row for each size: our packed path, its floor, and one pass a prompt against it."""
    lines = head(f"packed, over {title}; ratios to {AT_END}; to {ONE_BY_ONE}", "")
    for group, timed in points:
        first = next(iter(group.ways))
        operations, busy = count_operations(group.ways[first]), bool(find_noise(timed.probes))
        middle = statistics.median(timed.seconds(first))
        line = row_of(group.title, middle, sum(operations.values()), rate, busy)
        ratios = {show_ratio(timed, way, first): None for way in (AT_END, ONE_BY_ONE)}
        lines.append(f"{line}  {'; '.join(ratios)}")
    return "\n".join(lines)


def compared(cfgs: list[Config], device: str, peers: Peers, clock: Clock) -> Iterator[Group]:
    """The groups of ways, made one after the other."""
    for cfg in cfgs:
        yield compare_updates(cfg, device, peers)
        yield compare_labels(cfg, device, peers, clock)
    yield compare_text_steps(cfgs[0], device, peers)


def bench(cfgs: list[Config], device: str, rounds: int, nanogpt: str = "") -> Iterator[str]:
    """The tables, each as soon as it is there: figures of the first of `cfgs`, then comparisons."""
    torch.set_num_threads(1)
    peers, clock = find_peers(nanogpt), clock_of(device)
    rate, probe = measure_rate(1024, clock, device), square(512, device)

    yield describe_machine(device, rate, clock)
    yield f"introspect of source {CODE['source']}\n{describe_peers(peers)}"
    yield f"ratio: the first way of a table is so many times as fast; median of {rounds} rounds"
    yield "and its 95 % interval. floor: the matrix products alone, in ms at the float32 rate"
    ways = figures(cfgs[0], device)
    yield show_figures(cfgs[0], ways, time_rounds(ways, rounds, clock, probe), rate)
    for group in compared(cfgs, device, peers, clock):
        yield show_group(group, time_rounds(group.ways, rounds, clock, probe), rate)
    for title, sizes in CURVES.items():
        groups = [compare_sizes(*size, device) for size in sizes]
        timed = [time_rounds(group.ways, rounds, clock, probe) for group in groups]
        yield show_curve(title, list(zip(groups, timed)), rate)
