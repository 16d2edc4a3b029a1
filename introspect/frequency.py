"""The part of a gap that the frequencies of labels make alone, and the part beyond it.

A label that is often said can become more frequent: then explanations that know nothing of the
model have a gap above zero. `by_frequency` is that part of the gap, `adjusted_gap` is the rest.
"""

import torch
from torch import Tensor

from introspect.metrics import check_shapes


def balanced_match(explanation: Tensor, current: Tensor) -> float:
    """Mean over the classes k of `current` of the share of its items that are explained by k.

    1 / (number of classes) for a constant explanation and for one that knows nothing.
    """
    hits = (explanation == current).double()
    return float(torch.stack([hits[current == k].mean() for k in current.unique()]).mean())


def by_frequency(explanation: Tensor, current: Tensor, original: Tensor, cue: Tensor) -> float:
    """The gap that the same explanations would have if they were dealt out at random.

        sum_c n_c / n sum_k said(k | c) (now(k | c) - then(k | c)),   cues c, labels k

    said, now and then are shares of label k among the n_c items with cue c, as explanation, as
    current and as original label. This is the mean of the gap over all ways to deal out the
    explanations of each cue among its subjects (our choice). It is above zero where labels that
    are often said have become more frequent, whatever the explanations know of the model.

    Args:
        explanation, current, original: class ids of one shape, (n,) or (N, P).
        cue: which cue an item has, any ids, of the same shape.

    Returns:
        -1..1.

    Raises:
        ValueError: empty or unequal inputs.
    """
    items, _, dealt = by_cue(explanation, current, original, cue)
    return float((dealt.double() / items).sum()) / explanation.numel()


def adjusted_gap(explanation: Tensor, current: Tensor, original: Tensor, cue: Tensor) -> float:
    """gap - by_frequency: what explanations gain by being given for the right subjects.

    It is exactly 0 for explanations that depend on the cue alone (constant ones among them), and 0
    on average for explanations dealt out at random within each cue. It can differ from 0 when the
    gap is 0: report it beside the gap, not instead of it. Arguments and errors are those of
    `by_frequency`; the range is -2..2.

    >>> said, now, then = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 1]])
    >>> adjusted_gap(said, now, then, torch.zeros(4))
    0.5
    """
    items, sides, dealt = by_cue(explanation, current, original, cue)
    return float(((sides * items - dealt).double() / items).sum()) / explanation.numel()


def by_cue(
    explanation: Tensor, current: Tensor, original: Tensor, cue: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers of every cue, (C,) each: its items n_c; how many more of its explanations equal
    the current label than the original one; n_c times what that would be if dealt at random."""
    check_shapes(explanation, current, original, cue)
    _, c = cue.flatten().unique(return_inverse=True)
    labels = torch.stack([explanation.flatten(), current.flatten(), original.flatten()])
    classes, labels = labels.unique(return_inverse=True)  # (K,), (3, n)
    C, K = int(c.max()) + 1, len(classes)
    said, now, then = ((c * K + row).bincount(minlength=C * K).view(C, K) for row in labels)
    side = (labels[0] == labels[1]).long() - (labels[0] == labels[2]).long()  # (n,)
    return c.bincount(), c.new_zeros(C).index_add(0, c, side), (said * (now - then)).sum(1)
