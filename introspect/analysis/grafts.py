"""Does one explainer serve other models? The weight change of explanation training, put elsewhere.

    C = n_embd   R (C, C) orthogonal

A run has learned to explain M0 and has moved its weights. Added to another model with the same M0,

    graft = recipient + (run - M0),   weight by weight,

this change may explain what it was never trained on. The recipients are M0 taught new answers about
some held-out subjects (editing.py), on which the alarm should ring, and M0 taught its own answers
for as many updates, on which it should not. The alarm of a subject is how much less likely the
explanations of the run have become,

    mean over pairs of log P_run(e) - log P_graft(e),   e = what the run says,

and a good alarm is larger for edited subjects than for others of the same kind.

If grafts work because the recipient has the coordinates of M0, and not because the change reads the
recipient's answers, they fail on a recipient that computes the same function in other coordinates.
Which coordinates may change? A LayerNorm without bias subtracts the mean over channels, divides by
the deviation and multiplies by a weight for each channel. A permutation of the channels keeps all
this, if the weights of the norms are permuted too. More is exact: once the weight of each norm is
multiplied into the matrices that read it (`fold_norms`), every orthogonal R with R 1 = 1 commutes
with mean and deviation, so x -> R x in the residual stream changes nothing (`rotate`). A rotation
that moves the vector 1 is not exact. (Ashkboos et al. 2024, arXiv:2401.15024, use the same symmetry
to cut models.) The control grafts the change in the recipient's own coordinates, which gives the
first graft again up to rounding.
"""

import copy
import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from introspect.adapters import LowRank
from introspect.analysis.editing import (
    N_EDIT,
    UPDATES,
    choose_edit,
    find_editable,
    mean,
    measure_edit,
    teach_answers,
)
from introspect.analysis.patching import rank
from introspect.fields import Refused
from introspect.interview import CHUNK, RunTask
from introspect.labels import Frozen
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.streams import rng

FALSE_ALARMS = 0.05  # share of unedited subjects on which an alarm rings when hits are counted


def check_plain(model: GPT) -> None:
    """Refuse a model with adapters, whose weights are not those of M0."""
    if any(isinstance(module, LowRank) for module in model.modules()):
        raise Refused("a graft needs a run without adapters; this one has adapter_rank set")


@torch.no_grad()
def add_change(recipient: GPT, run: GPT, start: GPT) -> GPT:
    """A copy of the recipient plus run - start, weight by weight; all have one shape."""
    grafted = copy.deepcopy(recipient)
    triples = zip(grafted.parameters(), run.parameters(), start.parameters(), strict=True)
    for weight, after, before in triples:
        weight += after - before
    return grafted


@torch.no_grad()
def fold_norms(model: GPT) -> GPT:
    """A copy that computes the same, in which the weight of every norm is 1."""
    folded = copy.deepcopy(model)
    pairs = [(folded.norm, [folded.task_head, folded.explain_head, folded.lm_head])]
    for block in folded.blocks:
        pairs += [(block.norm_1, [block.attn.qkv]), (block.norm_2, [block.mlp.up])]
    for norm, readers in pairs:
        for reader in readers:
            reader.weight *= norm.weight
        norm.weight.fill_(1.0)
    return folded


def draw_rotation(n: int, seed: int = 0) -> Tensor:
    """(n, n) float64, uniform among the orthogonal matrices that keep the vector of ones."""
    drawn = np.linalg.qr(rng(seed, "rotation").standard_normal((n - 1, n - 1)))
    inner = np.eye(n)
    inner[1:, 1:] = drawn.Q * np.sign(np.diag(drawn.R))  # Haar (Mezzadri 2007)
    mirror = np.ones(n) / np.sqrt(n) - inner[0]  # the reflection that swaps e_1 and 1 / sqrt(n)
    if n > 1:
        mirror /= np.linalg.norm(mirror)
    reflection = np.eye(n) - 2 * np.outer(mirror, mirror)
    return torch.from_numpy(reflection @ inner @ reflection)


