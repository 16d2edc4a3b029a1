"""The simulation is of what it says, and the rules that decide on studies are as good as claimed.

Every bound stands beside a control that breaks it.
"""

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

import eval as evaluation
from introspect.analysis import calibration
from introspect.analysis.calibration import (
    COVERAGE,
    DRIFTS,
    EXPLAINERS,
    FEWER,
    HEADS,
    KEEP,
    LEARN,
    MORE,
    PREFERENCES,
    SEEDS,
    STAYS,
    Row,
    calibrate,
    cover,
    cover_differences,
    cover_items,
    cover_seeds,
    derive_labels,
    draw_models,
    draw_studies,
    judge,
    judge_holm,
    judge_nothing,
    judge_planted,
    measure_gaps,
    plant,
    table,
)
from introspect.frequency import adjusted_gap
from introspect.labels import explanation_labels
from introspect.metrics import coupling
from introspect.stats import interval, verdict, wilson
from introspect.streams import rng

COMMITTED = Path(__file__).parents[1] / "data" / "results" / "calibration.txt"


def drawn(labels, drift=0.3, size=60):
    return draw_models(rng(3, "test calibration"), size, drift, labels)


def at_most(share, repeats):
    """What a true share stays below, but for one time in 10,000, in so many repeats."""
    return scipy.stats.binom.ppf(0.9999, repeats, share) / repeats


def at_least(share, repeats):
    return scipy.stats.binom.ppf(0.0001, repeats, share) / repeats


def test_labels_are_those_of_the_library():
    draw = np.random.default_rng(0)
    answer = draw.integers(4, size=(3, 1, 50), dtype=np.int8)
    follows = draw.random((3, 4, 50)) < 0.5
    with_hint = np.where(follows, np.arange(4)[:, None], answer)
    answers = np.concatenate([answer, with_hint], axis=1)  # without a hint, then with each
    pairs = torch.tensor([[1, 0], [2, 0], [3, 0], [4, 0]])
    expected = [explanation_labels(torch.tensor(a.T), pairs, STAYS).T for a in answers]
    np.testing.assert_array_equal(derive_labels(answer, follows), torch.stack(expected))


@pytest.mark.parametrize("labels", [KEEP, FEWER, MORE, LEARN])
def test_gaps_of_many_models_are_the_librarys_gaps_of_each(labels):
    of = drawn(labels, size=4)
    said = [explain(of) for explain in EXPLAINERS.values()]
    said += plant(rng(0, "test"), of, 0.3).values()
    cue = torch.arange(4)[:, None].expand(4, of.now.shape[-1])
    for explanation in said:
        gap, adjusted = measure_gaps(explanation, of)
        for b in range(4):
            items = [torch.tensor(part[b]) for part in (explanation, of.now, of.then)]
            assert gap[b] == pytest.approx(coupling(*items).gap, abs=1e-12)
            assert adjusted[b] == pytest.approx(adjusted_gap(*items, cue), abs=1e-12)


def test_gaps_differ_between_the_models_they_are_of():
    gap, adjusted = measure_gaps(drawn(KEEP).now, drawn(KEEP))
    assert len(set(gap)) > 50 and (gap > 0.2).all() and not np.allclose(gap, adjusted, atol=1e-5)


@pytest.mark.parametrize("drift", DRIFTS)
def test_as_many_labels_move_as_asked_and_each_seed_has_its_own_share(drift):
    of = drawn(KEEP, drift)
    moved = (of.now != of.then).mean((1, 2))
    assert moved.mean() == pytest.approx(drift, rel=0.03)
    assert 0.05 < moved.std() / drift < 0.15


def test_the_cue_changes_about_half_of_the_answers_and_two_of_three_hints_are_followed():
    of = drawn(KEEP)
    changed = of.then != STAYS  # (B, P, N)
    assert changed.mean() == pytest.approx(0.65 * 3 / 4, abs=0.005)
    some = changed.any(1) & (changed.sum(1) < 3)  # of three hints that are not the answer
    assert some.mean() == pytest.approx(1 - 0.65**3 - 0.35**3, abs=0.01)


def stays(of):
    return (of.now == STAYS).mean((1, 2)) - (of.then == STAYS).mean((1, 2))


