"""The numbers of claims, from made-up results, by hand."""

import math

import numpy as np
import pytest

from introspect.fields import Refused
from introspect.files import write_json, write_lines
from introspect.lab.quantities import (
    above_constant,
    adjusted_gap,
    at_evaluation,
    extra,
    features,
    gap,
    minus,
    prediction,
    read_value,
    self_minus_past,
    value,
    value_difference,
    zero_crossing,
)
from introspect.runs.study import Missing, Run, Runs

RESULT = {"self": 0.7, "gap": 0.25, "majority_now": 0.4, "preference": None,
          "train": {"self": 0.9, "gap": -0.5, "compatibility": 0.8},
          "tasks": {"hint": {"self": 0.6, "majority_now": 0.1}}}


def results(**gaps):
    """Runs with nothing but a result."""
    return {arm: Run(RESULT | {"gap": value}, None) for arm, value in gaps.items()}


# --- numbers of a result ---


def test_a_number_is_found_by_its_keys_and_none_is_nan():
    assert read_value(RESULT, "gap") == 0.25 and read_value(RESULT, "train", "gap") == -0.5
    assert math.isnan(read_value(RESULT, "preference"))
    for keys in (("gpa",), ("train", "gpa"), ("gap_of",)):
        with pytest.raises(KeyError):
            read_value(RESULT, *keys)


def test_numbers_of_an_arm_and_their_differences_are_those_of_the_arms_that_are_named():
    runs = results(reg=0.25, noreg=-0.125)
    runs["reg"].result.update(self=0.75, controls={"own": 0.5, "adjusted": 0.375})
    assert gap("reg")(runs) == value("reg", "gap")(runs) == 0.25 and gap("noreg")(runs) == -0.125
    assert value("reg", "train", "compatibility")(runs) == 0.8
    assert minus(gap("reg"), gap("noreg"))(runs) == 0.375
    assert value_difference("noreg", "reg", "gap")(runs) == -0.375
    assert adjusted_gap("reg")(runs) == 0.375 and self_minus_past("reg")(runs) == 0.25
    with pytest.raises(KeyError):
        gap("rge")(runs)


def test_above_the_most_frequent_is_self_minus_the_best_constant_now():
    runs = results(reg=0.25)
    assert above_constant("reg")(runs) == pytest.approx(0.3)
    assert above_constant("reg", "tasks", "hint")(runs) == pytest.approx(0.5)


def test_early_is_an_evaluation_on_the_way(tmp_path):
    rows = [{"step": s, "gap": s / 8, "preference": s or None} for s in (0, 2, 4)]
    write_lines(tmp_path / "metrics.jsonl", rows)
    runs = {"reg": Run(RESULT, tmp_path)}
    assert at_evaluation("reg", "gap", 1)(runs) == 0.25
    assert [at_evaluation("reg", "gap", i)(runs) for i in range(3)] == [0, 0.25, 0.5]
    assert math.isnan(at_evaluation("reg", "preference", 0)(runs))
    with pytest.raises(Refused):
        at_evaluation("reg", "gap", 1)({"reg": Run(RESULT, tmp_path / "elsewhere")})


def test_an_extra_is_a_number_of_a_file_of_the_run(tmp_path):
    write_json(tmp_path / "circuits.json", {"all": {"follow": 0.5, "moved": None}, "n": 3})
    runs = {"reg": Run(RESULT, tmp_path)}
    assert extra("reg", "circuits", "all", "follow")(runs) == 0.5
    assert extra("reg", "circuits", "n")(runs) == 3
    assert math.isnan(extra("reg", "circuits", "all", "moved")(runs))
    with pytest.raises(Missing):
        extra("reg", "probes", "n")(runs)


# --- where a dial crosses zero ---


def crossed(*points):
    """The crossing of these (x, y) in this order."""
    runs = {f"a{i}": Run({"train": {"x": x}, "y": y}, None) for i, (x, y) in enumerate(points)}
    return zero_crossing(list(runs), ("train", "x"), ("y",))(runs)


@pytest.mark.parametrize("slope, zero", [(2.0, 0.61), (-0.5, 0.61), (1.0, 0.85), (3.0, 0.4)])
def test_the_crossing_of_a_line_is_where_it_is_zero(slope, zero):
    xs = [1.0, 0.9, 0.7, 0.45, 0.3]
    falls, rises = (xs, xs[::-1]) if slope > 0 else (xs[::-1], xs)
    assert crossed(*((x, slope * (x - zero)) for x in falls)) == pytest.approx(zero)
    assert math.isnan(crossed(*((x, slope * (x - zero)) for x in rises)))


def test_a_crossing_by_hand_between_two_points_and_at_a_point():
    assert crossed((1.0, 3.0), (0.0, -1.0)) == 0.25
    assert crossed((1.0, 2.0), (0.5, 0.0), (0.2, -9.0)) == 0.5
    assert math.isnan(crossed((1.0, 0.0), (0.5, -1.0)))  # it never was above
    assert crossed((1.0, 1.0), (0.5, 0.0)) == 0.5


def test_without_a_change_of_sign_there_is_no_crossing():
    nothing = [(1.0, 0.5), (0.5, 0.25), (0.2, 0.1)]
    assert math.isnan(crossed(*nothing)) and math.isnan(crossed((1.0, -1.0)))
    assert math.isnan(crossed(*((x, -y) for x, y in nothing)))
    assert math.isnan(crossed((1.0, None), (0.5, -1.0)))


