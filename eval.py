"""Measure what train.py made, or what any other model said.

    python eval.py run DIR        a run: asks its last checkpoint again; a study: its table
    python eval.py run DIR DIR..  several studies: their gaps, one below the other
    python eval.py score FILE..   Self, Orig and gap of your own model, from lines of JSON
    python eval.py experiment X   the claims about one experiment: runs what is missing
    python eval.py claims         all of them, with a verdict each
    python eval.py bench          how long an update takes on this machine
    python eval.py calibrate      how often intervals and verdicts are right, on simulated data
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from introspect.analysis import score
from introspect.config import Config
from introspect.fields import Refused, check_fields, nearest, option
from introspect.files import read_json, read_lines
from introspect.runs.build import build, sources, worlds_of
from introspect.runs.cli import (
    DIVERGED,
    DONE,
    add_flags,
    n_core,
    one_line,
    parser_of,
    resolve_device,
)
from introspect.runs.experiments import EXPERIMENTS
from introspect.tasks.registry import find_tasks

ROOT = Path(__file__).resolve().parent
CLAIMED = list(EXPERIMENTS)  # claims are made about all of them
DESCRIBED = {"experiment", "arm", "device", "source", "cache", "config"}  # in a config.json


def main(argv: list[str]) -> int:
    parser = parser_of("eval.py", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="measure a finished run, or tabulate studies")
    run.add_argument(
        "dirs", type=Path, nargs="+", metavar="DIR", help="a folder that train.py wrote"
    )
    scored = commands.add_parser(
        "score",
        help="Self, Orig and gap of any model, from lines of JSON",
        description=score.__doc__,
        formatter_class=parser.formatter_class,
    )
    scored.add_argument("files", type=Path, nargs="+", metavar="FILE", help="of such lines")
    add_flags(commands.add_parser("bench", help="time an update, packed and not"), BenchConfig)
    calibrate = commands.add_parser("calibrate", help="how often intervals and verdicts are right")
    add_flags(calibrate, CalibrateConfig)
    one = commands.add_parser("experiment", help="run an experiment and judge the claims about it")
    one.add_argument("name", metavar="NAME", help=f"of {', '.join(CLAIMED)}")
    add_flags(one, LabConfig)
    add_flags(commands.add_parser("claims", help="run all experiments, judge all"), LabConfig)
    args = parser.parse_args(argv)
    given = {k: v for k, v in vars(args).items() if k != "command"}
    if args.command == "bench":
        return time_updates(BenchConfig(**given))
    if args.command == "calibrate":
        return count_errors(CalibrateConfig(**given))
    if args.command == "score":
        print(score.show(score.read(args.files)))
        return DONE
    if args.command in ("experiment", "claims"):
        names = [given.pop("name")] if args.command == "experiment" else CLAIMED
        return judge_claims(names, LabConfig(**given))
    out, *others = args.dirs
    known = out / "config.json"
    if others or (out / "result.json").exists() and not known.exists():
        return tabulate_studies(args.dirs)
    if not known.exists():
        raise Refused(f"{out}: must be a folder that train.py wrote; it has no config.json")
    description = read_json(known, DESCRIBED)
    experiment, task = description["experiment"], description["config"].get("task")
    if experiment not in (*EXPERIMENTS, "claims") or not isinstance(task, str):
        raise Refused(f"{known}: there is no experiment {experiment} or no task {task}")
    measure = measure_run if description["arm"] else tabulate_study
    return measure(out, description)


@dataclass(frozen=True)
class BenchConfig:
    """What is timed."""

    repeats: int = option(100, "updates of each way, in turn", 4)
    device: str = option("auto", "cuda where it is, else cpu", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        check_fields(self)


def time_updates(bench: BenchConfig) -> int:
    """The default update of the headline study, packed and one pass a prompt."""
    device = resolve_device(bench.device)
    from introspect.analysis.bench import bench as table

    print(table(build(find_tasks("hint"), {}), device, bench.repeats))
    return DONE


@dataclass(frozen=True)
class CalibrateConfig:
    """How much is simulated."""

    repeats: int = option(2000, "studies a row of the table", 1)
    seed: int = option(0, "of the simulated data", 0)

    def __post_init__(self):
        check_fields(self)


def count_errors(config: CalibrateConfig) -> int:
    """How often intervals cover, and how often verdicts are right."""
    from introspect.analysis.calibration import calibrate, table

    print(table(calibrate(config.repeats, config.seed)))
    return DONE


@dataclass(frozen=True)
class LabConfig:
    """How claims are checked. Runs that are there are not run again."""

    seeds: int = option(5, "how many", 1, 1000)
    seed: int = option(0, "the first of them", 0, 10**6)
    jobs: int | None = option(None, "runs at a time; default: one a core", 1)
    out_dir: str = option("out/claims", "folder for runs, M0s and labels")
    results_dir: str = option("data/results", "folder for tables, figures and the log")
    device: str = option("auto", "cuda where it is, else cpu", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        check_fields(self)


def judge_claims(names: list[str], asked: LabConfig) -> int:
    """Run what is missing of these experiments, print the table, write what was found."""
    for name in names:
        if name not in CLAIMED:
            near = nearest(name, CLAIMED)
            raise Refused(f"{name}: no such experiment{near or '; --help names them'}")
    started, device = time.monotonic(), resolve_device(asked.device)
    from introspect.lab.extras import perform
    from introspect.lab.publish import fill, log, show, write_all
    from introspect.lab.verdicts import rows_of
    from introspect.runs.study import Workspace, settings_of

    lab = Workspace(Path(asked.out_dir), device, asked.jobs or n_core(), {})
    seeds = range(asked.seed, asked.seed + asked.seeds)
    found = perform(lab, settings_of(names), seeds)
    rows, results = rows_of(found, corrected=names == CLAIMED), Path(asked.results_dir)
    write_all(results, found, rows)
    if names == CLAIMED:
        log(results / "LOG.md", rows, seeds)
        if results.resolve() == ROOT / "data" / "results":  # those that README shows
            fill(ROOT / "README.md", read_json(results / "claims.json", {"rows"}))
    print(show(rows))
    failed = [text for of in found.values() for text in of.failed]
    for text in failed:
        print(f"diverged: {text}", file=sys.stderr)
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.1f} min; in {results}: a folder for each experiment, runs in {lab.out}")
    return DIVERGED if failed else DONE


def measure_run(out: Path, description: dict) -> int:
    """Ask the last checkpoint everything again and hold the answers against result.json.

    Writes nothing: the frozen labels are those of the run's cache, or there is no measurement.
    """
    from introspect.analysis.recovery import can_flip, recovery, show_recovery
    from introspect.measure import measure_all, measure_m0
    from introspect.report.text import show_run
    from introspect.runs.stages import hash_labels

    run = load(out, description)
    parts = [snapshot.task for snapshot in run.snapshots]
    measured = {**measure_all(run.snapshots), "labels_sha256": hash_labels(run.frozen)}
    named = {"task": run.config.task, "arm": description["arm"], "seed": run.config.seed}
    print(show_run({**named, **measured, "m0": measure_m0(parts, run.frozen)}))
    for snapshot in run.snapshots:
        if can_flip(snapshot.world):
            print(f"{snapshot.task.name}:")
            print(show_recovery(recovery(run.model, snapshot)))
    print(f"measured at step {run.step} of {run.config.cotrain.max_steps}")
    if (out / "result.json").exists():
        result = read_json(out / "result.json", measured.keys())
        differ = [key for key, value in measured.items() if result[key] != value]
        print("differs from result.json in " + ", ".join(differ) if differ else "as in result.json")
    return DONE


def config_of(description: dict) -> Config:
    """The configuration that a config.json describes."""
    fields = dict(description["config"])
    config = build(find_tasks(fields.pop("task")), fields)
    if sources(config) != description["source"]:
        raise Refused(f"{config.task}: its file must be as it was when the run was made")
    return config


def load(out: Path, description: dict):
    """The run in a folder that train.py wrote."""
    from introspect.runs.load import load_run

    device = resolve_device(description["device"])
    return load_run(out, config_of(description), out / description["cache"], device)


def tabulate_studies(folders: list[Path]) -> int:
    """The gaps of several studies, as their results have them."""
    from introspect.report.text import show_studies

    studies, names = {}, [out.name for out in folders]
    for out in folders:
        if not (out / "result.json").exists():
            raise Refused(f"{out}: must hold a finished study; it has no result.json")
        name = out.name if names.count(out.name) == 1 else str(out)
        studies[name] = read_json(out / "result.json", {"arms", "task"})
    print(show_studies(studies))
    return DONE


def tabulate_study(out: Path, description: dict) -> int:
    """The table of a study, computed again from the runs that its result.json lists."""
    from introspect.analysis.recovery import can_flip, recovery, show_recoveries
    from introspect.report.summary import summarize
    from introspect.report.text import show_study

    if not (out / "result.json").exists():
        raise Refused(f"{out}: must hold a finished study; train.py with its --out_dir goes on")
    study = read_json(out / "result.json", {"runs", "failed"})
    folders = [out / "runs" / f"{run['arm']}-seed{run['seed']}" for run in study["runs"]]
    results = [read_json(folder / "result.json", {"arm", "seed", "m0"}) for folder in folders]
    logs = [read_lines(folder / "metrics.jsonl") for folder in folders]
    curves = {(r["arm"], r["seed"]): log for r, log in zip(results, logs)}
    print(show_study(study | summarize(results, curves)))
    described = [read_json(folder / "config.json", DESCRIBED) for folder in folders]
    found: dict[str, list] = {}  # arm, and task where there are several -> of each of its runs
    if any(map(can_flip, worlds_of(config_of(described[0])).values())):
        for folder, result, description in zip(folders, results, described):
            run = load(folder, description)
            for snapshot in run.snapshots:
                if can_flip(snapshot.world):
                    several = f" {snapshot.task.name}" if len(run.snapshots) > 1 else ""
                    rows = recovery(run.model, snapshot)
                    found.setdefault(f"{result['arm']}{several}", []).append(rows)
    if found:
        print(show_recoveries(found))
    return DONE


if __name__ == "__main__":
    one_line(main)
