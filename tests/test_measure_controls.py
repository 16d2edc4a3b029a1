"""What else explanations could follow, each number by a loop over held-out items."""

from collections import Counter
from functools import cache

import pytest
import torch

from introspect.config import LabelConfig
from introspect.interview import RunTask
from introspect.labels import freeze
from introspect.measure import Snapshot, measure_controls
from introspect.tasks.hint import Hint
from introspect.tasks.refusal import Refusal
from introspect.tasks.rules import Rules
from tests.several import saying
from tests.test_measure import share

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
