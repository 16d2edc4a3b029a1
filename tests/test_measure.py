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
from introspect.measure import (
    Snapshot,
    measure,
    measure_all,
    measure_competence,
    measure_controls,
    measure_m0,
)
from introspect.tasks.hint import Hint
from introspect.tasks.refusal import Refusal
from introspect.tasks.rules import Rules
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


# --- what else explanations could follow ---

TASKS = {
    "hint": Hint(n_entity=4, n_attribute=5, n_answer=3, explained_share=0.4),
    "refusal": Refusal(n_action=3, n_object=3, first_name=9),
    "rules": Rules(n_first=3, n_second=4, n_input=2),
}
KEYS = "own ideal_self ideal_orig said_change change change_then said_most balanced adjusted"
CASES = [
    ("head", ("hint",), ()), ("head", ("hint", "refusal"), ()),
    ("verbal", ("hint", "refusal", "rules"), ()),
    ("head", ("hint", "refusal", "rules"), ("refusal",)),
]


@cache
def snapshots(channel, names, unexplained, seed=0, donor=True):
    """Tasks whose models answer and say what was drawn; labels are partly a donor's."""
    found = []
    for number, name in enumerate(names):
        g = torch.Generator().manual_seed(100 * seed + number)
        world = TASKS[name].world(3)
        N, V, K = world.ideal.shape
        reference, labeled, now = torch.randn(3, N, V, K, generator=g)
        n_class = 2 * K + 1 if channel == "verbal" else K + 1
        spoken = torch.randint(n_class, (N, len(world.pairs)), generator=g)
        usual = torch.rand(spoken.shape, generator=g) < 0.3
        spoken[usual] = n_class - 2  # one of them more often than the others
        interview = saying(world, reference + now, spoken, channel)
        task = RunTask(name, world, interview, name not in unexplained, taught=False)
        how = LabelConfig(donor_share=0.5 if donor else 1.0, label_noise=0.2)
        frozen = freeze(labeled if donor else reference, reference, world, how, seed)
        found.append(Snapshot(None, task, frozen))
    return found


def label(row, x, y, K, channel):
    """The class of one item from a subject's answers, in words of python."""
    if row[x] != row[y]:
        return row[y]
    return K + row[x] if channel == "verbal" else K


def control_items(channel, names, unexplained):
    """One dict a held-out item of an explained task."""
    for number, s in enumerate(snapshots(channel, names, unexplained)):
        world, K = s.world, len(s.world.answers)
        before, now, ideal = s.before.tolist(), s.now.tolist(), world.ideal.argmax(-1).tolist()
        for subject in range(world.n_subject) if names[number] not in unexplained else ():
            if world.explained[subject]:
                continue
            for p, (x, y) in enumerate(world.pairs):
                yield {
                    "says": s.explanation[subject, p].item(),
                    "now": label(now[subject], x, y, K, channel),
                    "then": s.original[subject, p].item(),
                    "own": label(before[subject], x, y, K, channel),
                    "ideal": label(ideal[subject], x, y, K, channel),
                    "changes": now[subject][x] != now[subject][y],
                    "changed": before[subject][x] != before[subject][y],
                    "K": K,
                    "cue": (number, p),
                }


