"""Do explanations follow an edit of the answers, and does it matter which weights are edited?

    N subjects   n edited subjects   V variants   P pairs   K answers

After explanation training has ended, some held-out subjects are given another answer without a cue,
and the model is taught these answers alone, while all its other answers are held where they are:

    minimize  CE(new answer) + KL(B(before) || B(M)),   over the answers without a cue of the
    edited subjects, and over all other answers of these and of a batch of other subjects

No explanation is trained. The edit is made of all weights, of one block or of the answer head. A
new label is what is true of a model that gives the new answers. If answers and explanations are
read from one recalled fact, explanations follow an edit that lies upstream of the place where the
two part (the *fork*), and none that lies behind it.

The subjects are those on which an edit is easy to read: their answers are M0's, and with a cue
those that the cue argues for, so that these need not change with the fact; and their explanations
are all true. So every explanation would have to change, and it does or it does not:

    preference = share equal to the new label / share equal to the new or the old one

Two controls: subjects that are not edited; and an edit whose new answers are those that the model
gives anyway ("own"), with the same subjects, optimizer and updates. Its explanations are held
against the same new labels. The rule for subjects, the loss and its weights are our choices.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from introspect.fields import Refused
from introspect.interview import RunTask
from introspect.labels import Frozen
from introspect.losses import behavior_kl
from introspect.measure import Snapshot, share
from introspect.model import GPT
from introspect.streams import rng
from introspect.tasks.world import World
from introspect.watch import check_finite

N_EDIT, N_OTHER = 64, 64  # edited subjects; other subjects in each update, whose answers are held
RATE, UPDATES = 5e-4, 300
MEASURED = (50, 100, 200, UPDATES)  # updates after which an edit is measured


class Edit(NamedTuple):
    """New answers for some subjects; `old` and `new` differ in the variant without a cue."""

    subjects: Tensor  # (n,)
    plain: int  # the variant without a cue
    old: Tensor  # (n, V) answers before
    new: Tensor  # (n, V) answers to be taught


def find_plain(world: World) -> int:
    """The variant without a cue, with which every pair compares.

    Raises:
        Refused: there are several.
    """
    plain = sorted({without for _, without in world.pairs})
    if len(plain) > 1:
        raise Refused(f"an edit needs one prompt without a cue; this task compares with {plain}")
    return plain[0]


def favored(world: World) -> Tensor:
    """(P,) the answer that each cue argues for: it raises that one's probability most, on average
    over subjects."""
    sides = ([pair[i] for pair in world.pairs] for i in (0, 1))
    with_cue, without = (world.ideal[:, variants].mean(0) for variants in sides)  # (P, K)
    return torch.from_numpy(with_cue - without).argmax(-1)


def find_editable(snapshot: Snapshot) -> Tensor:
    """Numbers of the held-out subjects whose answers are M0's, with cues those that are `favored`,
    and whose explanations are all true."""
    with_cue = [pair[0] for pair in snapshot.world.pairs]
    fits = (snapshot.now == snapshot.before).all(-1)
    fits &= (snapshot.now[:, with_cue] == favored(snapshot.world)).all(-1)
    fits &= (snapshot.explanation == snapshot.current).all(-1)
    rows = snapshot.rows("held_out")
    return rows[fits[rows]]


def choose_edit(snapshot: Snapshot, n: int = N_EDIT, seed: int = 0) -> Edit:
    """Another answer for n editable subjects, fewer where there are fewer: any other one, with
    equal probability."""
    plain, K = find_plain(snapshot.world), len(snapshot.world.answers)
    rows, draw = find_editable(snapshot), rng(seed, "edit")
    subjects = rows[torch.from_numpy(draw.permutation(len(rows))[:n])]
    old = snapshot.now[subjects]
    new = old.clone()
    new[:, plain] = (old[:, plain] + torch.from_numpy(draw.integers(1, K, len(subjects)))) % K
    return Edit(subjects, plain, old, new)


def places(model: GPT) -> dict[str, nn.Module]:
    """Which weights an edit may move, by name, from all to the answer head."""
    blocks = {f"block-{i}": block for i, block in enumerate(model.blocks)}
    return {"all": model, **blocks, "head": model.task_head}


def teach_answers(
    model: GPT,
    task: RunTask,
    edit: Edit,
    answers: Tensor,
    place: str = "all",
    steps: Sequence[int] = MEASURED,
    rate: float = RATE,
    seed: int = 0,
) -> dict[int, GPT]:
    """Copies of the model after these numbers of updates of AdamW, without weight decay, that teach
    `answers` (n,) to the prompts without a cue of edit.subjects.

    Args:
        steps: the copies to keep; the last of them ends the edit.
        place: a key of `places`, whose weights move; all others stay.
        seed: decides which other subjects are in the batches.

    Raises:
        Refused: no such place.
    """
    edited = copy.deepcopy(model).train().requires_grad_(False)
    where = places(edited)
    if place not in where:
        raise Refused(f"the place of an edit must be one of {', '.join(where)}; got {place}")
    device = model.token.weight.device
    before = task.interview.answers_of_all(model).to(device)  # (N, V, K)
    subjects, answers = edit.subjects.to(device), answers.to(device)
    cued = [v for v in range(before.shape[1]) if v != edit.plain]
    others = torch.ones(len(before), dtype=torch.bool)
    others[edit.subjects] = False
    others = others.nonzero()[:, 0].numpy()

    def find_loss(step: int) -> Tensor:
        draw = rng(seed, "edit batch", step)
        batch = draw.choice(others, min(N_OTHER, len(others)), replace=False)
        batch = torch.from_numpy(batch).to(device)
        logits = task.interview.answers(edited, torch.cat([subjects, batch]))
        here, there = logits.split([len(subjects), len(batch)])
        rows = torch.cat([here[:, cued].flatten(0, 1), there.flatten(0, 1)])[None]
        kept = torch.cat([before[subjects][:, cued].flatten(0, 1), before[batch].flatten(0, 1)])
        return F.cross_entropy(here[:, edit.plain], answers) + behavior_kl(rows, kept[None])

    where[place].requires_grad_(True)
    return train_copies(edited, find_loss, steps, rate, "edit")


def train_copies(
    model: GPT, find_loss: Callable[[int], Tensor], steps: Sequence[int], rate: float, what: str
) -> dict[int, GPT]:
    """Train those weights of the model that require a gradient, by AdamW without weight decay.

    Args:
        find_loss: from the number of the update, 1 and up, to its loss.
        steps: numbers of updates after which a copy is kept; the last of them ends the training.

    Returns:
        the copies, by their numbers of updates.
    """
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer, copies = torch.optim.AdamW(moving, rate, weight_decay=0.0, fused=True), {}
    for step in range(1, max(steps) + 1):
        loss = find_loss(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        check_finite(step, what, loss=loss)
        optimizer.step()
        if step in steps:
            copies[step] = copy.deepcopy(model).eval().requires_grad_(False)
    return copies


def measure_edit(model: GPT, snapshot: Snapshot, frozen: Frozen, edit: Edit) -> dict[str, Any]:
    """How far answers and explanations of an edited model follow the edit; `snapshot` is of the
    model before. Shares, 0..1; None for a share of nothing.

    Returns:
        answers: edited subjects that give the new answer. labels: their items whose label is the
        new one. new, old: their explanations equal to the new label, and to the old one; either:
        to one of them. preference: new / either. Of the held-out subjects that are not edited,
        answers_kept, explanations_kept: those that are as before; true: explanations that are true.
    """
    after, asked = Snapshot(model, snapshot.task, frozen), snapshot.task.interview
    rows, (old, new) = edit.subjects, map(asked.labels, (edit.old, edit.new))
    said = after.explanation[rows]
    held_out = snapshot.rows("held_out")
    rest = held_out[~torch.isin(held_out, rows)]
    either = (said == new) | (said == old)
    return {
        "answers": mean((after.now[rows] == edit.new)[:, edit.plain]),
        "labels": mean(after.current[rows] == new),
        "new": mean(said == new),
        "old": mean(said == old),
        "either": mean(either),
        "preference": mean((said == new)[either]),
        "answers_kept": mean((after.now == snapshot.now)[rest]),
        "explanations_kept": mean((after.explanation == snapshot.explanation)[rest]),
        "true": mean((after.explanation == after.current)[rest]),
    }


def mean(true: Tensor) -> float | None:
    """Share of true values; None where there is no value."""
    return share(true) if true.numel() else None


def measure_change(model: GPT, other: GPT) -> float:
    """Norm of the difference of all weights of two models of one shape."""
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return float(torch.nn.utils.get_total_norm([(p - q).detach() for p, q in pairs]))


def compare_edits(
    model: GPT,
    snapshot: Snapshot,
    frozen: Frozen,
    n: int = N_EDIT,
    steps: Sequence[int] = MEASURED,
    seed: int = 0,
) -> dict[str, Any]:
    """`measure_edit` of an edit at each of `places`, and of the one that changes no answer.

    Returns:
        n_subject, the number of edited subjects, and under "places" by place, then "edit" or "own",
        then the number of updates as text: what `measure_edit` gives, and `change`, the norm of the
        change of the weights. Where there is no subject to edit, no model is trained.
    """
    edit = choose_edit(snapshot, n, seed)
    taught = {"edit": edit.new[:, edit.plain], "own": edit.old[:, edit.plain]}
    found: dict[str, Any] = {}
    for place in places(model):
        for kind, answers in taught.items():
            copies = dict.fromkeys(steps, model)
            if len(edit.subjects):
                task = snapshot.task
                copies = teach_answers(model, task, edit, answers, place, steps, seed=seed)
            found.setdefault(place, {})[kind] = {
                str(step): measure_edit(edited, snapshot, frozen, edit)
                | {"change": measure_change(edited, model)}
                for step, edited in copies.items()
            }
    return {"n_subject": len(edit.subjects), "places": found}
