"""The coupling matrix against its words, an item at a time, and against chance."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect.analysis.matrix import (
    Run,
    average_pairs,
    coupling_matrix,
    estimate_share,
    pairwise,
)
from introspect.metrics import coupling
from introspect.stats import clustered, wilson

labels = st.integers(0, 2)
rows = st.lists(st.tuples(labels, labels, labels, st.integers(0, 3)), min_size=1, max_size=25)


def made_up(seed, n=600, faithful=0.6, n_class=4):
    """A run whose explanations are its current label that often, and else anything."""
    draw = np.random.default_rng(seed)
    current = draw.integers(n_class, size=n)
    said = np.where(draw.random(n) < faithful, current, draw.integers(n_class, size=n))
    return Run(said, current, groups=np.arange(n) // 4)


def ends(interval):
    return (interval.low, interval.high, interval.n) if interval else (None, None, 1)


def ends_of(estimate):
    return estimate["low"], estimate["high"], estimate["n"]


@given(rows)
def test_a_pair_is_coupling_with_the_intervals_of_stats(items):
    said, own, other, groups = np.array(items).T
    c, pair = coupling(*torch.tensor(items).T[:3]), pairwise(said, own, other, groups)
    assert (pair.own, pair.other, pair.differ) == (c.self_match, c.orig_match, c.drift)
    assert (pair.gap["mean"], pair.preference["mean"]) == (c.gap, c.preference)
    sides = (said == own).astype(float) - (said == other)
    assert ends_of(pair.gap) == ends(clustered(sides, groups))
    decided = [(e == c, g) for e, c, o, g in items if c != o and e in (c, o)]
    assert (pair.n_items, pair.n_decided) == (len(items), len(decided))
    assert pair.n_differ == sum(c != o for e, c, o, g in items)
    if decided:
        assert ends_of(pair.preference) == ends(clustered(*np.array(decided).T))
    else:
        assert pair.preference == {"mean": None, "low": None, "high": None, "n": 0}


@given(rows)
def test_without_groups_every_item_is_its_own_and_a_preference_is_wilsons(items):
    said, own, other, _ = np.array(items).T
    pair = pairwise(said, own, other)
    sides = (said == own).astype(float) - (said == other)
    assert ends_of(pair.gap) == ends(clustered(sides, np.arange(len(items))))
    if pair.n_decided:
        first = int((sides == 1).sum())
        assert pair.preference == wilson(first, pair.n_decided)._asdict()


@given(rows)
def test_the_gap_is_the_share_that_differs_times_how_they_side(items):
    said, own, other, groups = np.array(items).T
    pair = pairwise(said, own, other, groups)
    if pair.n_decided:
        sides = (2 * pair.preference["mean"] - 1) * pair.n_decided / pair.n_differ
        assert pair.gap["mean"] == pytest.approx(pair.differ * sides, abs=1e-12)
    else:
        assert pair.gap["mean"] == 0
    turned = pairwise(said, other, own, groups)
    assert turned.gap["mean"] == -pair.gap["mean"] and turned.differ == pair.differ


def test_shares_by_hand():
    true, groups = np.array([True, True, False]), np.array([1, 1, 2])
    assert estimate_share(true) == wilson(2, 3)._asdict()
    assert estimate_share(true, groups) == clustered(true, groups)._asdict()
    assert estimate_share(true, groups * 0) == {"mean": 2 / 3, "low": None, "high": None, "n": 1}
    assert estimate_share(true[:0], groups[:0])["mean"] is None
    assert estimate_share(true[:0])["n"] == 0


def brute(runs):
    """Everything from its words: run -> item -> (explanation, current)."""
    of = {name: dict(zip(r.items, zip(r.explanation, r.current))) for name, r in runs.items()}
    agreement, gaps, preferences = {}, [], []
    for a in of:
        agreement[a, a] = np.mean([said == now for said, now in of[a].values()])
    for a, b in permutations(of, 2):
        both = [(*of[a][i], of[b][i][1]) for i in of[a] if i in of[b]]
        if not both:
            continue
        agreement[a, b] = np.mean([said == theirs for said, _, theirs in both])
        gaps.append(np.mean([said == mine for said, mine, _ in both]) - agreement[a, b])
        sides = [e == mine for e, mine, theirs in both if mine != theirs and e in (mine, theirs)]
        preferences += [np.mean(sides)] if sides else []
    return agreement, gaps, preferences


some_runs = st.lists(
    st.dictionaries(st.integers(0, 9), st.tuples(labels, labels), min_size=1, max_size=10),
    min_size=1,
    max_size=4,
)


@given(some_runs)
def test_the_matrix_is_its_definition_on_the_items_that_both_have(several):
    runs = {
        f"run {k}": Run(*np.array(list(of.values())).T, items=np.array(list(of)))
        for k, of in enumerate(several)
    }
    matrix = coupling_matrix(runs)
    agreement, gaps, preferences = brute(runs)
    for i, a in enumerate(runs):
        for j, b in enumerate(runs):
            if (a, b) in agreement:
                assert matrix.agreement[i, j] == pytest.approx(agreement[a, b])
            else:
                assert math.isnan(matrix.agreement[i, j])
    assert list(matrix.pairs) == [key for key in permutations(runs, 2) if key in agreement]
    for found, expected in ((matrix.advantage, gaps), (matrix.preference, preferences)):
        if expected:
            assert found["mean"] == pytest.approx(np.mean(expected), abs=1e-12)
        else:
            assert found == {"mean": None, "low": None, "high": None, "n": 0}


def test_a_pair_of_the_matrix_is_pairwise_of_the_items_in_any_order():
    a, b = made_up(0, n=40), made_up(1, n=40)
    mixed = np.random.default_rng(2).permutation(40)
    shuffled = Run(b.explanation[mixed], b.current[mixed], groups=b.groups[mixed], items=mixed)
    matrix = coupling_matrix({"a": a, "b": shuffled})
    assert matrix.pairs["a", "b"] == pairwise(a.explanation, a.current, b.current, a.groups)
    assert matrix.pairs["b", "a"] == pairwise(b.explanation, b.current, a.current, a.groups)
    assert matrix == coupling_matrix({"a": a, "b": b})._replace(agreement=matrix.agreement)
    alone = coupling_matrix({"a": a._replace(groups=None), "b": b._replace(groups=None)})
    assert alone.pairs["a", "b"] == pairwise(a.explanation, a.current, b.current)


def test_a_pair_has_the_groups_of_the_items_that_both_have():
    a, b = made_up(0, n=40), made_up(1, n=40)
    late = Run(a.explanation[2:], a.current[2:], groups=a.groups[2:], items=np.arange(2, 40))
    pair = coupling_matrix({"a": late, "b": b}).pairs["a", "b"]
    assert pair == pairwise(late.explanation, late.current, b.current[2:], late.groups)


def test_items_and_groups_may_be_text():
    a, b = made_up(0, n=40), made_up(1, n=40)
    names = np.array([f"item {i}" for i in range(40)])
    runs = {"a": a, "b": b}
    named = {k: r._replace(items=names, groups=r.groups.astype(str)) for k, r in runs.items()}
    assert coupling_matrix(named).advantage == pytest.approx(coupling_matrix(runs).advantage)


def test_the_interval_of_the_advantage_is_clustered_over_all_pairs():
    """Of runs with the same items it is that of each item's mean over the pairs. Guard: an interval
    of all (pair, item) as if independent is another one."""
    runs = {name: made_up(seed) for seed, name in enumerate("abc")}
    matrix, groups = coupling_matrix(runs), runs["a"].groups
    each = np.array([
        (runs[a].explanation == runs[a].current).astype(float)
        - (runs[a].explanation == runs[b].current)
        for a, b in permutations(runs, 2)
    ])  # (pairs, n)
    expected = clustered(each.mean(0), groups)._asdict()
    assert matrix.advantage == pytest.approx(expected) and expected["n"] == 150
    naive = clustered(each.ravel(), np.arange(each.size))
    assert abs(naive.low - expected["low"]) > 0.005


def test_of_two_runs_with_one_that_decides_the_preference_is_that_pairs():
    """b says what neither run does, so that only (a, b) decides anything."""
    a, b = made_up(0), made_up(1)
    matrix = coupling_matrix({"a": a, "b": b._replace(explanation=b.explanation * 0 + 9)})
    pair = matrix.pairs["a", "b"]
    assert matrix.pairs["b", "a"].n_decided == 0
    assert matrix.preference == pytest.approx(pair.preference, abs=1e-12)
    assert matrix.preference["n"] == pair.preference["n"] > 2


def test_a_mean_over_pairs_weighs_pairs_alike_and_items_by_what_they_move():
    """Pair 1: items 0, 1 with 1, 0. Pair 2: item 0 with 1. Mean (1/2 + 1) / 2 = 3/4. Item 0 moves
    1/4, item 1 -1/4, pair 2 nothing: v = 3/4 + 2 / 2 * (1/4, -1/4) = 1, 1/2."""
    parts = [(np.array([0, 1]), np.array([1, 0])), (np.array([0]), np.array([1]))]
    found = average_pairs(parts, np.array([5, 6, 7]))
    assert found == pytest.approx(clustered(np.array([1, 0.5]), np.array([5, 6]))._asdict())
    assert found["mean"] == 0.75 and found["n"] == 2
    one = {"mean": 0.75, "low": None, "high": None, "n": 1}
    assert average_pairs(parts, np.array([5, 5, 7])) == one


@pytest.mark.parametrize("seed", range(3))
def test_runs_that_read_themselves_have_the_advantage(seed):
    matrix = coupling_matrix({k: made_up(10 * seed + i) for i, k in enumerate("abc")})
    assert matrix.advantage["low"] > 0.2 and matrix.preference["low"] > 0.6


def test_identical_runs_have_no_advantage():
    a = made_up(0)
    matrix = coupling_matrix({"a": a, "b": a, "c": a})
    assert matrix.advantage == {"mean": 0, "low": 0, "high": 0, "n": 150}
    assert matrix.preference["mean"] is None and len(set(matrix.agreement.ravel())) == 1


def test_a_drift_in_common_gives_no_advantage():
    """Both runs say what the drift in common would give; each has its own noise besides. Self is
    high, and would be taken for self-reading without the matrix. Of 200 draws at most 22 intervals
    exclude the null: 10, and 4 standard errors of a binomial."""
    advantages, preferences = 0, 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        drifted, noise = draw.integers(4, size=400), draw.integers(4, size=(2, 2, 400))
        mixed = np.where(draw.random((2, 2, 400)) < 0.8, drifted, noise)  # (run, said or true, n)
        matrix = coupling_matrix({"a": Run(*mixed[0]), "b": Run(*mixed[1])})
        assert matrix.agreement.min() > 0.6
        advantages += not matrix.advantage["low"] < 0 < matrix.advantage["high"]
        preferences += not matrix.preference["low"] < 0.5 < matrix.preference["high"]
    assert advantages <= 22 and preferences <= 22


def test_shuffled_explanations_prefer_nothing():
    """20 shuffles of two runs, of which about 225 explanations decide: the mean preference is 0.5
    within 4 standard errors."""
    draw, runs, found = np.random.default_rng(0), {"a": made_up(0), "b": made_up(1)}, []
    for _ in range(20):
        said = {name: draw.permutation(run.explanation) for name, run in runs.items()}
        mixed = {name: run._replace(explanation=said[name]) for name, run in runs.items()}
        found.append(coupling_matrix(mixed).preference["mean"])
    assert np.mean(found) == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / (20 * 2 * 225)))


def test_the_interval_of_the_advantage_covers_the_truth():
    """200 draws of three runs whose items come in alike fours: the truth, 0.45, in about 95 of 100,
    within 4 standard errors of a binomial. Guard: items as if independent cover less."""
    covered, naive = 0, 0
    for seed in range(200):
        draw, runs = np.random.default_rng(seed), {}
        for name in "abc":
            current, said = draw.integers(4, size=100), draw.integers(4, size=100)
            said = np.where(draw.random(100) < 0.6, current, said)
            runs[name] = Run(np.repeat(said, 4), np.repeat(current, 4), groups=np.arange(400) // 4)
        found = coupling_matrix(runs).advantage
        covered += found["low"] < 0.45 < found["high"]
        free = {name: run._replace(groups=None) for name, run in runs.items()}
        found = coupling_matrix(free).advantage
        naive += found["low"] < 0.45 < found["high"]
    assert covered / 200 == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 200))
    assert naive < 160


three = np.array([0, 1, 2])


@pytest.mark.parametrize(
    "arrays, says",
    [
        ((three, three, three[:2]), "(3,), (3,), (2,)"),
        ((three, three[:2], three), "(3,), (2,), (3,)"),
        ((three[:0],) * 3, "(0,), (0,), (0,)"),
        ((three, three, three, three[:2]), "(3,), (3,), (3,), (2,)"),
        ((three[None],) * 3, "(1, 3), (1, 3), (1, 3)"),
    ],
)
def test_unequal_shapes_have_no_pair(arrays, says):
    with pytest.raises(ValueError) as refusal:
        pairwise(*arrays)
    assert str(refusal.value) == f"need equal, non-empty shapes (n,), got [{says}]"


@pytest.mark.parametrize(
    "runs, says",
    [
        ({}, "at least one run"),
        ({"a": Run(three, three[:2])}, "run a: need equal, non-empty shapes"),
        ({"a": Run(three[:0], three[:0])}, "run a: need equal, non-empty shapes"),
        ({"a": Run(three, three, groups=three[:2])}, "run a: need equal"),
        ({"a": Run(three, three, items=three[:2])}, "run a: need equal"),
        ({"a": Run(three[None], three[None])}, r"run a: need equal, non-empty shapes \(n,\)"),
        ({"a": Run(three, three), "b": Run(three, three, items=three * 0)}, "run b: an item is"),
        ({"a": Run(three, three), "b": Run(three, three, groups=three)}, "in all runs or in none"),
        (
            {"a": Run(three, three, groups=three), "b": Run(three, three, groups=three * 0)},
            "of the same group in all runs",
        ),
    ],
)
def test_what_makes_no_matrix_is_refused(runs, says):
    with pytest.raises(ValueError, match=says):
        coupling_matrix(runs)
