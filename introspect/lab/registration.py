"""What was fixed before the registered runs were made: worlds, arms, rows, and how they are judged.

data/results/REGISTRATION.md is this text. It was committed before the first of these runs, and a
test holds that the rows which are judged are those that it names, in its order and wording.
"""

import hashlib
import inspect
from pathlib import Path

from introspect.lab.claim import FAMILIES, SMALLEST, Claim
from introspect.lab.claims import CLAIMS
from introspect.lab.verdicts import ALPHA, claimed, judge
from introspect.report.html import clean, table
from introspect.runs.experiment import show_fields
from introspect.runs.experiments import CLAIMED, EXPERIMENTS

DATE = "2026-11-30"
WORLDS = [*range(10, 22)]  # that nobody has seen
DRAWS = 2
UNTOUCHED = "22 to 29"
NAME = "REGISTRATION.md"


def name_command() -> str:
    """The command that makes and judges the registered runs."""
    return f"python eval.py claims --seed={WORLDS[0]} --seeds={len(WORLDS)} --draws={DRAWS}"


def state() -> str:
    """The registration, as Markdown."""
    rows = ["family", "claim", "task", "row", "measured", "experiment", "claimed", "also"]
    arms = ["experiment", "tasks", "draws", "arm", "fields, in the first world"]
    judged = clean(" ".join((inspect.getdoc(judge) or "").split()))
    order = "; ".join(f"{family}: {about}" for family, about in FAMILIES.items())
    return "\n\n".join([
        "# Registration",
        f"Fixed on {DATE}, before any run on worlds {WORLDS[0]} to {WORLDS[-1]}. These worlds were "
        f"never looked at; settings were chosen on worlds 100 to 107. Worlds {UNTOUCHED} stay "
        "untouched for whoever doubts what comes out.",
        f"```sh\n{name_command()}\n```",
        "## Runs",
        f"Each world has {DRAWS} draws of co-training (batches and label noise), which share "
        "facts, split and M0; experiments about our own questions have one. All arms of an "
        "experiment share worlds and draws. No number is looked at before all runs of "
        "its family are there. A run that diverges leaves its world out of the rows about it, and "
        "is named; nothing else is left out, and nothing is run again.",
        "## Judgement",
        f"The world is the unit: its number is the mean of its draws. {judged}",
        f"Families, in their order: {order}; rows of family 0 explore. The chance of even one "
        f"false row in all families together is at most {ALPHA:g}: families 1 and 2 are tested by "
        "Bonferroni's method, and each passes on that share of its level that is the share of its "
        "rows which were rejected; family 3 is tested by Holm's method (keep_gates in "
        f"hypotheses.py). The smallest gap of interest is {SMALLEST:g}.",
        "## Rows",
        table([rows, *map(list_row, CLAIMS)]),
        "## Arms",
        table([arms, *(row for name in CLAIMED for row in list_arms(name))]),
    ]) + "\n"  # fmt: skip


def list_row(claim: Claim) -> list[str]:
    """A claim, as far as it can be said before anything is run."""
    about = [claim.task, claim.says, claim.measured, claim.experiment]
    also = claim.also_name if claim.also else ""
    return [str(claim.family), claim.name, *about, claimed(claim), also]


def list_arms(name: str) -> list[list[str]]:
    """The arms of an experiment with their fields, its base as an arm without a name."""
    experiment, first = EXPERIMENTS[name], WORLDS[0]
    tasks = ", ".join([experiment.task, *experiment.more_tasks])
    draws = str(min(DRAWS, experiment.n_draw))
    base = {k: v for k, v in experiment.fields(next(iter(experiment.arms)), first).items()
            if k in experiment.base}  # fmt: skip
    rows = [[name, tasks, draws, "(all)", show_fields(base)]]
    return rows + [["", "", "", arm, show_fields(experiment.sets(arm, first))]
                   for arm in experiment.arms]  # fmt: skip


def hash_registration(results: Path) -> str:
    """SHA-256 of the registration in this folder, "" where there is none."""
    path = results / NAME
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
