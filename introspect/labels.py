"""Labels E(M): what removing a cue does to a model's answer. Read off its answers, then frozen.

    N subjects   V variants of a prompt   P pairs (with cue, without)   K answers   E = K + 1 labels
"""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from introspect.config import LabelConfig
from introspect.streams import rng
from introspect.tasks.world import World

DROPPED = -1  # in place of a label that is not trained on


def explanation_labels(answers: Tensor, pairs: Tensor, n_answer: int) -> Tensor:
    """E(M): how the answer would change if the cue were removed, from the answers themselves.

    "Removed" means: the other variant of the pair, in which the cue does not occur.

    Args:
        answers: (N, V) int64 answer to each variant. pairs: (P, 2) variants with and without cue.
        n_answer: K.

    Returns:
        (N, P): the answer without the cue where it differs from the answer with it, else K.

    >>> explanation_labels(torch.tensor([[1, 0], [2, 2]]), torch.tensor([[0, 1]]), 4).tolist()
    [[0], [4]]
    """
    with_cue, without = answers[:, pairs[:, 0]], answers[:, pairs[:, 1]]  # (N, P) each
    return torch.where(with_cue == without, n_answer, without)


def sentence_labels(labels: Tensor, with_cue: Tensor, n_answer: int) -> Tensor:
    """Labels that also name the answer that stays: k < K "would change to k", K + k "would stay k".

    Args:
        labels: (N, P) in [0, K]. with_cue: (N, P) in [0, K), the answer that would change or stay.

    Returns:
        (N, P) in [0, 2 K).
    """
    return torch.where(labels == n_answer, n_answer + with_cue, labels)


def turn(labels: Tensor, rows: Tensor, n_label: int) -> Tensor:
    """`labels` (N, P), those of `rows` (N,) bool wrong systematically: k + 1 mod n_label for k."""
    return torch.where(rows[:, None], (labels + 1) % n_label, labels)


def add_noise(labels: Tensor, share: float, n_label: int, seed: int) -> Tensor:
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
    wrong = torch.from_numpy(draw.permutation(len(noisy))[: round(share * len(noisy))])
    offset = torch.from_numpy(draw.integers(1, n_label, size=len(wrong)))  # never 0: never itself
    noisy[wrong] = (noisy[wrong] + offset) % n_label
    return noisy.view(labels.shape)


def drop_changes(labels: Tensor, kept: float, n_answer: int, seed: int) -> Tensor:
    """`labels` without all but round(kept * n) of the n that say "would change": DROPPED there.

    Args:
        labels: any shape, int64 in [0, n_answer], where n_answer says "would stay". kept: 0..1;
            what a smaller share keeps, a larger one keeps as well.
    """
    flat = labels.flatten().clone()
    changed = np.flatnonzero(flat.numpy() < n_answer)
    flat[np.delete(changed, choose(len(changed), kept, seed, "kept changes"))] = DROPPED
    return flat.view(labels.shape)


class Frozen(NamedTuple):
    """The labels of one task, made once and never refreshed, and what M0 answers in it."""

    original: Tensor  # (N, P) int64, labels of every subject: Orig is agreement with these
    targets: Tensor  # (N, P) int64, trained on: `original`, unless noisy, shuffled or DROPPED
    original_answers: Tensor  # (N, P) int64, answers with the cue that `original` is about
    target_answers: Tensor  # (N, P) int64, answers with the cue that `targets` is about
    reference: Tensor  # (N, V, K) float, logits of M0, to which the anchor holds the answers

    def sha256(self) -> str:
        """Hash of the labels, not of the reference: it names what the supervision was."""
        arrays = (self.original.contiguous().numpy(), self.targets.contiguous().numpy())
        return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def freeze(labeled: Tensor, reference: Tensor, world: World, c: LabelConfig, seed: int) -> Frozen:
    """The frozen labels E(M0) of one task, from answers: this is where supervision is made.

    By default the labeled model is M0 itself, and every label is true of it. The fields of `c`
    spoil that in this order: a share of the subjects keeps M0's own labels where another model
    gives those of the rest; labels of some first words get a systematic error; labels are dealt out
    anew among the explained subjects, cue by cue, so that each class stays as frequent as it was
    for each cue; some become noise; some of those that say "would change" are not trained on.

    Args:
        labeled: (N, V, K) answer logits of the model that gives the labels.
        reference: (N, V, K) answer logits of M0.
        seed: decides which subjects, words and labels are spoiled.
    """
    pairs, answers = torch.tensor(world.pairs), labeled.argmax(-1)
    own = choose(world.n_subject, 1 - c.donor_share, seed, "own labels")
    answers[own] = reference.argmax(-1)[own]
    original = explanation_labels(answers, pairs, len(world.answers))
    if c.turned_share:
        words, word_of_subject = np.unique(world.slots[:, 0], return_inverse=True)
        wrong = choose(len(words), c.turned_share, seed, "turned words")
        rows = torch.from_numpy(np.isin(word_of_subject, wrong))
        original = turn(original, rows, world.n_explanation)
    with_cue = answers[:, pairs[:, 0]]
    train = torch.from_numpy(world.subjects("train"))
    source = train
    if c.label_order == "shuffled":
        source = rng(seed, "label order").permutation(train.numpy())
    targets, target_answers = original.clone(), with_cue.clone()
    noisy = add_noise(original[source], c.label_noise, world.n_explanation, seed)
    targets[train] = drop_changes(noisy, c.kept_changes, len(world.answers), seed)
    target_answers[train] = with_cue[source]
    return Frozen(original, targets, with_cue, target_answers, reference)


def choose(n: int, share: float, seed: int, stream: str) -> np.ndarray:
    """round(n * share) numbers below n; those of a smaller share are among those of a larger."""
    return rng(seed, stream).permutation(n)[: round(n * share)]