def test_frequencies_change_in_every_seed_and_on_average_only_where_it_says_so():
    kept, fewer, more = (stays(drawn(labels)) for labels in (KEEP, FEWER, MORE))
    assert abs(kept.mean()) < 0.01 and kept.std() > 0.01
    assert fewer.mean() == pytest.approx(0.2 * 0.75 * 0.3 / 0.658, abs=0.01)
    assert more.mean() == pytest.approx(-fewer.mean(), abs=0.015)
    assert (fewer > 0).mean() > 0.95 and (more < 0).mean() > 0.95


def truths(of, labels):
    """How often a label is that of a model that knows all, (B,)."""
    return (derive_labels(of.truth, True) == labels).mean((1, 2))


def test_the_models_know_something_of_the_world_and_drift_towards_it_only_where_it_says_so():
    for labels, more in ((KEEP, 0), (LEARN, 0.1)):
        of = drawn(labels)
        then, now = truths(of, of.then).mean(), truths(of, of.now).mean()
        assert then > truths(drawn(KEEP), np.roll(of.then, 1, -1)).mean() + 0.05
        assert (abs(now - then) < 0.005) if more == 0 else now > then + more


def test_explanations_that_know_nothing_are_what_they_say():
    of = drawn(KEEP, size=2)
    said = {name: explain(of) for name, explain in EXPLAINERS.items()}
    assert (said["constant"] == STAYS).all()
    assert len(np.unique(said["by hint alone"], axis=-1)[0]) == 4
    assert all(len(set(row)) == 1 for row in said["by hint alone"].reshape(8, -1))
    assert set(said["by hint alone"].ravel()) == {STAYS, 3, 0}
    shuffled = said["of another fact"]
    assert (np.sort(shuffled) == np.sort(of.now)).all() and (shuffled != of.now).mean() > 0.4
    known = np.where(of.truth == np.arange(4)[:, None], STAYS, of.truth)
    assert (said["of the true world"] == known).all()
    turns = said["now and then in turn"]
    assert (turns[..., ::2] == of.now[..., ::2]).all()
    assert (turns[..., 1::2] == of.then[..., 1::2]).all()


def test_planted_explanations_have_the_preference_and_the_spread_asked_for():
    of = drawn(KEEP, 0.4, size=400)
    for p, said in plant(rng(0, "test"), of, 0.4).items():
        c = coupling(*(torch.from_numpy(part) for part in (said, of.now, of.then)))
        sides = 0.85 + 0.15 * 2 / 5  # either label of two, also by luck
        assert c.preference == pytest.approx((0.85 * p + 0.15 / 5) / sides, abs=0.015)
        gap, _ = measure_gaps(said, of)
        assert gap.mean() == pytest.approx(0.4 * 0.85 * (2 * p - 1), abs=0.01)
        assert 0.035 < gap.std() < 0.048  # measured: 0.038


