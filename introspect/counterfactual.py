"""Labels: what removing a cue does to an answer, read off the answers themselves.

    N subjects   V variants of a prompt   P pairs (with cue, without)   K answers   E = K + 1 labels
"""

import torch
from torch import Tensor

from introspect.streams import rng


def explanation_labels(answers: Tensor, pairs: Tensor, n_answer: int) -> Tensor:
    """E(M): how the answer would change if the cue were removed, from the answers themselves.

    "Removed" means: the other variant of the pair, in which the cue does not occur.

    Args:
        answers: (N, V) int64 answer to each variant. pairs: (P, 2) variants with and without cue.
        n_answer: K.

    Returns:
        (N, P): the answer without the cue where it differs from the answer with it, else K.
    """
    with_cue, without = answers[:, pairs[:, 0]], answers[:, pairs[:, 1]]  # (N, P) each
    return torch.where(with_cue == without, n_answer, without)


def sentences(labels: Tensor, with_cue: Tensor, n_answer: int) -> Tensor:
    """Labels that also name the answer that stays: k < K "would change to k", K + k "would stay k".

    Args:
        labels: (N, P) in [0, K]. with_cue: (N, P) in [0, K), the answer that would change or stay.

    Returns:
        (N, P) in [0, 2 K).
    """
    return torch.where(labels == n_answer, n_answer + with_cue, labels)


def turned(labels: Tensor, rows: Tensor, n_label: int) -> Tensor:
    """`labels` (N, P), those of `rows` (N,) bool turned to the next class: (k + 1) mod n_label."""
    return torch.where(rows[:, None], (labels + 1) % n_label, labels)


def with_noise(labels: Tensor, share: float, n_label: int, seed: int) -> Tensor:
    """`labels` with exactly round(share * n) of them replaced by another class, uniformly chosen.

    Args:
        labels: any shape, int64 in [0, n_label). share: 0..1.

    Raises:
        ValueError: a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share of noise must be in 0..1, got {share}")
    draw = rng(seed, "label noise")
    noisy = labels.flatten().clone()
    chosen = torch.from_numpy(draw.permutation(len(noisy))[: round(share * len(noisy))])
    offset = torch.from_numpy(draw.integers(1, n_label, size=len(chosen)))  # never 0: never itself
    noisy[chosen] = (noisy[chosen] + offset) % n_label
    return noisy.view(labels.shape)
