"""Do explanations move with the answers in log-odds? No answer has to tip over for this.

    N subjects   V variants   P pairs   K answers   E = K + 1 labels   p, q probabilities

A label says which answer would be given without the cue, or that it stays. Answers drawn with and
without the cue, independently, make a label at random, with the probabilities

    q_k    = p(k without the cue) (1 - p(k with it)),   k < K
    q_stay = sum_k p(k without) p(k with)               (they add up to 1)

These change smoothly with the answers, where a label jumps at a tie. The log-odds y of each class
of an explanation are regressed on those of q, of the model now and of M0:

    y = a_{cue, class} + now x_now + then x_then

With a constant for each cue and class, what is often said anyway explains nothing. An explanation
that is the model's own q has now = 1 and then = 0; one that repeats M0 has now = 0 and then = 1.
Since y = a + now (x_now - x_then) + (now + then) x_then, `now` is also the slope of explanations
on the change of answers, at equal answers of M0.

M0 itself has no explanations that this could be compared with: its explanation head is untrained.
If another explainer of M0 is given (rivals.py), `change` is the slope of y - y_M0 on the change
x_now - x_then.
"""

import numpy as np
import torch
from torch import Tensor

from introspect.analysis.matrix import Estimate
from introspect.analysis.readout import refit_answers
from introspect.analysis.rivals import fit_explainer, read_questions
from introspect.interview import CHUNK
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.stats import t_quantile


def log_odds(log_p: Tensor) -> Tensor:
    """log p_k - log sum_{j != k} p_j, (..., E) as the log-probabilities are that it is given; a
    constant added to a row of them changes nothing."""
    E = log_p.shape[-1]
    others = log_p[..., None, :].masked_fill(torch.eye(E, dtype=torch.bool), -torch.inf)
    return log_p - others.logsumexp(-1)


def implied_odds(logits: Tensor, pairs: Tensor) -> Tensor:
    """(N, P, E) log-odds of the labels that answers with these logits (N, V, K) make at random.

    Args:
        pairs: (P, 2) variants with and without the cue.
    """
    log_p = logits.double().log_softmax(-1)
    with_cue, without = log_p[:, pairs[:, 0]], log_p[:, pairs[:, 1]]  # (N, P, K) each
    not_with = with_cue - log_odds(with_cue)  # log(1 - p): exact where p is near 1
    stay = (without + with_cue).logsumexp(-1, keepdim=True)
    return log_odds(torch.cat([without + not_with, stay], dim=-1))


def regress(y: np.ndarray, x: np.ndarray, clusters: np.ndarray) -> list[Estimate]:
    """Coefficients b of least squares y ~ x b, with 95 % intervals that allow for clusters.

        var = G / (G - 1) (x'x)^-1 (sum_g s_g s_g') (x'x)^-1,   s_g = sum_{i in g} x_i (y_i - x_i b)

    This is stats.clustered where x is a column of ones (Liang & Zeger 1986).

    Args:
        y: (n,). x: (n, p) without a constant column of its own. clusters: (n,) any names.

    Returns:
        p estimates, of which all is None but n, the clusters, where the columns of x are dependent
        or there are fewer than two clusters.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    G = int(cluster.max()) + 1
    none = [{"mean": None, "low": None, "high": None, "n": G} for _ in x.T]
    if G < 2 or np.linalg.matrix_rank(x, tol=1e-6 * max(1.0, float(np.linalg.norm(x)))) < len(x.T):
        return none
    bread = np.linalg.inv(x.T @ x)
    b = bread @ (x.T @ y)
    scores = np.stack([np.bincount(cluster, weights=c) for c in x.T * (y - x @ b)])  # (p, G)
    errors = np.sqrt(np.diag(bread @ (scores @ scores.T) @ bread) * G / (G - 1))
    halves = t_quantile(0.975, G - 1) * errors
    return [{"mean": float(m), "low": float(m - h), "high": float(m + h), "n": G}
            for m, h in zip(b, halves)]


def follow_odds(
    said: Tensor, now: Tensor, then: Tensor, clusters: np.ndarray, said_then: Tensor | None = None
) -> dict[str, Estimate]:
    """`now` and `then` of the regression above, and `change` where `said_then` is given.

    Args:
        said, now, then, said_then: (n, P, E) log-odds of explanations, of the answers now and of
            M0's, and of an explainer of M0, of some subjects. clusters: (n,) of each subject.
    """
    def center(x: Tensor) -> np.ndarray:
        return (x - x.mean(0)).flatten().numpy()  # within each cue and class

    y, x_now, x_then = (center(x.double()) for x in (said, now, then))
    groups = np.repeat(clusters, said[0].numel())
    estimates = dict(zip(("now", "then"), regress(y, np.stack([x_now, x_then], axis=1), groups)))
    if said_then is not None:
        change = y - center(said_then.double())
        [estimates["change"]] = regress(change, (x_now - x_then)[:, None], groups)
    return estimates


@torch.no_grad()
def compare_odds(
    model: GPT, m0: GPT, snapshot: Snapshot, reference: Tensor
) -> dict[str, dict[str, Estimate]]:
    """`follow_odds` on held-out subjects, of the answers as they are, under "own", and of those of
    a refitted answer head (readout.py), under "refitted". The explainer of M0 is the linear reader
    of M0 that was fitted on the same labels (rivals.py).

    Args:
        reference: (N, V, K) logits of M0.
    """
    interview, rows = snapshot.task.interview, snapshot.rows("held_out")
    everyone = torch.arange(snapshot.world.n_subject, device=model.token.weight.device)
    asked = [interview.both(model, chunk) for chunk in everyone.split(CHUNK)]
    answers, said = (torch.cat(parts).cpu() for parts in zip(*asked))
    then = implied_odds(reference, interview.pairs.cpu())[rows]
    said_then = fit_explainer(read_questions(m0, snapshot.task), snapshot)
    explained = log_odds(said.double())[rows], log_odds(said_then)[rows]
    found = {}
    for name, logits in (
        ("own", answers), ("refitted", refit_answers(model, snapshot, reference))
    ):
        now = implied_odds(logits, interview.pairs.cpu())[rows]
        facts = snapshot.world.rests_on[rows, 0]
        found[name] = follow_odds(explained[0], now, then, facts, explained[1])
    return found
