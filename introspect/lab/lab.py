"""The claims lab: every run that the claims need, and from them every verdict.

Runs are named by the hash of their configuration and shared by all experiments. What is finished is
taken from disk, so that the same call goes on after a kill and does nothing when all is done.
"""

import math
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from introspect.analysis.patching import shared_circuits
from introspect.analysis.probes import where_known
from introspect.config import Config
from introspect.files import claim_folder, read_json, write_json
from introspect.lab.claim import Claim
from introspect.lab.claims import CLAIMS
from introspect.lab.quantities import Missing, Run, Runs, Statistic
from introspect.report.summary import interval, side_of
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.load import load_run
from introspect.runs.pool import Failure, Job, perform_all, prepare
from introspect.stats import holm, p_value
from introspect.tasks.registry import check_sizes, sources

ALPHA = 0.05  # of the whole table, after Holm
BESIDES = {  # what is measured of a finished run besides -> how, of its model and its task
    "circuits": lambda run: shared_circuits(run.model, run.snapshots[0].part),
    "probes": lambda run: where_known(run.model, run.snapshots[0].part),
}


class Study(NamedTuple):
    """An experiment on one task."""

    experiment: str
    task: str

    @property
    def name(self) -> str:
        """That of its folder: the task of its own is not named."""
        own = EXPERIMENTS[self.experiment].task == self.task
        return self.experiment if own else f"{self.experiment}-{self.task}"


@dataclass(frozen=True)
class Lab:
    """Where runs are, and with what they are made."""

    out: Path
    device: str
    jobs: int
    overrides: dict[str, Any]  # fields that differ from those of the experiments, in every run

    @property
    def cache(self) -> Path:
        return self.out / "cache"


def studies_of(names: Iterable[str]) -> list[Study]:
    """The experiments of these names, each on every task on which it has claims."""
    return [
        Study(name, task)
        for name in names
        for task in (EXPERIMENTS[name].task, *EXPERIMENTS[name].more_tasks)
    ]


def jobs_of(lab: Lab, study: Study, seeds: Sequence[int]) -> dict[tuple[str, int], Job]:
    """(arm, seed) -> its run. A run has the same name wherever it is asked for."""
    experiment, found = EXPERIMENTS[study.experiment], {}
    for seed in seeds:
        for arm in experiment.arms:
            config = experiment.config(arm, study.task, lab.overrides, seed)
            out = lab.out / "runs" / f"{study.task}-{config.sha256()[:16]}"
            found[arm, seed] = Job(f"{study.name} {arm}", config, out)
    return found


def describe(lab: Lab, config: Config, folder: Path) -> dict[str, Any]:
    """What config.json of a run of the lab says."""
    return {
        "experiment": "claims",
        "arm": config.sha256()[:16],
        "first_seed": config.seed,
        "device": lab.device,
        "source": sources(config),
        "cache": os.path.relpath(lab.cache, folder),
        "config": config.flat(),
    }


class Gathered(NamedTuple):
    """What was run for a study."""

    runs: dict[int, Runs]  # seed -> arm -> run
    failed: list[str]  # what diverged, in words


def perform(lab: Lab, studies: Sequence[Study], seeds: Sequence[int]) -> dict[Study, Gathered]:
    """Run what is missing of these studies, and measure what is to be measured besides."""
    asked = {study: jobs_of(lab, study, seeds) for study in studies}
    jobs = {job.out: job for of in asked.values() for job in of.values()}  # each run once
    for job in jobs.values():
        check_sizes(job.config)
    for folder, job in jobs.items():
        claim_folder(folder, describe(lab, job.config, folder))
    _, failures = perform_all(list(jobs.values()), lab.cache, lab.device, lab.jobs, "claims")
    failed = {failure.job.out: failure for failure in failures}
    besides = {
        (job.out, EXPERIMENTS[study.experiment].besides): job.config
        for study, of in asked.items()
        for job in of.values()
        if EXPERIMENTS[study.experiment].besides and job.out not in failed
    }
    measure_besides(lab, besides)
    return {study: gather(of, failed) for study, of in asked.items()}


