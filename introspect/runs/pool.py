"""Many runs side by side: a worker a core, one thread each, M0s before what starts from them."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import suppress
from multiprocessing.connection import wait as wait_for_connection
from pathlib import Path
from typing import Any

from introspect.runs.jobs import Failure, Job, Outcome, list_m0s, perform_together
from introspect.runs.stages import start_key
from introspect.watch import Progress

SPAWN = multiprocessing.get_context("spawn")


def start_workers(n_worker: int, ticks: Any = None) -> ProcessPoolExecutor:
    """Processes that report to `ticks`, if they do, and end when this one does."""
    return ProcessPoolExecutor(n_worker, SPAWN, initializer=prepare, initargs=(ticks,))


def perform_in_workers(
    stacks: Sequence[tuple[Job, ...]], cache: Path, device: str, progress: Progress, n_worker: int
) -> dict[Job, Outcome]:
    """Results by job, from worker processes. A run, or a stack, starts once its M0s are there."""
    ticks = SPAWN.Queue()
    outcomes: dict[Job, Outcome] = {}
    lacks = {jobs: set(list_m0s(jobs, device)) for jobs in stacks}  # M0s that are not there yet
    with start_workers(n_worker, ticks) as pool:
        try:
            m0s = list_m0s([job for jobs in stacks for job in jobs], device).values()
            waiting = {pool.submit(perform_in_worker, (m0,), cache, device): (m0,) for m0 in m0s}
            while waiting:
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                with suppress(queue.Empty):
                    while True:
                        progress(*ticks.get_nowait())
                for future in done:
                    jobs, ended = waiting.pop(future), future.result()
                    outcomes |= zip(jobs, ended)
                    if jobs[0].out:
                        continue
                    key = start_key(jobs[0].config, device)
                    for followers in [j for j, keys in lacks.items() if key in keys]:
                        lacks[followers].remove(key)
                        for job in followers if isinstance(ended[0], Failure) else ():
                            if key in list_m0s([job], device):  # no M0, so none of its runs
                                outcomes[job] = Failure(job, ended[0].error)
                        rest = tuple(job for job in followers if job not in outcomes)
                        if rest and not lacks[followers]:
                            waiting[pool.submit(perform_in_worker, rest, cache, device)] = rest
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
    return outcomes


_ticks: Any = None  # where this worker reports what it has done


def prepare(ticks: Any) -> None:
    """Make this process such a worker."""
    global _ticks
    _ticks = ticks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait_for_connection([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def perform_in_worker(jobs: Sequence[Job], cache: Path, device: str) -> list[Outcome]:
    return perform_together(jobs, cache, device, lambda *tick: _ticks.put(tick))
