"""A study's numbers against their definitions, on runs made up here."""

import math

import pytest
import scipy.stats

from introspect.fields import Refused
from introspect.report.summary import MEASURES, summarize
from introspect.stats import interval, verdict


def run(arm, seed, gap, preference=0.6):
    values = dict.fromkeys(MEASURES, 0.5) | {"gap": gap, "preference": preference, "n_items": 8}
    values |= {"self": 0.5 + gap, "orig": 0.5}
    m0 = {"known": 0.9 + seed / 100, "changed": 0.5, "labels": {"would stay": 0.5 + seed / 10}}
    return {"arm": arm, "seed": seed, **values, "train": {**values, "gap": -gap}, "m0": m0} | {
        "controls": {"adjusted": gap / 2}, "untrained": {"self": 0.3, "orig": 0.4}}


RUNS = [run("a", s, g) for s, g in enumerate((0.1, 0.2, 0.6))]
RUNS += [run("b", s, g) for s, g in enumerate((-0.2, 0.1, 0.1))]
STUDY = summarize(RUNS)


def test_means_and_intervals_over_seeds_match_scipy():
    for arm, gaps in (("a", (0.1, 0.2, 0.6)), ("b", (-0.2, 0.1, 0.1))):
        got = STUDY["arms"][arm]["gap"]
        error = scipy.stats.sem(gaps)
        low, high = scipy.stats.t.interval(0.95, 2, loc=sum(gaps) / 3, scale=error)
        assert (got["mean"], got["n"]) == (pytest.approx(sum(gaps) / 3, abs=1e-12), 3)
        assert (got["low"], got["high"]) == (pytest.approx(low), pytest.approx(high))
        assert STUDY["arms"][arm]["train"]["gap"]["mean"] == pytest.approx(-got["mean"])


def test_differences_are_paired_by_seed():
    got = STUDY["differences"]["a - b"]["gap"]  # 0.3, 0.1, 0.5: mean 0.3, s = 0.2
    half = scipy.stats.t.ppf(0.975, 2) * 0.2 / math.sqrt(3)
    assert got["mean"] == pytest.approx(0.3) and got["high"] == pytest.approx(0.3 + half)


def test_a_seed_missing_in_one_arm_leaves_the_difference_of_the_others():
    fewer = summarize([r for r in RUNS if (r["arm"], r["seed"]) != ("b", 0)])
    assert fewer["differences"]["a - b"]["gap"]["n"] == 2
    assert fewer["differences"]["a - b"]["gap"]["mean"] == pytest.approx(0.3)  # of 0.1 and 0.5


def test_a_run_without_an_adjusted_gap_is_in_no_difference_of_it():
    without = [r | {"controls": {"adjusted": None}} if r["seed"] == 1 else r for r in RUNS]
    paired = summarize(without)["differences"]["a - b"]["adjusted"]
    assert paired == pytest.approx(interval([0.15, None, 0.25]))


def test_runs_that_are_not_about_the_same_have_no_means():
    m0, tasks = RUNS[-1]["m0"], {"hint": {}}
    for other in ({"m0": m0 | {"labels": {}}}, {"m0": m0 | {"tasks": {"hint": m0}}},
                  {"m0": m0 | {"labels": {"would go": 1.0}}}, {"tasks": tasks}):  # fmt: skip
        with pytest.raises(Refused, match="must have the same tasks and the same labels"):
            summarize([*RUNS[:-1], RUNS[-1] | other])


def test_untrained_and_the_adjusted_gap_are_means_over_seeds():
    assert STUDY["arms"]["a"]["untrained"]["self"]["mean"] == pytest.approx(0.3)
    assert STUDY["arms"]["a"]["untrained"]["orig"]["mean"] == pytest.approx(0.4)
    assert STUDY["arms"]["a"]["adjusted"] == interval([0.05, 0.1, 0.3])
    paired = interval([x / 2 - y / 2 for x, y in zip((0.1, 0.2, 0.6), (-0.2, 0.1, 0.1))])
    assert STUDY["differences"]["a - b"]["adjusted"] == pytest.approx(paired)