def gather(jobs: dict[tuple[str, int], Job], failed: dict[Path, Failure]) -> Gathered:
    """The runs of a study by seed and arm."""
    runs: dict[int, Runs] = {seed: Runs() for _, seed in jobs}
    words = []
    for (arm, seed), job in jobs.items():
        if job.out in failed:
            words.append(f"{arm} of seed {seed}: {failed[job.out].error}")
        else:
            result = read_json(job.out / "result.json", {"gap", "controls"})
            runs[seed][arm] = Run(result, job.out)
    return Gathered(runs, words)


def measure_besides(lab: Lab, wanted: dict[tuple[Path, str], Config]) -> None:
    """Write NAME.json into the folder of each run, where it is missing."""
    todo = [
        (folder, name, config)
        for (folder, name), config in wanted.items()
        if not (folder / f"{name}.json").exists()
    ]
    do = partial(measure_one, lab)
    shown = partial(tqdm, total=len(todo), desc="measured besides", disable=None if todo else True)
    if lab.jobs == 1 or len(todo) < 2:
        for one in shown(todo):
            do(one)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(lab.jobs, context, initializer=prepare, initargs=(None,)) as pool:
        list(shown(pool.map(do, todo)))


def measure_one(lab: Lab, wanted: tuple[Path, str, Config]) -> None:
    folder, name, config = wanted
    run = load_run(folder, config, lab.cache, lab.device)
    write_json(folder / f"{name}.json", BESIDES[name](run))


class Row(NamedTuple):
    """A claim with what the runs say of it."""

    claim: Claim
    study: Study
    values: dict[int, float]  # seed -> what was measured
    interval: dict[str, Any]  # mean, low, high, n
    also: dict[str, Any] | None  # that of what has to lean to the same side
    p: float | None  # two-sided, against 0, the larger of both; None where it is no direction
    adjusted: float | None  # after Holm, over all rows of the table; None: not corrected
    verdict: str


def rows_of(found: dict[Study, Gathered], corrected: bool) -> list[Row]:
    """Every claim about these studies, in the order of the claims.

    A seed counts where the runs that a claim is about are there. Corrected: judged together, by
    Holm's method; a part of the claims cannot be, for the rest would count as well.
    """
    judged = []
    for claim in CLAIMS:
        study = Study(claim.experiment, claim.task)
        if study not in found:
            continue
        runs = found[study].runs
        values, also = numbers(claim.of, runs), claim.also and numbers(claim.also, runs)
        ps = [p_value(list(v.values())) for v in (values, also) if v and len(v) > 2]
        p = max(ps) if ps and not claim.within else None
        judged.append((claim, study, values, also and interval(list(also.values())), p))
    tested = iter(holm([p for *_, p in judged if p is not None]) if corrected else ())
    rows = []
    for claim, study, values, also, p in judged:
        of, adjusted = interval(list(values.values())), None if p is None else next(tested, None)
        verdict = judge(claim, of, also, adjusted)
        rows.append(Row(claim, study, values, of, also, p, adjusted, verdict))
    return rows


def numbers(of: Statistic, runs: dict[int, Runs]) -> dict[int, float]:
    """Seed -> what was measured; a seed for which there is no such number is left out."""
    found = {}
    for seed, by_arm in runs.items():
        with suppress(Missing):
            found[seed] = of(by_arm)
    return {seed: value for seed, value in found.items() if not math.isnan(value)}


def judge(
    claim: Claim, of: dict[str, Any], also: dict[str, Any] | None, adjusted: float | None
) -> str:
    """What the 95 % interval of a claim's number says of it.

    A direction is reproduced, or reversed, where the interval excludes 0, and that of what has to
    lean to the same side as well; "uncorrected" says that it does not after Holm's correction. A
    place is reproduced where it holds the whole interval.
    """
    both = [of] if also is None else [of, also]
    n = min(each["n"] for each in both)
    if n < 3:  # two seeds can agree by luck
        return f"no verdict at n = {n}"
    if claim.within:
        low, high = claim.within
        if low <= of["low"] and of["high"] <= high:
            return "reproduced"
        return "overlaps" if of["low"] <= high and of["high"] >= low else "elsewhere"
    side = side_of(*both)
    if not side:
        return f"{'not told from frequencies' if side_of(of) else 'not seen'} at n = {n}"
    word = "reproduced" if side == claim.sign else "reversed"
    return word if adjusted is None or adjusted < ALPHA else f"{word}, uncorrected"