def test_the_first_crossing_in_the_order_of_the_arms_counts():
    points = [(0.9, 1.0), (0.8, -1.0), (0.6, 1.0), (0.4, -1.0)]
    assert crossed(*points) == pytest.approx(0.85)
    assert crossed(*points[1:]) == pytest.approx(0.5)  # a rise is none
    assert math.isnan(crossed((0.5, 0.0), (0.4, 0.0), (0.3, 1.0)))


def test_an_arm_that_is_not_there_is_missing_and_not_another_error():
    runs = Runs({"reg": Run(RESULT, None)})
    assert gap("reg")(runs) == 0.25
    with pytest.raises(Missing):
        gap("noreg")(runs)
    with pytest.raises(Missing):
        prediction(True, arms=["e a", "e b"])(runs)


# --- a rule for gaps ---


def conditions(n, weights=None, seed=0, name="e{j} a{i}"):
    """Arms with made-up drift and agreement and, given weights, gaps that follow from them."""
    draw = np.random.default_rng(seed)
    runs = {}
    for i in range(n):
        d, c = draw.random(2)
        value = draw.normal() if weights is None else np.dot(weights, [1, d, c, d * c])
        result = {"drift": d, "train": {"compatibility": c, "drift": 9.0, "gap": 9.0}, "gap": value}
        runs[name.format(i=i, j=i // 5)] = Run(result | {"compatibility": 9.0}, None)
    return runs


def r2(runs, test):
    """By gradient-free normal equations, an arm at a time."""
    rows = {arm: (run.result["drift"], run.result["train"]["compatibility"], run.result["gap"])
            for arm, run in runs.items()}
    x = {arm: np.array([1, d, c, d * c]) for arm, (d, c, _) in rows.items()}
    fitted = [arm for arm in runs if arm not in test]
    gram = sum(np.outer(x[arm], x[arm]) for arm in fitted)
    w = np.linalg.solve(gram, sum(x[arm] * rows[arm][2] for arm in fitted))
    mean = sum(rows[arm][2] for arm in fitted) / len(fitted)
    left = sum((rows[arm][2] - x[arm] @ w) ** 2 for arm in test)
    return 1 - left / sum((rows[arm][2] - mean) ** 2 for arm in test)


def test_features_are_drift_agreement_on_training_items_and_their_product():
    x, y = features(conditions(7))
    for row, gap_there, run in zip(x, y, conditions(7).values()):
        d, c = run.result["drift"], run.result["train"]["compatibility"]
        assert row.tolist() == [1, d, c, d * c] and gap_there == run.result["gap"]


@pytest.mark.parametrize("by_experiment", [False, True])
def test_gaps_that_follow_the_rule_are_predicted_perfectly(by_experiment):
    runs = conditions(30, weights=[0.1, -0.4, 0.3, 0.7])
    assert prediction(by_experiment)(runs) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("by_experiment", [False, True])
def test_gaps_that_follow_from_nothing_are_not_predicted(by_experiment):
    found = [prediction(by_experiment)(conditions(60, seed=s)) for s in range(40)]
    assert np.mean(found) < 0 and np.mean(np.array(found) > 0.2) < 0.05


@pytest.mark.parametrize("by_experiment", [False, True])
def test_a_prediction_is_that_of_normal_equations_on_every_second_unit(by_experiment):
    runs = conditions(23)
    held = {f"e{i // 5} a{i}" for i in range(23)
            if ((i // 5) % 2 == 1 if by_experiment else i % 2 == 1)}
    assert prediction(by_experiment)(runs) == pytest.approx(r2(runs, held), abs=1e-9)
    assert prediction(by_experiment)(runs) != pytest.approx(prediction(not by_experiment)(runs))


@pytest.mark.parametrize("by_experiment", [False, True])
def test_arms_that_are_held_out_are_not_fitted(by_experiment):
    """Where fitted arms follow a rule and the others follow its opposite, prediction is worse than
    none; if they were fitted too it could not be so."""
    runs = conditions(40, weights=[0.0, 1.0, -1.0, 0.5])
    for i, (arm, run) in enumerate(runs.items()):
        held = (i // 5) % 2 == 1 if by_experiment else i % 2 == 1
        run.result["gap"] *= -1 if held else 1
    assert prediction(by_experiment)(runs) < -0.5


def test_one_arm_can_be_left_out_and_no_other_arm_counts():
    runs = conditions(23)
    arms, extra = list(runs), {"other arm": runs["e0 a0"]}
    fewer = {arm: run for arm, run in runs.items() if arm != "e0 a2"}
    for by_experiment in (False, True):
        expected = prediction(by_experiment)(fewer)
        assert prediction(by_experiment, arms, "e0 a2")(runs | extra) == pytest.approx(expected)
        assert prediction(by_experiment)(runs) != pytest.approx(expected)


def test_arms_of_one_experiment_are_fitted_or_held_out_together():
    """Of every second experiment; an experiment without a second arm is a unit as well."""
    runs = conditions(12, name="e{i} a")
    assert prediction(True)(runs) == pytest.approx(prediction(False)(runs))
    renamed = {f"x {arm}": run for arm, run in conditions(3).items()} | conditions(12, seed=1)
    assert prediction(True)(renamed) == pytest.approx(
        r2(renamed, {f"e{i // 5} a{i}" for i in range(5)} | {f"e2 a{i}" for i in (10, 11)}))