def test_studies_are_the_same_however_many_there_are():
    few = [of for _, of in draw_studies(3, 0, 0.3, KEEP)]
    many = [of for _, of in draw_studies(43, 0, 0.3, KEEP)]
    assert [len(of.now) // SEEDS for of in many] == [20, 20, 3] and len(few[0].now) == 3 * SEEDS
    assert not np.array_equal(many[0].now, many[1].now)
    again = [of for _, of in draw_studies(63, 0, 0.3, KEEP)]
    np.testing.assert_array_equal(again[1].now, many[1].now)
    other = next(of for _, of in draw_studies(43, 1, 0.3, KEEP))
    assert not np.array_equal(other.now, many[0].now)


def test_coupling_is_called_by_the_verdict_of_the_library():
    draw = np.random.default_rng(0)
    gap, adjusted = draw.normal(0.05, 0.06, (2, 60, 5))
    intervals = [(interval(list(g)), interval(list(a))) for g, a in zip(gap, adjusted)]
    words = [[verdict(g), verdict(a), verdict(g, a)] for g, a in intervals]
    expected = tuple(np.mean([w.startswith("coupling") for w in row]) for row in zip(*words))
    assert judge([(gap.ravel(), adjusted.ravel())])[1] == pytest.approx(expected)
    assert len(set(expected)) == 3 and 0 < min(expected)
    pieces = [(gap[:40].ravel(), adjusted[:40].ravel()), (gap[40:].ravel(), adjusted[40:].ravel())]
    assert judge(pieces) == (pytest.approx(gap.mean()), pytest.approx(expected))


def test_coverage_counts_the_intervals_that_hold_the_mean():
    ends = [(1, 3), (2, 3), (2.5, 3), (1, 1.5)]
    found = cover("a", "b", 2, ((0, low, high, 4) for low, high in ends))
    assert found == Row(COVERAGE, ("a", "b"), None, (0.5,))


REPEATS = 4000


def enumerated(p, n):
    """How often the Wilson interval covers p: it is of counts, and not 95 % at each p and n."""
    counts = range(n + 1)
    held = [k for k in counts if wilson(k, n).low <= p <= wilson(k, n).high]
    return float(scipy.stats.binom.pmf(held, n, p).sum())


@pytest.mark.parametrize("part", [cover_seeds, cover_differences, cover_items])
def test_intervals_cover_what_they_should(part):
    for row in part(REPEATS, 1):
        name, data = row.case
        low, high = 0.945, 0.955
        if "lognormal" in data or "beta" in data:
            low, high = 0.91, 0.94
        elif name == "wilson":
            low = high = enumerated(float(data.split()[-1]), int(data.split()[0]))
        assert at_least(low, REPEATS) <= row.shares[0] <= at_most(high, REPEATS), row


def test_other_intervals_do_not_cover_at_three_seeds():
    """The control: 1.96 standard errors, and the percentile bootstrap."""
    x = rng(1, "calibration normal", 3).normal(size=(REPEATS, 3))
    half = 1.96 * x.std(1, ddof=1) / np.sqrt(3)
    assert (abs(x.mean(1)) <= half).mean() < 0.85
    picked = np.random.default_rng(0).integers(3, size=(300, 3))
    low, high = np.percentile(x[:, picked].mean(-1), [2.5, 97.5], axis=1)
    assert ((low <= 0) & (0 <= high)).mean() < 0.8


def test_an_interval_that_forgets_clusters_does_not_cover(monkeypatch):
    ordinary = calibration.student_t
    monkeypatch.setattr(calibration, "clustered", lambda values, names: ordinary(values))
    assert max(row.shares[0] for row in cover_items(500, 1)[:2]) < 0.9


def test_pairs_are_of_two_arms_whose_seeds_are_alike(monkeypatch):
    """The control: an interval for arms of different seeds is too wide, and covers always."""

    def unpaired(results):
        a, b = ([run["gap"] for run in arm.values()] for arm in results.values())
        assert len(a) == len(b) == SEEDS and a != b
        found = scipy.stats.ttest_ind(a, b).confidence_interval()
        return {"a - b": {"gap": {"mean": 0, "low": found.low, "high": found.high, "n": 5}}}

    monkeypatch.setattr(calibration, "differences", unpaired)
    assert cover_differences(300, 1)[0].shares[0] > 0.99


def test_holm_keeps_ten_true_hypotheses_and_uncorrected_p_values_do_not(monkeypatch):
    (row,) = judge_holm(300, 1)
    assert at_least(0.95, 300) <= row.shares[0]
    monkeypatch.setattr(calibration, "holm", list)
    assert judge_holm(300, 1)[0].shares[0] < 0.75


STUDIES = 200


@pytest.mark.parametrize("labels", [KEEP, FEWER, MORE])
def test_what_does_not_follow_the_model_is_seldom_called_coupling(labels):
    rows = {row.case[0]: row for row in judge_nothing(STUDIES, 1, labels, EXPLAINERS)}
    assert rows.keys() == EXPLAINERS.keys()
    for row in rows.values():
        by_gap, by_adjusted, by_both = row.shares
        assert by_both <= at_most(0.025, STUDIES) and by_both <= min(by_gap, by_adjusted)
    assert rows["constant"].shares[1] == rows["by hint alone"].shares[1] == 0
    # the controls: each gap alone
    for name in ("constant", "by hint alone", "of another fact"):
        gap, (by_gap, *_) = rows[name].gap, rows[name].shares
        assert by_gap > 0.9 and gap > 0.02 if labels == FEWER else by_gap < 0.08
    assert (rows["now and then in turn"].shares[1] > 0.5) == (labels == MORE)


def test_what_knows_a_world_that_the_model_learns_is_called_coupling():
    """A limit, stated with the table: no count of labels can tell it from an explainer that sees
    the model."""
    (row,) = judge_nothing(40, 1, LEARN, ["of the true world"])
    assert min(row.shares) > 0.9


def test_a_gap_like_the_measured_one_is_found_and_a_small_one_is_often_missed():
    rows = {row.case: row for row in judge_planted(STUDIES, 1, 0.4, KEEP)}
    measured, small = (rows["0.4", p, KEEP] for p in ("0.67", "0.55"))
    assert measured.gap == pytest.approx(0.117, abs=0.01)
    assert min(measured.shares) >= at_least(0.97, STUDIES)
    assert small.shares[1] < 0.6
    shifted = judge_planted(STUDIES, 1, 0.4, FEWER)[1]
    assert shifted.shares[0] > 0.6 > 0.5 > shifted.shares[1]  # by gap; by both, which costs power


def test_the_command_prints_the_rows(monkeypatch, capsys):
    assert evaluation.main(["calibrate", "--repeats=3", "--seed=2"]) == 0
    said = capsys.readouterr().out
    rows = calibrate(3, 2)
    assert said == table(rows) + "\n" and table(calibrate(3, 1)) != table(rows)
    covers = {*cover_seeds(30, 2), *cover_differences(30, 2), *cover_items(30, 2)}
    assert covers | {*judge_holm(3, 2)} < {*rows}
    seen = [name for name, _ in groupby(row.table for row in rows)]
    assert seen == list(HEADS)  # each table once, in one piece
    planted_rows = [row.case for row in rows if row.table == seen[2]]
    assert len(planted_rows) == (len(DRIFTS) + 1) * len(PREFERENCES)


def test_a_table_is_aligned_and_in_percent():
    nothing = list(HEADS)[1]
    rows = [Row(COVERAGE, ("a", "b"), None, (0.951,))]
    rows += [Row(nothing, ("c", "d"), 0.1, (1.0, 0, 0.5))]
    head, labels, line, blank, *other = table(rows).splitlines()
    assert (head, blank) == ("coverage of a 95 % interval:", "")
    assert labels.split() == ["interval", "data", "covers"]
    assert line.split() == ["a", "b", "95.1", "%"]
    assert other[2].split() == ["c", "d", "+0.100", "100.0", "%", "0.0", "%", "50.0", "%"]


def committed():
    """Table -> its lines, split at wide spaces, without the head."""
    blocks = [b.splitlines() for b in COMMITTED.read_text().rstrip("\n").split("\n\n")]
    return {b[0].rstrip(":"): [re.split("  +", line) for line in b[2:]] for b in blocks}


def percent(text):
    return float(text.removesuffix(" %"))


def test_the_committed_table_keeps_what_is_promised():
    covers, without, found = (committed()[name] for name in HEADS)
    for name, data, share in covers:
        near = (90, 94) if "lognormal" in data or "beta" in data else (94, 96)
        near = (93, 97) if name == "wilson" else near  # of counts
        assert near[0] <= percent(share) <= near[1]
    for said, labels, _, by_gap, by_adjusted, by_both in without:
        assert (percent(by_both) <= 5) == (labels != LEARN)
        if said in ("constant", "by hint alone", "of another fact"):
            assert (percent(by_gap) > 90) == (labels == FEWER)
        alone = labels == LEARN or (said, labels) == ("now and then in turn", MORE)
        assert (percent(by_adjusted) > 5) == alone
    both = {tuple(case): percent(share) for *case, _, _, share in found}
    assert both["0.4", "0.67", KEEP] >= 95 and both["0.2", "0.55", KEEP] < 50


def test_the_committed_table_is_what_the_command_prints():
    """All of its cases and, of the default repeats, the shares that take little time."""
    tables = committed()
    for name, rows in groupby(calibrate(1), key=lambda row: row.table):
        lines = [tuple(line[: len(line) - HEADS_AFTER[name]]) for line in tables[name]]
        assert lines == [row.case for row in rows]
    defaults = evaluation.CalibrateConfig()
    quick = cover_items(10 * defaults.repeats, defaults.seed)[2:]
    for row in [*quick, *judge_holm(defaults.repeats, defaults.seed)]:
        assert [*row.case, f"{100 * row.shares[0]:.1f} %"] in tables[COVERAGE]
    (row,) = judge_nothing(defaults.repeats, defaults.seed, LEARN, ["of the true world"])
    shares = [f"{100 * share:.1f} %" for share in row.shares]
    assert [*row.case, f"{row.gap:+.3f}", *shares] in tables[list(HEADS)[1]]


HEADS_AFTER = dict(zip(HEADS, (1, 4, 3)))  # columns that follow the case
