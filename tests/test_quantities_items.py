"""Numbers of two runs against each other, by loops over their items."""

import json
import math
import random

import numpy as np
import pytest

from introspect.analysis.splits import KINDS
from introspect.files import write_lines
from introspect.lab.quantities import (
    above_other_model,
    among_movers,
    gap_on_true_words,
    gap_where_labels_agree,
    own_advantage,
    own_preference,
    preference_for_other,
    read_items,
)
from introspect.runs.study import Run
from tests.test_quantities import RESULT


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


def test_the_gap_where_labels_agree_is_that_of_the_items_that_both_labeled_alike(tmp_path):
    (one, a), (two, b) = made(tmp_path, 0), made(tmp_path, 1)
    alike = [side(p) for p, q in zip(a, b) if p["original"] == q["original"]]
    assert 3 < len(alike) < 50
    found = gap_where_labels_agree("x", "y")({"x": one, "y": two})
    assert found == pytest.approx(np.mean(alike)) != np.mean([side(p) for p in a])
    three, four = (made(tmp_path, 2 + i, original=k)[0] for i, k in enumerate("AB"))
    assert math.isnan(gap_where_labels_agree("x", "y")({"x": three, "y": four}))


def test_who_follows_the_drift_of_another_run_is_asked_of_its_labels(tmp_path):
    (one, a), (two, b) = made(tmp_path, 0), made(tmp_path, 1)
    decided = [q["explanation"] == p["current"] for p, q in zip(a, b)
               if p["current"] != p["original"]
               and q["explanation"] in (p["current"], p["original"])]
    found = preference_for_other("y", "x")({"x": one, "y": two})
    assert found == pytest.approx(np.mean(decided) - 0.5)
    three, _ = made(tmp_path, 2, current="A", original="A")
    assert math.isnan(preference_for_other("y", "z")({"y": two, "z": three}))


def test_items_of_a_kind_are_those_that_a_loop_finds_in_both_directions(tmp_path):
    (one, a), (two, b) = (made(tmp_path, seed) for seed in (0, 1))
    for row, like in zip(b, a):
        row["original"] = like["original"]
    write_lines(two.folder / "items.jsonl", b)
    shares, prefers = [], []
    for own, other in ((a, b), (b, a)):
        alone = [p for p, q in zip(own, other)
                 if p["current"] != p["original"] == q["current"]]
        decided = [p["explanation"] == p["current"] for p in alone
                   if p["explanation"] in (p["current"], p["original"])]
        shares.append(len(alone) / 60)
        prefers.append(sum(decided) / len(decided))
    runs = {"x": one, "y": two}
    assert among_movers("x", "y", "own", "share")(runs) == pytest.approx(sum(shares) / 2)
    found = among_movers("x", "y", "own", "preference", "mean")(runs)
    assert found == pytest.approx(sum(prefers) / 2)
    assert math.isnan(among_movers("x", "y", "neither", "preference", "mean")(runs))
    total = sum(among_movers("x", "y", kind, "advantage")(runs) for kind in KINDS)
    assert total == pytest.approx(own_advantage("x", "y")(runs))
