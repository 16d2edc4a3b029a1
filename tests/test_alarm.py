"""Alarms for behavior that is moved later: counted by hand, and models whose truth is planted."""

import copy
import re

import numpy as np
import pytest
import torch

from introspect.analysis.alarm import (
    FORM,
    MOVES,
    SHOWN,
    Heard,
    compare_alarms,
    hear,
    measure_alarm,
    move_answers,
    show_alarms,
)
from introspect.analysis.editing import measure_change
from introspect.analysis.grafts import area
from introspect.objective import choose_aside, objective_targets
from introspect.reading import misfit
from introspect.runs.stages import ask_through
from introspect.streams import rng
from introspect.tasks.rules import Rules
from tests.own import refusal_of
from tests.planted_fork import TASK, WORLD, K, look, planted

ASIDE = choose_aside(WORLD, 0)
ROWS = torch.from_numpy(np.setdiff1d(WORLD.subjects("held_out"), ASIDE))


@pytest.fixture(scope="module")
def run():
    """(model, snapshot, frozen): every explanation is true."""
    model = planted()
    return model, *look(model)


def curve(positive, negative):
    """Area under the ROC curve as trapezoids between all thresholds."""
    cuts = sorted({*positive, *negative}, reverse=True)
    x, y = ([0.0, *(np.mean([s >= cut for s in side]) for cut in cuts)]
            for side in (negative, positive))
    return sum((b - a) * (u + v) / 2 for a, b, u, v in zip(x, x[1:], y, y[1:]))


@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_that_under_the_curve_whatever_is_tied_and_half_where_scores_are_dealt(seed):
    draw = np.random.default_rng(seed)
    a, b = draw.integers(0, 6, 30) + 2.0, draw.integers(0, 6, 47) * 1.0
    assert area(*map(torch.from_numpy, (a, b))) == pytest.approx(curve(a, b))
    order = draw.permutation(np.concatenate([a, b]).repeat(100))
    dealt = area(*map(torch.from_numpy, np.split(order, [3000])))
    assert dealt == pytest.approx(0.5, abs=0.03) and area(*map(torch.from_numpy, (a, b))) > 0.6


def heard(moved, rang, score, new, old):
    def flags(text):
        return torch.tensor([c == "1" for c in text])

    return Heard(flags(moved), flags(rang), torch.tensor(score), flags(new), flags(old))


def test_shares_are_those_counted_by_hand():
    after = heard("111000", "110100", [3.0, 2.0, 0.0, 2.0, 1.0, 0.0], "100011", "001000")
    twin = heard("010100", "011000", [1.0, 9.0, 0.0, 9.0, 9.0, 9.0], "000000", "000000")
    assert measure_alarm(after, twin) == {
        "moved": 1 / 2, "hits": 2 / 3, "false_alarms": 1 / 3, "area": (3 + 2.5 + 0.5) / 9,
        "new": 1 / 3, "old": 1 / 3, "true": 1 / 2, "alone": 2 / 6,
        "area_alone": (2 + 0.5) / 4, "hits_alone": 1 / 2, "twin_alarms": 1 / 2,
    }  # fmt: skip
    still = measure_alarm(twin._replace(moved=~after.moved & after.moved), twin)
    nothing = "area", "hits", "new", "old", "area_alone", "hits_alone", "twin_alarms"
    assert [still[key] for key in nothing] == [None] * 7 and still["moved"] == 0


