"""What the runs say of a claim: verdicts from intervals, rows paired by seed and corrected."""
from dataclasses import replace

import pytest
import scipy.stats

import introspect.lab.verdicts as verdicts_module
from introspect.lab.claim import Claim
from introspect.lab.quantities import gap, value, value_difference
from introspect.lab.verdicts import judge, rows_of
from introspect.runs.study import Gathered, Run, Runs, Setting
from introspect.stats import holm, interval
from tests.made_up import result_of

MATRIX = Setting("matrix", "hint")
GAPS = {"reg": (0.21, 0.17, 0.2), "again": (0.18, 0.19, 0.11), "shuffled": (-0.02, 0.03, 0.01)}
CLAIMED = [
    Claim("C1", "one", "matrix", "", gap("reg"), also=value("reg", "self"), beside=gap("again")),
    Claim("C2", "two", "matrix", "", value_difference("reg", "again", "self")),
    Claim("C3", "three", "matrix", "", value("shuffled", "drift"), sign=-1),
]


def claim(sign=1, within=None, paper="seen", **words) -> Claim:
    return Claim("C1", "", "matrix", "", gap("reg"), paper, sign=sign, within=within, **words)


@pytest.mark.parametrize("values, sign, adjusted, word", [
    ([0.1, 0.11, 0.12], 1, 0.01, "supported"), ([0.1, 0.11, 0.12], -1, 0.01, "contradicted"),
    ([-0.1, -0.11, -0.12], -1, 0.01, "supported"), ([-0.1, -0.11, -0.12], 1, 0.01, "contradicted"),
    ([0.1, 0.11, 0.12], 1, 0.05, "supported (not after correction)"),
    ([0.1, 0.11, 0.12], 1, None, "supported"), ([-0.1, -0.11, -0.12], 1, None, "contradicted"),
    ([-0.1, -0.11, -0.12], 1, 0.3, "contradicted (not after correction)"),
    ([0.1, -0.11, 0.12], 1, 0.8, "undecided (interval includes 0)"),
    ([0.0, 0.0, 0.0, 0.0], 1, 1.0, "undecided (interval includes 0)"),
    ([0.1, 0.1], 1, 0.0, "undecided (n = 2)"), ([], 1, None, "undecided (n = 0)"),
])  # fmt: skip
def test_the_verdict_is_that_of_the_interval(values, sign, adjusted, word):
    assert judge(claim(sign), interval(values), None, adjusted) == word


@pytest.mark.parametrize("gaps, adjusted_gaps, word", [
    ([0.1, 0.11, 0.12], [0.1, 0.11, 0.13], "supported"),
    ([-0.1, -0.11, -0.12], [-0.1, -0.11, -0.13], "contradicted"),
    ([0.1, 0.11, 0.12], [0.0, 0.0, 0.0], "undecided (adjusted gap disagrees)"),
    ([0.1, 0.11, 0.12], [-0.1, -0.11, -0.13], "undecided (adjusted gap disagrees)"),
    ([0.1, -0.11, 0.12], [0.1, 0.11, 0.13], "undecided (interval includes 0)"),
    ([0.1, -0.11, 0.12], [0.1, -0.11, 0.13], "undecided (interval includes 0)"),
])  # fmt: skip
def test_a_gap_is_on_a_side_where_the_adjusted_gap_is_too(gaps, adjusted_gaps, word):
    assert judge(claim(), interval(gaps), interval(adjusted_gaps), 0.01) == word


def test_what_has_to_lean_as_well_needs_as_many_seeds():
    assert judge(claim(), interval([0.1, 0.11, 0.12]), interval([0.1]), 0.01) == (
        "undecided (n = 1)"
    )


@pytest.mark.parametrize("values, word", [
    ([0.64, 0.65, 0.66], "supported"), ([0.70, 0.71, 0.72], "overlaps"),
    ([0.58, 0.59, 0.60], "overlaps"), ([0.79, 0.80, 0.81], "contradicted"),
    ([0.39, 0.40, 0.41], "contradicted"), ([0.5, 0.65, 0.8], "overlaps"),
])  # fmt: skip
def test_a_range_is_supported_where_it_holds_the_whole_interval(values, word):
    assert judge(claim(within=(0.6, 0.7)), interval(values), None, None) == word


