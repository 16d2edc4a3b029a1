"""Tests of hypotheses about a mean over worlds, and what many of them promise together.

    n worlds   x_i the number of world i   m tests   alpha the chance of even one false rejection

Two tests answer every question: Student's t takes the numbers as near-normal; the exact sign-flip
test takes them only as symmetric around their mean, and cannot go below 2 / 2^n. A claim needs
both. `within` turns them round, so that a mean that is too small to matter can be a result too.
"""

import math
from collections.abc import Sequence

import numpy as np

from introspect.stats import t_cdf
from introspect.streams import rng

FEWEST = 6  # worlds with which the exact sign-flip test can go below 5 %: 2 / 2^n
EXACT, DRAWN = 20, 2**18  # most values whose signs are all tried; signs that are drawn for more


def check(values: Sequence[float]) -> np.ndarray:
    """The values; refuses fewer than two, which do not show their spread."""
    if len(values) < 2:
        raise ValueError(f"a p-value needs at least 2 values, got {len(values)}")
    return np.asarray(values, dtype=np.float64)


def t_tail(values: Sequence[float]) -> float:
    """One-sided p-value for a mean of n independent, near-normal values that is not above 0.

        P(T_{n-1} >= t),   t = mean / (s / sqrt(n))

    If all values are equal, the formula has no value; we take its limits: 1/2 if they are 0, else 0
    or 1.

    Raises:
        ValueError: fewer than two values.
    """
    x = check(values)
    spread = float(x.std(ddof=1))
    if x.min() == x.max() or spread == 0:  # so small that its square is 0
        return float(0.5 - 0.5 * np.sign(x.mean()))
    t = float(x.mean()) / (spread / math.sqrt(len(x)))
    return t_cdf(-t, len(x) - 1)


def flip_tail(values: Sequence[float]) -> float:
    """One-sided p-value for independent values that are distributed symmetrically around 0.

        P(sum_i s_i x_i >= sum_i x_i),   s_i = 1 or -1, each of the 2^n choices as likely (Fisher)

    Exact for up to EXACT values. For more, DRAWN choices are drawn, always the same ones, and the
    observed one counts among them (Phipson and Smyth 2010).

    Raises:
        ValueError: fewer than two values.
    """
    x = check(values)
    tolerance = 1e-9 * float(np.abs(x).sum())  # two sums of the same numbers round differently
    if len(x) > EXACT:
        signs = rng(0, "sign flips", len(x)).choice([-1.0, 1.0], (DRAWN, len(x)))
        return (1 + int((signs @ x >= x.sum() - tolerance).sum())) / (1 + DRAWN)
    sums = np.zeros(1)
    for value in x:
        sums = np.concatenate([sums + value, sums - value])
    return float((sums >= x.sum() - tolerance).mean())


def p_value(values: Sequence[float]) -> float:
    """Two-sided p-value by Student's t: twice the smaller tail. It is below 0.05 if and only if the
    95 % interval of `stats.student_t` excludes 0.

    Raises:
        ValueError: fewer than two values.
    """
    return 2 * t_tail(turn(values))


def turn(values: Sequence[float]) -> np.ndarray:
    """The values, all with the other sign where their mean is below 0."""
    x = check(values)
    return x if x.mean() >= 0 else -x


def sign_flip(values: Sequence[float]) -> float:
    """Two-sided p-value by sign flips: the share of choices whose sum is at least as far from 0.

    >>> sign_flip([0.1, 0.2, 0.3, 0.1])
    0.125
    """
    return min(1.0, 2 * flip_tail(turn(values)))


def differs(values: Sequence[float]) -> float:
    """Two-sided p-value for mean 0 on which both tests agree: the larger of theirs."""
    return max(p_value(values), sign_flip(values))


def within(values: Sequence[float], low: float, high: float) -> float:
    """p-value for a mean that is not inside low..high: two one-sided tests (Schuirmann 1987), by t
    and by sign flips; the largest of all four. Below 0.05, the 90 % interval lies inside.

    Raises:
        ValueError: fewer than two values, or bounds that leave nothing between them.
    """
    x = check(values)
    if not low < high:
        raise ValueError(f"need low < high, got {low} and {high}")
    return max(tail(side) for side in (x - low, high - x) for tail in (t_tail, flip_tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of m hypotheses, adjusted for m tests (Holm 1979, step-down): if you reject those
    <= alpha, the chance of one or more false rejections is at most alpha, whether or not the tests
    depend on each other.

        adjusted_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)),   p_(1) <= ... <= p_(m)

    Returns:
        The adjusted values in the order of `p_values`; each is at least the original one.

    Raises:
        ValueError: a value outside 0..1.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    if wrong := [p for p in p_values if not 0 <= p <= 1]:
        raise ValueError(f"p-values must be in 0..1, got {wrong[0]}")
    m, worst, adjusted = len(p_values), 0.0, [0.0] * len(p_values)
    for rank, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def keep_gates(families: Sequence[Sequence[float]]) -> list[list[float]]:
    """p-values of ordered families of hypotheses, adjusted so that the chance of even one false
    rejection in all families together is at most alpha (parallel gatekeeping; Dmitrienko, Offen and
    Westfall 2003).

        alpha_1 = alpha,   alpha_{k+1} = alpha_k * rejected_k / m_k
        family k, but for the last:   reject p <= alpha_k / m_k    (Bonferroni)
        the last family:              reject holm(p) <= alpha_K

    A family gets the share of alpha that the one before it has earned: all of it where every row
    of that one is rejected, nothing where none is. Bonferroni and not Holm in the gates, since only
    a rejection that spends its own share can pass it on.

    Returns:
        for each p the smallest alpha, in 0..1, at which it is rejected; 1 where there is none.

    >>> keep_gates([[0.01, 0.3], [0.004, 0.02]])
    [[0.02, 0.6], [0.02, 0.04]]
    """
    *gates, last = families
    adjusted = [[find_level(gates[:k], len(p) * x) for x in p] for k, p in enumerate(gates)]
    return [*adjusted, [find_level(gates, x) for x in holm(last)]]


def find_level(gates: Sequence[Sequence[float]], needed: float) -> float:
    """The smallest alpha, at most 1, at which these gates pass on at least the level `needed`."""
    if needed > 1 or not gates:
        return min(1.0, needed)
    *before, gate = gates
    m = len(gate)
    ways = (max(m * p, needed * m / j) for j, p in enumerate(sorted(gate), start=1))
    return min((find_level(before, level) for level in ways), default=1.0)
