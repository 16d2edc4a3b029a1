"""The numbers of claims, from made-up runs, by loops over their items and by hand."""

import json
import math
import random

import numpy as np
import pytest

from introspect.fields import Refused
from introspect.files import write_json, write_lines
from introspect.lab.quantities import (
    above_constant,
    above_other_model,
    adjusted_gap,
    at_evaluation,
    extra,
    features,
    gap,
    gap_on_true_words,
    gap_where_both_changed,
    minus,
    own_advantage,
    own_preference,
    prediction,
    preference_for_other,
    read_items,
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
    with pytest.raises(Refused, match="probes.json"):
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


# --- runs against each other ---


def made(folder, seed, n=60, shift=0, **columns):
    """A run of made-up items."""
    draw, folder = random.Random(seed), folder / f"run{seed}"
    folder.mkdir(parents=True)
    rows = [
        {"item": f"item {i + shift}", "group": f"fact {(i + shift) // 3}",
         **{key: draw.choice("AAABCD") for key in ("explanation", "current", "original")}}
        for i in range(n)
    ]
    for row in rows:
        if draw.random() < 0.4:
            row["explanation"] = row["current"]
        row.update(columns)
    write_lines(folder / "items.jsonl", rows)
    return Run(RESULT, folder), rows


@pytest.mark.parametrize("seeds", [(0, 1), (6, 7), (8, 9)])
def test_runs_against_each_other_are_those_of_loops_over_items(tmp_path, seeds):
    (one, a), (two, b) = (made(tmp_path, seed) for seed in seeds)
    runs = {"x": one, "y": two}
    gains, prefers = [], []
    for own, other in ((a, b), (b, a)):
        right = [(p["explanation"] == p["current"], p["explanation"] == q["current"])
                 for p, q in zip(own, other)]
        gains.append(sum(r - w for r, w in right) / 60)
        decided = [r for r, w in right if r != w]
        prefers.append(sum(decided) / len(decided))
    assert own_advantage("x", "y")(runs) == pytest.approx(sum(gains) / 2)
    assert own_preference("x", "y")(runs) == pytest.approx(sum(prefers) / 2 - 0.5)
    assert own_advantage("y", "x")(runs) == pytest.approx(own_advantage("x", "y")(runs))
    for own, other, x, y in ((a, b, "x", "y"), (b, a, "y", "x")):
        itself = sum(p["explanation"] == p["current"] for p in own)
        told = sum(q["explanation"] == p["current"] for p, q in zip(own, other))
        assert above_other_model(x, y)(runs) == pytest.approx((itself - told) / 60)
    values = [own_advantage("x", "y")(runs), own_preference("x", "y")(runs),
              above_other_model("x", "y")(runs),
              above_other_model("y", "x")(runs)]
    assert len({round(value, 9) for value in values}) == 4  # guard: exchanging two would show


def test_runs_that_are_alike_have_no_advantage_and_no_preference_to_decide(tmp_path):
    (one, _), (two, _) = made(tmp_path / "a", 0), made(tmp_path / "b", 0)
    runs = {"x": one, "y": two}
    assert own_advantage("x", "y")(runs) == above_other_model("x", "y")(runs) == 0
    assert math.isnan(own_preference("x", "y")(runs))


def test_explanations_that_are_all_true_of_their_own_run_have_all_preference(tmp_path):
    one, _ = made(tmp_path, 0, explanation="A", current="A")
    two, _ = made(tmp_path, 1, explanation="B", current="B")
    runs = {"x": one, "y": two}
    assert (own_advantage("x", "y")(runs), own_preference("x", "y")(runs)) == (1, 0.5)
    assert above_other_model("x", "y")(runs) == 1
    three, _ = made(tmp_path, 2, explanation="A", current="B")  # each is true of the other
    four, _ = made(tmp_path, 3, explanation="B", current="A")
    assert own_preference("x", "y")({"x": three, "y": four}) == -0.5


@pytest.mark.parametrize("other", [dict(shift=1), dict(n=59), dict(n=61)])
@pytest.mark.parametrize("statistic", [own_advantage, own_preference, above_other_model])
def test_runs_of_other_items_are_refused(tmp_path, statistic, other):
    (one, _), (two, _) = made(tmp_path, 0), made(tmp_path, 1, **other)
    with pytest.raises(ValueError, match="need runs of the same items in the same order"):
        statistic("x", "y")({"x": one, "y": two})


def test_items_in_another_order_within_a_group_are_refused(tmp_path):
    (one, _), (two, rows) = made(tmp_path, 0), made(tmp_path, 1)
    rows[0]["item"], rows[1]["item"] = rows[1]["item"], rows[0]["item"]
    assert rows[0]["group"] == rows[1]["group"]
    write_lines(two.folder / "items.jsonl", rows)
    with pytest.raises(ValueError, match="in the same order"):
        read_items(one, two)


def test_items_in_another_order_are_refused_and_classes_have_one_numbering(tmp_path):
    (one, rows), (two, others) = made(tmp_path, 0), made(tmp_path, 1)
    read = read_items(one, two)
    words = [dict(zip(run.current.tolist(), (r["current"] for r in of)))
             for run, of in zip(read, (rows, others))]
    assert words[0] == words[1] and len(words[0]) == 4
    lines = (two.folder / "items.jsonl").read_text().splitlines()
    (two.folder / "items.jsonl").write_text("\n".join(lines[::-1]) + "\n")
    with pytest.raises(ValueError, match="in the same order"):
        read_items(one, two)
    assert json.loads(lines[0])["item"] == "item 0"


def side(row):
    return (row["explanation"] == row["current"]) - (row["explanation"] == row["original"])


def test_words_of_which_a_label_was_turned_are_left_out_with_all_their_items(tmp_path):
    (one, a), (two, b) = made(tmp_path, 0), made(tmp_path, 1)
    for i, (p, q) in enumerate(zip(a, b)):
        p["item"] = q["item"] = f"{'abcd'[i % 4]} hint {i}"
        q["original"] = p["original"]
    b[4]["original"] = "turned"  # of a
    for run, rows in ((one, a), (two, b)):
        write_lines(run.folder / "items.jsonl", rows)
    runs = {"x": one, "y": two}
    kept = [side(p) for p in a if p["item"][0] != "a"]
    assert gap_on_true_words("x", "y")(runs) == pytest.approx(np.mean(kept))
    assert np.mean(kept) != pytest.approx(np.mean([side(p) for p in a]))
    for q in b:
        q["original"] = "turned"
    write_lines(two.folder / "items.jsonl", b)
    assert math.isnan(gap_on_true_words("x", "y")(runs))


def test_siding_is_of_items_that_arm_and_twin_moved_to_the_same_label(tmp_path):
    (one, a), (two, b) = made(tmp_path, 0), made(tmp_path, 1)
    moved = [side(p) for p, q in zip(a, b) if p["current"] == q["current"] != p["original"]]
    assert 3 < len(moved) < 50
    assert gap_where_both_changed("x", "y")({"x": one, "y": two}) == pytest.approx(np.mean(moved))
    three, four = (made(tmp_path, seed, current="A", original="A")[0] for seed in (2, 3))
    assert math.isnan(gap_where_both_changed("x", "y")({"x": three, "y": four}))


def test_who_follows_the_drift_of_another_run_is_asked_of_its_labels(tmp_path):
    (one, a), (two, b) = made(tmp_path, 0), made(tmp_path, 1)
    decided = [q["explanation"] == p["current"] for p, q in zip(a, b)
               if p["current"] != p["original"]
               and q["explanation"] in (p["current"], p["original"])]
    found = preference_for_other("y", "x")({"x": one, "y": two})
    assert found == pytest.approx(np.mean(decided) - 0.5)
    three, _ = made(tmp_path, 2, current="A", original="A")
    assert math.isnan(preference_for_other("y", "z")({"y": two, "z": three}))


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
