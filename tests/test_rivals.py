"""Explainers of equal cost: what they read, and planted models whose truth is known."""

import copy

import numpy as np
import pytest
import torch

from introspect.analysis.rivals import (
    compare_rivals,
    explain_by,
    judge,
    list_words,
    read_questions,
)
from introspect.measure import Snapshot, measure, measure_controls
from introspect.runs.stages import ask_through
from introspect.tokenizer import EXPLAIN, encode
from tests.planted_fork import look, planted
from tests.test_readout import taught  # noqa: F401 (a fixture)


def test_questions_are_read_where_each_is_asked_by_itself(taught):  # noqa: F811
    model, task, _ = taught
    hidden = read_questions(model, task)
    for s, pair in ((0, 0), (7, 2)):
        variant = task.world.pairs[pair][0]
        ids = torch.tensor([encode(task.world.text(s, variant) + EXPLAIN)])
        torch.testing.assert_close(hidden[s, pair], model.trunk(ids)[0, -1], rtol=0, atol=1e-5)


def test_words_are_those_of_the_question(taught):  # noqa: F811
    _, task, _ = taught
    words = list_words(task)
    assert set(words.unique().tolist()) == {0.0, 1.0}
    for s, pair in ((0, 0), (40, 1)):
        question = {task.world.slots[s, slot] for slot in task.world.questions[pair]}
        assert int(words[s, pair].sum()) == len(question)
        for t, other in ((1, 2), (40, 0)):
            theirs = {task.world.slots[t, slot] for slot in task.world.questions[other]}
            assert int((words[s, pair] * words[t, other]).sum()) == len(question & theirs)


def test_what_can_be_read_linearly_is_read_and_noise_is_not(taught):  # noqa: F811
    model, task, frozen = taught
    snapshot = Snapshot(model, task, frozen)
    labels = torch.nn.functional.one_hot(snapshot.targets).double()
    g = torch.Generator().manual_seed(0)
    turn = torch.randn(labels.shape[-1], 9, generator=g, dtype=torch.float64)
    rows = snapshot.rows("held_out")
    said = explain_by(labels @ turn, snapshot.targets, snapshot.rows("train"))[rows]
    assert (said == snapshot.original[rows]).double().mean() > 0.95
    noise = torch.randn(*labels.shape[:2], 9, generator=g)
    said = explain_by(noise, snapshot.targets, snapshot.rows("train"))[rows]
    assert (said == snapshot.original[rows]).double().mean() < 0.75


def test_a_reader_of_m0_sides_with_m0_and_one_of_the_run_with_the_run(taught):  # noqa: F811
    """A run that is another model altogether, whose frozen labels are its own."""
    model, task, frozen = taught
    other = copy.deepcopy(model)
    other.token.weight.data = other.token.weight.data.roll(1, 0)
    snapshot = Snapshot(model, task, frozen)
    snapshot.current = Snapshot(other, task, frozen).current
    found = compare_rivals(model, model, snapshot)
    assert found["frozen"] == found["current"] and found["frozen"]["gap"] < 0
    assert found["own"]["self"] == float(np.mean(
        (snapshot.explanation == snapshot.current)[snapshot.rows("held_out")].numpy()))


def test_other_channels_are_refused(taught):  # noqa: F811
    model, task, frozen = taught
    for channel in ("tied", "same", "verbal"):
        [asked] = ask_through([task], channel, "cpu")
        with pytest.raises(ValueError, match="rivals are for channels head and probe"):
            compare_rivals(model, model, Snapshot(model, asked, frozen))


def test_rivals_are_judged_as_the_run_is(taught):  # noqa: F811
    model, task, frozen = taught
    snapshot = Snapshot(model, task, frozen)
    other = copy.deepcopy(model)
    other.token.weight.data = other.token.weight.data.roll(1, 0)
    snapshot.current = Snapshot(other, task, frozen).current
    own = measure([snapshot], "held_out") | measure_controls([snapshot])
    found = compare_rivals(other, model, snapshot)
    assert list(found) == ["own", "frozen", "current", "words", "state", "state_words"]
    assert all(found["own"][key] == own[key] for key in found["own"])
    constant = judge(torch.zeros_like(snapshot.explanation), snapshot)
    assert constant["adjusted"] == 0 != constant["gap"]  # it sees nothing
    assert found["frozen"] != found["current"] != found["words"] != found["frozen"]


def test_the_state_is_read_although_training_labels_are_shuffled():
    """A model that brings its fact and the cue to the question, and says the opposite of it."""
    model = planted()
    snapshot, _ = look(model)
    train, g = snapshot.rows("train"), torch.Generator().manual_seed(0)
    snapshot.targets = snapshot.targets.clone()
    snapshot.targets[train] = snapshot.targets[train[torch.randperm(len(train), generator=g)]]
    snapshot.explanation = (snapshot.explanation + 1) % 5
    found = {name: part["self"] for name, part in compare_rivals(model, model, snapshot).items()}
    others = [found[name] for name in ("own", "current", "frozen", "words", "state_words")]
    assert found["own"] == 0 and found["state"] > max(others) + 0.2
