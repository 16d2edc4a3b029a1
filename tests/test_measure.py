"""What is measured of a model, an item at a time, and in words."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch

from introspect.channels import Heads
from introspect.config import LabelConfig
from introspect.interview import RunTask
from introspect.labels import freeze
from introspect.measure import Snapshot, measure, measure_all, measure_competence
from introspect.runs.items import choose_examples
from introspect.tasks.hint import Hint

WORLD = Hint(n_entity=4, n_attribute=5, n_answer=3, explained_share=0.4).world(3)


def tables(seed):
    """A snapshot of random answers and explanations, and its frozen labels."""
    g = torch.Generator().manual_seed(seed)
    reference, noise = torch.randn(2, 20, 4, 3, generator=g)
    spoken = torch.randint(4, (20, 3), generator=g)
    frozen = freeze(reference, reference, WORLD, LabelConfig(label_noise=0.2), 0)
    return Snapshot(None, part_of(WORLD, reference + noise, spoken), frozen), frozen


def part_of(world, answers, spoken, explained=True):
    """A task whose model answers and says what these tables say."""
    asked = SimpleNamespace(
        everything=lambda model: (answers, spoken), channel=Heads("head", world, None)
    )
    return RunTask("hint", world, asked, explained, taught=False)


SNAPSHOT, FROZEN = tables(seed=6)


def items(split):
    """One dict an item: answers, labels and what is said, by python integers."""
    before, now = FROZEN.reference.argmax(-1).tolist(), SNAPSHOT.now.tolist()
    for s in range(20):
        if WORLD.explained[s] == (split == "train"):
            for p, (x, y) in enumerate(WORLD.pairs):
                yield {
                    "subject": s,
                    "says": SNAPSHOT.explanation[s, p].item(),
                    "now": 3 if now[s][x] == now[s][y] else now[s][y],
                    "then": 3 if before[s][x] == before[s][y] else before[s][y],
                    "target": FROZEN.targets[s, p].item(),
                    "with_moved": now[s][x] != before[s][x],
                    "without_moved": now[s][y] != before[s][y],
                }


def share(true):
    true = list(true)
    return sum(true) / len(true)


@pytest.mark.parametrize("split, n_item", [("held_out", 36), ("train", 24)])
def test_measures_are_those_of_a_loop_over_the_items_of_the_split(split, n_item):
    found, rows = measure([SNAPSHOT], split), list(items(split))
    differ = [r for r in rows if r["now"] != r["then"]]
    sides = [r["says"] == r["now"] for r in differ if r["says"] in (r["now"], r["then"])]
    assert found["n_items"] == len(rows) == n_item
    assert found["self"] == share(r["says"] == r["now"] for r in rows)
    assert found["orig"] == share(r["says"] == r["then"] for r in rows)
    assert found["gap"] == found["self"] - found["orig"]
    assert found["drift"] == len(differ) / n_item
    assert found["preference"] == share(sides)
    assert found["behavior_drift"] == share(r["with_moved"] for r in rows)
    assert found["behavior_drift_without_cue"] == share(r["without_moved"] for r in rows)
    assert found["majority_now"] == max(share(r["now"] == k for r in rows) for k in range(4))
    assert found["majority"] == max(share(r["then"] == k for r in rows) for k in range(4))
    trained_on = "target" if split == "train" else "then"  # noise is in training targets only
    assert found["compatibility"] == share(r["now"] == r[trained_on] for r in rows)


def test_no_two_measures_are_alike_here():
    """Guards the test above: exchanging two that are alike would not show."""
    held_out, train = measure([SNAPSHOT], "held_out"), measure([SNAPSHOT], "train")
    pairs = {(round(held_out[k], 9), round(train[k], 9)) for k in held_out}
    assert len(pairs) == len(held_out)  # none are alike on both splits


@pytest.mark.parametrize("split", ["held_out", "train"])
def test_the_interval_of_the_gap_takes_a_subject_as_its_unit(split):
    """Means of equally large clusters are an ordinary sample: mean +- t s / sqrt(G)."""
    found, by_subject = measure([SNAPSHOT], split), {}
    for r in items(split):
        side = (r["says"] == r["now"]) - (r["says"] == r["then"])
        by_subject.setdefault(r["subject"], []).append(side)
    means = [np.mean(sides) for sides in by_subject.values()]
    G = len(means)
    half = scipy.stats.t.ppf(0.975, G - 1) * np.std(means, ddof=1) / math.sqrt(G)
    expected = found["gap"] - half, found["gap"] + half
    assert (found["gap_low"], found["gap_high"]) == pytest.approx(expected, abs=1e-9)
    assert G == (12 if split == "held_out" else 8)


def test_subjects_that_rest_on_one_fact_are_one_unit():
    """Items of four subjects about one fact count as one cluster: 20 subjects, 5 facts."""
    facts = np.arange(20)[:, None] // 4
    world = replace(WORLD, explained=facts[:, 0] > 2, rests_on=facts)
    reference, spoken = FROZEN.reference, SNAPSHOT.explanation
    frozen = freeze(reference, reference, world, LabelConfig(), 0)
    answers = torch.nn.functional.one_hot(SNAPSHOT.now, 3).float()
    found = measure([Snapshot(None, part_of(world, answers, spoken), frozen)], "held_out")
    sides = [[(said == now) - (said == then) for said, now, then in zip(*(t[s].tolist() for t in (
        spoken, SNAPSHOT.current, SNAPSHOT.original)))] for s in range(12)]
    means = [np.mean(sides[4 * fact : 4 * fact + 4]) for fact in range(3)]
    half = scipy.stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / math.sqrt(3)
    expected = found["gap"] - half, found["gap"] + half
    assert (found["gap_low"], found["gap_high"]) == pytest.approx(expected, abs=1e-9)


def test_the_interval_is_none_where_there_is_one_subject():
    world = Hint(n_entity=2, n_attribute=2, n_answer=3, explained_share=0.25).world(0)
    reference, spoken = FROZEN.reference[:4], torch.randint(4, (4, 3))
    frozen = freeze(reference, reference, world, LabelConfig(), 0)
    one = [Snapshot(None, part_of(world, reference, spoken), frozen)]
    assert measure(one, "train")["gap_low"] is measure(one, "train")["gap_high"] is None
    assert measure(one, "held_out")["gap_low"] is not None


def test_both_has_the_held_out_measures_and_under_train_their_twins():
    found = measure_all([SNAPSHOT])
    assert found.pop("train") == measure([SNAPSHOT], "train")
    assert found == measure([SNAPSHOT], "held_out") != measure([SNAPSHOT], "train")


def test_competence_is_that_of_a_loop_over_all_subjects():
    found, before = measure_competence(WORLD, FROZEN.reference), FROZEN.reference.argmax(-1).tolist()
    best = WORLD.ideal[:, 0].max(-1)
    sure = [s for s in range(20) if best[s] >= 0.6]
    assert found["known"] == share(before[s][0] == WORLD.ideal[s, 0].argmax() for s in sure)
    assert 0 < found["known"] < 1
    assert all(((a < best) & (best < b)).any() for a, b in ((0.5, 0.6), (0.6, 0.7)))
    rows = [*items("train"), *items("held_out")]
    assert found["changed"] == share(r["then"] != 3 for r in rows)
    words = ["would change to A", "would change to B", "would change to C", "would stay"]
    assert found["labels"] == {w: share(r["then"] == k for r in rows) for k, w in enumerate(words)}


def test_competence_describes_m0_and_not_the_donor_of_the_labels():
    donated = freeze(-FROZEN.reference, FROZEN.reference, WORLD, LabelConfig(label_noise=0.5), 1)
    assert not torch.equal(donated.original, FROZEN.original)
    assert measure_competence(WORLD, donated.reference) == measure_competence(WORLD, FROZEN.reference)


def test_known_is_none_where_the_world_itself_is_not_sure():
    blind = Hint(n_entity=4, n_attribute=5, n_answer=3, guess_share=1.0).world(0)
    assert measure_competence(blind, FROZEN.reference)["known"] is None


def test_examples_say_in_words_what_the_tables_say():
    found = choose_examples([SNAPSHOT], 36)  # every held-out item once
    where = {WORLD.text(s, x): (s, p, x, y) for s in WORLD.subjects("held_out")
             for p, (x, y) in enumerate(WORLD.pairs)}
    assert {e["prompt"] for e in found} == set(where)
    for e in found:
        s, p, x, y = where[e["prompt"]]
        for who, answers in (("m0", FROZEN.reference.argmax(-1)), ("now", SNAPSHOT.now)):
            assert e[f"{who}_with_cue"] == "ABC"[answers[s, x]]
            assert e[f"{who}_without_cue"] == "ABC"[answers[s, y]]
        assert e["says"] == WORLD.explanation(SNAPSHOT.explanation[s, p].item())


def test_the_side_of_an_example_follows_from_its_own_words():
    found = choose_examples([SNAPSHOT], 36)
    for e in found:
        now, then = (
            "would stay" if e[f"{who}_with_cue"] == e[f"{who}_without_cue"]
            else f"would change to {e[f'{who}_without_cue']}"
            for who in ("now", "m0")
        )
        sides = {(True, True): "both", (True, False): "now", (False, True): "then"}
        assert e["side"] == sides.get((e["says"] == now, e["says"] == then), "neither")
    assert {e["side"] for e in found} == {"both", "now", "then", "neither"}


def test_examples_are_a_random_choice_that_begins_with_labels_that_moved():
    moved = SNAPSHOT.current != SNAPSHOT.original
    of = {
        WORLD.text(s, x): bool(moved[s, p])
        for s in WORLD.subjects("held_out")
        for p, (x, _) in enumerate(WORLD.pairs)
    }
    order = [e["prompt"] for e in choose_examples([SNAPSHOT], 36)]
    assert [of[prompt] for prompt in order] == sorted(of.values(), reverse=True)
    assert 0 < sum(of.values()) < 36
    assert order != sorted(order) and order[:5] == [e["prompt"] for e in choose_examples([SNAPSHOT], 5)]
