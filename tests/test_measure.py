"""What is measured of a model, each number by a loop over items, in one task and in several."""

import math
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.stats
import torch

from introspect.config import LabelConfig
from introspect.interview import RunTask
from introspect.labels import freeze
from introspect.measure import Snapshot, measure, measure_all, measure_competence, measure_m0
from introspect.tasks.hint import Hint
from tests.several import WORLDS, saying


@cache
def tables(number, explained=True):
    """A snapshot of random answers and explanations in one of two tasks, and its frozen labels."""
    world, name = WORLDS[number], ("hint", "refusal")[number]
    N, K, g = world.n_subject, len(world.answers), torch.Generator().manual_seed(10 + number)
    reference, noise = torch.randn(2, N, 5, K, generator=g)
    spoken = torch.randint(K + 1, (N, 4), generator=g)
    frozen = freeze(reference, reference, world, LabelConfig(label_noise=0.3), 0)
    task = RunTask(name, world, saying(world, reference + noise, spoken), explained, False)
    return Snapshot(None, task, frozen), frozen


def items(snapshot, frozen, split):
    """One dict an item, by python integers."""
    world, task = snapshot.world, snapshot.task
    before, now, K = frozen.reference.argmax(-1).tolist(), snapshot.now.tolist(), len(world.answers)
    for s in range(world.n_subject):
        if (world.explained[s] and task.explained) == (split == "train"):
            for p, (x, y) in enumerate(world.pairs):
                then = K if before[s][x] == before[s][y] else before[s][y]
                yield {
                    "task": task.name,
                    "subject": (task.name, s),
                    "says": snapshot.explanation[s, p].item(),
                    "now": K if now[s][x] == now[s][y] else now[s][y],
                    "then": then,
                    "used": frozen.targets[s, p].item() if split == "train" else then,
                    "with_moved": now[s][x] != before[s][x],
                    "without_moved": now[s][y] != before[s][y],
                    "stays": now[s][x] == now[s][y],
                }


def share(true):
    true = list(true)
    return sum(true) / len(true)


def expected_of(rows):
    """What is measured of items, by loops over them."""
    differ = [r for r in rows if r["now"] != r["then"]]
    sides = [r["says"] == r["now"] for r in differ if r["says"] in (r["now"], r["then"])]

    def constant(side):
        each = [Counter(r[side] for r in rows if r["task"] == t) for t in ("hint", "refusal")]
        return sum(max(counts.values(), default=0) for counts in each) / len(rows)

    by_subject = {}
    for r in rows:
        side = (r["says"] == r["now"]) - (r["says"] == r["then"])
        by_subject.setdefault(r["subject"], []).append(side)
    means, G = [np.mean(sides) for sides in by_subject.values()], len(by_subject)
    half = scipy.stats.t.ppf(0.975, G - 1) * np.std(means, ddof=1) / math.sqrt(G)
    self_, orig = (share(r["says"] == r[side] for r in rows) for side in ("now", "then"))
    return {
        "self": self_,
        "orig": orig,
        "gap": self_ - orig,
        "gap_low": pytest.approx(self_ - orig - half, abs=1e-9),
        "gap_high": pytest.approx(self_ - orig + half, abs=1e-9),
        "drift": len(differ) / len(rows),
        "compatibility": share(r["now"] == r["used"] for r in rows),
        "preference": share(sides),
        "behavior_drift": share(r["with_moved"] for r in rows),
        "behavior_drift_without_cue": share(r["without_moved"] for r in rows),
        "majority": pytest.approx(constant("then"), abs=1e-12),
        "majority_now": pytest.approx(constant("now"), abs=1e-12),
        "n_items": len(rows),
    }


@pytest.mark.parametrize("split", ["held_out", "train"])
@pytest.mark.parametrize("numbers", [(0,), (0, 1), (1, 0)], ids=str)
def test_measures_of_several_tasks_are_those_of_their_items_pooled(numbers, split):
    made = [tables(number) for number in numbers]
    rows = [row for one in made for row in items(*one, split)]
    assert measure([snapshot for snapshot, _ in made], split) == expected_of(rows)


