"""Intervals, against scipy, by hand, and by how often they cover what they should."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from introspect.stats import (
    clustered,
    incomplete_beta,
    student_t,
    t_cdf,
    t_quantile,
    wilson,
)
from tests.cases import each

positive = st.floats(0.05, 200)
confidences = st.sampled_from([0.5, 0.8, 0.95, 0.999])
numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


@given(positive, positive, st.floats(0, 1))
def test_incomplete_beta_is_scipys(a, b, x):
    expected = scipy.special.betainc(a, b, x)
    assert incomplete_beta(a, b, x) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.floats(0.001, 50), positive)
def test_t_cdf_is_scipys_and_symmetric(t, df):
    assert t_cdf(-t, df) == pytest.approx(scipy.stats.t.cdf(-t, df), rel=1e-9)
    assert t_cdf(t, df) + t_cdf(-t, df) == pytest.approx(1, rel=1e-12)
    assert t_cdf(0, df) == 0.5


@given(st.floats(0.51, 0.999), st.floats(1, 200))
def test_t_quantile_is_scipys_and_the_inverse_of_the_cdf(p, df):
    t = t_quantile(p, df)
    assert t == pytest.approx(scipy.stats.t.ppf(p, df), rel=1e-9)
    assert t_cdf(t, df) == pytest.approx(p, rel=1e-11)
    assert t_quantile(1 - p, df) == pytest.approx(-t, rel=1e-9)


def test_t_quantiles_with_closed_forms():
    """df = 1: tan(pi (p - 1/2)). df = 2: a sqrt(2 / (1 - a^2)), a = 2 p - 1. The median: 0."""
    assert abs(t_quantile(0.5, 3)) < 1e-9
    for p in (0.55, 0.9, 0.975, 0.9995):
        a = 2 * p - 1
        assert t_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-9)
        assert t_quantile(p, 2) == pytest.approx(a * math.sqrt(2 / (1 - a * a)), rel=1e-9)


@given(st.lists(numbers, min_size=2, max_size=20), confidences)
def test_student_t_is_scipys_interval(values, confidence):
    n, mean, se = len(values), np.mean(values), scipy.stats.sem(values)
    found = student_t(values, confidence)
    half = se * scipy.stats.t.ppf((1 + confidence) / 2, n - 1)
    assert found == pytest.approx((mean, mean - half, mean + half, n), rel=1e-9, abs=1e-9)


def test_student_t_of_three_values_by_hand():
    """1, 2, 3: mean 2, s = 1, half = 4.302653 / sqrt(3)."""
    half = 4.302652729911275 / math.sqrt(3)
    assert student_t([1, 2, 3]) == pytest.approx((2, 2 - half, 2 + half, 3), abs=1e-9)


@each("n", [3, 5, 10])
def test_student_t_covers_the_true_mean_of_normal_data_95_times_in_100(n):
    """20,000 experiments: the share covered is known to sqrt(.95 * .05 / 20,000) = 0.15 %. The
    module gives the half width of one experiment; it is the same number of s / sqrt(n) in all."""
    x = np.random.default_rng(n).normal(3, 2, size=(20_000, n))
    one = student_t(x[0])
    half = (one.high - one.mean) / x[0].std(ddof=1) * x.std(1, ddof=1)
    assert 0.94 < (abs(x.mean(1) - 3) < half).mean() < 0.96
    narrow = 1.96 / math.sqrt(n) * x.std(1, ddof=1)  # guard: the normal quantile does not cover
    assert (abs(x.mean(1) - 3) < narrow).mean() < 0.94


def test_clustered_three_clusters_by_hand():
    """Mean of 0 1 1 | 0 | 1 is 3/5; sums of residuals 1/5, -3/5, 2/5, squared .04 + .36 + .16;
    G / (G - 1) = 3/2, so se = sqrt(1.5 * .56) / 5, times the t of 2 degrees of freedom."""
    half = 4.302652729911275 * math.sqrt(1.5 * 0.56) / 5
    found = clustered(np.array([0, 1, 1, 0, 1]), np.array([7, 7, 7, 2, 5]))
    assert found == pytest.approx((0.6, 0.6 - half, 0.6 + half, 3), abs=1e-9)


@given(st.lists(numbers, min_size=2, max_size=20), confidences)
def test_clusters_of_one_item_give_the_ordinary_interval(values, confidence):
    ordinary = student_t(values, confidence)
    assert clustered(values, range(len(values)), confidence) == pytest.approx(
        ordinary, rel=1e-9, abs=1e-9
    )


@given(st.lists(numbers, min_size=2, max_size=8), st.integers(2, 5))
def test_repeating_every_item_of_a_cluster_teaches_nothing(values, times):
    """Guard: the ordinary interval would shrink by about sqrt(times)."""
    once = clustered(values, range(len(values)))
    again = clustered(np.repeat(values, times), np.repeat(range(len(values)), times))
    assert again == pytest.approx(once, rel=1e-9, abs=1e-9)


def test_one_cluster_and_no_item_give_no_interval():
    assert clustered(np.array([1.0, 2.0]), np.array([3, 3])) is None
    assert clustered(np.array([]), np.array([])) is None


@given(st.integers(0, 50), st.integers(1, 50), confidences)
def test_wilson_is_scipys_and_stays_within_0_and_1(k, more, confidence):
    n = k + more - 1 or 1
    found = wilson(k, n, confidence)
    expected = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert found == pytest.approx((k / n, expected.low, expected.high, n), abs=1e-9)
    assert 0 <= found.low < found.high <= 1
    assert wilson(k, n) == wilson(k, n, 0.95)


@each("values", [[], [1.0]])
def test_fewer_than_two_values_are_refused(values):
    with pytest.raises(ValueError, match=f"at least 2 values, got {len(values)}"):
        student_t(values)


@each("k, n", [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match=f"got {k} of {n}"):
        wilson(k, n)
