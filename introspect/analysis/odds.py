"""Do explanations move with the answers in log-odds? No answer has to tip over for this.

    N subjects   V variants   P pairs   K answers   E = K + 1 labels   p, q probabilities

A label says which answer would be given without the cue, or that it stays. Answers drawn with and
without the cue, independently, make a label at random, with the probabilities

    q_k    = p(k without the cue) (1 - p(k with it)),   k < K
    q_stay = sum_k p(k without) p(k with)               (they add up to 1)

These change smoothly with the answers, where a label jumps at a tie. The log-odds y of each class
of an explanation are regressed on those of q, of the model now and of M0:

    y = a_{cue, class} + now x_now + then x_then

With a constant for each cue and class, what is often said anyway explains nothing. Since y is also
a + now (x_now - x_then) + (now + then) x_then, `now` is the slope of explanations on the change of
answers, at equal answers of M0. Explanations that were trained on labels are surer than q, which
makes both slopes large alike, so the number to read is

    share = now / (now + then):    1 follows the model now, 0 follows M0, 0.5 both alike

The change of explanations since M0 is not used: M0 has an untrained explanation head, and the
change from another explainer of M0 mixes in how sure each of the two is.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from introspect.analysis.matrix import Estimate
from introspect.analysis.readout import refit_answers
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


def regress(y: np.ndarray, x: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients b (p,) of least squares y ~ x b, and their cluster-robust covariance (p, p).

        cov = G / (G - 1) (x'x)^-1 (sum_g s_g s_g') (x'x)^-1,   s_g = sum_{i in g} x_i (y_i - x_i b)

    Its root is the standard error of stats.clustered where x is a column of ones (Liang & Zeger
    1986).

    Args:
        y: (n,). x: (n, p). clusters: (n,) any names.

    Raises:
        ValueError: the columns of x are dependent, or there are fewer than two clusters.
    """
    names, cluster = np.unique(clusters, return_inverse=True)
    G, smallest = len(names), 1e-6 * max(1.0, float(np.linalg.norm(x)))
    if G < 2 or np.linalg.matrix_rank(x, tol=smallest) < x.shape[1]:
        raise ValueError(f"need independent columns and two clusters or more, got {G}")
    bread = np.linalg.inv(x.T @ x)
    b = bread @ (x.T @ y)
    scores = np.stack([np.bincount(cluster, weights=c) for c in x.T * (y - x @ b)])  # (p, G)
    return b, bread @ (scores @ scores.T) @ bread * G / (G - 1)


def follow_odds(
    said: Tensor, now: Tensor, then: Tensor, clusters: np.ndarray
) -> dict[str, Estimate]:
    """`now`, `then` and `share` of the regression above, with 95 % intervals.

    The interval of the share is linearized (the delta method), so it is right only where now + then
    is well above 0. All is None but n, the clusters, where now and then cannot be told apart, as in
    a model that has not moved, or there are fewer than two clusters.

    Args:
        said, now, then: (n, P, E) log-odds of explanations, of the answers now and of M0's, of some
            subjects. clusters: (n,) of each subject.
    """
    def center(x: Tensor) -> np.ndarray:
        return (x - x.mean(0)).double().flatten().numpy()  # within each cue and class

    G, x = len(np.unique(clusters)), np.stack([center(now), center(then)], axis=1)
    none = {"mean": None, "low": None, "high": None, "n": G}
    try:
        (a, b), cov = regress(center(said), x, np.repeat(clusters, said[0].numel()))
        t = t_quantile(0.975, G - 1)
    except ValueError:
        return dict.fromkeys(("now", "then", "share"), none)
    slope = np.array([b, -a]) / (a + b) ** 2  # of the share, in now and then
    variances = cov[0, 0], cov[1, 1], slope @ cov @ slope
    halves = t * np.sqrt(variances)
    return {
        name: {"mean": float(mean), "low": float(mean - half), "high": float(mean + half), "n": G}
        for name, mean, half in zip(("now", "then", "share"), (a, b, a / (a + b)), halves)
    }


@torch.no_grad()
def compare_odds(model: GPT, snapshot: Snapshot, reference: Tensor) -> dict[str, Any]:
    """`follow_odds` on held-out subjects, of the answers as they are, under "own", and of those of
    a refitted answer head (readout.py), under "refitted".

    Args:
        reference: (N, V, K) logits of M0.

    Raises:
        ValueError: explanations are sentences, which are not one class of K + 1.
    """
    interview, rows = snapshot.task.interview, snapshot.rows("held_out")
    if snapshot.channel.suffixes != ((),):
        raise ValueError("log-odds are for all channels but verbal")
    everyone = torch.arange(snapshot.world.n_subject, device=model.token.weight.device)
    asked = [interview.both(model, chunk) for chunk in everyone.split(CHUNK)]
    answers, said = (torch.cat(parts).cpu() for parts in zip(*asked))
    versions = {"own": answers, "refitted": refit_answers(model, snapshot, reference)}
    odds = {
        name: implied_odds(logits, interview.pairs.cpu())[rows]
        for name, logits in (versions | {"then": reference}).items()
    }
    explained, facts = log_odds(said.double())[rows], snapshot.world.rests_on[rows, 0]
    return {name: follow_odds(explained, odds[name], odds["then"], facts) for name in versions}
