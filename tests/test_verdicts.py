"""What the runs say of a claim: verdicts from intervals, rows paired by seed and corrected."""
from dataclasses import replace

import pytest
import scipy.stats

import introspect.lab.verdicts as verdicts_module
from introspect.analysis.hypotheses import differs, keep_gates, sign_flip, within
from introspect.lab.claim import Claim
from introspect.lab.quantities import gap, value, value_difference
from introspect.lab.verdicts import judge, numbers_of_families, rows_of
from introspect.runs.experiment import DRAW
from introspect.runs.study import Gathered, Run, Runs, Setting
from introspect.stats import interval
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


UP, DOWN = [0.1, 0.11, 0.12] * 2, [-0.1, -0.11, -0.12] * 2
WIDE, NONE = [0.1, -0.11, 0.12] * 2, [0.0] * 6


@pytest.mark.parametrize("values, sign, p, adjusted, word", [
    (UP, 1, 0.01, 0.05, "supported"), (UP, -1, 0.01, 0.01, "contradicted"),
    (DOWN, -1, 0.01, 0.01, "supported"), (DOWN, 1, 0.01, 0.01, "contradicted"),
    (UP, 1, 0.01, 0.051, "supported at 5 % only"), (UP, 1, 0.01, None, "supported"),
    (DOWN, 1, 0.01, 0.3, "contradicted at 5 % only"),
    (UP, 1, 0.06, 0.8, "undecided (sign flips disagree)"),
    (WIDE, 1, 0.8, 0.8, "undecided (interval includes 0)"),
    (NONE, 1, 1.0, 1.0, "undecided (interval includes 0)"),
    (UP[:5], 1, 0.0625, 0.1, "undecided (5 worlds are too few)"),
    ([0.1, 0.1], 1, None, None, "undecided (2 worlds are too few)"),
    ([], 1, None, None, "undecided (0 worlds are too few)"),
])  # fmt: skip
def test_the_verdict_is_that_of_both_tests(values, sign, p, adjusted, word):
    assert judge(claim(sign), interval(values), None, p, None, adjusted) == word


@pytest.mark.parametrize("gaps, adjusted_gaps, p, word", [
    (UP, UP, 0.01, "supported"), (DOWN, DOWN, 0.01, "contradicted"),
    (UP, NONE, 0.5, "undecided (adjusted gap disagrees)"),
    (UP, DOWN, 0.01, "undecided (adjusted gap disagrees)"),
    (WIDE, UP, 0.5, "undecided (interval includes 0)"),
    (WIDE, WIDE, 0.5, "undecided (interval includes 0)"),
])  # fmt: skip
def test_a_gap_is_on_a_side_where_the_adjusted_gap_is_too(gaps, adjusted_gaps, p, word):
    assert judge(claim(), interval(gaps), interval(adjusted_gaps), p, None, 0.01) == word


def test_what_has_to_lean_as_well_needs_as_many_worlds():
    judged = judge(claim(), interval(UP), interval([0.1]), None, None, None)
    assert judged == "undecided (1 worlds are too few)"


@pytest.mark.parametrize("p, small, word", [
    (0.2, 0.01, "smaller than 0.03"), (0.2, 0.05, "undecided (interval includes 0)"),
    (0.01, 0.01, "supported"), (0.2, None, "undecided (interval includes 0)"),
])  # fmt: skip
def test_a_gap_on_no_side_can_be_too_small_to_matter(p, small, word):
    values = UP if word == "supported" else WIDE
    assert judge(claim(), interval(values), None, p, small, 0.01) == word


@pytest.mark.parametrize("values, p, adjusted, word", [
    ([0.64, 0.65, 0.66] * 2, 0.01, 0.01, "supported"),
    ([0.64, 0.65, 0.66] * 2, 0.01, 0.2, "supported at 5 % only"),
    ([0.58, 0.59, 0.66] * 2, 0.2, 0.9, "undecided (interval reaches out of the range)"),
    ([0.79, 0.80, 0.81] * 2, 1.0, 1.0, "contradicted at 5 % only"),
    ([0.39, 0.40, 0.41] * 2, 1.0, None, "contradicted at 5 % only"),
])  # fmt: skip
def test_a_range_is_supported_where_both_tests_put_the_mean_inside(values, p, adjusted, word):
    assert judge(claim(within=(0.6, 0.7)), interval(values), None, p, None, adjusted) == word


def test_claims_of_our_own_hold_and_a_second_number_that_disagrees_is_named():
    up, wide = interval(UP), interval([0.5, -0.4, 0.1] * 2)
    ours = claim(paper="not in the paper", also_name="score")
    assert judge(ours, up, up, 0.01, None, 0.01) == "holds"
    assert judge(ours, up, up, 0.01, None, 0.2) == "holds at 5 % only"
    assert judge(ours, up, wide, 0.2, None, 0.2) == "undecided (score disagrees)"
    assert judge(replace(ours, sign=-1), up, up, 0.01, None, 0.01) == "contradicted"
    assert judge(replace(claim(), name="C15"), up, None, 0.01, None, 0.01) == "holds"


def test_a_row_that_explores_is_not_tested_and_not_judged():
    row = replace(claim(), explores=True)
    assert row.family == 0 and verdicts_module.test(row, dict(enumerate(UP)), None) == (None, None)
    assert judge(row, interval(UP), None, None, None, None) == "explores"


