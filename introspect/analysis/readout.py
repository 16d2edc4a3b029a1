"""Has the answer head come loose from what explanations read? Labels of a refitted head.

    n items of the fit   C = n_embd   K answers

Where nothing holds the answers, the trunk moves and the linear answer head does not follow. Then
the answers change, although what they are read from may still be there. So the trunk of a finished
run is frozen, its answer head is fitted anew to what M0 answers about the *explained* subjects,
with every cue and without, and the labels of the held-out subjects are read off its answers:

    minimize  mean_n CE(softmax(M0), softmax(h W + b)) + l2 / 2 |W|^2,    h (C,), W (C, K), b (K,)

The problem is convex, so its solution does not depend on where it starts. If explanations then are
true of the refitted model, their gap was lost in the readout. Guo et al. (2026) do not do this; the
penalty 1e-3 is our choice.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from introspect.interview import CHUNK, RunTask
from introspect.measure import Snapshot, measure, measure_controls
from introspect.model import GPT
from introspect.reading import NUMBER
from introspect.report.text import tabulate

SHOWN = {  # in words -> what is in readout.json
    "explanations, answers as they are": ("own",),
    "explanations, answer head refitted": ("refitted",),
    "a linear reader of M0": ("rivals", "frozen"),
    "a linear reader of the run": ("rivals", "current"),
    "a linear reader of words": ("rivals", "words"),
    "the run, fitted on its labels now": ("rivals", "state"),
    "words, fitted on its labels now": ("rivals", "state_words"),
}
PART = {"self": NUMBER, "gap": NUMBER, "adjusted": NUMBER}
RIVALS = {keys[1]: PART for keys in SHOWN.values() if len(keys) > 1}
FORM = {"own": PART, "refitted": PART, "rivals": RIVALS}  # of readout.json
L2 = 1e-3
TOLERANCE = 1e-8  # largest norm of the gradient at the end
MOST_STEPS = 100


def fit_classifier(x: Tensor, targets: Tensor, l2: float = L2) -> tuple[Tensor, Tensor]:
    """Weights W (D, K) and bias b (K,) of the softmax regression above, by Newton's method.

    Args:
        x: (n, D). targets: (n, K) probabilities; rows sum to 1. l2: > 0; the bias is free.

    Raises:
        ValueError: no solution within 100 steps, as with numbers that are not finite.
    """
    x, y = x.double(), targets.double()
    (n, D), K = x.shape, y.shape[1]
    x1 = torch.cat([x, x.new_ones(n, 1)], dim=1)  # (n, D + 1): the last weight is the bias
    penalty = torch.full((D + 1, 1), l2, dtype=x.dtype)
    penalty[-1] = 0.0
    w = x.new_zeros(D + 1, K)

    def loss(w: Tensor) -> Tensor:
        return -(y * (x1 @ w).log_softmax(-1)).sum() / n + (penalty * w.square()).sum() / 2

    for _ in range(MOST_STEPS):
        p = (x1 @ w).softmax(-1)
        gradient = x1.T @ (p - y) / n + penalty * w  # (D + 1, K)
        if gradient.norm() <= TOLERANCE:
            return w[:-1], w[-1]
        hessian = second_derivative(x1, p, penalty)
        step = torch.linalg.lstsq(hessian, gradient.T.flatten(), driver="gelsd").solution
        step, size, before = step.view(K, D + 1).T, 1.0, loss(w)
        while size > 1e-10 and not loss(w - size * step) <= before:
            size /= 2
        w = w - size * step
    raise ValueError(f"the fit has not ended after {MOST_STEPS} steps of Newton's method")


def second_derivative(x: Tensor, p: Tensor, penalty: Tensor) -> Tensor:
    """(K (D + 1), K (D + 1)), in the order of the classes: block (k, m) is the mean of
    p_k ([k = m] - p_m) x x^T, plus the penalty on the diagonal."""
    n, K = p.shape
    blocks = []
    for k in range(K):
        row = [x.T @ (x * (p[:, k] * (float(k == m) - p[:, m]) / n)[:, None]) for m in range(K)]
        row[k] = row[k] + penalty[:, 0].diag()
        blocks.append(torch.cat(row, dim=1))
    return torch.cat(blocks)


@torch.no_grad()
def read_hidden(model: GPT, task: RunTask) -> Tensor:
    """(N, V, C) what the answer head reads, of every variant of all subjects."""
    seen: list[Tensor] = []
    device = model.token.weight.device
    with model.hooked("task_head", lambda x: seen.append(x)):
        for chunk in torch.arange(task.world.n_subject, device=device).split(CHUNK):
            task.interview.answers(model, chunk)
    return torch.cat(seen).cpu()


def refit_answers(model: GPT, snapshot: Snapshot, reference: Tensor) -> Tensor:
    """(N, V, K) logits of a refitted answer head.

    Args:
        reference: (N, V, K) logits of M0. Those of the held-out subjects are not used.
    """
    hidden, train = read_hidden(model, snapshot.task), snapshot.rows("train")
    targets = reference.double().softmax(-1)[train].flatten(0, 1)
    weights, bias = fit_classifier(hidden[train].flatten(0, 1), targets)
    return hidden.double() @ weights + bias


def refit(model: GPT, snapshot: Snapshot, reference: Tensor) -> Snapshot:
    """The snapshot of the model with a refitted answer head; see `refit_answers`.

    >>> from tempfile import TemporaryDirectory
    >>> from introspect.analysis.notebook import SMALL, run
    >>> with TemporaryDirectory() as out:
    ...     made = run("anchor/reg", out_dir=out, **SMALL)
    >>> [s] = made.run.snapshots
    >>> refit(made.model, s, reference=s.logits[0]).now.shape  # 36 subjects, with 4 hints or none
    torch.Size([36, 5])
    """
    refitted = copy.copy(snapshot)
    refitted.logits = snapshot.logits[0], refit_answers(model, snapshot, reference)
    refitted.now = refitted.logits[1].argmax(-1)
    refitted.current = snapshot.task.interview.labels(refitted.now)
    return refitted


def summarize(snapshots: list[Snapshot]) -> dict[str, Any]:
    """What is published of a readout: shares of held-out items, -1..1."""
    measured = measure(snapshots, "held_out")
    keys = "self", "orig", "gap", "drift", "preference"
    return {key: measured[key] for key in keys} | {
        "adjusted": measure_controls(snapshots)["adjusted"],
        "train_answers_moved": measure(snapshots, "train")["behavior_drift"],
    }


def compare_readouts(
    model: GPT, snapshots: list[Snapshot], references: list[Tensor]
) -> dict[str, Any]:
    """Self, Orig, gap, drift, preference and adjusted gap with the answer head as it is, under
    "own", and refitted, under "refitted"; of the explained tasks together."""
    explained = [(s, r) for s, r in zip(snapshots, references) if s.task.explained]
    return {
        "own": summarize([s for s, _ in explained]),
        "refitted": summarize([refit(model, s, reference) for s, reference in explained]),
    }


def show_readouts(runs_of: dict[str, list[dict[str, Any]]]) -> str:
    """What the files readout.json of each arm have, as text; means over its runs."""
    tables = {"gap": ("gap",), "adjusted": ("adjusted",)}, {"Self": ("self",)}
    what = "who explains held-out items"
    return "\n".join(tabulate(what, SHOWN, columns, runs_of) for columns in tables)
