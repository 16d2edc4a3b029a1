"""Parts of a gap, by class and by who moved, against loops over items and against their sums."""

import numpy as np
import pytest
import torch

from introspect.analysis.matrix import Run
from introspect.analysis.splits import (
    KINDS,
    by_class,
    by_item,
    by_kind,
    by_mover,
    tell_movers,
)
from introspect.frequency import adjusted_gap
from introspect.metrics import coupling
from introspect.stats import clustered, t_quantile


def labels(seed, n=300, k=4):
    """Explanations, labels now and then, and cues: true now or then more often than by chance."""
    draw = np.random.default_rng(seed)
    then, cue = draw.integers(k, size=n), draw.integers(3, size=n)
    now = np.where(draw.random(n) < 0.3, draw.integers(k, size=n), then)
    said = np.where(draw.random(n) < 0.5, now, draw.integers(k, size=n))
    return said, now, then, cue


@pytest.mark.parametrize("seed", range(3))
def test_the_parts_of_classes_add_up_to_the_gap_and_to_the_adjusted_gap(seed):
    said, now, then, cue = labels(seed)
    parts = by_class(said, now, then, cue).values()
    c = coupling(said, now, then)
    assert sum(p["gap"] for p in parts) == pytest.approx(c.gap)
    whole = adjusted_gap(*map(torch.from_numpy, (said, now, then, cue)))
    assert sum(p["adjusted"] for p in parts) == pytest.approx(whole)
    assert sum(p["self"] * p["now"] for p in parts) == pytest.approx(c.self_match)
    assert sum(p["orig"] * p["then"] for p in parts) == pytest.approx(c.orig_match)


def test_every_number_of_a_class_by_hand():
    said, now, then = (np.array(x) for x in ([0, 0, 1, 2], [0, 1, 1, 1], [1, 0, 1, 1]))
    parts = by_class(said, now, then, np.array([5, 5, 5, 7]))
    assert list(parts) == [0, 1, 2]
    assert parts[0] == {"said": 0.5, "now": 0.25, "then": 0.25, "self": 1, "orig": 1, "gap": 0,
                        "adjusted": 0}
    assert parts[2] == {"said": 0.25, "now": 0, "then": 0, "self": None, "orig": None, "gap": 0,
                        "adjusted": 0}
    assert (parts[1]["self"], parts[1]["orig"]) == (1 / 3, 1 / 3)


def test_what_one_class_gains_by_being_said_always_is_its_gap_but_not_its_adjusted_gap():
    """The negative control: a bias, which needs no knowledge of the model."""
    _, now, then, cue = labels(0)
    now = np.where(then == 1, 0, now)  # class 0 has become more frequent
    parts = by_class(np.zeros_like(now), now, then, cue)
    assert parts[0]["gap"] > 0.1
    assert [p["adjusted"] for p in parts.values()] == pytest.approx([0, 0, 0, 0])


def two_runs(seed, groups=False):
    said, now, then, _ = labels(seed)
    other = labels(seed + 100)[1]
    draw = np.random.default_rng(seed + 200)
    other = np.where(draw.random(300) < 0.5, now, np.where(draw.random(300) < 0.5, then, other))
    of = np.arange(300) // 3 if groups else None
    items = np.arange(300)
    return Run(said, now, then, of, items), Run(said[::-1], other, then, of, items)


@pytest.mark.parametrize("seed", range(3))
def test_parts_by_mover_are_those_of_a_loop_and_add_up(seed):
    run, other = two_runs(seed)
    sums = {kind: [0, 0, 0, 0, 0] for kind in KINDS}  # items, gap, advantage, decided, for itself
    for e, a, b, o in zip(run.explanation, run.current, other.current, run.original):
        moved = a != o, b != o
        if all(moved):
            kind = "same" if a == b else "apart"
        else:
            kind = {(True, False): "own", (False, True): "other"}.get(moved, "neither")
        rival = b if kind == "other" else o
        add = (1, int(e == a) - int(e == o), int(e == a) - int(e == b),
               int((e == a) != (e == rival)), int(a != rival and e == a))
        sums[kind] = [x + y for x, y in zip(sums[kind], add)]
    parts = by_mover(run, other)
    for kind, (n, gap, advantage, decided, itself) in sums.items():
        p = parts[kind]
        assert n > 5
        expected = pytest.approx((n / 300, gap / 300, advantage / 300))
        assert (p["share"], p["gap"], p["advantage"]) == expected
        assert p["preference"]["n_decided"] == decided
        share = itself / decided if decided else None
        assert p["preference"]["mean"] == (share and pytest.approx(share))
    for key, theirs in (("gap", run.original), ("advantage", other.current)):
        whole = coupling(run.explanation, run.current, theirs).gap
        assert sum(p[key] for p in parts.values()) == pytest.approx(whole)


def test_who_only_drifts_with_others_is_told_from_who_knows_itself():
    _, now, then, _ = labels(1)
    draw = np.random.default_rng(0)
    alone = (now != then) & (draw.random(300) < 0.5)  # what the other run did not do
    other = Run(then, np.where(alone, then, now), then)
    drifter, knower = (by_mover(Run(said, now, then), other) for said in (other.current, now))
    assert drifter["same"]["preference"]["mean"] == knower["same"]["preference"]["mean"] == 1
    assert drifter["own"]["preference"]["mean"] == 0 < knower["own"]["preference"]["mean"]
    assert knower["own"]["gap"] == pytest.approx(alone.mean())


