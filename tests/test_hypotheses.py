"""Tests of hypotheses: against scipy, by enumeration, by their reason, by how often they err."""

import math
from itertools import combinations, product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from introspect.analysis import hypotheses
from introspect.analysis.hypotheses import (
    differs,
    flip_tail,
    holm,
    keep_gates,
    p_value,
    sign_flip,
    t_tail,
    within,
)
from introspect.stats import student_t
from tests.cases import each

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
samples = st.lists(numbers, min_size=2, max_size=9)
chances = st.floats(0, 1) | st.sampled_from([0.001, 0.01, 0.02])


@each("test", [t_tail, flip_tail, p_value, sign_flip, differs, lambda x: within(x, -1, 1)])
@each("values", [[], [1.0]])
def test_fewer_than_two_values_are_refused(test, values):
    with pytest.raises(ValueError, match=f"at least 2 values, got {len(values)}"):
        test(values)


@given(st.lists(numbers, min_size=2, max_size=20).filter(lambda v: np.std(v) > 1e-6))
def test_p_value_is_scipys_and_says_what_the_interval_says(values):
    p = p_value(values)
    assert p == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue, rel=1e-9)
    found = student_t(values)
    assert (p < 0.05) == (not found.low <= 0 <= found.high)
    assert p_value([-v for v in values]) == p


def test_p_value_of_three_values_by_hand():
    """1, 2, 3: t = 2 sqrt(3) on 2 degrees, whose tail is (1 - t / sqrt(2 + t^2)) / 2."""
    assert p_value([1, 2, 3]) == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-12)


def test_p_value_of_values_without_spread():
    assert p_value([0.0, 0.0, -0.0]) == 1
    assert p_value([0.1, 0.1, 0.1]) == p_value([-2, -2]) == 0


def closed(p_values):
    """Holm's procedure from its reason: a hypothesis falls if every set that holds it does, each
    tested by Bonferroni."""
    indices = range(len(p_values))
    sets = [s for n in indices for s in combinations(indices, n + 1)]
    of_set = {s: min(1, len(s) * min(p_values[i] for i in s)) for s in sets}
    return [max(p for s, p in of_set.items() if i in s) for i in indices]


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02]), max_size=6))
def test_holm_is_the_closure_of_bonferroni(p_values):
    assert holm(p_values) == closed(p_values)


def test_holm_of_four_by_hand():
    """.01 x 4, .02 x 3 and .03 x 2, the same as before, and .5 x 1."""
    assert holm([0.5, 0.02, 0.01, 0.03]) == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert holm([0.6, 0.7]) == [1, 1] and holm([]) == []


@each("wrong", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match=f"in 0..1, got {wrong}"):
        holm([0.5, wrong])


@given(samples)
def test_sign_flips_are_counted(values):
    sums = [sum(s * v for s, v in zip(signs, values))
            for signs in product([1, -1], repeat=len(values))]  # fmt: skip
    near = 1e-9 * sum(map(abs, values))
    assert flip_tail(values) == np.mean([each >= sum(values) - near for each in sums])
    two = np.mean([abs(each) >= abs(sum(values)) - near for each in sums])
    assert sign_flip(values) == pytest.approx(two)
    assert sign_flip([-v for v in values]) == pytest.approx(two)


def test_sign_flips_are_those_of_scipy():
    values = np.random.default_rng(0).normal(0.5, 1, 10)
    found = scipy.stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    )
    assert flip_tail(values) == pytest.approx(found.pvalue)


def test_signs_of_many_values_are_drawn_and_near_the_exact_share(monkeypatch):
    values = list(np.random.default_rng(1).normal(0.4, 1, 18))
    exact = flip_tail(values)
    monkeypatch.setattr(hypotheses, "EXACT", 10)
    assert flip_tail(values) != exact and flip_tail(values) == pytest.approx(exact, abs=0.002)
    assert flip_tail([1.0] * 60) == 1 / (1 + hypotheses.DRAWN)


