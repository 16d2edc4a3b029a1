"""Measure what train.py made, or what any other model said.

    python eval.py run DIR        a run: asks its last checkpoint again; a study: its table
    python eval.py run DIR DIR..  several studies: their gaps, one below the other
    python eval.py ask DIR PROMPT what a run answers, answered and says of one item; without a
                                  prompt, one after the other from the input
    python eval.py export DIR OUT a run as two GPT-2s, in files that transformers opens
    python eval.py score FILE..   Self, Orig and gap of your own model, from lines of JSON
    python eval.py experiment X   the claims about one experiment: runs what is missing
    python eval.py claims         all of them, with a verdict each
    python eval.py bench          how long a run takes here, in our way and in others
    python eval.py calibrate      how often intervals and verdicts are right, on simulated data
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from introspect.analysis import lines, score
from introspect.analysis.hypotheses import FEWEST
from introspect.fields import Refused, check_fields, option
from introspect.reading import read_json
from introspect.runs.build import build
from introspect.runs.cli import (
    DIVERGED,
    DONE,
    STACK,
    add_flags,
    escape,
    n_core,
    one_line,
    parser_of,
)
from introspect.runs.declared import find_experiment
from introspect.runs.device import default_stack, resolve_device
from introspect.runs.experiments import EXPERIMENTS
from introspect.tasks.registry import find_tasks

ROOT = Path(__file__).resolve().parent


def main(argv: list[str]) -> int:
    parser = parser_of("eval.py", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="measure a finished run, or tabulate studies")
    run.add_argument(
        "dirs", type=Path, nargs="+", metavar="DIR", help="a folder that train.py wrote"
    )
    run.add_argument(
        "--task",
        default="",
        metavar="STR",
        help="the task of the run, where it is a file, FILE.py:CLASS, that you trust to be run",
    )
    text = "an SVG file to draw: the gap of every arm against the agreement of its labels"
    run.add_argument("--picture", type=Path, metavar="FILE", help=text)
    asked = commands.add_parser("ask", help="ask a finished run about single items, in words")
    asked.add_argument("dir", type=Path, metavar="DIR", help="the folder of a run")
    asked.add_argument("words", nargs="*", metavar="PROMPT", help="such as zorp blick hint:B")
    add_flags(asked, AskConfig)
    exported = commands.add_parser("export", help="a run in files that other tools open")
    exported.add_argument("dir", type=Path, metavar="DIR", help="the folder of a run")
    exported.add_argument("out", type=Path, metavar="OUT", help="a new folder, for its files")
    add_flags(exported, ExportConfig)
    scored = commands.add_parser(
        "score",
        help="Self, Orig and gap of any model, from lines of JSON",
        description=score.__doc__,
        formatter_class=parser.formatter_class,
    )
    scored.add_argument("files", type=Path, nargs="+", metavar="FILE", help="of such lines")
    add_flags(commands.add_parser("bench", help="time a run, and other ways to it"), BenchConfig)
    calibrate = commands.add_parser("calibrate", help="how often intervals and verdicts are right")
    add_flags(calibrate, CalibrateConfig)
    one = commands.add_parser("experiment", help="run an experiment and judge the claims about it")
    one.add_argument("name", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}, or FILE.py:NAME")
    add_flags(one, LabConfig)
    add_flags(commands.add_parser("claims", help="run all experiments, judge all"), LabConfig)
    args, rest = parser.parse_known_args(argv)
    if rest and (args.command != "ask" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    given = {k: v for k, v in vars(args).items() if k != "command"}
    if args.command == "bench":
        return time_updates(BenchConfig(**given), argv)
    if args.command == "calibrate":
        return count_errors(CalibrateConfig(**given))
    if args.command == "score":
        print(escape(score.show(lines.read(args.files))))
        return DONE
    if args.command == "ask":
        words = [*given.pop("words"), *rest]  # those after a flag are among the rest
        return ask_run(given.pop("dir"), words, AskConfig(**given))
    if args.command == "export":
        return export_run(given.pop("dir"), given.pop("out"), ExportConfig(**given))
    if args.command in ("experiment", "claims"):
        name = given.pop("name", None)
        return judge_claims(name, LabConfig(**given))
    from introspect.analysis.folders import draw_studies, measure

    if args.picture:
        draw_studies(args.dirs, args.task or "", args.picture)
    print(escape(measure(args.dirs, args.task or "")))
    if args.picture:
        print(f"in {escape(str(args.picture))}: the picture")
    return DONE


@dataclass(frozen=True)
class AskConfig:
    """What is asked of a run."""

    task: str = option("", "the task of the run, where it is a file that you trust: FILE.py:CLASS")
    at: int | None = option(None, "step of the checkpoint that is asked; default: the last", 0)
    curve: bool = option(False, "ask every checkpoint that the run has kept, a line each")

    def __post_init__(self):
        check_fields(self)
        if self.curve and self.at is not None:
            raise Refused(f"--at={self.at}: --curve=true asks every step; give only one")


def ask_run(out: Path, words: list[str], config: AskConfig) -> int:
    """One prompt answered, or every line of the input up to an empty one."""
    from introspect.analysis.ask import answer_about, converse, open_steps, take_lines

    answer = answer_about(open_steps(out, config.task, config.at, config.curve))
    if words:
        print(escape(answer(" ".join(words))))
    else:
        converse(answer, take_lines(sys.stdin))
    return DONE


@dataclass(frozen=True)
class ExportConfig:
    """What is exported, and how."""

    to: str = option("gpt2", "the layout of the files", choices=("gpt2",))
    task: str = option("", "the task of the run, where it is a file that you trust: FILE.py:CLASS")
    at: int | None = option(None, "step of the checkpoint; default: the last", 0)

    def __post_init__(self):
        check_fields(self)


def export_run(out: Path, to: Path, config: ExportConfig) -> int:
    """One checkpoint of a run, written for other tools."""
    from introspect.analysis.ask import open_steps
    from introspect.analysis.export import export

    [run] = open_steps(out, config.task, config.at, False)
    print(escape(export(run, to)))
    return DONE


@dataclass(frozen=True)
class BenchConfig:
    """What is timed."""

    repeats: int = option(20, "rounds; in each, every way is called twice", 6)
    device: str = option("auto", "cuda where it is, else cpu", choices=("auto", "cpu", "cuda"))
    nanogpt: str = option("", "nanoGPT's model.py, if you trust it to be run and compared")
    out: str = option("", "file for the same text")

    def __post_init__(self):
        check_fields(self)


def time_updates(bench: BenchConfig, command: list[str]) -> int:
    """The work of the headline study, in our way and in others; `command` is shown above it."""
    device = resolve_device(bench.device)
    Path(bench.out).parent.mkdir(parents=True, exist_ok=True)
    from introspect.analysis.bench import bench as tables
    from introspect.files import write_text

    studies = [build(find_tasks(name), {}) for name in ("hint", "rules")]
    texts = [escape("$ python eval.py " + " ".join(command))]
    print(texts[0])
    for text in tables(studies, device, bench.repeats, bench.nanogpt):
        print(text, flush=True)
        texts.append(text)
    if bench.out:
        write_text(Path(bench.out), "\n".join(texts) + "\n")
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

    seeds: int = option(FEWEST, "how many worlds; fewer than the default decide nothing", 1, 1000)
    seed: int = option(0, "the first of them", 0, 10**6)
    draws: int = option(
        1, "draws of co-training of each world, at most: our own questions have one", 1, 4
    )
    jobs: int | None = option(None, "runs at a time; default: one a core", 1)
    families: int = option(
        3, "of claims: judge the first so many: 1: C1 and C2; 2: to C13; 3: all", 1, 3
    )
    stack: int | None = option(None, STACK, 1)
    unpack: str = option("", "folder of archives whose runs are put into out_dir first")
    out_dir: str = option("out", "folder for runs, M0s, labels and reports, as in train.py")
    results_dir: str = option("", "folder for the reports alone; default: that of out_dir")
    publish: bool = option(
        False, "of claims: write the committed results (data/results, README.md) instead"
    )
    device: str = option("auto", "cuda where it is, else cpu", choices=("auto", "cpu", "cuda"))

    def __post_init__(self):
        check_fields(self)


def judge_claims(name: str | None, config: LabConfig) -> int:
    """Make the missing runs of an experiment, or of all with claims, judge, write the reports."""
    if name:
        find_experiment(name)  # refuses what is none
    seeds = range(config.seed, config.seed + config.seeds)
    from introspect.lab import registration

    worlds, n_draw = registration.WORLDS, registration.DRAWS
    if config.publish and (name or list(seeds) != worlds or config.draws != n_draw):
        raise Refused(
            f"--publish=true: must be of claims, on the published worlds {worlds[0]} to "
            f"{worlds[-1]}, with --draws={n_draw}"
        )
    started, device = time.monotonic(), resolve_device(config.device)
    from introspect.analysis.folders import show_each, show_extras
    from introspect.lab.claims import list_experiments
    from introspect.lab.extras import check_declared, perform
    from introspect.lab.publish import log, write_all
    from introspect.lab.tables import fill, show
    from introspect.lab.verdicts import rows_of
    from introspect.runs.archive import unpack
    from introspect.runs.study import Workspace, claim_view, settings_of

    stack = config.stack or default_stack(device)
    workspace = Workspace(Path(config.out_dir), device, config.jobs or n_core(), stack=stack)
    results = ROOT / "data" / "results" if config.publish else Path(config.results_dir)
    if not (config.publish or config.results_dir):
        results = workspace.root
    settings = settings_of([name] if name else list_experiments(config.families))
    check_declared(settings)  # before anything is written
    for setting in settings:
        for arm in setting.declared.arms:
            setting.declared.config(arm, setting.task, {}, config.seed)
    for archive in sorted(Path(config.unpack).glob("*.tar.xz")) if config.unpack else ():
        unpack(archive, workspace.root / "runs")
    for setting in settings if not config.publish else ():
        claim_view(results / setting.name)
    gathered = perform(workspace, settings, seeds, n_draw=config.draws)
    rows = rows_of(gathered, 0 if name else config.families)
    write_all(results, gathered, rows, config.publish)
    if config.publish:
        log(results / "LOG.md", rows, seeds, f"{registration.name_command()} --publish=true")
        fill(ROOT / "README.md", read_json(results / "claims.json", {"rows": list}))
    print(show(rows) if rows else show_each(results, settings))
    for setting, made in gathered.items():
        experiment = setting.declared
        folders_of = {arm: [runs[arm].folder for runs in made.runs.values() if arm in runs]
                      for arm in experiment.arms}  # fmt: skip
        for text in show_extras(folders_of, [experiment.extra]):
            print(f"{setting.name}:\n{escape(text)}")
    failed = [text for made in gathered.values() for text in made.failed]
    for text in failed:
        print(f"diverged: {text}", file=sys.stderr)
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.1f} min; in {results}: a folder for each study; in {workspace.root}: runs")
    return DIVERGED if failed else DONE


if __name__ == "__main__":
    one_line(main)
