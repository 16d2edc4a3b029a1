"""introspect: do a model's explanations follow what it was, or what it is?

The map. Eleven files hold the idea and the algorithm; read them in this order:

    tasks/hint.py    the world: facts, some known and some guessed, and a hint that may be wrong
    tasks/world.py   what every task says of its world: prompts, cues, answers, ideal answers
    model.py         a GPT trunk with a head that answers and a head that explains
    packing.py       prompts that begin alike share their first tokens in one pass
    interview.py     how a model is asked for answers and explanations; labels of its answers
    pretrain.py      stage A: M0 learns the world
    labels.py        stage B: labels E(M0) are read off M0's answers, once, and frozen
    losses.py        the losses: world, explanation, behavioral anchor
    terms.py         what one update of co-training asks, and its loss
    cotrain.py       stage C: a copy of M0 is trained on the frozen labels; the loop
    metrics.py       Self, Orig, gap, drift, preference

single.py is all of it once more, in one file that stands alone: simpler, and on a smaller world.

The rest of the core serves these: measure (what is measured at every evaluation), config and fields
(every number of a run), tokenizer, channels (other ways to explain), adapters, optim and muon,
watch (progress, finite numbers), frequency (what label frequencies alone give), stats, streams
(random numbers), checkpoint, restore, files. Four wings stand on it, each on those before:

    runs/      makes a run or a study: stages, one run, stacks of runs, a pool of workers,
               arms and experiments, flags
    report/    says and draws what a study shows
    analysis/  asks a finished run more: single items (ask, notebook), attribution, patching, paths,
               probes, matrix, score, export; times and simulates: bench, calibration
    lab/       judges the claims

lesson/ stands on all of them: eight steps through the idea, `python -m introspect.lesson`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, what the table below says to Python
    from introspect.analysis.notebook import ask, load, run
    from introspect.analysis.patching import interchange
    from introspect.analysis.readout import refit
    from introspect.frequency import adjusted_gap
    from introspect.labels import explanation_labels
    from introspect.metrics import coupling
    from introspect.runs.build import build
    from introspect.runs.experiment import Experiment
    from introspect.stats import student_t
    from introspect.tasks.registry import find_tasks

__version__ = "0.1.0"
__all__ = [
    "Experiment", "adjusted_gap", "ask", "build", "coupling", "explanation_labels", "find_tasks",
    "interchange", "load", "refit", "run", "student_t",
]  # fmt: skip

_ROOMS = {  # the few names that a notebook wants, imported when they are asked for
    "run": "analysis.notebook",
    "load": "analysis.notebook",
    "ask": "analysis.notebook",
    "find_tasks": "tasks.registry",
    "build": "runs.build",
    "Experiment": "runs.experiment",
    "coupling": "metrics",
    "adjusted_gap": "frequency",
    "student_t": "stats",
    "explanation_labels": "labels",
    "interchange": "analysis.patching",
    "refit": "analysis.readout",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
