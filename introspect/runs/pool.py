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

from introspect.runs.jobs import Failure, Job, Outcome, list_m0s, perform
from introspect.runs.stages import start_key
from introspect.watch import Progress

SPAWN = multiprocessing.get_context("spawn")


def start_workers(n_worker: int, ticks: Any = None) -> ProcessPoolExecutor:
    """Processes that report to `ticks`, if they do, and end when this one does."""
    return ProcessPoolExecutor(n_worker, SPAWN, initializer=prepare, initargs=(ticks,))


def perform_in_workers(
    jobs: Sequence[Job], cache: Path, device: str, progress: Progress, n_worker: int
) -> dict[Job, Outcome]:
    """Results by job, from worker processes. A run starts once its M0s are there."""
    ticks = SPAWN.Queue()
    outcomes: dict[Job, Outcome] = {}
    lacks = {job: set(list_m0s([job], device)) for job in jobs}  # M0s that are not there yet
    with start_workers(n_worker, ticks) as pool:
        try:
            m0s = list_m0s(jobs, device).values()
            waiting = {pool.submit(perform_in_worker, m0, cache, device): m0 for m0 in m0s}
            while waiting:
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                with suppress(queue.Empty):
                    while True:
                        progress(*ticks.get_nowait())
                for future in done:
                    job, outcome = waiting.pop(future), future.result()
                    outcomes[job] = outcome
                    key = None if job.out else start_key(job.config, device)
                    for follower in [j for j, keys in lacks.items() if key in keys]:
                        lacks[follower].remove(key)
                        if isinstance(outcome, Failure):  # no M0, so none of its runs
                            outcomes[follower] = Failure(follower, outcome.error)
                        if not lacks[follower] and follower not in outcomes:
                            submitted = pool.submit(perform_in_worker, follower, cache, device)
                            waiting[submitted] = follower
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


def perform_in_worker(job: Job, cache: Path, device: str) -> Outcome:
    return perform(job, cache, device, lambda *tick: _ticks.put(tick))
