"""A study: the runs of an experiment on one task over seeds, made where they are missing.

A run is named by the hash of its configuration and shared by all experiments. What is finished is
taken from disk, so that the same call goes on after a kill and does nothing when all is done.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from introspect.config import Config
from introspect.files import claim_folder, read_json
from introspect.runs.build import check_sizes, sources
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.pool import Failure, Job, perform_all


class Setting(NamedTuple):
    """An experiment on a task."""

    experiment: str
    task: str

    @property
    def name(self) -> str:
        """The name of its folder. The experiment's own task is not named."""
        own = EXPERIMENTS[self.experiment].task == self.task
        return self.experiment if own else f"{self.experiment}-{self.task}"


@dataclass(frozen=True)
class Workspace:
    """Where runs are kept, and with what they are made."""

    out: Path
    device: str
    jobs: int
    overrides: dict[str, Any]  # fields that differ from those of the experiments, in every run

    @property
    def cache(self) -> Path:
        return self.out / "cache"


class Run(NamedTuple):
    """A finished run."""

    result: dict[str, Any]
    folder: Path


class Missing(KeyError):
    """An arm that has no finished run of a seed."""


class Runs(dict[str, Run]):
    """The runs of one seed, by arm."""

    def __missing__(self, arm: str) -> Run:
        raise Missing(arm)


class Gathered(NamedTuple):
    """What was run for a setting."""

    runs: dict[int, Runs]  # seed -> arm -> run
    failed: list[str]  # what diverged, in words


def settings_of(names: Iterable[str]) -> list[Setting]:
    """The experiments of these names, each on every task on which it has claims."""
    return [
        Setting(name, task)
        for name in names
        for task in (EXPERIMENTS[name].task, *EXPERIMENTS[name].more_tasks)
    ]


def plan_jobs(
    workspace: Workspace, setting: Setting, seeds: Sequence[int]
) -> dict[tuple[str, int], Job]:
    """(arm, seed) -> its run. A run has the same name wherever it is asked for."""
    experiment, jobs = EXPERIMENTS[setting.experiment], {}
    for seed in seeds:
        for arm in experiment.arms:
            config = experiment.config(arm, setting.task, workspace.overrides, seed)
            out = workspace.out / "runs" / f"{setting.task}-{config.sha256()[:16]}"
            jobs[arm, seed] = Job(f"{setting.name} {arm}", config, out)
    return jobs


def describe(workspace: Workspace, config: Config, folder: Path) -> dict[str, Any]:
    """What config.json of a run says."""
    return {
        "experiment": "claims",
        "arm": config.sha256()[:16],
        "first_seed": config.seed,
        "device": workspace.device,
        "source": sources(config),
        "cache": os.path.relpath(workspace.cache, folder),
        "config": config.flat(),
    }


def perform_settings(
    workspace: Workspace, settings: Sequence[Setting], seeds: Sequence[int]
) -> dict[Setting, Gathered]:
    """Run what is missing of these settings."""
    asked = {setting: plan_jobs(workspace, setting, seeds) for setting in settings}
    jobs = {job.out: job for planned in asked.values() for job in planned.values()}  # each run once
    for job in jobs.values():
        check_sizes(job.config)
    for folder, job in jobs.items():
        claim_folder(folder, describe(workspace, job.config, folder))
    _, failures = perform_all(
        list(jobs.values()), workspace.cache, workspace.device, workspace.jobs, "claims"
    )
    failed = {failure.job.out: failure for failure in failures}
    return {setting: gather(planned, failed) for setting, planned in asked.items()}


def gather(jobs: dict[tuple[str, int], Job], failed: dict[Path, Failure]) -> Gathered:
    """The runs of a setting by seed and arm."""
    runs: dict[int, Runs] = {seed: Runs() for _, seed in jobs}
    words = []
    for (arm, seed), job in jobs.items():
        if job.out in failed:
            words.append(f"{arm} of seed {seed}: {failed[job.out].error}")
        else:
            result = read_json(job.out / "result.json", {"gap", "controls"})
            runs[seed][arm] = Run(result, job.out)
    return Gathered(runs, words)
