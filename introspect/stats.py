"""Intervals for means: over seeds, over items that come in clusters, and for one proportion.

Claims about training need intervals over seeds; intervals over items describe one trained model.
There is no percentile bootstrap: with 3 to 5 seeds it covers the mean in 75 to 85 % of cases, not
in 95 %.
"""

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np


class Interval(NamedTuple):
    mean: float
    low: float
    high: float
    n: int  # units: seeds, clusters or trials


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), regularized, by its continued fraction (Numerical Recipes 6.4, Lentz's method).

    For a, b > 0 and 0 <= x <= 1; relative error about 1e-14.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction would converge slowly
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    tiny, f, c, d, m = 1e-300, 1.0, 1.0, 0.0, 0
    while True:
        if m == 0:
            numerator = 1.0
        elif m % 2 == 0:
            k = m // 2
            numerator = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
        else:
            k = m // 2
            numerator = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
        d = 1 / max(1 + numerator * d, tiny, key=abs)
        c = max(1 + numerator / c, tiny, key=abs)
        f *= c * d
        if abs(1 - c * d) < 1e-15 or m > 10_000:
            return front * (f - 1)
        m += 1


def t_cdf(t: float, df: float) -> float:
    """P(T <= t) for Student's t with df > 0 degrees of freedom."""
    tail = incomplete_beta(df / 2, 0.5, df / (df + t * t)) / 2
    return 1 - tail if t > 0 else tail


@cache  # callers need the same few again and again
def t_quantile(p: float, df: float) -> float:
    """The t with t_cdf(t, df) = p, for 0 < p < 1, by bisection to the last bit.

    >>> round(t_quantile(0.975, 2), 4)
    4.3027
    """
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        low, high = high, 2 * high
    while low < (mid := (low + high) / 2) < high:
        low, high = (mid, high) if t_cdf(mid, df) < p else (low, mid)
    return high


def student_t(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """mean +- t_{n-1} s / sqrt(n): the mean of n independent, near-normal values, such as seeds.

    It covers the true mean in 95 % of cases for normal data and in 91.9 to 92.8 % for the skewed
    data of data/results/calibration.txt, n = 3 to 10. For the difference between two arms with the
    same seeds, pass the differences seed by seed.

    Raises:
        ValueError: fewer than two values, which do not show their spread.

    >>> [round(x, 2) for x in student_t([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48, 3]
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least 2 values, got {n}")
    mean = float(np.mean(values))
    half = t_quantile((1 + confidence) / 2, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def clustered(
    values: np.ndarray, clusters: np.ndarray, confidence: float = 0.95
) -> Interval | None:
    """The mean of items that depend on each other within clusters, such as four hints of one fact.

        var = G / (G - 1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2,   G clusters, n items

    The standard error is cluster-robust (Miller 2024, arXiv:2411.00640, section 2.2); the interval
    uses Student's t with G - 1 degrees of freedom.

    Args:
        values: (n,). clusters: (n,) the name of each item's cluster, of any type.

    Returns:
        None for fewer than two clusters.
    """
    values = np.asarray(values, dtype=np.float64)
    _, cluster = np.unique(clusters, return_inverse=True)
    n, G = len(values), int(cluster.max()) + 1 if len(values) else 0
    if G < 2:
        return None
    mean = float(values.mean())
    residuals = np.bincount(cluster, weights=values - mean)
    se = math.sqrt(G / (G - 1) * float(residuals @ residuals)) / n
    half = t_quantile((1 + confidence) / 2, G - 1) * se
    return Interval(mean, mean - half, mean + half, G)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (1927) for a proportion of n independent trials; within 0..1.

    Raises:
        ValueError: no trials, or a count of successes outside 0..n.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"need 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, center - half), min(1.0, center + half), n)


def interval(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and 95 % Student-t interval over seeds; n counts the seeds that have a value.

    >>> interval([0.5, None])
    {'mean': 0.5, 'low': None, 'high': None, 'n': 1}
    """
    there = [v for v in values if v is not None]
    if len(there) < 2:
        return {"mean": there[0] if there else None, "low": None, "high": None, "n": len(there)}
    return student_t(there)._asdict()


def side_of(*intervals: dict[str, Any]) -> int:
    """The side of 0 on which all of these intervals lie, 1 or -1. It is 0 where one of them
    contains 0 or has no ends, or where they lie on both sides.

    >>> side_of({"low": 0.1, "high": 0.3}), side_of({"low": -0.1, "high": 0.3})
    (1, 0)
    """
    if any(ends["low"] is None for ends in intervals):
        return 0
    below = all(ends["high"] < 0 for ends in intervals)
    return all(ends["low"] > 0 for ends in intervals) - below


def verdict(gap: dict[str, Any], adjusted: dict[str, Any] | None = None) -> str:
    """What the intervals of a gap and of its adjusted gap say together; without one, the gap alone.

    A side is named only where both intervals exclude zero on it, because where the frequencies of
    labels drift each of them can have a sign of its own: the gap of explanations that know nothing
    of the model, and the adjusted gap of explanations that know both models and favor neither.

    >>> verdict({"low": 0.02, "high": 0.18, "n": 3}, {"low": 0.01, "high": 0.1, "n": 3})
    'coupling: explanations follow the model as it is now'
    """
    both = [gap] if adjusted is None else [gap, adjusted]
    n = min(ends["n"] for ends in both)
    if n < 3:  # two seeds can agree by luck, and their interval shrinks to nothing
        return f"no verdict at n = {n}"
    if side := side_of(*both):
        if side > 0:
            return "coupling: explanations follow the model as it is now"
        return "reversed: explanations match the frozen labels better"
    reason = ": the frequencies of labels alone can make such a gap" if side_of(gap) else ""
    return f"no difference seen at n = {n}{reason}"
