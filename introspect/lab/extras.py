"""What is measured of finished runs beyond their results, kept as NAME.json in their folders."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from introspect.analysis.patching import shared_circuits
from introspect.analysis.probes import where_known
from introspect.config import Config
from introspect.files import write_json
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.load import load_run
from introspect.runs.pool import prepare
from introspect.runs.study import Gathered, Setting, Workspace, perform_settings, plan_jobs

EXTRAS = {  # name -> how it is measured, of a run's model and its task
    "circuits": lambda run: shared_circuits(run.model, run.snapshots[0].task),
    "probes": lambda run: where_known(run.model, run.snapshots[0].task),
}


def perform(
    workspace: Workspace, settings: Sequence[Setting], seeds: Sequence[int], what: str = "claims"
) -> dict[Setting, Gathered]:
    """Run what is missing of these settings, and measure the extras of their experiments."""
    gathered = perform_settings(workspace, settings, seeds, what)
    wanted = {}
    for setting in settings:
        name = EXPERIMENTS[setting.experiment].extra
        for (arm, seed), job in plan_jobs(workspace, setting, seeds).items() if name else ():
            if arm in gathered[setting].runs[seed]:
                wanted[job.out, name] = job.config
    measure_extras(workspace, wanted)
    return gathered


def measure_extras(workspace: Workspace, wanted: dict[tuple[Path, str], Config]) -> None:
    """Write NAME.json into the folder of each run, where it is missing."""
    todo = [
        (folder, name, config)
        for (folder, name), config in wanted.items()
        if not (folder / f"{name}.json").exists()
    ]
    do = partial(measure_one, workspace)
    hidden = None if todo else True  # None: hidden where stderr is no terminal
    shown = partial(tqdm, total=len(todo), desc="extra measurements", disable=hidden)
    if workspace.jobs == 1 or len(todo) < 2:
        for one in shown(todo):
            do(one)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workspace.jobs, context, initializer=prepare, initargs=(None,)
    ) as pool:
        list(shown(pool.map(do, todo)))


def measure_one(workspace: Workspace, wanted: tuple[Path, str, Config]) -> None:
    folder, name, config = wanted
    run = load_run(folder, config, workspace.cache, workspace.device)
    write_json(folder / f"{name}.json", EXTRAS[name](run))
