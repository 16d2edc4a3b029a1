"""The command line of train.py: flags from the dataclasses, and one clear line for bad input."""

import argparse
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from introspect.config import GROUPS, LAST_SEED, Config, name_flag
from introspect.fields import Refused, allowed, base_type, check_fields, nearest, option
from introspect.runs.build import check_sizes, defaults_of
from introspect.runs.declared import find_experiment, is_own, name_grid, split_target
from introspect.runs.experiment import Experiment
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.share import Unfinished, find_share
from introspect.tasks import TASKS
from introspect.tasks.registry import find_tasks

DONE, REFUSED, DIVERGED, STOPPED = 0, 2, 3, 130  # exit codes
STACK = (
    "runs of one shape trained together, at most; 1: each by itself; from 2 on, every run that can "
    "be stacked is, even alone, to the same digits whatever its company, which differ from those "
    "of 1 in the last places; default: 1 on cpu, 8 on cuda"
)
DIAL = (
    "instead of an experiment: an arm for each of these values of a field or, where it is given "
    "several times, for each combination; the first dial is the horizontal axis of the figure"
)
FROM = (
    "begin from the model of this finished run instead of M0: its answers give the labels and are "
    "held by the anchor; world, size and seeds of M0 are those of the run"
)
LONGEST = 2000  # characters of what is said of bad input, which may be a whole file


@dataclass(frozen=True)
class RunConfig:
    """Which run, where, and how fast."""

    task: str | None = option(
        None,
        f"what is learned: of {', '.join(TASKS)}, or FILE.py:CLASS; several joined by +; default: "
        "the experiment's",
    )
    seed: int = option(0, "of co-training; in a study, the first of the seeds", 0, LAST_SEED)
    m0_seed: int | None = option(None, "of M0's weights and batches; default: seed", 0, LAST_SEED)
    world_seed: int | None = option(None, "of facts and split; default: m0_seed", 0, LAST_SEED)
    seeds: int | None = option(None, "of a study: how many; default: the experiment's", 1, 10_000)
    out_dir: str = option("out", "root folder of everything that is written")
    cache_dir: str = option("", "folder for M0s and labels; default: cache in out_dir")
    device: str = option("auto", "cuda where it is, else cpu", choices=("auto", "cpu", "cuda"))
    jobs: int | None = option(None, "of a study: runs at a time; default: one a core", 1)
    stack: int | None = option(None, STACK, 1)
    keep_checkpoints: bool = option(
        False, "keep the checkpoint of every evaluation from here on, not only the last two"
    )

    def __post_init__(self):
        check_fields(self)


IDENTITY = ("m0_seed", "world_seed")  # fields of RunConfig that decide what is computed


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise Refused(message)


def parser_of(script: str, description: str, **more: Any) -> OneLineParser:
    """The parser of a script: its text as it stands, no abbreviated flags."""
    raw = argparse.RawDescriptionHelpFormatter
    more |= {"prog": script, "description": description, "formatter_class": raw}
    return OneLineParser(allow_abbrev=False, **more)


@dataclass(frozen=True)
class Command:
    """What a command line asks for."""

    experiment: str
    arm: str | None  # None: all arms, over seeds
    run: RunConfig
    overrides: dict[str, Any]  # fields of the other groups that the user set
    begins: str | None = None  # folder of the finished run to begin from

    @property
    def declared(self) -> Experiment:
        return find_experiment(self.experiment)

    @property
    def task(self) -> str:
        return self.declared.task if self.run.task is None else self.run.task

    @property
    def seeds(self) -> list[int]:
        tasks = find_tasks(self.task).values()
        usual = min(getattr(task, "n_seed", self.declared.n_seed) for task in tasks)
        n = 1 if self.arm else self.run.seeds or usual
        return list(range(self.run.seed, self.run.seed + n))

    @property
    def arms(self) -> list[str]:
        return [self.arm] if self.arm else list(self.declared.arms)

    def configs(self) -> list[tuple[str, Config]]:
        """(arm, config) of every run, seeds in the outer loop so that M0s are shared early."""
        return [(arm, self.declared.config(arm, self.task, self.overrides, seed))
                for seed in self.seeds
                for arm in self.arms]


