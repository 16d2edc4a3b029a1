"""What is claimed: do explanations agree with the model that is, or with the model that was?

    explanation   what the model says               class ids, one per item
    current       E(M), the label that its behavior now would give
    original      E(M0), the frozen label

The gap has a part that needs no knowledge of the model (frequency.py).
"""

import math
from typing import Any, NamedTuple

Labels = Any  # class ids in a tensor or in a numpy array


class Coupling(NamedTuple):
    self_match: float  # Self: share of explanations equal to the current label
    orig_match: float  # Orig: share of explanations equal to the original label
    drift: float  # d: share of items whose two labels differ, a bound on |gap|
    preference: float | None  # of the explanations that equal one of two different labels, the
    # share equal to the current one; 0.5 is indifference, None: no explanation equals either

    @property
    def gap(self) -> float:
        """Self - Orig. Positive means introspective coupling (Guo et al. 2026)."""
        return self.self_match - self.orig_match


def coupling(explanation: Labels, current: Labels, original: Labels) -> Coupling:
    """Exact-match agreement of explanations with the current and with the original labels.

        gap = drift * (P(explanation = current | differ) - P(explanation = original | differ))

    Args:
        explanation, current, original: class ids of one shape, (n,) or (N, P).

    Raises:
        ValueError: empty or unequal inputs, for which a mean would be meaningless.

    >>> import numpy as np
    >>> coupling(*np.array([[0, 1, 1, 2], [0, 1, 2, 2], [0, 0, 2, 2]]))
    Coupling(self_match=0.75, orig_match=0.5, drift=0.25, preference=1.0)
    """
    check_shapes(explanation, current, original)
    n = math.prod(explanation.shape)
    now, then, differ = explanation == current, explanation == original, current != original
    decided = int(((now | then) & differ).sum())
    return Coupling(
        self_match=int(now.sum()) / n,
        orig_match=int(then.sum()) / n,
        drift=int(differ.sum()) / n,
        preference=int((now & differ).sum()) / decided if decided else None,
    )


def check_shapes(*inputs: Labels) -> None:
    shapes = [tuple(t.shape) for t in inputs]
    if len(set(shapes)) > 1 or math.prod(shapes[0]) == 0:
        raise ValueError(f"need {len(inputs)} equal, non-empty shapes, got {shapes}")


def majority_share(labels: Labels) -> float:
    """Share of the most frequent label: what the best constant explanation gets."""
    return int(labels.flatten().bincount().max()) / labels.numel()