def test_no_two_measures_are_alike_here():
    """Guards the test above: exchanging two that are alike would not show."""
    both = [tables(number)[0] for number in (0, 1)]
    held_out, train_ = measure(both, "held_out"), measure(both, "train")
    assert len({(round(held_out[k], 9), round(train_[k], 9)) for k in held_out}) == len(held_out)
    rows = [row for number in (0, 1) for row in items(*tables(number), "train")]
    noisy = expected_of([row | {"then": row["used"]} for row in rows])
    assert noisy["majority"].expected != pytest.approx(train_["majority"])


def test_subjects_of_two_tasks_with_one_number_are_two_subjects():
    """Guards the interval above: if they were one, it would be another."""
    rows = [row for number in (0, 1) for row in items(*tables(number), "held_out")]
    mixed = [row | {"subject": row["subject"][1]} for row in rows]
    assert len({r["subject"] for r in mixed}) < len({r["subject"] for r in rows})
    low = expected_of(rows)["gap_low"]
    assert low != expected_of(mixed)["gap_low"].expected


def replaced(snapshot, frozen, world):
    """The same answers and explanations in another world."""
    K = len(world.answers)
    answers = torch.nn.functional.one_hot(snapshot.now, K).float()[: world.n_subject]
    reference = frozen.reference[: world.n_subject]
    interview = saying(world, answers, snapshot.explanation[: world.n_subject])
    frozen = freeze(reference, reference, world, LabelConfig(), 0)
    return Snapshot(None, RunTask("hint", world, interview, True, False), frozen)


def test_subjects_that_rest_on_one_fact_are_one_unit():
    """Items of four subjects about one fact count as one cluster: 20 subjects, 5 facts."""
    facts = np.arange(20)[:, None] // 4
    world = replace(WORLDS[0], explained=facts[:, 0] > 2, rests_on=facts)
    snapshot, frozen = tables(0)
    snapshot = replaced(snapshot, frozen, world)
    found, spoken = measure([snapshot], "held_out"), snapshot.explanation
    sides = [[(said == now) - (said == then) for said, now, then in zip(*(t[s].tolist() for t in (
        spoken, snapshot.current, snapshot.original)))] for s in range(12)]
    means = [np.mean(sides[4 * fact : 4 * fact + 4]) for fact in range(3)]
    half = scipy.stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / math.sqrt(3)
    expected = found["gap"] - half, found["gap"] + half
    assert (found["gap_low"], found["gap_high"]) == pytest.approx(expected, abs=1e-9)


def test_the_interval_is_none_where_there_is_one_subject():
    world = Hint(n_entity=2, n_attribute=2, explained_share=0.25).world(0)
    one = [replaced(*tables(0), world)]
    assert measure(one, "train")["gap_low"] is measure(one, "train")["gap_high"] is None
    assert measure(one, "held_out")["gap_low"] is not None


def test_all_measures_are_pooled_over_explained_tasks_and_of_each_task():
    (hint, of_hint), (refusal, of_refusal) = tables(0), tables(1, explained=False)
    found = measure_all([refusal, hint])
    tasks, train_ = found.pop("tasks"), found.pop("train")
    assert found == measure([hint], "held_out") and train_ == measure([hint], "train")
    assert list(tasks) == ["refusal", "hint"]
    moved = []
    for snapshot, frozen in ((hint, of_hint), (refusal, of_refusal)):
        own, world = tasks[snapshot.task.name], snapshot.world
        rows = list(items(snapshot, frozen, "held_out"))
        assert own["n_items"] == len(rows) == (48 if snapshot is hint else 36)
        assert own["self"] == share(r["says"] == r["now"] for r in rows)
        every = rows + (list(items(snapshot, frozen, "train")) if snapshot is hint else [])
        assert own["changed"] == share(not r["stays"] for r in every)
        sure = [s for s in range(world.n_subject) if world.ideal[s, 0].max() >= 0.6]
        right = share(snapshot.now[s, 0].item() == world.ideal[s, 0].argmax() for s in sure)
        assert own["known"] == right
        moved.append(right != measure_competence(world, frozen.reference.argmax(-1))["known"])
    assert any(moved)  # guard: what M0 knows is something else