def n_core() -> int:
    """Cores that this process may use: its part of them, where several share the runs here."""
    n = len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))
    return max(1, n // find_share().here)


def parse(argv: list[str]) -> Command:
    """The command of `train.py ARGV`, every field checked.

    Raises:
        Refused: unknown flag or name, wrong type, out of range, or an impossible combination.
        SystemExit: after --help.
    """
    tasks = find_tasks(named_task(argv))
    parser = parser_of(
        "train.py",
        "Train one run, or a whole study with its report. The same command continues "
        "what was killed, and does nothing where all is done.",
        epilog="Experiments, what they ask, and their arms:\n\n" + "\n".join(list_experiments()),
    )
    target = "a study of all arms over several seeds, or one run of one arm (default: anchor); "
    target += "an experiment of your own is named FILE.py:NAME"
    parser.add_argument("target", nargs="?", metavar="EXPERIMENT[/ARM]", help=target)
    parser.add_argument("--dial", action="append", metavar="FIELD:VALUE,VALUE,...", help=DIAL)
    parser.add_argument("--from", dest="begins", metavar="RUN", help=FROM)
    regime, flags = defaults_of(tasks), []
    worlds = {f"world of task {name}": (task, name) for name, task in tasks.items()}
    groups = {"run": (RunConfig, ""), **worlds, **{k: (v, "") for k, v in GROUPS.items()}}
    for title, (group, task) in groups.items():
        names = {f.name: name_flag(task, f.name, tasks) if task else f.name for f in fields(group)}
        for name in names.values():
            if name in (*flags, "target", "dial", "from", "begins", "help"):
                spec = "+".join(tasks)
                raise Refused(f"--task={spec}: {name} is the name of another flag; rename it")
        flags += names.values()
        about = " ".join((group.__doc__ or title).split("\n\n")[0].split())
        shown = parser.add_argument_group(title, textwrap.fill(about, 90))
        add_flags(shown, group, names, regime)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].split("=")[0]
        if not name.startswith("-"):
            raise Refused(f"{name}: one EXPERIMENT[/ARM] at most, as in anchor/reg")
        near = nearest(name, (f"--{flag}" for flag in ("dial", "from", *flags)))
        raise Refused(f"{unknown[0]}: no such flag{near}; see --help")
    given = vars(known)
    target, dials, begins = (given.pop(name) for name in ("target", "dial", "begins"))
    if dials and target is not None:
        raise Refused(f"{target}: must not be named beside --dial, which makes its own experiment")
    usual = name_grid(dials) if dials else "anchor"
    experiment, arm = (usual, "") if target is None else split_target(target)
    arms = find_experiment(experiment).arms
    if arm and arm not in arms:
        near = nearest(arm, arms)
        raise Refused(f"{experiment}/{arm}: no such arm{near}; there is {', '.join(arms)}")
    own = {f.name for f in fields(RunConfig)}
    run = RunConfig(**{k: v for k, v in given.items() if k in own})
    if arm and run.seeds not in (None, 1):
        raise Refused(f"--seeds={run.seeds}: {experiment}/{arm} is one run; use --seed")
    overrides = {k: v for k, v in given.items() if k not in own or k in IDENTITY}
    if begins is not None:
        overrides = inherit(begins, "+".join(tasks), overrides)
    command = Command(experiment, arm or None, run, overrides, begins)
    command.declared.check(experiment, overrides)
    answers = {}  # of each world, by arm
    for arm, config in command.configs()[-len(command.arms) :]:  # before anything is written
        answers[arm] = {name: world.answers for name, world in check_sizes(config).items()}
    if other := [arm for arm in answers if answers[arm] != answers[command.arms[0]]]:
        raise Refused(f"{experiment}: arms must have the same answers; {other[0]} has others")
    return command


def inherit(begins: str, task: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The user's fields, and those that a run has from the one that it begins from."""
    from introspect.runs.start import inherited  # here, since it needs torch

    fields = inherited(Path(begins), task)
    for name, value in overrides.items():
        if fields.get(name, value) != value:
            raise Refused(f"--{name}={value}: {begins} has {fields[name]}, from which it begins")
    return fields | overrides


def list_experiments() -> Iterator[str]:
    """Every experiment in words."""
    for name, experiment in EXPERIMENTS.items():
        yield f"  {name}: {experiment.question}"
        arms = ", ".join(experiment.arms) if len(experiment.arms) < 14 else "those of many others"
        yield textwrap.fill(arms, 96, initial_indent="      ", subsequent_indent="      ")


def named_task(argv: list[str]) -> str:
    """What --task says, or the task of the experiment that is named, before flags are known."""
    first = OneLineParser(add_help=False, allow_abbrev=False)
    first.add_argument("--task")
    first.add_argument("target", nargs="?", default="anchor")
    known, rest = first.parse_known_args(argv)
    if known.task is not None:
        return known.task or ""  # of --
    named = [split_target(word)[0] for word in (known.target, *rest)]
    named = [name for name in named if name in EXPERIMENTS or is_own(name)]
    return find_experiment(named[0] if named else "anchor").task


def add_flags(
    group: argparse._ArgumentGroup, config: type, names: dict = {}, regime: dict = {}
) -> None:
    """A flag for every field, absent from the result unless it was given.

    Args:
        names: field -> flag, where they differ. regime: flag -> default, unlike the field's own.
    """
    for f in fields(config):
        flag = names.get(f.name, f.name)
        usual = regime.get(flag, f.default)
        default = "" if usual in ("", None) else f"; default {usual}"
        group.add_argument(
            f"--{flag}",
            type=typed(f),
            default=argparse.SUPPRESS,
            metavar=base_type(f.type).__name__.upper(),
            help=f"{f.metadata['help']} ({allowed(f)}{default})".replace("%", "%%"),
        )


def typed(f: Any) -> Callable[[str], Any]:
    """The parser of a field's text. argparse turns its message into one line with the flag."""
    kind = base_type(f.type)

    def parse(text: str) -> Any:
        try:
            return {"true": True, "false": False}[text] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"{text!r} given, must be {allowed(f)}") from None

    return parse


def one_line(main: Callable[[list[str]], int]) -> None:
    """Run a script's main and exit with its code; what was refused is said in one line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        code, why = main(sys.argv[1:]), ""
        sys.stdout.flush()
    except Refused as e:
        code, why = REFUSED, f"refused: {e}"
    except Unfinished as e:
        code, why = DONE, str(e)
    except BrokenProcessPool:
        code, why = 1, "a worker was killed, maybe for memory; the same command continues"
    except BrokenPipeError:
        code, why = 1, "nobody reads the output any more; the same command prints it again"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as e:
        where = f"{e.filename}: " if e.filename else ""
        code, why = 1, f"stopped: {where}{e.strerror or e}; the same command continues"
    except KeyboardInterrupt:
        code, why = STOPPED, "stopped; the same command continues"
    if why:
        line = escape(why).replace("\n", "\\n")
        print(line if len(line) < LONGEST else f"{line[:LONGEST]}...", file=sys.stderr)
    sys.exit(code)


def escape(text: str) -> str:
    """The text with everything written out that would move a terminal's cursor, but for new lines.

    >>> print(escape("wörld" + chr(27) + "[2J"))
    wörld\\x1b[2J
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
