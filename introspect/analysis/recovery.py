"""Do explanations and attributions find out what a model's answers depend on?

    n subjects   F features   z in [0, 1]^F: feature i is unchanged at z_i = 1, flipped at z_i = 0

This is for worlds in which each cue is a feature that can be flipped. Feature i *counts* iff
flipping it changes the model's answer. Explanations and attribution methods give each feature a
score, and are judged by how that score ranks the features of one subject, averaged over subjects:

    AUC     share of pairs (a feature that counts, one that does not) in the right order; ties half
    top 1   share of subjects whose first-ranked feature counts

Random scores get 0.5 and the share of features that count. Leave-one-out looks at the very flips
that decide what counts, so with two answers it ranks the model now perfectly by definition. The
scores are also compared with what counts for an ideal answerer, unlike which the model may answer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from introspect.analysis import attribution
from introspect.interview import RunTask
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.report.html import aligned
from introspect.report.text import estimate
from introspect.stats import interval
from introspect.streams import rng
from introspect.tasks.world import World
from introspect.tokenizer import encode_words

N_STEP = 32  # points of the integral in integrated gradients
METHODS: dict[str, Callable[[attribution.Score, Tensor, float], Tensor]] = {
    "leave-one-out": attribution.leave_one_out,
    "Shapley": attribution.shapley,
    "integrated gradients": lambda s, x, b: attribution.integrated_gradients(s, x, b, N_STEP),
    "gradient x input": attribution.gradient_x_input,
}


class Row(NamedTuple):
    """How well one method ranks features: means over subjects with their intervals."""

    method: str
    auc: dict[str, Any]  # what counts is decided by the model now
    top_1: dict[str, Any]
    auc_ideal: dict[str, Any]  # what counts is decided by the ideal answers


HEAD = ["AUC, model now", "top 1, model now", "AUC, ideal answers"]  # of the three in a table


def can_flip(world: World) -> bool:
    """Whether every pair flips one feature of one and the same prompt."""
    (base, *others), flipped = zip(*world.pairs)
    full = world.prompts[base]
    return set(others) == {base} and all(
        len(world.prompts[v]) == len(full)
        and sum(a != b for a, b in zip(full, world.prompts[v])) == 1
        for v in flipped
    )


def make_score(model: GPT, part: RunTask, subject: int, answer: int) -> attribution.Score:
    """z (n, F) -> (n,): log-odds of `answer` about this subject with its features changed to z.

    A feature between 0 and 1 is z_i times the embedding of its own word plus 1 - z_i times that of
    the other word, so that each corner is a prompt of the world.
    """
    world, columns = part.world, part.interview.columns
    full = list(world.prompts[world.pairs[0][0]])
    others = [list(world.prompts[y]) for _, y in world.pairs]
    at = [next(i for i, s in enumerate(full) if s != other[i]) for other in others]  # (F,) tokens
    ids = torch.from_numpy(encode_words(world.slots[subject], world.own_words))
    ids = ids.to(model.token.weight.device)
    word = model.token.weight[ids[[full[i] for i in at]]]  # (F, C)
    flip = model.token.weight[ids[[other[i] for i, other in zip(at, others)]]]  # (F, C)

    def score(z: Tensor) -> Tensor:
        def mix(x: Tensor) -> Tensor:
            x = x.clone()
            x[:, at] = x[:, at] + (z[..., None] - 1) * (word - flip)
            return x

        with model.hooked("embed", mix):
            logits = model.task_head(model.trunk(ids[full].expand(len(z), -1))[:, -1])  # (n, K)
        logits = logits if columns is None else logits[:, columns]
        rest = [k for k in range(logits.shape[1]) if k != answer]
        return logits[:, answer] - logits[:, rest].logsumexp(1)

    return score


def auc(scores: np.ndarray, counts: np.ndarray) -> float | None:
    """AUC of one subject from (F,) each; None if all features count or none does."""
    above = scores[counts][:, None] - scores[~counts][None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean()) if above.size else None


def first_counts(scores: np.ndarray, counts: np.ndarray) -> float | None:
    """Share of the features with the highest score that count; None if no feature counts."""
    return float(counts[scores == scores.max()].mean()) if counts.any() else None


def recovery(model: GPT, snapshot: Snapshot, n: int = 200, seed: int = 0) -> list[Row]:
    """A row for the explanations and one for each method, on n random held-out subjects."""
    world, stays = snapshot.world, len(snapshot.world.answers)
    subjects = rng(seed, "recovery").permutation(snapshot.rows("held_out").numpy())[:n]
    now = snapshot.changed(snapshot.current).numpy()[subjects]  # (n, F) which features count
    ideal = (world.truth != stays)[subjects]
    device = model.token.weight.device
    with torch.no_grad():
        said = snapshot.task.interview.explanations(model, torch.from_numpy(subjects).to(device))
        scores = {"explanation": snapshot.channel.p_change(said).cpu().numpy()}
    answers = snapshot.now[subjects, world.pairs[0][0]].tolist()
    unchanged = torch.ones(1, now.shape[1], device=device)
    for name, method in METHODS.items():
        scores[name] = np.empty(now.shape)
        for i, (subject, answer) in enumerate(zip(subjects, answers)):
            score = make_score(model, snapshot.task, subject, answer)
            scores[name][i] = method(score, unchanged, 0.0)[0].cpu().numpy()
    judges = ((auc, now), (first_counts, now), (auc, ideal))
    return [Row(name, *(interval([judge(*each) for each in zip(s, c)]) for judge, c in judges))
            for name, s in scores.items()]


def show_recovery(rows: list[Row]) -> str:
    """The table of a run, as text."""
    table = [[row.method, *map(estimate, row[1:])] for row in rows]
    return aligned([["what an answer depends on", *HEAD], *table])


def show_recoveries(runs_of: dict[str, list[list[Row]]]) -> str:
    """The table of a study: for each arm, means over its runs."""
    lines = [["what an answer depends on", "arm", "n", *HEAD]]
    for arm, runs in runs_of.items():
        for rows in zip(*runs):  # of one method
            seeds = zip(*(row[1:] for row in rows))  # for each measure, one mean for each run
            means = [estimate(interval([run["mean"] for run in each])) for each in seeds]
            lines.append([rows[0].method, arm, str(len(rows)), *means])
    return aligned(lines)
