"""One job: a run, or an M0 that runs start from. And how far all jobs together are."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from introspect.config import Config
from introspect.cotrain import passes_of_update
from introspect.runs.build import donor_of
from introspect.runs.run import run
from introspect.runs.share import Share
from introspect.runs.stacked import run_together
from introspect.runs.stages import labeled_step, m0_key, make_start, start_key
from introspect.watch import Diverged, Progress, silent

PASSES_A_SECOND = 6000  # passes over a subject of the default model on one core, measured


class Job(NamedTuple):
    """One run with its folder, or, without a folder, the M0 of it alone."""

    arm: str
    config: Config
    out: Path | None
    kind: str = ""  # of runs that are trained in a stack: those of one kind may be in one stack
    kept: tuple[int, ...] = ()  # updates of an M0 whose checkpoints runs take labels of


class Failure(NamedTuple):
    """A job that diverged, and why."""

    job: Job
    error: str


Outcome = dict[str, Any] | Failure | None  # of a run, of a job that diverged, of an M0


def perform(
    job: Job, cache: Path, device: str, progress: Progress, m0_progress: Progress = silent
) -> Outcome:
    """Do one job in this process, on one thread. Parts that are finished are taken from disk."""
    torch.set_num_threads(1)
    try:
        if job.out:
            return run(job.config, job.arm, job.out, cache, device, progress, m0_progress)
        make_start(job.config, cache, device, progress, job.kept)
        return None
    except Diverged as e:
        return Failure(job, str(e))


def perform_together(
    jobs: Sequence[Job],
    cache: Path,
    device: str,
    progress: Progress,
    m0_progress: Progress = silent,
) -> list[Outcome]:
    """Do one job, or the jobs of one stack, in this process; the outcome of each."""
    if not jobs[0].kind:
        return [perform(job, cache, device, progress, m0_progress) for job in jobs]
    torch.set_num_threads(1)
    runs = [(job.arm, job.config, job.out) for job in jobs]
    ends = run_together(runs, cache, device, progress, m0_progress)
    return [
        Failure(job, str(end)) if isinstance(end, Diverged) else end for job, end in zip(jobs, ends)
    ]


def stack(jobs: Sequence[Job], most: int, n_worker: int) -> list[tuple[Job, ...]]:
    """The jobs in the order of the first of each stack: alone, or at most `most` of one kind.

    Stacks are smaller where that gives every worker one: a run's numbers do not depend on it.

    >>> a, b, c = Job("a", None, None, "x"), Job("b", None, None), Job("c", None, None, "x")
    >>> [[job.arm for job in each] for each in stack([a, b, c], 8, 1)]
    [['a', 'c'], ['b']]
    """
    kinds: dict[str | Job, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.kind or job, []).append(job)
    stacks = []
    for alike in kinds.values():
        n = min(most, -(-len(alike) // n_worker))
        stacks += [tuple(alike[i : i + n]) for i in range(0, len(alike), n)]
    return stacks


def list_m0s(jobs: Sequence[Job], device: str) -> dict[str, Job]:
    """The M0s that runs start from, their own and their donors', each once, by its hash."""
    m0s: dict[str, Job] = {}
    for job in jobs:
        labeled = donor_of(job.config)
        for cfg in (job.config, labeled):
            m0s.setdefault(start_key(cfg, device), Job("", cfg, None))
        key, step = start_key(labeled, device), labeled_step(job.config)
        if 0 < step < labeled.pretrain.pretrain_steps and step not in m0s[key].kept:
            m0s[key] = m0s[key]._replace(kept=(*m0s[key].kept, step))
    return m0s


def count_passes(job: Job) -> int:
    """The passes over a subject that a job makes, a measure of its time."""
    cfg = job.config
    if job.out:
        return cfg.cotrain.max_steps * passes_of_update(cfg.cotrain)
    taught = cfg.cotrain.teach_steps if len(cfg.learned) < len(cfg.tasks) else 0
    return (cfg.pretrain.pretrain_steps + taught) * cfg.pretrain.pretrain_batch_size


def deal(jobs: Sequence[Job], device: str, share: Share) -> list[Job]:
    """The jobs that fall to a process: every job to exactly one, those with one M0 to the same,
    and about as much work to each. All processes must deal the same jobs."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(start_key(job.config, device), []).append(job)
    loads, dealt = [0] * share.size, []
    for group in sorted(groups.values(), key=lambda group: -sum(map(count_passes, group))):
        rank = loads.index(min(loads))
        loads[rank] += sum(map(count_passes, group))
        dealt += group if rank == share.rank else []
    return dealt


def estimate_minutes(jobs: Sequence[Job], cache: Path, device: str, n_worker: int) -> float:
    """About how long these runs take, with the M0s that the cache lacks."""
    m0s = [
        m0
        for m0 in list_m0s(jobs, device).values()
        if not (cache / f"m0-{m0_key(m0.config, device)[:16]}").exists()
    ]
    passes = sum(map(count_passes, [*jobs, *m0s]))
    return passes / PASSES_A_SECOND / 60 / max(1, min(n_worker, len(jobs)))


class Meter:
    """Says on stderr how far all jobs are: a bar on a terminal, else a line a minute.

    Args:
        total: passes over subjects. interval: seconds between two lines. clock: seconds now.
    """

    def __init__(
        self, what: str, total: int, interval: float = 60, clock: Callable = time.monotonic
    ):
        self.what, self.total, self.done = what, total, 0
        self.interval, self.clock = interval, clock
        self.started = self.said = clock()
        self.bar = tqdm(
            total=total,
            disable=None,  # silent where stderr is no terminal
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} so far, {remaining} to go",
            desc=what,
            smoothing=0,
        )

    def __call__(self, title: str, passes: int) -> None:
        """Count passes that were made; a negative number: so many need not be made any more."""
        if passes < 0:
            self.total = self.bar.total = self.total + passes
            return
        self.done += passes
        self.bar.set_description_str(f"{self.what}: {title}", refresh=False)
        self.bar.update(passes)
        now = self.clock()
        if self.bar.disable and now - self.said >= self.interval:
            self.said, minutes = now, (now - self.started) / 60
            share = self.done / max(1, self.total)
            rest = "how long it takes is not known yet"
            if share >= 0.01:
                rest = f"about {minutes * max(0, 1 - share) / share:.0f} min to go"
            print(
                f"{self.what}: {share:.0%} after {minutes:.0f} min, {rest}; now {title}",
                file=sys.stderr,
                flush=True,
            )