def test_groups_widen_the_interval():
    apart, together = (by_mover(*two_runs(0, groups))["own"]["preference"]
                       for groups in (False, True))
    assert together["n"] < apart["n"] == together["n_decided"]
    assert together["mean"] == pytest.approx(apart["mean"])


def test_unequal_inputs_are_refused():
    run, other = two_runs(0)
    for wrong in (other._replace(original=other.original[::-1]), other._replace(items=None),
                  other._replace(items=other.items + 1)):
        with pytest.raises(ValueError, match="need runs of the same items"):
            tell_movers(run, wrong)
    with pytest.raises(ValueError, match="need equal, non-empty shapes"):
        by_class(*(np.zeros(n, dtype=int) for n in (2, 2, 2, 3)))
    with pytest.raises(ValueError, match="need equal, non-empty shapes"):
        by_class(*[np.zeros(0, dtype=int)] * 4)


# --- by item, by kind ---


@pytest.mark.parametrize("seed", range(3))
def test_by_item_is_the_product_of_two_deviations_and_its_mean_is_the_adjusted_gap(seed):
    said, now, then, cue = rows = labels(seed, n=60)
    expected = []
    for e, a, b, c in zip(*rows):
        here = cue == c
        expected.append(sum(
            (int(e == k) - (said[here] == k).mean())
            * (int(a == k) - int(b == k) - (now[here] == k).mean() + (then[here] == k).mean())
            for k in range(4)))
    found = by_item(*rows)
    assert found == pytest.approx(expected, abs=1e-12)
    whole = adjusted_gap(*map(torch.from_numpy, rows))
    assert found.mean() == pytest.approx(whole, abs=1e-12)
    renamed = by_item(*(np.array([7, -3, 10**9, 2])[x] for x in rows))
    assert renamed == pytest.approx(found, abs=1e-12)


def test_what_depends_on_the_cue_alone_is_exactly_zero_on_every_item():
    """Rounding must not make an interval that excludes zero."""
    for seed in range(20):
        _, now, then, cue = labels(seed, n=301)
        now = np.where(np.arange(301) % 3 == 0, 1, now)
        for said in (np.ones_like(now), cue):
            assert (by_item(said, now, then, cue) == 0).all()
    said, now, then, cue = labels(0, n=301)
    assert (by_item(said, now, then, cue) != 0).any()  # negative control


def test_the_interval_of_by_item_is_that_of_a_jackknife_over_groups():
    said, now, then, cue = rows = labels(3, n=600)
    group = np.arange(600) // 3
    found = clustered(by_item(*rows), group)
    without = [float(adjusted_gap(*(torch.from_numpy(x[group != g]) for x in rows)))
               for g in range(200)]
    spread = np.sqrt(199 / 200 * ((np.array(without) - np.mean(without)) ** 2).sum())
    assert (found.high - found.low) / 2 == pytest.approx(t_quantile(0.975, 199) * spread, rel=0.02)


def test_explanations_dealt_out_at_random_are_seldom_said_to_know_the_model():
    """Although their gap is above zero: one label has become frequent, and is often said."""
    draw, false, gaps = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        cue, then = draw.integers(2, size=200), draw.integers(3, size=200)
        now = np.where(draw.random(200) < 0.4, cue, then)
        said = np.where(draw.random(200) < 0.7, cue, draw.integers(3, size=200))
        found = clustered(by_item(said, now, then, cue), np.arange(200))
        false += not found.low <= 0 <= found.high
        gaps += coupling(said, now, then).gap > 0
    assert 30 <= false <= 70 and gaps > 990  # 50 of 1000 are expected


def test_the_parts_of_kinds_by_hand_and_by_their_sums():
    said, now, then = (np.array(x) for x in ([0, 0, 1, 2], [0, 1, 1, 1], [1, 0, 1, 2]))
    cue, kind = np.array([5, 5, 7, 7]), np.array([3, 4, 3, 4])
    parts = by_kind(said, now, then, cue, kind)
    rest = by_item(said, now, then, cue)
    assert parts == {
        3: {"share": 0.5, "self": 1, "orig": 0.5, "gap": 0.25, "adjusted": rest[[0, 2]].sum() / 4},
        4: {"share": 0.5, "self": 0, "orig": 1, "gap": -0.5, "adjusted": rest[[1, 3]].sum() / 4},
    }
    rows = labels(1)
    kinds = np.random.default_rng(9).integers(5, size=300)
    parts = by_kind(*rows, kinds).values()
    assert sum(p["gap"] for p in parts) == pytest.approx(coupling(*rows[:3]).gap)
    assert sum(p["adjusted"] for p in parts) == pytest.approx(by_item(*rows).mean())


def test_unequal_inputs_of_items_and_kinds_are_refused():
    for function, n in ((by_item, 4), (by_kind, 5)):
        for sizes in ([2] * (n - 1) + [3], [0] * n):
            with pytest.raises(ValueError, match="need equal, non-empty shapes"):
                function(*(np.zeros(size, dtype=int) for size in sizes))
