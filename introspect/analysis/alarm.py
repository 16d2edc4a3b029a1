"""Do changed explanations find changed items? An alarm for behavior that is moved later.

    n items that are measured   N subjects   V variants   P pairs   K answers

After explanation training has ended, a copy of the run is trained further on answers alone, towards
an objective (objective.py) whose target is made of the run's own answers. Half of the held-out
subjects are trained, the items of the other half are measured. Who only hears the explanations,
before and after, notices which items have changed?

    truth    the label E(M) of the item has changed: it has *moved*
    alarm    its explanation has changed; hits: of moved items, false alarms: of all others
    score    log P_before(e) - log P_after(e), where e is what was explained before
    area     under the ROC curve of the score: P(moved > other) + P(moved = other) / 2

Runs whose labels were shuffled are the control of `area`: what they explain was never true. The
copy `unmoved` gets as many updates at strength 0, whose targets are the run's own answers. Some of
its labels move all the same, since AdamW makes whole steps of the gradients of rounding errors; on
the others every alarm is false. The items that moved `alone`, in a copy and not in the unmoved one,
are also held against themselves there, so that none of them is a nearer tie. That area is above 0.5
wherever explanations change more in one copy than in the other, with shuffled labels too; only its
difference from theirs says that items are found.

The objectives, the numbers of updates and their rate are our choices.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from introspect.analysis.editing import mean, train_copies
from introspect.analysis.grafts import alarms, area
from introspect.fields import Refused
from introspect.interview import RunTask
from introspect.labels import Frozen
from introspect.losses import behavior_kl
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.objective import choose_aside, objective_targets
from introspect.reading import NUMBER
from introspect.report.text import tabulate
from introspect.runs.build import check_objective
from introspect.streams import rng

MOVES = {"follow": ("follow", 1.0), "ignore": ("ignore", 1.0), "unmoved": ("ignore", 0.0)}
BATCH, RATE = 32, 5e-4
MEASURED = (100, 400)  # updates after which a copy is measured
SHOWN = {  # in words -> what is measured of a copy
    "moved": "moved",
    "area": "area",
    "true": "true",
    "hits": "hits",
    "false alarms": "false_alarms",
    "moved: new label": "new",
    "moved: old label": "old",
    "alone": "alone",
    "alone: area": "area_alone",
    "alone: hits": "hits_alone",
    "alone: alarms of unmoved": "twin_alarms",
}
FORM = {"moves": {str: {str: dict.fromkeys(SHOWN.values(), NUMBER | None)}}}  # of alarm.json


def move_answers(
    model: GPT,
    task: RunTask,
    aims: Tensor,
    subjects: np.ndarray,
    steps: Sequence[int] = MEASURED,
    rate: float = RATE,
    seed: int = 0,
) -> dict[int, GPT]:
    """Copies of the model after these numbers of updates of KL(aims || B(M)) on `subjects`.

    Args:
        aims: (N, V, K) log targets. seed: decides the batches.
    """
    moved = copy.deepcopy(model).train().requires_grad_(True)
    device = model.token.weight.device
    aims = aims.to(device)

    def find_loss(step: int) -> Tensor:
        draw = rng(seed, "move", step)
        batch = draw.choice(subjects, min(BATCH, len(subjects)), replace=False)
        batch = torch.from_numpy(batch).to(device)
        return behavior_kl(task.interview.answers(moved, batch), aims[batch])

    return train_copies(moved, find_loss, steps, rate, "move")


class Heard(NamedTuple):
    """What has become of items, (n,) each."""

    moved: Tensor  # the label is another one
    rang: Tensor  # the explanation is another one
    score: Tensor  # how much less likely the explanation of before is, in nats
    new: Tensor  # the explanation equals the label now
    old: Tensor  # the explanation equals the label before


def hear(run: GPT, moved: GPT, snapshot: Snapshot, frozen: Frozen, rows: Tensor) -> Heard:
    """Items of the subjects `rows` in a copy that was moved; `snapshot` is of the run."""
    after, before = Snapshot(moved, snapshot.task, frozen), snapshot.explanation[rows]
    said, now, then = after.explanation[rows], after.current[rows], snapshot.current[rows]
    score = alarms(run, moved, snapshot.task, rows, before)
    heard = now != then, said != before, score, said == now, said == then
    return Heard(*(each.flatten() for each in heard))


def measure_alarm(heard: Heard, twin: Heard) -> dict[str, float | None]:
    """How well the alarms of a copy find its moved items; `twin` is heard of the unmoved copy.

    Returns:
        moved, hits, false_alarms, area, true (explanations that are true); new, old: of moved
        items, those whose explanation equals the new label, and the old one; alone: items that
        moved alone; of these area_alone and hits_alone, and twin_alarms, those whose explanation
        has changed in the unmoved copy. Shares, 0..1; None for a share of nothing.
    """
    moved, alone = heard.moved, heard.moved & ~twin.moved
    return {
        "moved": mean(moved),
        "area": area(heard.score[moved], heard.score[~moved]),
        "hits": mean(heard.rang[moved]),
        "false_alarms": mean(heard.rang[~moved]),
        "new": mean(heard.new[moved]),
        "old": mean(heard.old[moved]),
        "true": mean(heard.new),
        "alone": mean(alone),
        "area_alone": area(heard.score[alone], twin.score[alone]),
        "hits_alone": mean(heard.rang[alone]),
        "twin_alarms": mean(twin.rang[alone]),
    }


def compare_alarms(
    model: GPT,
    snapshot: Snapshot,
    frozen: Frozen,
    seed: int = 0,
    steps: Sequence[int] = MEASURED,
) -> dict[str, Any]:
    """`measure_alarm` under "moves" by objective, then by the number of updates as text, "unmoved"
    among the objectives; and n_items, how many are measured.

    Args:
        seed: decides which half is trained, and the batches.

    Raises:
        Refused: a task without such objectives, explanations in sentences, or too few subjects.
    """
    task, world = snapshot.task, snapshot.world
    check_objective(world, task.name, "follow")
    if snapshot.channel.suffixes != ((),):
        raise Refused("an alarm is for all channels but verbal, whose explanations are sentences")
    aside = choose_aside(world, seed)
    if not len(aside):
        raise Refused("an alarm needs two held-out subjects or more")
    rows = torch.from_numpy(np.setdiff1d(snapshot.rows("held_out"), aside))
    answers = task.interview.answers_of_all(model)
    heard: dict[str, dict[int, Heard]] = {}
    for name, (objective, strength) in MOVES.items():
        aims = objective_targets(answers, world, objective, strength)
        copies = move_answers(model, task, aims, aside, steps, seed=seed)
        heard[name] = {n: hear(model, each, snapshot, frozen, rows) for n, each in copies.items()}
    moves = {
        name: {str(n): measure_alarm(each, heard["unmoved"][n]) for n, each in by_step.items()}
        for name, by_step in heard.items()
    }
    return {"n_items": len(rows) * len(world.pairs), "moves": moves}


def show_alarms(runs_of: dict[str, list[dict[str, Any]]]) -> str:
    """What the files alarm.json of each arm have, as text; means over its runs."""
    places = {name: ("moves", name, str(MEASURED[-1])) for name in MOVES}
    columns = {words: (key,) for words, key in SHOWN.items()}
    what, heads = f"moved, {MEASURED[-1]} updates", list(columns)
    tables = [{head: columns[head] for head in heads[i : i + 3]} for i in range(0, len(heads), 3)]
    return "\n".join(tabulate(what, places, each, runs_of) for each in tables)
