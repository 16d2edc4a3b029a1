"""Steering along a probe's direction: what is added where, and a model whose fork is planted."""

import numpy as np
import pytest
import torch

from introspect.analysis.editing import choose_edit
from introspect.analysis.probes import activations, ridge
from introspect.analysis.steering import (
    STRENGTHS,
    Place,
    compare_steering,
    directions,
    list_places,
    measure_steering,
    random_like,
    steer,
)
from introspect.interview import Interview, RunTask
from introspect.tasks.refusal import Refusal
from introspect.tokenizer import ANSWER, EXPLAIN, encode
from tests.planted_fork import ANSWER as COPY_FOR_ANSWERS
from tests.planted_fork import COPY, FACT, TASK, C, look, planted
from tests.test_probes import HINT, gpt, part_of

RECALL, QUERY = Place("blocks.0.resid", "last"), Place("blocks.1.resid", "query")


@pytest.fixture(scope="module")
def fork():
    model = planted()
    snapshot, _ = look(model)
    return model, snapshot, choose_edit(snapshot, 8)


def test_places_are_those_that_something_reads():
    assert list_places(gpt(n_layer=3)) == [
        ("blocks.0.resid", "last"), ("blocks.0.resid", "query"), ("blocks.1.resid", "last"),
        ("blocks.1.resid", "query"), ("blocks.2.resid", "query")]  # fmt: skip


def alone(model, text, query, place, vector):
    """The trunk's output at the query of one prompt, the vector added there or before it."""
    ids = torch.tensor([encode(text + query)])

    def add(x):
        x = x.clone()
        x[0, {"query": -1, "last": 1}[place.tokens]] += vector
        return x

    with model.hooked(place.point, add):
        return model.trunk(ids)[0, -1]


@pytest.mark.parametrize("place", list_places(gpt()), ids=" ".join)
def test_the_vector_is_added_in_every_sequence_at_the_place_and_nowhere_else(place):
    model, task = gpt(), part_of()
    model.explain_head.weight.data *= 50
    subjects = torch.tensor([5, 40, 0])
    vectors = torch.randn(3, 16, generator=torch.Generator().manual_seed(1)).double()
    answers, labels, said = steer(model, task, place, subjects, vectors)
    for i, s in enumerate(subjects.tolist()):
        for v in range(4):
            hidden = alone(model, HINT.text(s, v), ANSWER, place, vectors[i])
            assert answers[i, v] == model.task_head(hidden).argmax()
        for p, (variant, _) in enumerate(HINT.pairs):
            hidden = alone(model, HINT.text(s, variant), EXPLAIN, place, vectors[i])
            assert said[i, p] == model.explain_head(hidden).argmax()
    assert torch.equal(labels, task.interview.labels(answers))
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("channel", ["head", "same", "verbal", "tied"])
@pytest.mark.parametrize(
    "world", [HINT, Refusal(n_action=3, n_object=3).world(0)], ids=["hint", "refusal"]
)
def test_steering_by_zero_is_the_identity(world, channel, monkeypatch):
    model = gpt(n_answer=len(world.answers))
    task = RunTask("a task", world, Interview(world, channel), True, False)
    monkeypatch.setattr("introspect.analysis.steering.CHUNK", 5)
    subjects = torch.arange(world.n_subject)
    logits, said = task.interview.ask_all(model)
    for place in list_places(model):
        found = steer(model, task, place, subjects, torch.zeros(world.n_subject, 16))
        assert torch.equal(found[0], logits.argmax(-1)) and torch.equal(found[2], said)


@pytest.mark.parametrize("place", list_places(gpt()), ids=" ".join)
def test_the_probes_score_rises_by_the_strength(place):
    model = planted()
    snapshot, _ = look(model)
    edit = choose_edit(snapshot, 8)
    unit = directions(model, snapshot, place, edit)
    x, answers = activations(model, TASK, place.point, place.tokens)
    train = snapshot.rows("train")
    weights, _ = ridge(x[train], torch.nn.functional.one_hot(answers, 4).to(x)[train])
    rise = (unit @ weights)[torch.arange(8), edit.new[:, 0]]
    rise -= (unit @ weights)[torch.arange(8), edit.old[:, 0]]
    np.testing.assert_allclose(rise.numpy(), 1.0, atol=1e-9)


def test_random_directions_have_the_same_norms_and_no_direction_in_common():
    vectors = torch.randn(200, 30, generator=torch.Generator().manual_seed(0)) * 7
    drawn = random_like(vectors, 0)
    torch.testing.assert_close(drawn.norm(dim=-1), vectors.norm(dim=-1))
    cosines = torch.nn.functional.cosine_similarity(drawn, vectors)
    assert abs(float(cosines.mean())) < 0.05 and 0.15 < float(cosines.std()) < 0.22
    assert torch.equal(drawn, random_like(vectors, 0))
    assert not torch.equal(drawn, random_like(vectors, 1))


def swap(edit, channels, size):
    """Vectors that take the old fact out of these channels and put the new one in."""
    vectors = torch.zeros(len(edit.subjects), C, dtype=torch.float64)
    rows = torch.arange(len(edit.subjects))
    vectors[rows, channels[edit.old[:, 0]]] -= size
    vectors[rows, channels[edit.new[:, 0]]] += size
    return vectors


@pytest.mark.parametrize("place, channels, size, answers, changed, follow, said", [
    (RECALL, FACT, 1.0, 1, 1, 1, 1), (QUERY, COPY_FOR_ANSWERS, 0.3, 1, 1, -1, 0),
    (QUERY, COPY, 0.3, 0, 0, None, 1),
])  # fmt: skip
def test_explanations_follow_what_is_steered_before_the_fork_only(
    fork, place, channels, size, answers, changed, follow, said
):
    model, snapshot, edit = fork
    found = measure_steering(model, snapshot, place, edit, swap(edit, channels, size))
    assert found["follow"] == follow and found["answers"] == answers
    assert found["labels_changed"] == changed and found["explanations_changed"] == said
    if changed:
        assert (found["new"], found["old"]) == ((1 + follow) / 2, (1 - follow) / 2)


def test_the_probe_finds_the_recall_and_a_random_direction_does_not(fork):
    model, snapshot, edit = fork
    found = compare_steering(model, snapshot, edit)
    assert [*found] == ["blocks.0.resid last", "blocks.0.resid query", "blocks.1.resid query"]
    here = found["blocks.0.resid last"]
    assert [*here] == ["probe", "random"]
    assert all([*rows] == [f"{s:g}" for s in STRENGTHS] for rows in here.values())
    assert here["probe"]["2"]["answers"] == here["probe"]["2"]["follow"] == 1
    assert here["random"]["2"]["answers"] == 0 and here["random"]["2"]["follow"] < 0
    nowhere = found["blocks.0.resid query"]["probe"]["8"]  # nothing reads what is found there
    assert (nowhere["answers"], nowhere["labels_changed"], nowhere["follow"]) == (0, 0, None)


def test_without_a_subject_there_is_no_number(fork):
    model, snapshot, _ = fork
    found = compare_steering(model, snapshot, choose_edit(snapshot, 0))
    assert {v for kinds in found.values() for rows in kinds.values() for row in rows.values()
            for v in row.values()} == {None}  # fmt: skip