@given(samples.filter(lambda v: np.std(v) > 1e-6))
def test_a_tail_of_t_is_scipys(values):
    found = scipy.stats.ttest_1samp(values, 0, alternative="greater").pvalue
    assert t_tail(values) == pytest.approx(found, rel=1e-9, abs=1e-15)


def test_both_tests_must_agree():
    five = [0.1, 0.11, 0.12, 0.1, 0.11]
    assert p_value(five) < 0.001 and sign_flip(five) == differs(five) == 0.0625
    skewed = [0.01] * 8 + [0.9] * 3
    assert sign_flip(skewed) < 0.001 < 0.05 < p_value(skewed) == differs(skewed)


@given(samples, st.floats(-2, 0), st.floats(0.1, 2))
def test_a_mean_within_bounds_is_one_that_both_tests_put_above_one_and_below_the_other(x, a, width):
    low, high = a, a + width
    sides = [[v - low for v in x], [high - v for v in x]]
    assert within(x, low, high) == max(f(side) for side in sides for f in (t_tail, flip_tail))
    if within(x, low, high) < 0.05:
        ninety = student_t(x, 0.9)
        assert low < ninety.low and ninety.high < high


def test_a_small_mean_is_within_and_a_large_or_an_unsure_one_is_not():
    small = [0.01, -0.01, 0.005, 0.0, -0.004, 0.008, 0.01, -0.008]
    assert within(small, -0.03, 0.03) < 0.01 < 0.5 < within([x + 0.04 for x in small], -0.03, 0.03)
    assert within([20 * x for x in small], -0.03, 0.03) > 0.05
    with pytest.raises(ValueError, match="need low < high, got 0.1 and 0.1"):
        within(small, 0.1, 0.1)


def reject(families, alpha):
    """The rejections of gatekeeping, step by step as its definition has them."""
    found = []
    for k, family in enumerate(families):
        if k + 1 < len(families):
            rejected = [p <= alpha / len(family) * (1 + 1e-12) for p in family]
            alpha *= np.mean(rejected) if family else 0
        else:
            rejected = [p <= alpha * (1 + 1e-12) and alpha > 0 for p in holm(family)]
        found += rejected
    return found


@given(st.lists(st.lists(chances, min_size=1, max_size=4), min_size=1, max_size=3),
       st.sampled_from([0.01, 0.05, 0.3, 1.0]))  # fmt: skip
def test_a_gate_passes_on_what_its_family_has_earned(families, alpha):
    adjusted = [p for family in keep_gates(families) for p in family]
    if alpha < 1:
        near = 1e-9
        assert [p <= alpha + near for p in adjusted] == reject(families, alpha + near)
    assert all(p >= q for p, q in zip(adjusted, [p for f in families for p in f]))


def test_gates_by_hand():
    """2 of 2 open fully; 1 of 2 passes half of alpha on; a family in which nothing falls, none."""
    assert keep_gates([[0.01, 0.02], [0.03]]) == [[0.02, 0.04], [0.04]]
    assert keep_gates([[0.01, 0.9], [0.02]]) == [[0.02, 1.0], [0.04]]
    assert keep_gates([[0.9, 0.9], [0.0]]) == [[1.0, 1.0], [1.0]]
    assert keep_gates([[0.04, 0.01, 0.03]]) == [holm([0.04, 0.01, 0.03])]


def test_gates_keep_the_chance_of_one_false_rejection_and_families_by_themselves_do_not():
    """True hypotheses in two families; one false hypothesis opens the gate."""
    draw = np.random.default_rng(2)
    p = draw.random((4000, 2, 4))
    p[:, 0, 0] = 0
    false = [min(keep_gates(study.tolist())[0][1:] + keep_gates(study.tolist())[1]) <= 0.05
             for study in p]  # fmt: skip
    alone = [min(holm(a)[1:] + holm(b)) <= 0.05 for a, b in p.tolist()]
    assert np.mean(false) < 0.055 and np.mean(alone) > 0.075
