"""What do explanations and attributions recover of what a model's answers really depend on?

    n subjects   F features   z in [0, 1]^F: feature i is as it is at z_i = 1 and flipped at z_i = 0

Where each cue of a world is a feature that can be flipped, the answer to every flip says which
features the answer depends on: feature i counts iff its flip changes the answer. Explanations and
attribution methods give each feature a score, and are judged by how well that score ranks the
features of one subject, in two ways, each averaged over subjects:

    AUC     share of pairs (a feature that counts, one that does not) in the right order; ties half
    top 1   share of subjects whose first-ranked feature counts

0.5 and the share of features that count are what random scores get. Leave-one-out looks at the very
flips that decide what counts; with two answers it ranks the model as it is perfectly by definition.
The same scores are also held against what counts for an ideal answerer, which the model may have
missed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from introspect.analysis import attribution
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.parts import Part
from introspect.report.html import aligned
from introspect.report.text import estimate
from introspect.stats import interval
from introspect.streams import rng
from introspect.tasks.world import World
from introspect.tokenizer import encode_words

N_STEP = 32  # of the integral of integrated gradients
METHODS: dict[str, Callable[[attribution.Score, Tensor, float], Tensor]] = {
    "leave-one-out": attribution.leave_one_out,
    "Shapley": attribution.shapley,
    "integrated gradients": lambda s, x, b: attribution.integrated_gradients(s, x, b, N_STEP),
    "gradient x input": attribution.gradient_x_input,
}


class Row(NamedTuple):
    """How well one method ranks features: means over subjects with their intervals."""

    method: str
    auc: dict[str, Any]  # by the behavior of the model as it is
    top_1: dict[str, Any]
    auc_ideal: dict[str, Any]  # by the ideal answers


def can_flip(world: World) -> bool:
    """Whether every pair flips one feature of one and the same prompt."""
    (base, *others), flipped = zip(*world.pairs)
    full = world.prompts[base]
    return set(others) == {base} and all(
        len(world.prompts[v]) == len(full)
        and sum(a != b for a, b in zip(full, world.prompts[v])) == 1
        for v in flipped
    )


def score_of(model: GPT, part: Part, subject: int, answer: int) -> attribution.Score:
    """z (n, F) -> (n,): log-odds of `answer` about this subject, its features mixed as z says.

    A feature between its two values is the same mixture of their two embeddings. Flipped at all
    z_i = 0, the score is that of the prompts of the world wherever z is 0 or 1.
    """
    world, columns = part.world, part.interview.columns
    full = list(world.prompts[world.pairs[0][0]])
    others = [list(world.prompts[y]) for _, y in world.pairs]
    at = [next(i for i, s in enumerate(full) if s != o[i]) for o in others]  # (F,) positions
    ids = torch.from_numpy(encode_words(world.slots[subject])).to(model.token.weight.device)
    word = model.token.weight[ids[[full[i] for i in at]]]  # (F, C)
    flip = model.token.weight[ids[[o[i] for i, o in zip(at, others)]]]  # (F, C)

    def score(z: Tensor) -> Tensor:
        def mixed(module, inputs, x: Tensor) -> Tensor:
            x = x.clone()
            x[:, at] = x[:, at] + (z[..., None] - 1) * (word - flip)
            return x

        handle = model.embed.register_forward_hook(mixed)
        try:
            logits = model.task_head(model.trunk(ids[full].expand(len(z), -1))[:, -1])  # (n, K)
        finally:
            handle.remove()
        logits = logits if columns is None else logits[:, columns]
        rest = [k for k in range(logits.shape[1]) if k != answer]
        return logits[:, answer] - logits[:, rest].logsumexp(1)

    return score


def auc(scores: np.ndarray, counts: np.ndarray) -> float | None:
    """Of one subject, (F,) each; None where all features count or none does."""
    above = scores[counts][:, None] - scores[~counts][None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean()) if above.size else None


def first_counts(scores: np.ndarray, counts: np.ndarray) -> float | None:
    """Whether a feature with the highest score counts; several such share one vote."""
    return float(counts[scores == scores.max()].mean()) if counts.any() else None


def recovery(model: GPT, snapshot: Snapshot, n: int = 200, seed: int = 0) -> list[Row]:
    """A row for the explanations and one for each method, on n random held-out subjects."""
    world, rows = snapshot.world, snapshot.rows("held_out").numpy()
    subjects = rng(seed, "recovery").permutation(rows)[:n]
    stays = len(world.answers)
    now = (snapshot.labels != stays).numpy()[subjects]  # (n, F) which features count
    ideal = (world.truth != stays)[subjects]
    device = model.token.weight.device
    with torch.no_grad():
        chosen = torch.from_numpy(subjects).to(device)
        said = snapshot.part.interview.explanations(model, chosen)
        found = {"explanation": snapshot.channel.p_change(said).cpu().numpy()}
    base = world.pairs[0][0]
    as_it_is = torch.ones(1, now.shape[1], device=device)
    for name, method in METHODS.items():
        found[name] = np.empty(now.shape)
        for i, subject in enumerate(subjects):
            score = score_of(model, snapshot.part, subject, int(snapshot.now[subject, base]))
            found[name][i] = method(score, as_it_is, 0.0)[0].cpu().numpy()
    return [
        Row(
            name,
            mean_over(auc, scores, now),
            mean_over(first_counts, scores, now),
            mean_over(auc, scores, ideal),
        )
        for name, scores in found.items()
    ]


def mean_over(judge: Callable, scores: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Mean over the subjects that can be judged, with its interval."""
    return interval([judge(s, c) for s, c in zip(scores, counts)])


def show_recovery(rows: list[Row]) -> str:
    """The table, as text."""
    head = ["what an answer depends on", "AUC, model now", "top 1, model now", "AUC, ideal answers"]
    return aligned([head, *([r.method, *map(estimate, r[1:])] for r in rows)])


def show_recoveries(found: dict[str, list[list[Row]]]) -> str:
    """The table of a study: means over its runs, of which each arm has one a seed."""
    head = ["what an answer depends on", "arm", "n"]
    lines = [[*head, "AUC, model now", "top 1, model now", "AUC, ideal answers"]]
    for arm, runs in found.items():
        for rows in zip(*runs):
            seeds = zip(*(row[1:] for row in rows))  # of each measure, one mean a run
            means = [estimate(interval([of["mean"] for of in each])) for each in seeds]
            lines.append([rows[0].method, arm, str(len(rows)), *means])
    return aligned(lines)
