"""Many runs side by side: a worker a core, one thread each, M0s before what starts from them."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing.connection import wait as wait_for_connection
from pathlib import Path
from typing import Any

from introspect.pretrain import Progress
from introspect.runs.jobs import Failure, Job, Outcome, list_m0s, perform
from introspect.runs.stages import start_key


def perform_in_workers(
    jobs: Sequence[Job], cache: Path, device: str, progress: Progress, n_worker: int
) -> dict[Job, Outcome]:
    """Results by job, from worker processes. A run starts once its M0s are there."""
    context = multiprocessing.get_context("spawn")
    ticks = context.Queue()
    outcomes: dict[Job, Outcome] = {}
    lacks = {job: set(list_m0s([job], device)) for job in jobs}  # M0s that are not there yet
    with ProcessPoolExecutor(n_worker, context, initializer=prepare, initargs=(ticks,)) as pool:
        try:
            m0s = list_m0s(jobs, device).values()
            waiting = {pool.submit(perform_in_worker, m0, cache, device): m0 for m0 in m0s}
            while waiting:
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                drain(ticks, progress)
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


def drain(ticks: Any, progress: Progress) -> None:
    while True:
        try:
            progress(*ticks.get_nowait())
        except queue.Empty:
            return


_ticks: Any = None  # where this worker reports what it has done


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


def perform_in_worker(job: Job, cache: Path, device: str) -> Outcome:
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

    return perform(job, cache, device, progress)
