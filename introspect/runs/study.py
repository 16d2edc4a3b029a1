"""A study: the runs of an experiment on one task over seeds, made where they are missing.

A run is named by the hash of its configuration and shared by all studies: ROOT/runs/TASK-HASH.
A finished run is taken from disk, so that the same call goes on after a kill and does nothing when
all is done. A study itself is only a view of runs, written by report/report.py.
"""

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from introspect import checkpoint
from introspect.config import Config, digest
from introspect.fields import Refused
from introspect.files import claim_folder, is_aside, write_text
from introspect.runs.build import check_sizes, sources
from introspect.runs.cli import Command, n_core
from introspect.runs.declared import find_experiment
from introspect.runs.device import default_stack, resolve_device
from introspect.runs.experiment import Experiment, describe_arm, draws_of, show_fields
from introspect.runs.jobs import (
    Failure,
    Job,
    Meter,
    count_passes,
    deal,
    estimate_minutes,
    list_m0s,
    perform,
    perform_together,
    stack,
)
from introspect.runs.run import finished, read_result
from introspect.runs.share import Share, Unfinished, find_share
from introspect.runs.stacked import kind_of


class Setting(NamedTuple):
    """An experiment on a task."""

    experiment: str  # its name (runs/declared.py)
    task: str

    @property
    def declared(self) -> Experiment:
        return find_experiment(self.experiment)

    @property
    def name(self) -> str:
        return self.name_folder()

    def name_folder(self, overrides: Mapping[str, Any] | None = None, seed: int = 0) -> str:
        """The experiment, and what tells from its usual study: task, first seed, the user's fields.

        >>> Setting("anchor", "refusal").name_folder({"n_head": 2}, 5)
        'anchor-refusal-seed5-n_head=2'
        """
        usual, experiment = self.declared.task, self.experiment.replace(" ", "-").lstrip("./")
        words = [experiment, *([] if usual == self.task else [self.task])]
        words += [f"seed{seed}"] if seed else []
        words += [f"{name}={value}" for name, value in sorted((overrides or {}).items())]
        name = "-".join(words).replace("/", "_").replace(":", "=")  # some systems forbid them
        return name if len(name) <= 120 else f"{name[:100]}-{digest(name)[:12]}"


@dataclass(frozen=True)
class Workspace:
    """Where runs are kept, and with what they are made."""

    root: Path
    device: str
    jobs: int  # at a time
    overrides: dict[str, Any] = field(default_factory=dict)  # the user's fields, in every run
    cache_dir: str = ""
    stack: int = 1  # runs that are trained together, at most; 1: each by itself
    keep_checkpoints: bool = False  # of every evaluation, for eval.py ask; alters nothing else

    @property
    def cache(self) -> Path:
        return Path(self.cache_dir) if self.cache_dir else self.root / "cache"

    def name_run(self, config: Config) -> Path:
        """The folder of a run, the same whichever study asks for it."""
        task = config.task.replace("/", "_")[-100:]
        return self.root / "runs" / f"{task}-{config.sha256()[:16]}"

    def name_study(self, setting: Setting, seeds: Sequence[int]) -> Path:
        return self.root / setting.name_folder(self.overrides, min(seeds))


def open_workspace(command: Command) -> Workspace:
    """The workspace that a command line of train.py asks for."""
    run, device = command.run, resolve_device(command.run.device)
    return Workspace(
        Path(run.out_dir),
        device,
        run.jobs or n_core(),
        command.overrides,
        run.cache_dir,
        run.stack or default_stack(device),
        run.keep_checkpoints,
    )


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
    """The runs of a setting."""

    runs: dict[int, Runs]  # seed -> arm -> run
    failed: list[str]  # what diverged, in words


def settings_of(names: Iterable[str]) -> list[Setting]:
    """The experiments of these names, each on every task on which it has claims."""
    declared = {name: find_experiment(name) for name in names}
    return [Setting(name, task)
            for name, experiment in declared.items()
            for task in (experiment.task, *experiment.more_tasks)]


def seeds_of(setting: Setting, worlds: Sequence[int], n_draw: int) -> list[int]:
    """The seeds of n draws of each world, fewer where the experiment wants fewer."""
    return draws_of(worlds, min(n_draw, setting.declared.n_draw))


def plan_jobs(
    workspace: Workspace, setting: Setting, seeds: Sequence[int], arms: Sequence[str] = ()
) -> dict[tuple[str, int], Job]:
    """(arm, seed) -> its run; of all arms unless `arms` are named."""
    experiment, jobs = setting.declared, {}
    for seed in seeds:
        for arm in arms or experiment.arms:
            config = experiment.config(arm, setting.task, workspace.overrides, seed)
            kind = kind_of(config) if workspace.stack > 1 else ""
            jobs[arm, seed] = Job(arm, config, workspace.name_run(config), kind)
    return jobs


def describe(workspace: Workspace, job: Job) -> dict[str, Any]:
    """The config.json of a run: enough to run it again, and the same whoever asks for it."""
    return {
        "device": workspace.device,
        "source": sources(job.config.task),
        "cache": os.path.relpath(os.path.realpath(workspace.cache), os.path.realpath(job.out)),
        "config": job.config.flat(),
    } | ({"stacked": True} if job.kind else {})


def claim_view(out: Path) -> None:
    """Make the folder of a study, or refuse one that cannot be written or holds something else."""
    try:
        if out.is_dir() and not (out / "runs.jsonl").exists():
            if [f for f in out.iterdir() if not is_aside(f.name)]:
                raise Refused(f"{out}: is not empty and not a study; give another --out_dir")
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as e:
        raise Refused(f"{out}: cannot be written ({e.strerror}); give another --out_dir") from None


