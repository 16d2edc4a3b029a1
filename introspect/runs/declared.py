"""From the name of an experiment to its declaration.

An experiment is one of runs/experiments.py, one in a file of yours, named as FILE.py:NAME, or a
grid, named as "dial FIELD:VALUE,VALUE ...", which --dial makes. A name is enough: nothing is kept
beside it. The file of an experiment is a program and runs only where the user names it; it needs no
hash, since every run holds the fields that it declares.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from introspect.fields import Refused, nearest
from introspect.reading import misfit
from introspect.runs.experiment import Experiment, show_fields
from introspect.runs.experiments import EXPERIMENTS
from introspect.tasks.registry import load_module, run_user_code

MOST_ARMS = 64  # of a grid
FORM = {  # of the fields of an experiment
    "question": str, "arms": {str: dict}, "base": dict, "n_seed": int, "n_draw": int, "task": str,
    "extra": str, "open": str, "words": {str: str},
}  # fmt: skip


def find_experiment(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        Refused: there is none, its file fails or declares none, or its dials make no grid.
    """
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    if is_grid(name):
        return make_grid(name.split(" ")[1:])
    if is_own(name):
        return read_experiment(name)
    near = nearest(name, EXPERIMENTS)
    raise Refused(f"{name}: no such experiment{near or '; --help names them'}")


def split_target(target: str) -> tuple[str, str]:
    """The names of the experiment and of the arm, "" where there is none.

    >>> split_target("anchor/reg"), split_target("my/own.py:RATES/fast")
    (('anchor', 'reg'), ('my/own.py:RATES', 'fast'))
    """
    if target.endswith(".py"):  # the name of the experiment in it is missing
        return target, ""
    path, mark, rest = target.rpartition(".py:")
    name, _, arm = rest.partition("/")
    return path + mark + name, arm


def is_own(name: str) -> bool:
    """Whether a name is that of an experiment in a file."""
    return name.endswith(".py") or ".py:" in name and not name.startswith("-")


def is_grid(name: str) -> bool:
    """Whether a name is that of a grid."""
    return name.startswith("dial ")


def name_grid(dials: Sequence[str]) -> str:
    """The name of the grid of these dials, each as --dial takes it; refuses one with blanks."""
    if blank := [dial for dial in dials if " " in dial]:
        raise Refused(f"--dial={blank[0]}: must be FIELD:VALUE,VALUE,... without blanks")
    return " ".join(["dial", *dials])


def arguments_of(name: str) -> list[str]:
    """The words of a command line that ask train.py for this experiment."""
    return [f"--dial={dial}" for dial in name.split(" ")[1:]] if is_grid(name) else [name]


def read_experiment(name: str) -> Experiment:
    """The experiment that a file declares; an arm without words of its own has its fields."""
    module, attribute = load_own(name)
    if wrong := next(problems(module, attribute), None):
        raise Refused(f"{name}: {wrong}")
    path = Path(name.rpartition(":")[0])
    return run_user_code(name, path, lambda: say_arms(getattr(module, attribute)))


def load_own(name: str) -> tuple[Any, str]:
    """The module of FILE.py:NAME, and NAME."""
    path, colon, attribute = name.rpartition(":")
    if not colon:
        raise Refused(f"{name}: must be named with its file, as FILE.py:NAME")
    return load_module(Path(path), name), attribute


def problems(module: Any, attribute: str) -> Iterator[str]:
    """What keeps this attribute of a module from being an experiment. Only the first problem is
    sure to be one."""
    found = getattr(module, attribute, None)
    if not isinstance(found, Experiment):
        there = [key for key, value in vars(module).items() if isinstance(value, Experiment)]
        yield f"the file must have an Experiment {attribute}; it has {', '.join(there) or 'none'}"
    if wrong := misfit(vars(found), FORM):
        yield wrong
    if not found.arms or found.n_seed < 1:
        yield "must have arms, and n_seed must be >= 1"
    names = [*found.arms, *found.base, *(key for fields in found.arms.values() for key in fields)]
    if not all(isinstance(name, str) for name in names):
        yield "names of arms and fields must be text"
    if "seed" in names:
        yield "seed must be in no arm: every arm has the same seeds"


def say_arms(experiment: Experiment) -> Experiment:
    """The experiment with words for every arm: its fields, where it has none of its own."""
    arms = {arm: show_fields(experiment.sets(arm, 0)) for arm in experiment.arms}
    return replace(experiment, words=arms | experiment.words)


def make_grid(dials: Sequence[str]) -> Experiment:
    """Every combination of the values of some fields, an arm each.

    >>> list(make_grid(["kl_weight:0,1", "anchor:all,explained"]).arms)[:2]
    ['kl_weight=0,anchor=all', 'kl_weight=0,anchor=explained']

    Raises:
        Refused: a dial is not of the form FIELD:VALUE,VALUE,..., has one value or the same twice, a
            field is dialed twice, or there are more than 64 arms.
    """
    values: dict[str, list[Any]] = {}
    for dial in dials:
        field, _, text = dial.rpartition(":")
        words = text.split(",")
        if not field:
            raise Refused(f"--dial={dial}: must be FIELD:VALUE,VALUE,...")
        if field in (*values, "seed"):
            why = "--seeds says how many" if field == "seed" else "it is dialed already"
            raise Refused(f"--dial={dial}: must be of another field than {field}; {why}")
        if len(words) < 2:
            raise Refused(f"--dial={dial}: must have two values or more; of one, --{field}={text}")
        if (n := prod(map(len, values.values())) * len(words)) > MOST_ARMS:
            raise Refused(f"--dial={dial}: makes {n} arms; at most {MOST_ARMS} are allowed")
        values[field] = [literal(word) for word in words]
        if twice := [x for i, x in enumerate(values[field]) if values[field].index(x) < i]:
            raise Refused(f"--dial={dial}: must have each value once; {twice[0]} is there twice")
    every = [dict(zip(values, combined)) for combined in product(*values.values())]
    grid = Experiment(
        question=f"How do gap and drift depend on {', '.join(values)}?",
        arms={",".join(f"{k}={v}" for k, v in fields.items()): fields for fields in every},
        open="the choice among arms: one that was chosen for its gap needs seeds of its own.",
        dials=tuple(values),
    )
    return say_arms(grid)


def literal(text: str) -> Any:
    """A number, true or false, else text. Whether its field allows it is checked as for a flag."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text, text)