def test_p_is_the_larger_one_of_both_tests_and_both_numbers():
    number, also = dict(enumerate(UP)), dict(enumerate([0.1, 0.3, 0.2, 0.1, 0.4, -0.01]))
    p, small = verdicts_module.test(replace(claim(), also=gap("reg")), number, also)
    assert p == max(map(differs, (UP, list(also.values())))) > differs(UP)
    assert small == within(UP, -0.03, 0.03) == 1
    p, small = verdicts_module.test(claim(within=(0.05, 0.3)), number, None)
    assert p == within(UP, 0.05, 0.3) == 0.015625 and small is None


@pytest.fixture
def found(tmp_path):
    """The runs of one setting over three seeds."""
    runs = {
        seed: Runs({arm: Run(result_of(arm, seed, g[seed]), tmp_path) for arm, g in GAPS.items()})
        for seed in range(3)
    }
    return {MATRIX: Gathered(runs, [])}


@pytest.fixture
def drawn_twice(found):
    """The same, and a second draw of each world."""
    runs = found[MATRIX].runs
    again = {seed + DRAW: Runs(by_arm) for seed, by_arm in runs.items()}
    for seed, by_arm in again.items():
        result = by_arm["reg"].result
        by_arm["reg"] = by_arm["reg"]._replace(result=result | {"gap": result["gap"] + 0.2})
    return {MATRIX: Gathered(runs | again, [])}


def test_rows_are_paired_by_world_and_corrected_over_the_table(found, monkeypatch):
    monkeypatch.setattr(verdicts_module, "CLAIMS", CLAIMED)
    rows = rows_of(found, families=3)
    assert [row.claim for row in rows] == CLAIMED and len(rows) > 1
    for row in rows:
        runs = found[MATRIX].runs
        values = {s: row.claim.value(runs[s]) for s in runs}
        assert row.values == pytest.approx(values)
        assert row.interval == interval(list(row.values.values()))
        also = [row.claim.also(runs[s]) for s in runs] if row.claim.also else None
        assert row.also == (interval(also) if also else None)
        beside = [row.claim.beside(runs[s]) for s in runs] if row.claim.beside else None
        assert row.beside == (interval(beside) if beside else None)
        both = [v for v in (list(values.values()), also) if v]
        ps = [p for v in both for p in (scipy.stats.ttest_1samp(v, 0).pvalue, sign_flip(v))]
        assert row.p == pytest.approx(max(ps))
    families = [[row.p for row in rows[:2]], [rows[2].p], []]
    assert [[row.adjusted for row in rows[:2]], [rows[2].adjusted], []] == keep_gates(families)
    assert numbers_of_families(rows) == {"1": 2, "2": 1, "3": 0}
    alone = rows_of(found, families=0)
    assert [(row.p, row.adjusted) for row in alone] == [(row.p, None) for row in rows]
    assert numbers_of_families(alone) == {}


def test_draws_of_a_world_are_averaged_and_count_once(found, drawn_twice, monkeypatch):
    monkeypatch.setattr(verdicts_module, "CLAIMS", CLAIMED)
    once, twice = (rows_of(each, families=0)[0] for each in (found, drawn_twice))
    assert twice.values == pytest.approx({s: x + 0.1 for s, x in once.values.items()})
    assert twice.interval["n"] == 3 and twice.p == pytest.approx(
        max(differs(list(twice.values.values())), differs([x["self"] for x in selves(found)]))
    )


def selves(found):
    return [by_arm["reg"].result for by_arm in found[MATRIX].runs.values()]


def test_a_seed_without_a_number_is_left_out(found, monkeypatch):
    monkeypatch.setattr(verdicts_module, "CLAIMS", [replace(CLAIMED[1], value=only_of_seed_2)])
    (row,) = rows_of(found, families=3)
    assert row.values == {2: 0.5} and row.p is None
    assert row.verdict == "undecided (1 worlds are too few)"


def only_of_seed_2(runs):
    return 0.5 if runs["reg"].result["seed"] == 2 else float("nan")


def test_a_seed_without_an_arm_is_left_out_of_the_claims_about_it(found, monkeypatch):
    runs = {s: Runs(by_arm) for s, by_arm in found[MATRIX].runs.items()}
    del runs[1]["again"]
    monkeypatch.setattr(verdicts_module, "CLAIMS", CLAIMED)
    rows = rows_of({MATRIX: found[MATRIX]._replace(runs=runs)}, families=3)
    assert [list(row.values) for row in rows] == [[0, 1, 2], [0, 2], [0, 1, 2]]
    assert rows[1].verdict == "undecided (2 worlds are too few)" and rows[1].p is None


def test_a_second_number_that_no_seed_has_leaves_a_claim_undecided(found, monkeypatch):
    """Of very small runs a score can be undefined in all seeds."""
    claims = [replace(CLAIMED[0], also=lambda runs: float("nan"))]
    monkeypatch.setattr(verdicts_module, "CLAIMS", claims)
    (row,) = rows_of(found, families=3)
    assert len(row.values) == 3 and row.also["n"] == 0
    assert row.verdict == "undecided (0 worlds are too few)"