def perform_settings(
    workspace: Workspace,
    settings: Sequence[Setting],
    worlds: Sequence[int],
    what: str,
    n_draw: int = 1,
) -> dict[Setting, Gathered]:
    """Make the missing runs of these settings, and say before what will be made."""
    planned = {
        setting: plan_jobs(workspace, setting, seeds_of(setting, worlds, n_draw))
        for setting in settings
    }
    jobs = {job.out: job for by_arm in planned.values() for job in by_arm.values()}  # each run once
    plan = describe_plan(workspace, settings, worlds)
    plan += f"\n{n_draw} draws of each world, fewer where one is enough" if n_draw > 1 else ""
    failures = make_runs(workspace, list(jobs.values()), plan, what, find_share())
    failed = {failure.job.out: failure for failure in failures}
    return {setting: gather(by_arm, failed) for setting, by_arm in planned.items()}


def make_runs(
    workspace: Workspace, jobs: Sequence[Job], plan: str, what: str, share: Share = Share(0, 1)
) -> list[Failure]:
    """Make those of `jobs` that fall to this process and are not finished; returns those that
    diverged.

    With one worker, or for one run, everything happens in this process, with the same bytes.

    Raises:
        Unfinished: runs that fall to other processes are missing; those of this one are there.
    """
    for job in jobs:
        check_sizes(job.config)
    for job in jobs:
        claim_folder(job.out, describe(workspace, job))
        if workspace.keep_checkpoints:
            (job.out / "checkpoints").mkdir(exist_ok=True)
            write_text(job.out / "checkpoints" / checkpoint.ALL, "")
    cache, device, n_worker = workspace.cache, workspace.device, workspace.jobs
    own = deal(jobs, device, share)
    todo = [job for job in own if not finished(job.out, job.config)]
    minutes = estimate_minutes(todo, cache, device, n_worker)
    made = f"{len(own) - len(todo)} of {len(own)} runs are there already"
    if stacked := sum(bool(job.kind) for job in own):
        plan += f"\n{stacked} of {len(own)} runs are trained in stacks of up to {workspace.stack}"
    if share.size > 1:
        plan += f"\nprocess {share.rank} of {share.size} has {len(own)} of {len(jobs)} runs"
        if not own:
            plan += "; whole worlds are shared, so processes all need the same --seed and --seeds"
    print(f"{plan}\n{made}; {len(todo)} to make, about {minutes:.1f} min", file=sys.stderr)
    failures = make_todo(todo, workspace, what) if todo else []
    diverged = {failure.job for failure in failures}
    rest = [job for job in jobs if job not in diverged and not finished(job.out, job.config)]
    if rest:
        raise Unfinished(
            f"process {share.rank} of {share.size} is done; {len(rest)} runs of other processes "
            "are missing; the last process, or this command alone, writes the report"
        )
    return failures


def make_todo(todo: Sequence[Job], workspace: Workspace, what: str) -> list[Failure]:
    """Make these runs; returns those that diverged."""
    cache, device, n_worker = workspace.cache, workspace.device, workspace.jobs
    m0s = list_m0s(todo, device)
    meter = Meter(what, sum(map(count_passes, [*m0s.values(), *todo])))
    with meter.bar:
        stacks = stack(todo, workspace.stack, n_worker)
        if n_worker == 1 or len(stacks) == 1:
            outcomes = {}
            for key, m0 in m0s.items():
                end = perform(m0, cache, device, meter)
                for job in todo if isinstance(end, Failure) else ():
                    if key in list_m0s([job], device):  # no M0, so none of its runs
                        outcomes[job] = Failure(job, end.error)
            for jobs in stacks:
                if rest := [job for job in jobs if job not in outcomes]:
                    outcomes |= zip(rest, perform_together(rest, cache, device, meter))
        else:
            from introspect.runs.pool import perform_in_workers

            outcomes = perform_in_workers(stacks, cache, device, meter, n_worker)
    return [outcomes[job] for job in todo if isinstance(outcomes[job], Failure)]


def describe_plan(workspace: Workspace, settings: Sequence[Setting], seeds: Sequence[int]) -> str:
    """What is about to be run: of one study each arm in words, of several a line each."""
    words = f"seeds {', '.join(map(str, seeds))}, in {workspace.root}"
    lines = []
    for setting in settings:
        experiment = setting.declared
        n = len(experiment.arms)
        lines.append(f"{setting.experiment} on {setting.task}: {n} arms, {words}")
        for arm in experiment.arms if len(settings) == 1 and not experiment.dials else ():
            sets = show_fields(experiment.sets(arm, min(seeds)))
            lines.append(f"  {arm}: {describe_arm(experiment.say(arm), sets)}")
    return "\n".join(lines)


def gather(jobs: dict[tuple[str, int], Job], failed: dict[Path, Failure]) -> Gathered:
    """The runs of a setting by seed and arm."""
    runs: dict[int, Runs] = {seed: Runs() for _, seed in jobs}
    words = []
    for (arm, seed), job in jobs.items():
        if job.out in failed:
            run, error = f"{arm} of seed {seed}: ", failed[job.out].error
            words.append(run + error.removeprefix(run))  # an M0 that diverged names itself
        else:
            runs[seed][arm] = Run(read_result(job.out, job.config), job.out)
    return Gathered(runs, words)