@torch.no_grad()
def rotate(folded: GPT, rotation: Tensor) -> GPT:
    """A copy whose residual stream is R x where that of `folded` is x. It computes the same if
    R is orthogonal, R 1 = 1 and the norms have weights of 1; a permutation always does, with
    the weights of the norms permuted, which R w does for weights w."""
    turned = copy.deepcopy(folded)
    R = rotation.to(folded.token.weight)
    readers = [turned.token, turned.position, turned.task_head, turned.explain_head, turned.lm_head]
    readers += [m for b in turned.blocks for m in (b.attn.qkv, b.mlp.up)]
    for reader in readers:
        reader.weight.copy_(reader.weight @ R.T)
    for writer in (m for b in turned.blocks for m in (b.attn.proj, b.mlp.down)):
        writer.weight.copy_(R @ writer.weight)
    for norm in (turned.norm, *itertools.chain(*((b.norm_1, b.norm_2) for b in turned.blocks))):
        norm.weight.copy_(R @ norm.weight)
    return turned


@torch.no_grad()
def alarms(run: GPT, grafted: GPT, task: RunTask, subjects: Tensor, said: Tensor) -> Tensor:
    """(n, P) log P_run - log P_graft of what the run says of `subjects` (n,).

    Args:
        said: (n, P) classes of the channel.
    """
    if not len(subjects):
        return torch.zeros(0, said.shape[1])
    device, found = run.token.weight.device, []
    for rows, words in zip(subjects.to(device).split(CHUNK), said.to(device).split(CHUNK)):
        before, after = (task.interview.explanations(m, rows) for m in (run, grafted))
        fall = (before - after).gather(-1, words[..., None])[..., 0]  # (B, P)
        found.append(fall.cpu())
    return torch.cat(found)


def area(positive: Tensor, negative: Tensor) -> float | None:
    """Area under the ROC curve, 0..1: how often a positive score exceeds a negative one, ties
    counting half; None where there is no such pair (Mann & Whitney 1947)."""
    n, m = len(positive), len(negative)
    if not n * m:
        return None
    ranks = rank(torch.cat([positive, negative]).numpy())
    return float(ranks[:n].sum() - n * (n + 1) / 2) / (n * m)


def hits(positive: Tensor, negative: Tensor, false_alarms: float = FALSE_ALARMS) -> float | None:
    """Share of positive scores above a threshold that at most this share of negatives exceeds."""
    if not len(negative):
        return None
    allowed = int(false_alarms * len(negative))
    threshold = negative.sort(descending=True).values[allowed]
    return mean(positive > threshold)


def compare_grafts(
    run: GPT,
    start: GPT,
    snapshot: Snapshot,
    frozen: Frozen,
    n: int = N_EDIT,
    updates: int = UPDATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Graft the change run - start on three recipients, each of them `start` taught by answers.

    Args:
        start: what the run started from, M0. snapshot: of the run. updates: of each recipient.

    Returns:
        n_subject, n_other: edited subjects, and editable ones that are not. Under "edited", "own"
        (taught its own answers) and "rotated" (edited, in other coordinates): what `measure_edit`
        gives of the graft; `recipient`, the share of edited subjects to which the recipient itself
        gives the new answer; and of the alarm `area` and `hits`, edited against other subjects.

    Raises:
        Refused: a run with adapters.
    """
    check_plain(run)
    task, edit = snapshot.task, choose_edit(snapshot, n, seed)
    others = find_editable(snapshot)
    others = others[~torch.isin(others, edit.subjects)]

    def teach(answers: Tensor) -> GPT:
        if not len(edit.subjects):
            return start
        answers, steps = answers[:, edit.plain], (updates,)
        return teach_answers(start, task, edit, answers, steps=steps, seed=seed)[updates]

    change = fold_norms(run), fold_norms(start)
    edited, own = fold_norms(teach(edit.new)), fold_norms(teach(edit.old))
    turned = rotate(edited, draw_rotation(start.token.embedding_dim, seed))
    found: dict[str, Any] = {}
    for name, recipient in {"edited": edited, "own": own, "rotated": turned}.items():
        grafted = add_change(recipient, *change)
        scores = [
            alarms(run, grafted, task, rows, snapshot.explanation[rows]).mean(-1)
            for rows in (edit.subjects, others)
        ]
        answers = task.interview.answers_of_all(recipient).argmax(-1)[edit.subjects]
        found[name] = measure_edit(grafted, snapshot, frozen, edit) | {
            "recipient": mean((answers == edit.new)[:, edit.plain]),
            "area": area(*scores),
            "hits": hits(*scores),
        }
    return {"n_subject": len(edit.subjects), "n_other": len(others), **found}
