"""Do explanations follow answers that are steered along the direction of a linear probe?

    n subjects   D = C = n_embd   K answers   W (D, K) weights of a ridge probe of the answer

At a place in the residual stream a probe predicts the answer without a cue (probes.py). A subject
with answer a is steered to another answer b:

    x + strength * d / |d|^2,    d = W_b - W_a

so that the probe's score of b minus that of a rises by `strength`; it is about -1 before, and 2
swaps the two. The same vector is added in all sequences at once, in those that answer and in those
that explain: at the last token of the subject, which stands before both, or at the queries. The
control is a random direction of equal norm, drawn for each subject. Steered answers give steered
labels, and among the items whose label the steering changes

    follow = share of explanations equal to the steered label - share equal to the label before

Upstream of the fork, follow is near 1. Behind it, a follow near -1 says that explanations do not
read this direction. A follow near 1 at the queries does not say that there is no fork: each
query may hold a copy of its own in the same coordinates. Steering is not an edit: great strengths
move activations out of the range in which the model was trained.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from introspect.analysis.editing import Edit, mean
from introspect.analysis.passes import in_last_block
from introspect.analysis.probes import activations, ridge
from introspect.interview import CHUNK, RunTask
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.streams import rng

STRENGTHS = (1.0, 2.0, 4.0, 8.0)


class Place(NamedTuple):
    point: str  # blocks.i.resid
    tokens: str  # "last" of the subject, or "query"


def list_places(model: GPT) -> list[Place]:
    """The residual stream after each block; in the last one nothing reads the subject's tokens."""
    points = [f"blocks.{i}.resid" for i in range(len(model.blocks))]
    found = [Place(point, tokens) for point in points for tokens in ("last", "query")]
    return [p for p in found if p.tokens == "query" or not in_last_block(model, p.point)]


def directions(model: GPT, snapshot: Snapshot, place: Place, edit: Edit) -> Tensor:
    """(n, C) d / |d|^2 for each subject of the edit, on the CPU; zeros where d is zero. The probe
    is fitted on the explained subjects."""
    x, answers = activations(model, snapshot.task, place.point, place.tokens)
    train = snapshot.rows("train").to(x.device)
    targets = F.one_hot(answers, len(snapshot.world.answers)).to(x)
    weights = ridge(x[train], targets[train])[0].T.cpu()  # (K, D)
    d = weights[edit.new[:, edit.plain]] - weights[edit.old[:, edit.plain]]
    norm = d.square().sum(-1, keepdim=True)
    return torch.where(norm > 0, d / norm, 0.0)


def random_like(vectors: Tensor, seed: int) -> Tensor:
    """Vectors of the same norms, row by row, in random directions."""
    drawn = torch.from_numpy(rng(seed, "steering").standard_normal(vectors.shape)).to(vectors)
    return F.normalize(drawn, dim=-1) * vectors.norm(dim=-1, keepdim=True)


def steer(
    model: GPT, task: RunTask, place: Place, subjects: Tensor, vectors: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Ask about `subjects` (n,) with a vector (n, C) added to the residual stream at a place.

    Returns:
        answers (n, V), the labels that they give (n, P), and explanations (n, P), on the CPU.
    """
    if not len(subjects):
        answers = torch.zeros(0, len(task.world.prompts), dtype=torch.int64)
        return answers, task.interview.labels(answers), task.interview.labels(answers)
    slot = task.world.prompts[task.world.pairs[0][1]][-2]
    device, packed = model.token.weight.device, task.interview.plan.packed
    rows = packed.slots == slot if place.tokens == "last" else packed.ends
    if in_last_block(model, place.point):
        rows = torch.arange(len(packed.ends), device=device)  # it has these tokens only
    found = []
    for chunk, vector in zip(subjects.to(device).split(CHUNK), vectors.to(device).split(CHUNK)):

        def add(x: Tensor) -> Tensor:
            added = torch.zeros_like(x)
            added[:, rows] = vector.to(x)[:, None]
            return x + added

        with model.hooked(place.point, add):
            found.append(task.interview.ask(model, chunk))
    answers, said = (torch.cat(each).cpu() for each in zip(*found))
    answers = answers.argmax(-1)
    return answers, task.interview.labels(answers), said


def measure_steering(
    model: GPT, snapshot: Snapshot, place: Place, edit: Edit, vectors: Tensor
) -> dict[str, float | None]:
    """How far answers and explanations of the edit's subjects move; None for a mean of nothing.

    Returns:
        answers: subjects that give the new answer. labels_changed, explanations_changed: their
        items on which these differ from before. follow: see above, -1..1. new, old: the two shares
        whose difference follow is. Their sum is below 1 where explanations go elsewhere.
    """
    rows = edit.subjects
    answers, labels, said = steer(model, snapshot.task, place, rows, vectors)
    before, explained = snapshot.current[rows], snapshot.explanation[rows]
    changed = labels != before
    new, old = mean((said == labels)[changed]), mean((said == before)[changed])
    return {
        "answers": mean((answers == edit.new)[:, edit.plain]),
        "labels_changed": mean(changed),
        "explanations_changed": mean(said != explained),
        "follow": None if new is None or old is None else new - old,
        "new": new,
        "old": old,
    }


def compare_steering(
    model: GPT, snapshot: Snapshot, edit: Edit, seed: int = 0
) -> dict[str, Any]:
    """`measure_steering` by place, then "probe" or "random", then the strength as text."""
    found: dict[str, Any] = {}
    for place in list_places(model):
        unit = directions(model, snapshot, place, edit)
        for kind, vectors in {"probe": unit, "random": random_like(unit, seed)}.items():
            found.setdefault(" ".join(place), {})[kind] = {
                f"{strength:g}": measure_steering(model, snapshot, place, edit, strength * vectors)
                for strength in STRENGTHS
            }
    return found
