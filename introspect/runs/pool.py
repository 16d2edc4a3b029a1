"""Many runs side by side: a worker a core, one thread each, M0s before what starts from them."""

import multiprocessing
import os
import queue
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing.connection import wait as wait_for_connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from introspect.config import Config
from introspect.cotrain import passes_of_update
from introspect.pretrain import Diverged, Progress
from introspect.runs.build import donor_of
from introspect.runs.run import finished, run
from introspect.runs.stages import make_start, start_key


class Job(NamedTuple):
    """One run with its folder, or, without a folder, the M0 of it alone."""

    arm: str
    config: Config
    out: Path | None


class Failure(NamedTuple):
    """A job that diverged: what it was and why."""

    job: Job
    error: str

    def describe(self) -> dict[str, Any]:
        return {"arm": self.job.arm, "seed": self.job.config.seed, "error": self.error}


Outcome = dict[str, Any] | Failure | None  # of a run, of what diverged, of an M0
Found = dict[Job, Outcome]


def perform(job: Job, cache: Path, device: str, progress: Progress) -> dict[str, Any] | None:
    """Do one job in this process, on one thread. Finished parts are taken from disk."""
    torch.set_num_threads(1)
    if job.out:
        return run(job.config, job.arm, job.out, cache, device, progress)
    make_start(job.config, cache, device, progress)
    return None


def perform_all(
    jobs: list[Job], cache: Path, device: str, n_worker: int, what: str
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """The results of `jobs` in their order, and the jobs that diverged.

    Finished ones are read. With one worker everything happens in this process, with the same bytes.
    """
    found: Found = {job: done for job in jobs if (done := finished(job.out))}
    todo = [job for job in jobs if job not in found]
    by_key = {key: m0 for job in reversed(todo) for key, m0 in needs(job, device).items()}
    m0s = list(reversed(by_key.values()))
    with tqdm(
        total=sum(map(passes_of_m0, m0s)) + sum(map(passes_of_run, todo)),
        disable=None if todo else True,  # None: silent where stderr is not a terminal
        bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} so far, {remaining} to go",
        desc=what,
        smoothing=0,
    ) as bar:

        def progress(title: str, passes: int) -> None:
            if passes < 0:  # already done: less to do, rather than done very quickly
                bar.total += passes
            else:
                bar.set_description_str(f"{what}: {title}", refresh=False)
                bar.update(passes)

        if n_worker == 1 or len(todo) == 1:
            found |= in_this_process(m0s, todo, cache, device, progress)
        elif todo:
            found |= in_workers(m0s, todo, cache, device, progress, n_worker)
    results = [found[job] for job in jobs]
    return (
        [r for r in results if not isinstance(r, Failure)],
        [r for r in results if isinstance(r, Failure)],
    )


def needs(job: Job, device: str) -> dict[str, Job]:
    """The M0s that a run starts from, its own and its donor's, by the hash of what decides each."""
    configs = job.config, donor_of(job.config)
    return {start_key(cfg, device): Job(job.arm, cfg, None) for cfg in configs}


def passes_of_m0(job: Job) -> int:
    cfg = job.config
    taught = cfg.cotrain.teach_steps if len(cfg.learned) < len(cfg.tasks) else 0
    return (cfg.pretrain.pretrain_steps + taught) * cfg.pretrain.pretrain_batch_size


def passes_of_run(job: Job) -> int:
    return job.config.cotrain.max_steps * passes_of_update(job.config.cotrain)


def in_this_process(
    m0s: list[Job], jobs: list[Job], cache: Path, device: str, progress: Progress
) -> Found:
    """Results by job, one after the other."""
    found: Found = {}
    for job in (*m0s, *jobs):
        if job not in found:
            record(found, job, attempt(job, cache, device, progress), jobs, device)
    return found


def in_workers(
    m0s: list[Job], jobs: list[Job], cache: Path, device: str, progress: Progress, n_worker: int
) -> Found:
    """Results by job, from worker processes. A run starts once its M0s are there."""
    context = multiprocessing.get_context("spawn")
    ticks = context.Queue()
    found: Found = {}
    lacks = {job: needs(job, device).keys() for job in jobs}  # M0s that are not there yet
    with ProcessPoolExecutor(n_worker, context, initializer=prepare, initargs=(ticks,)) as pool:
        try:
            waiting = {pool.submit(in_worker, job, cache, device): job for job in m0s}
            while waiting:
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                drain(ticks, progress)
                for future in done:
                    job = waiting.pop(future)
                    record(found, job, future.result(), jobs, device)
                    made = set() if job.out else {start_key(job.config, device)}
                    for follower in [j for j, keys in lacks.items() if keys & made]:
                        lacks[follower] -= made
                        if not lacks[follower] and follower not in found:
                            waiting[pool.submit(in_worker, follower, cache, device)] = follower
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
    return found


def record(found: Found, job: Job, outcome: Outcome, jobs: list[Job], device: str) -> None:
    """Note the outcome of a job; where an M0 diverged, also of the runs that wanted it."""
    found[job] = outcome
    if isinstance(outcome, Failure) and not job.out:
        key = start_key(job.config, device)
        wanted = [j for j in jobs if key in needs(j, device)]
        found.update({j: Failure(j, outcome.error) for j in wanted})


def attempt(job: Job, cache: Path, device: str, progress: Progress) -> Outcome:
    try:
        return perform(job, cache, device, progress)
    except Diverged as e:
        return Failure(job, str(e))


def drain(ticks: Any, progress: Progress) -> None:
    while True:
        try:
            progress(*ticks.get_nowait())
        except queue.Empty:
            return


_ticks: Any = None  # of a worker: where it reports what it has done


def prepare(ticks: Any) -> None:
    """Make this process a worker: it reports to `ticks` and ends when its parent does."""
    global _ticks
    _ticks = ticks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait_for_connection([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def in_worker(job: Job, cache: Path, device: str) -> Outcome:
    pending = 0

    def progress(title: str, passes: int) -> None:
        nonlocal pending
        if passes < 0:
            _ticks.put((title, passes))
            return
        pending += passes
        if pending >= 1000:  # a message every few updates
            _ticks.put((title, pending))
            pending = 0

    return attempt(job, cache, device, progress)
