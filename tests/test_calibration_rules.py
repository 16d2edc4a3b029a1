"""The rules that decide on studies are as good as claimed.

Every bound stands beside a control that breaks it.
"""

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

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
    Row,
    calibrate,
    cover,
    cover_differences,
    cover_items,
    cover_seeds,
    judge_gates,
    judge_holm,
    judge_nothing,
    judge_planted,
    judge_tests,
    table,
)
from introspect.analysis.hypotheses import holm
from introspect.stats import wilson
from introspect.streams import rng

COMMITTED = Path(__file__).parents[1] / "data" / "results" / "calibration.txt"


def at_most(share, repeats):
    """What a true share stays below, but for one time in 10,000, in so many repeats."""
    return scipy.stats.binom.ppf(0.9999, repeats, share) / repeats


def at_least(share, repeats):
    return scipy.stats.binom.ppf(0.0001, repeats, share) / repeats


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


def test_gates_keep_the_true_hypotheses_of_all_families_and_each_family_alone_does_not(monkeypatch):
    row = judge_gates(300, 1)
    assert at_least(0.95, 300) <= row.shares[0]
    monkeypatch.setattr(calibration, "keep_gates", lambda families: [*map(holm, families)])
    assert judge_gates(300, 1).shares[0] < 0.95


def test_rows_without_an_effect_are_seldom_called_one_but_of_skewed_data_too_often():
    """And a mean that is as large as the bound is seldom called smaller than it."""
    rows = {row.case: row.shares for row in judge_tests(STUDIES, 1)}
    for data in ("normal", "bimodal"):
        t, flips, both, small = rows[data, "0.00"]
        assert both <= min(t, flips) and max(t, flips) <= at_most(0.05, STUDIES)
        assert small > 0.4 and rows[data, "0.06"][:3] == pytest.approx((1, 1, 1), abs=0.05)
        assert rows[data, "0.03"][3] <= at_most(0.05, STUDIES) and rows[data, "0.06"][3] == 0
    assert rows["skewed", "0.00"][2] <= at_most(0.1, STUDIES)


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
    covers, without, found, tests = (committed()[name] for name in HEADS)
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


HEADS_AFTER = dict(zip(HEADS, (1, 4, 3, 4)))  # columns that follow the case


def test_what_the_interval_says_of_its_coverage_is_in_the_committed_table():
    rows = re.findall(r"^student_t +(\w+).* ([\d.]+) %$", COMMITTED.read_text(), flags=re.M)
    skewed = [float(covers) for kind, covers in rows if kind != "normal"]
    assert len(skewed) == 6 and len(rows) == 9
    words = " ".join(calibration.student_t.__doc__.split())
    assert f"{min(skewed)} to {max(skewed)} % for the skewed data" in words
    assert all(round(float(covers)) == 95 for kind, covers in rows if kind == "normal")
