"""What is measured of finished runs beyond their results, kept as NAME.json in their folders."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from introspect.analysis.patching import shared_circuits
from introspect.analysis.probes import where_known
from introspect.config import Config
from introspect.files import write_json
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.load import load_run
from introspect.runs.pool import start_workers
from introspect.runs.study import Gathered, Setting, Workspace, perform_settings, plan_jobs

EXTRAS = {"circuits": shared_circuits, "probes": where_known}  # of a run's model and first task


def perform(
    workspace: Workspace, settings: Sequence[Setting], seeds: Sequence[int], what: str = "claims"
) -> dict[Setting, Gathered]:
    """Run what is missing of these settings, and measure the extras of their experiments."""
    gathered = perform_settings(workspace, settings, seeds, what)
    todo = {}  # each once
    for setting in settings:
        name = EXPERIMENTS[setting.experiment].extra
        for (arm, seed), job in plan_jobs(workspace, setting, seeds).items() if name else ():
            path = job.out / f"{name}.json"
            if arm in gathered[setting].runs[seed] and not path.exists():
                todo[path] = job.config
    measure_extras(workspace, todo)
    return gathered


def measure_extras(workspace: Workspace, todo: dict[Path, Config]) -> None:
    """Write these files, NAME.json in the folder of a run of this configuration."""
    do = partial(measure_extra, workspace)
    hidden = None if todo else True  # None: hidden where stderr is no terminal
    shown = partial(tqdm, total=len(todo), desc="extra measurements", disable=hidden)
    if workspace.jobs == 1 or len(todo) < 2:
        list(shown(map(do, todo, todo.values())))
        return
    with start_workers(workspace.jobs) as pool:
        list(shown(pool.map(do, todo, todo.values())))


def measure_extra(workspace: Workspace, path: Path, config: Config) -> None:
    run = load_run(path.parent, config, workspace.cache, workspace.device)
    write_json(path, EXTRAS[path.stem](run.model, run.snapshots[0].task))