def test_claims_of_our_own_hold_and_a_second_number_that_disagrees_is_named():
    up, wide = interval([0.1, 0.11, 0.12]), interval([0.5, -0.4, 0.1])
    ours = claim(paper="not in the paper", also_name="score")
    assert judge(ours, up, up, 0.01) == "holds"
    assert judge(ours, up, up, 0.2) == "holds (not after correction)"
    assert judge(ours, up, wide, 0.2) == "undecided (score disagrees)"
    assert judge(replace(ours, sign=-1), up, up, 0.01) == "contradicted"
    assert judge(replace(claim(), name="C15"), up, None, 0.01) == "holds"


@pytest.fixture
def found(tmp_path):
    """The runs of one setting over three seeds."""
    runs = {
        seed: Runs({arm: Run(result_of(arm, seed, g[seed]), tmp_path) for arm, g in GAPS.items()})
        for seed in range(3)
    }
    return {MATRIX: Gathered(runs, [])}


def test_rows_are_paired_by_seed_and_corrected_over_the_table(found, monkeypatch):
    monkeypatch.setattr(verdicts_module, "CLAIMS", CLAIMED)
    rows = rows_of(found, corrected=True)
    assert [row.claim for row in rows] == CLAIMED and len(rows) > 1
    for row in rows:
        runs = found[MATRIX].runs
        values = {s: row.claim.value(runs[s]) for s in runs}
        assert row.values == values and row.interval == interval(list(values.values()))
        also = [row.claim.also(runs[s]) for s in runs] if row.claim.also else None
        assert row.also == (interval(also) if also else None)
        beside = [row.claim.beside(runs[s]) for s in runs] if row.claim.beside else None
        assert row.beside == (interval(beside) if beside else None)
        both = [v for v in (list(values.values()), also) if v]
        ps = [scipy.stats.ttest_1samp(v, 0).pvalue for v in both]
        assert row.p == pytest.approx(max(ps))
    assert [row.adjusted for row in rows] == holm([row.p for row in rows])
    alone = rows_of(found, corrected=False)
    assert [(row.p, row.adjusted) for row in alone] == [(row.p, None) for row in rows]


def test_a_seed_without_a_number_is_left_out(found, monkeypatch):
    monkeypatch.setattr(verdicts_module, "CLAIMS", [replace(CLAIMED[1], value=only_of_seed_2)])
    (row,) = rows_of(found, corrected=True)
    assert row.values == {2: 0.5} and row.p is None and row.verdict == "undecided (n = 1)"


def only_of_seed_2(runs):
    return 0.5 if runs["reg"].result["seed"] == 2 else float("nan")


def test_a_seed_without_an_arm_is_left_out_of_the_claims_about_it(found, monkeypatch):
    runs = {s: Runs(by_arm) for s, by_arm in found[MATRIX].runs.items()}
    del runs[1]["again"]
    monkeypatch.setattr(verdicts_module, "CLAIMS", CLAIMED)
    rows = rows_of({MATRIX: found[MATRIX]._replace(runs=runs)}, corrected=True)
    assert [list(row.values) for row in rows] == [[0, 1, 2], [0, 2], [0, 1, 2]]
    assert rows[1].verdict == "undecided (n = 2)" and rows[1].p is None


def test_a_second_number_that_no_seed_has_leaves_a_claim_undecided(found, monkeypatch):
    """Of very small runs a score can be undefined in all seeds."""
    claims = [replace(CLAIMED[0], also=lambda runs: float("nan"))]
    monkeypatch.setattr(verdicts_module, "CLAIMS", claims)
    (row,) = rows_of(found, corrected=True)
    assert len(row.values) == 3 and row.also["n"] == 0 and row.verdict == "undecided (n = 0)"