def test_m0_is_counted_once_a_seed_not_once_a_run():
    assert STUDY["m0"]["known"]["n"] == 3
    assert STUDY["m0"]["known"]["mean"] == pytest.approx(0.91)


def test_shares_of_labels_are_means_over_m0s():
    labels = STUDY["m0"]["labels"]
    assert list(labels) == ["would stay"] and labels["would stay"]["mean"] == pytest.approx(0.6)


def several(result):
    """The same run with two tasks, of which the second is said otherwise."""
    seed = result["seed"]
    of = {key: result[key] for key in MEASURES} | {"known": 0.8 + seed / 10, "changed": 0.4}
    tasks = {"hint": of, "other": of | {"self": 0.9, "majority_now": 0.2 + seed / 10}}
    m0 = result["m0"] | {"tasks": {"hint": result["m0"], "other": {**result["m0"], "known": None}}}
    return result | {"tasks": tasks, "m0": m0}


def test_of_several_tasks_each_has_its_own_means_and_its_distance_from_the_majority():
    study = summarize([several(r) for r in RUNS])
    assert "tasks" not in STUDY["arms"]["a"]
    hint, other = (study["arms"]["a"]["tasks"][task] for task in ("hint", "other"))
    assert hint["gap"] == study["arms"]["a"]["gap"] and hint["known"]["mean"] == pytest.approx(0.9)
    assert other["above_majority"]["mean"] == pytest.approx(0.9 - 0.3)
    half = scipy.stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)  # of 0.7, 0.6, 0.5
    assert other["above_majority"]["low"] == pytest.approx(0.6 - half)
    m0 = study["m0"]["tasks"]
    assert m0["hint"]["known"] == study["m0"]["known"] and m0["other"]["known"]["n"] == 0


def test_undecided_preferences_are_left_out_and_show_in_n():
    assert interval([0.4, None, 0.6])["n"] == 2
    assert interval([None]) == {"mean": None, "low": None, "high": None, "n": 0}


@pytest.mark.parametrize(
    "low, high, word",
    [(0.01, 0.2, "coupling"), (-0.2, -0.01, "reversed"), (-0.1, 0.2, "no difference seen at n = ")],
)
def test_the_verdict_follows_the_interval(low, high, word):
    assert verdict({"mean": 0.1, "low": low, "high": high, "n": 3}).startswith(word)


UNSEEN = "no difference seen at n = 3"
ALONE = f"{UNSEEN}: the frequencies of labels alone can make such a gap"


@pytest.mark.parametrize(
    "gap, adjusted, word",
    [
        ((0.1, 0.2), (0.01, 0.1), "coupling: "),
        ((-0.2, -0.1), (-0.1, -0.01), "reversed: "),
        ((0.1, 0.2), (-0.01, 0.1), ALONE),
        ((-0.2, -0.1), (-0.1, 0.01), ALONE),
        ((0.1, 0.2), (-0.2, -0.1), ALONE),
        ((-0.1, 0.2), (0.01, 0.1), UNSEEN),
        ((-0.1, 0.2), (-0.2, -0.1), UNSEEN),
        ((0, 0), (0, 0), UNSEEN),
    ],
)
def test_with_an_adjusted_gap_the_verdict_takes_both(gap, adjusted, word):
    both = [{"mean": 0, "low": low, "high": high, "n": 3} for low, high in (gap, adjusted)]
    assert verdict(*both).partition(": expl")[0] == word.removesuffix(": ")


def test_an_adjusted_gap_of_fewer_seeds_gives_no_verdict():
    assert verdict(interval([0.1, 0.2, 0.3]), interval([0.1])) == "no verdict at n = 1"


def test_one_seed_gives_no_verdict_and_two_that_agree_by_luck_neither():
    assert verdict(interval([0.4])) == "no verdict at n = 1"
    assert verdict(interval([0.4, 0.4])) == "no verdict at n = 2"


def test_an_m0_that_several_seeds_share_counts_once():
    shared = [{**r, "m0": RUNS[0]["m0"]} for r in RUNS]
    assert summarize(shared)["m0"]["known"]["n"] == 1