def test_explained_tasks_are_pooled_where_there_are_several():
    both = [tables(0)[0], tables(1)[0]]
    found = measure_all(both)
    assert found["self"] == measure(both, "held_out")["self"] != found["tasks"]["hint"]["self"]
    assert found["train"] == measure(both, "train")
    assert "tasks" not in measure_all(both[:1])


def test_on_channel_verbal_labels_name_the_answer_that_stays_of_whom_they_describe():
    """Of M0 for the original labels, of another subject for shuffled ones, of the model now."""
    world, g = WORLDS[0], torch.Generator().manual_seed(0)
    reference, now = torch.randn(2, 20, 5, 4, generator=g)
    how = LabelConfig(label_noise=0.3, label_order="shuffled")
    frozen = freeze(reference, reference, world, how, 0)
    interview = saying(world, now, torch.zeros(20, 4, dtype=torch.int64), "verbal")
    snapshot = Snapshot(None, RunTask("hint", world, interview, True, False), frozen)
    counts = Counter()
    for s in range(20):
        for p, (x, y) in enumerate(world.pairs):
            both = (reference, now)
            a, b, c, d = ("ABCD"[logits[s, v].argmax()] for logits in both for v in (x, y))
            label, stays = frozen.targets[s, p], "ABCD"[frozen.target_answers[s, p]]
            expected = {
                "original": f"would stay {a}" if a == b else f"would change to {b}",
                "current": f"would stay {c}" if c == d else f"would change to {d}",
                "targets": f"would stay {stays}" if label == 4 else world.explanation(label),
            }
            for kind, sentence in expected.items():
                assert interview.channel.words(getattr(snapshot, kind)[s, p].item()) == sentence
                counts[kind, "stay" in sentence] += 1
    assert len(counts) == 6 and min(counts.values()) >= 10  # guard: enough of each


# --- M0 ---


def test_competence_is_that_of_a_loop_over_all_subjects():
    world, before = WORLDS[0], tables(0)[1].reference.argmax(-1)
    found, before = measure_competence(world, before), before.tolist()
    best = world.ideal[:, 0].max(-1)
    sure = [s for s in range(20) if best[s] >= 0.6]
    assert found["known"] == share(before[s][0] == world.ideal[s, 0].argmax() for s in sure)
    assert 0 < found["known"] < 1
    assert all(((a < best) & (best < b)).any() for a, b in ((0.5, 0.6), (0.6, 0.7)))
    rows = [row for split in ("train", "held_out") for row in items(*tables(0), split)]
    assert found["changed"] == share(r["then"] != 4 for r in rows)
    words = [*(f"would change to {a}" for a in "ABCD"), "would stay"]
    assert found["labels"] == {w: share(r["then"] == k for r in rows) for k, w in enumerate(words)}


def test_known_is_none_where_the_world_itself_is_not_sure():
    blind = Hint(n_entity=4, n_attribute=5, guess_share=1.0).world(0)
    answers = tables(0)[1].reference.argmax(-1)
    assert measure_competence(blind, answers)["known"] is None


def test_m0_is_described_by_its_first_explained_task_and_by_each():
    (hint, of_hint), (refusal, of_refusal) = tables(0), tables(1, explained=False)
    own = {"refusal": measure_competence(WORLDS[1], of_refusal.reference.argmax(-1)),
           "hint": measure_competence(WORLDS[0], of_hint.reference.argmax(-1))}
    found = measure_m0([refusal.task, hint.task], [of_refusal, of_hint])
    assert found == own["hint"] | {"tasks": own}
    assert measure_m0([hint.task], [of_hint]) == own["hint"] != own["refusal"]