def dealt(rows):
    """The gap of all explanations of a cue given to every one of its subjects, averaged."""
    sides = []
    for cue in {r["cue"] for r in rows}:
        same = [r for r in rows if r["cue"] == cue]
        each = [(a["says"] == b["now"]) - (a["says"] == b["then"]) for a in same for b in same]
        sides += [sum(each) / len(each)] * len(same)
    return sum(sides) / len(sides)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_controls_are_those_of_a_loop_over_held_out_items(case):
    found, rows = measure_controls(snapshots(*case)), list(control_items(*case))
    assert list(found) == KEYS.split()
    assert found["own"] == share(r["says"] == r["own"] for r in rows)
    assert found["ideal_self"] == share(r["ideal"] == r["now"] for r in rows)
    assert found["ideal_orig"] == share(r["ideal"] == r["then"] for r in rows)
    assert found["said_change"] == share(r["says"] < r["K"] for r in rows)
    assert found["change"] == share(r["changes"] for r in rows)
    assert found["change_then"] == share(r["changed"] for r in rows)
    assert found["said_most"] == max(Counter(r["says"] for r in rows).values()) / len(rows)
    by_class = [share(r["says"] == k for r in rows if r["now"] == k) for k in
                {r["now"] for r in rows}]
    assert found["balanced"] == pytest.approx(sum(by_class) / len(by_class), abs=1e-12)
    gap = share(r["says"] == r["now"] for r in rows) - share(r["says"] == r["then"] for r in rows)
    assert found["adjusted"] == pytest.approx(gap - dealt(rows), abs=1e-12)


def test_no_two_controls_are_alike_here():
    """Guards the test above: exchanging two that are alike would not show."""
    found = [measure_controls(snapshots(*case)) for case in CASES]
    assert len({tuple(round(one[key], 9) for one in found) for key in KEYS.split()}) == 9
    for case, one in zip(CASES, found):
        rows = control_items(*case)
        assert one["own"] != share(r["says"] == r["then"] for r in rows)  # labels of a donor


def test_training_subjects_and_unexplained_tasks_do_not_count():
    """What is said of them may be anything."""
    names, unexplained = ("hint", "refusal", "rules"), ("refusal",)
    expected = measure_controls(snapshots("head", names, unexplained))
    other = snapshots.__wrapped__("head", names, unexplained)
    for s in other:
        anything = torch.full_like(s.explanation, 0)
        free = torch.from_numpy(s.world.explained)[:, None]
        free = torch.ones_like(free) if s.task.name == "refusal" else free
        s.explanation = torch.where(free, anything, s.explanation)
        s.now = torch.where(free, 0, s.now)
        s.current = torch.where(free, 1, s.current)
        s.original = torch.where(free, 1, s.original)
    assert measure_controls(other) == expected
    for s in other:
        s.explanation = torch.zeros_like(s.explanation)  # guard: those of held-out subjects do
    assert measure_controls(other) != expected


def test_own_is_orig_where_m0_gave_the_labels():
    both = snapshots("head", ("hint", "refusal"), (), donor=False)
    hits = [(s.explanation == s.original)[s.rows("held_out")].flatten() for s in both]
    hits = torch.cat(hits)
    assert measure_controls(both)["own"] == hits.double().mean().item()


@pytest.mark.parametrize("channel", ["head", "verbal"])
def test_an_explainer_that_is_right_or_constant_gets_what_it_should(channel):
    (s,) = snapshots.__wrapped__(channel, ("hint",), ())
    s.explanation = s.current.clone()
    right = measure_controls([s])
    assert right["balanced"] == 1 and right["said_change"] == right["change"]
    s.explanation = torch.full_like(s.current, int(s.current[0, 0]))
    constant, classes = measure_controls([s]), s.current[s.rows("held_out")].unique()
    assert constant["balanced"] == pytest.approx(1 / len(classes)) and constant["said_most"] == 1
    assert constant["adjusted"] == 0 and constant["said_change"] in (0, 1)
    for key in ("ideal_self", "ideal_orig", "change", "change_then"):  # whatever is said
        assert constant[key] == right[key]


def test_a_label_of_one_task_is_not_dealt_to_another():
    """Cues of two tasks have the same numbers, and are different cues nonetheless."""
    one, two = ("hint",), ("refusal",)
    joined = measure_controls(snapshots("head", one + two, ()))
    rows = list(control_items("head", one + two, ()))
    merged = [r | {"cue": r["cue"][1]} for r in rows]
    assert abs(dealt(merged) - dealt(rows)) > 1e-6  # guard
    gap = share(r["says"] == r["now"] for r in rows) - share(r["says"] == r["then"] for r in rows)
    assert joined["adjusted"] == pytest.approx(gap - dealt(rows), abs=1e-12)
