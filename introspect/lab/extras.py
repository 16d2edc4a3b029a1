"""What is measured of finished runs beyond their results, kept as NAME.json in their folders."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from introspect.analysis.alarm import compare_alarms
from introspect.analysis.conflict import compare_conflicts
from introspect.analysis.editing import choose_edit, compare_edits
from introspect.analysis.grafts import compare_grafts
from introspect.analysis.odds import compare_odds
from introspect.analysis.patching import shared_sites
from introspect.analysis.probes import where_known
from introspect.analysis.readout import compare_readouts
from introspect.analysis.rivals import compare_rivals
from introspect.analysis.splits import by_class
from introspect.analysis.steering import compare_steering
from introspect.config import Config
from introspect.fields import Refused, nearest
from introspect.files import write_json
from introspect.lab.own_claims import list_own_claims
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.runs.jobs import Meter
from introspect.runs.load import Loaded, load_run
from introspect.runs.pool import start_workers
from introspect.runs.stages import make_m0, make_tasks
from introspect.runs.study import (
    Gathered, Setting, Workspace, perform_settings, plan_jobs, seeds_of,
)


def measure_readout(run: Loaded, find_m0: Callable[[], GPT]) -> dict[str, Any]:
    """Whether the answer head came loose; of the first task, what other explainers get, and the
    gap class by class and in log-odds."""
    references = [labels.reference for labels in run.frozen]
    snapshot = run.snapshots[0]
    return {
        **compare_readouts(run.model, run.snapshots, references),
        "rivals": compare_rivals(run.model, find_m0(), snapshot),
        "classes": split_by_class(snapshot),
        "odds": compare_odds(run.model, snapshot, references[0]),
    }


def split_by_class(snapshot: Snapshot) -> dict[str, dict[str, float | None]]:
    """`by_class` of the held-out items, by the words of each label."""
    cues = torch.arange(len(snapshot.world.pairs)).expand_as(snapshot.current)
    columns = snapshot.explanation, snapshot.current, snapshot.original, cues
    rows = snapshot.rows("held_out")
    parts = by_class(*(column[rows].flatten().numpy() for column in columns))
    return {snapshot.channel.words(k): part for k, part in parts.items()}


def measure_edits(run: Loaded, find_m0: Callable[[], GPT]) -> dict[str, Any]:
    """Whether explanations of the first task follow edits and steering, by place, and grafts."""
    model, snapshot, frozen = run.model, run.snapshots[0], run.frozen[0]
    return {
        "edits": compare_edits(model, snapshot, frozen),
        "steering": compare_steering(model, snapshot, choose_edit(snapshot)),
        "grafts": compare_grafts(model, find_m0(), snapshot, frozen),
    }


def measure_alarms(run: Loaded, find_m0: Callable[[], GPT]) -> dict[str, Any]:
    """Whether explanations of the first task find what is moved after their training."""
    return compare_alarms(run.model, run.snapshots[0], run.frozen[0], run.config.world_seed)


EXTRAS: dict[str, Callable[[Loaded, Callable[[], GPT]], Any]] = {  # of a run, and of its M0
    "alarm": measure_alarms,
    "circuits": lambda run, _: shared_sites(run.model, run.snapshots[0].task),
    "conflict": lambda run, find_m0: compare_conflicts(run, find_m0()),
    "edits": measure_edits,
    "probes": lambda run, _: where_known(run.model, run.snapshots[0].task),
    "readout": measure_readout,
}


def check_declared(settings: Sequence[Setting]) -> None:
    """Refuse claims or an extra measurement of the user's own that are none."""
    list_own_claims(settings)
    for setting in settings:
        if (name := setting.declared.extra) not in ("", *EXTRAS):
            allowed = f"{', '.join(EXTRAS)}{nearest(name, EXTRAS)}"
            raise Refused(f"{setting.experiment}: extra {name!r} must be of {allowed}")


def perform(
    workspace: Workspace,
    settings: Sequence[Setting],
    worlds: Sequence[int],
    what: str = "claims",
    n_draw: int = 1,
) -> dict[Setting, Gathered]:
    """Run what is missing of these settings, and measure the extras of their experiments.

    Args:
        n_draw: of each world, at most; experiments say how many are worth their time.

    Raises:
        Refused: before any run, as `check_declared` says.
    """
    check_declared(settings)
    gathered = perform_settings(workspace, settings, worlds, what, n_draw)
    todo = {}  # each once
    for setting in settings:
        name = setting.declared.extra
        seeds = seeds_of(setting, worlds, n_draw)
        for (arm, seed), job in plan_jobs(workspace, setting, seeds).items() if name else ():
            path = job.out / f"{name}.json"
            if arm in gathered[setting].runs[seed] and not path.exists():
                todo[path] = job.config
    measure_extras(workspace, todo)
    return gathered


def measure_extras(workspace: Workspace, todo: dict[Path, Config]) -> None:
    """Write these files, NAME.json in the folder of a run of this configuration."""
    if not todo:
        return
    do, alone = partial(measure_extra, workspace), workspace.jobs == 1 or len(todo) == 1
    meter = Meter("extra measurements", len(todo))
    with meter.bar, nullcontext() if alone else start_workers(workspace.jobs) as pool:
        done = (pool.map if pool else map)(do, todo, todo.values())
        for path, _ in zip(todo, done):
            meter(f"{path.stem} of {path.parent.name}", 1)


def measure_extra(workspace: Workspace, path: Path, config: Config) -> None:
    cache, device = workspace.cache, workspace.device
    run = load_run(path.parent, config, cache, device)
    find_m0 = partial(make_m0, config, make_tasks(config, device), cache, device)
    write_json(path, EXTRAS[path.stem](run, find_m0))
