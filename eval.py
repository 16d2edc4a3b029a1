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
from introspect.runs.experiments import CLAIMED
from introspect.tasks.registry import find_tasks

ROOT = Path(__file__).resolve().parent
PUBLISHED = [0, 1, 2, 3, 4]  # the seeds of data/results


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
    return measure(args.dirs)


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
    """How claims are judged. Runs that are there are not made again."""

    seeds: int = option(5, "how many", 1, 1000)
    seed: int = option(0, "the first of them", 0, 10**6)
    jobs: int | None = option(None, "runs at a time; default: one a core", 1)
    out_dir: str = option("out", "folder for runs, M0s, labels and reports, as in train.py")
    results_dir: str = option("", "folder for the reports alone; default: that of out_dir")
    publish: bool = option(
        False, "of claims: write the committed results (data/results, README.md) instead"
    )
    device: str = option("auto", "cuda where it is, else cpu", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        check_fields(self)


def judge_claims(names: list[str], config: LabConfig) -> int:
    """Make the missing runs of these experiments, judge their claims, write the reports."""
    for name in names:
        if name not in CLAIMED:
            near = nearest(name, CLAIMED)
            raise Refused(f"{name}: no such experiment{near or '; --help names them'}")
    seeds = range(config.seed, config.seed + config.seeds)
    if config.publish and (names != CLAIMED or list(seeds) != PUBLISHED):
        raise Refused(
            "--publish=true: must be of claims, all experiments together, on the published seeds "
            f"{PUBLISHED[0]} to {PUBLISHED[-1]}"
        )
    started, device = time.monotonic(), resolve_device(config.device)
    from introspect.lab.extras import perform
    from introspect.lab.publish import log, write_all
    from introspect.lab.tables import fill, show
    from introspect.lab.verdicts import rows_of
    from introspect.runs.study import Workspace, claim_view, settings_of

    workspace = Workspace(Path(config.out_dir), device, config.jobs or n_core())
    results = ROOT / "data" / "results" if config.publish else Path(config.results_dir)
    if not (config.publish or config.results_dir):
        results = workspace.root
    settings = settings_of(names)
    for setting in settings if not config.publish else ():
        claim_view(results / setting.name)
    gathered = perform(workspace, settings, seeds)
    rows = rows_of(gathered, corrected=names == CLAIMED)
    write_all(results, gathered, rows, config.publish)
    if config.publish:
        log(results / "LOG.md", rows, seeds)
        fill(ROOT / "README.md", read_json(results / "claims.json", {"rows"}))
    print(show(rows))
    failed = [text for made in gathered.values() for text in made.failed]
    for text in failed:
        print(f"diverged: {text}", file=sys.stderr)
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.1f} min; in {results}: a folder for each study; in {workspace.root}: runs")
    return DIVERGED if failed else DONE


def measure(folders: list[Path]) -> int:
    """One run, measured again; one study, its table; several studies, their gaps."""
    out, *others = folders
    if not others and (out / "config.json").exists():
        return measure_run(out)
    for folder in folders:
        if not (folder / "runs.jsonl").exists():
            raise Refused(
                f"{folder}: must be a folder of a finished run or study that train.py or eval.py "
                "wrote; it has neither config.json nor runs.jsonl"
            )
    return tabulate_studies(folders) if others else tabulate_study(out)


def measure_run(out: Path) -> int:
    """Ask the last checkpoint everything again and hold the answers against result.json.

    Writes nothing: the frozen labels are those of the run's cache, or there is no measurement.
    """
    from introspect.analysis.recovery import can_flip, recovery, show_recovery
    from introspect.measure import measure_all, measure_m0
    from introspect.report.text import show_run
    from introspect.runs.stages import hash_labels

    run = load(out)
    tasks = [snapshot.task for snapshot in run.snapshots]
    measured = {**measure_all(run.snapshots), "labels_sha256": hash_labels(run.frozen)}
    result = {}
    if (out / "result.json").exists():
        result = read_json(out / "result.json", {"arm", *measured})
    named = {"task": run.config.task, "arm": result.get("arm", out.name), "seed": run.config.seed}
    print(show_run({**named, **measured, "m0": measure_m0(tasks, run.frozen)}))
    for snapshot in run.snapshots:
        if can_flip(snapshot.world):
            print(f"{snapshot.task.name}:")
            print(show_recovery(recovery(run.model, snapshot)))
    print(f"measured at step {run.step} of {run.config.cotrain.max_steps}")
    if result:
        differ = [key for key, value in measured.items() if result[key] != value]
        print("differs from result.json in " + ", ".join(differ) if differ else "as in result.json")
    return DONE


def described(out: Path) -> tuple[dict, Config]:
    """The config.json of a run's folder, and the configuration that it describes."""
    description = read_json(out / "config.json", {"device", "source", "cache", "config"})
    fields = dict(description["config"])
    task = fields.pop("task", None)
    if not isinstance(task, str):
        raise Refused(f"{out / 'config.json'}: must name the task of a run")
    config = build(find_tasks(task), fields)
    if sources(config) != description["source"]:
        raise Refused(f"{config.task}: its file must be as it was when the run was made")
    return description, config


def load(out: Path):
    """The run in a folder that train.py or eval.py wrote."""
    from introspect.runs.load import load_run

    description, config = described(out)
    device = resolve_device(description["device"])
    return load_run(out, config, out / description["cache"], device)


def rows_in(folder: Path) -> list[dict]:
    """The runs of the study in a folder, a line each."""
    return read_lines(folder / "runs.jsonl", "untrained")


def tabulate_studies(folders: list[Path]) -> int:
    """The gaps of several studies, as their runs.jsonl have them."""
    from introspect.report.study import study_of_rows
    from introspect.report.text import show_studies

    names = [folder.name for folder in folders]
    unique = [folder.name if names.count(folder.name) == 1 else str(folder) for folder in folders]
    print(show_studies(dict(zip(unique, map(study_of_rows, map(rows_in, folders))))))
    return DONE


def tabulate_study(out: Path) -> int:
    """The table of a study; where features can be flipped, also what recovers those that count."""
    from introspect.analysis.recovery import can_flip, recovery, show_recoveries
    from introspect.report.study import study_of_rows
    from introspect.report.text import show_study

    rows = rows_in(out)
    print(show_study(study_of_rows(rows)))
    folders = [out.parent / "runs" / row["folder"] for row in rows]
    recoveries: dict[str, list] = {}  # arm, and task where there are several -> of each run
    if all((folder / "config.json").exists() for folder in folders):
        for folder, row in zip(folders, rows):
            if not any(map(can_flip, worlds_of(described(folder)[1]).values())):
                break
            run = load(folder)
            for snapshot in run.snapshots:
                if can_flip(snapshot.world):
                    several = f" {snapshot.task.name}" if len(run.snapshots) > 1 else ""
                    name = f"{row['arm']}{several}"
                    recoveries.setdefault(name, []).append(recovery(run.model, snapshot))
    if recoveries:
        print(show_recoveries(recoveries))
    return DONE


if __name__ == "__main__":
    one_line(main)