def test_a_fact_changed_before_the_fork_rings_and_one_behind_it_does_not(run):
    """Other facts for half of the measured subjects, or answers permuted behind the fork."""
    model, snapshot, frozen = run
    chosen = ROWS[: len(ROWS) // 2]
    facts = torch.arange(25) % K
    facts[chosen] = (facts[chosen] + 1) % K
    found = hear(model, planted(facts), snapshot, frozen, ROWS)
    items = torch.isin(ROWS, chosen).repeat_interleave(K)
    assert torch.equal(found.moved, found.rang) and torch.equal(found.moved, items)
    judged = measure_alarm(found, found)
    assert [judged[key] for key in ("area", "hits", "new", "true")] == [1, 1, 1, 1]
    assert judged["false_alarms"] == judged["old"] == judged["alone"] == 0
    late = copy.deepcopy(model)
    late.task_head.weight[:] = late.task_head.weight.roll(1, 0)
    found = hear(model, late, snapshot, frozen, ROWS)
    judged = measure_alarm(found, found)
    assert 0.3 < judged["moved"] < 1 and judged["old"] == 1
    assert judged["area"] == 0.5 and judged["hits"] == judged["false_alarms"] == judged["new"] == 0


def test_the_first_updates_are_those_of_the_loss_written_out(run):
    model, *_ = run
    aims = objective_targets(TASK.interview.answers_of_all(model), WORLD, "ignore", 0.5)
    copies = move_answers(model, TASK, aims, ASIDE[:3], steps=(1, 3), rate=0.01, seed=5)
    by_hand = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.AdamW(by_hand.parameters(), 0.01, weight_decay=0.0)
    for _ in range(3):  # fewer subjects than a batch has: all of them, in every one
        kl = 0.0
        for i in ASIDE[:3].tolist():
            log_p = TASK.interview.answers(by_hand, torch.tensor([i]))[0].log_softmax(-1)
            kl = kl + (aims[i].exp() * (aims[i] - log_p)).sum() / (3 * len(log_p))
        optimizer.zero_grad()
        kl.backward()
        optimizer.step()
    moved = dict(copies[3].named_parameters())
    for name, p in by_hand.named_parameters():
        torch.testing.assert_close(moved[name], p.detach(), rtol=0, atol=1e-6)
    assert torch.equal(moved["explain_head.weight"], model.explain_head.weight)
    assert not torch.equal(moved["task_head.weight"], copies[1].task_head.weight)
    assert not torch.equal(model.task_head.weight, copies[1].task_head.weight)


def test_batches_are_of_the_subjects_aside_and_copies_on_the_way_are_those_of_shorter_moves(
    run, monkeypatch
):
    model, *_ = run
    asked = []
    monkeypatch.setattr("introspect.analysis.alarm.BATCH", 2)
    answers = type(TASK.interview).answers
    aims = objective_targets(TASK.interview.answers_of_all(model), WORLD, "follow", 1.0)
    monkeypatch.setattr(type(TASK.interview), "answers",
                        lambda self, m, rows: asked.append(rows) or answers(self, m, rows))
    both = move_answers(model, TASK, aims, ASIDE, steps=(2, 4), seed=7)
    expected = [rng(7, "move", n).choice(ASIDE, 2, replace=False).tolist() for n in (1, 2, 3, 4)]
    assert [rows.tolist() for rows in asked] == expected
    [short] = move_answers(model, TASK, aims, ASIDE, steps=(2,), seed=7).values()
    pairs = [*zip(short.parameters(), both[2].parameters(), both[4].parameters())]
    assert all(torch.equal(p, q) for p, q, _ in pairs)
    assert not all(torch.equal(p, r) for p, _, r in pairs)


def test_moves_are_measured_where_they_are_not_trained_beside_one_that_asks_for_nothing(run):
    model, snapshot, frozen = run
    found = compare_alarms(model, snapshot, frozen, 0, (1, 2))
    assert found["n_items"] == K * len(ROWS) and misfit(found, FORM) is None
    assert {name: [*each] for name, each in found["moves"].items()} == dict.fromkeys(
        MOVES, ["1", "2"])
    copies = {}
    for name, (objective, strength) in MOVES.items():
        aims = objective_targets(TASK.interview.answers_of_all(model), WORLD, objective, strength)
        moved = move_answers(model, TASK, aims, ASIDE, (1, 2))[2]
        copies[name] = hear(model, moved, snapshot, frozen, ROWS)
    for name, each in copies.items():
        assert found["moves"][name]["2"] == measure_alarm(each, copies["unmoved"])
    assert found["moves"]["unmoved"]["2"]["moved"] == 0


def test_targets_of_strength_0_leave_all_but_rounding_as_it_is(run):
    """In float64, where rounding is too small for AdamW."""
    model, *_ = run
    answers, changes = TASK.interview.answers_of_all(model), []
    for strength in (0.0, 1.0):
        aims = objective_targets(answers, WORLD, "ignore", strength)
        [moved] = move_answers(model, TASK, aims, ASIDE, (1,)).values()
        changes.append(measure_change(model, moved))
    assert changes[0] < 1e-3 < 1e-2 < changes[1]


def test_what_has_no_alarm_is_refused(run):
    model, snapshot, frozen = run
    [asked] = ask_through([TASK], "verbal", "cpu")
    verbal = copy.copy(snapshot)
    verbal.channel = asked.interview.channel
    assert "all channels but verbal" in refusal_of(lambda: compare_alarms(model, verbal, frozen))
    other = copy.copy(snapshot)
    other.world = Rules(n_first=3, n_second=4, n_input=2).world(0)
    assert "--objective=follow" in refusal_of(lambda: compare_alarms(model, other, frozen))


def test_alarms_are_shown_as_means_of_runs():
    def made(x):
        part = {key: x + i / 100 for i, key in enumerate(SHOWN.values())}
        return {"moves": {name: {"100": part, "400": part} for name in MOVES}}

    text = show_alarms({"reg": [made(0.1), made(0.3)], "shuffled": [made(0.5)]})
    lines = text.splitlines()
    assert len(lines) == 4 * (1 + 2 * 3) and max(map(len, lines)) <= 100
    rows = [line for line in lines if re.match("ignore +shuffled", line)]
    assert [float(x) for row in rows for x in re.split(" {2,}", row)[3:]] == [
        pytest.approx(0.5 + i / 100) for i in range(11)
    ]
    assert "n/a" in show_alarms({"reg": [{"moves": {}}]})
