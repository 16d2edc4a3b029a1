"""The simulation on which the rules are tried is of what it says."""

import numpy as np
import pytest
import torch

from introspect.analysis.calibration import (
    DRIFTS,
    EXPLAINERS,
    FEWER,
    KEEP,
    LEARN,
    MORE,
    SEEDS,
    STAYS,
    derive_labels,
    draw_models,
    draw_studies,
    judge,
    measure_gaps,
    plant,
)
from introspect.frequency import adjusted_gap
from introspect.labels import explanation_labels
from introspect.metrics import coupling
from introspect.stats import interval, verdict
from introspect.streams import rng


def drawn(labels, drift=0.3, size=60):
    return draw_models(rng(3, "test calibration"), size, drift, labels)


def test_labels_are_those_of_the_library():
    draw = np.random.default_rng(0)
    answer = draw.integers(4, size=(3, 1, 50), dtype=np.int8)
    follows = draw.random((3, 4, 50)) < 0.5
    with_hint = np.where(follows, np.arange(4)[:, None], answer)
    answers = np.concatenate([answer, with_hint], axis=1)  # without a hint, then with each
    pairs = torch.tensor([[1, 0], [2, 0], [3, 0], [4, 0]])
    expected = [explanation_labels(torch.tensor(a.T), pairs, STAYS).T for a in answers]
    np.testing.assert_array_equal(derive_labels(answer, follows), torch.stack(expected))


@pytest.mark.parametrize("labels", [KEEP, FEWER, MORE, LEARN])
def test_gaps_of_many_models_are_the_librarys_gaps_of_each(labels):
    of = drawn(labels, size=4)
    said = [explain(of) for explain in EXPLAINERS.values()]
    said += plant(rng(0, "test"), of, 0.3).values()
    cue = torch.arange(4)[:, None].expand(4, of.now.shape[-1])
    for explanation in said:
        gap, adjusted = measure_gaps(explanation, of)
        for b in range(4):
            items = [torch.tensor(part[b]) for part in (explanation, of.now, of.then)]
            assert gap[b] == pytest.approx(coupling(*items).gap, abs=1e-12)
            assert adjusted[b] == pytest.approx(adjusted_gap(*items, cue), abs=1e-12)


def test_gaps_differ_between_the_models_they_are_of():
    gap, adjusted = measure_gaps(drawn(KEEP).now, drawn(KEEP))
    assert len(set(gap)) > 50 and (gap > 0.2).all() and not np.allclose(gap, adjusted, atol=1e-5)


@pytest.mark.parametrize("drift", DRIFTS)
def test_as_many_labels_move_as_asked_and_each_seed_has_its_own_share(drift):
    of = drawn(KEEP, drift)
    moved = (of.now != of.then).mean((1, 2))
    assert moved.mean() == pytest.approx(drift, rel=0.03)
    assert 0.05 < moved.std() / drift < 0.15


def test_the_cue_changes_about_half_of_the_answers_and_two_of_three_hints_are_followed():
    of = drawn(KEEP)
    changed = of.then != STAYS  # (B, P, N)
    assert changed.mean() == pytest.approx(0.65 * 3 / 4, abs=0.005)
    some = changed.any(1) & (changed.sum(1) < 3)  # of three hints that are not the answer
    assert some.mean() == pytest.approx(1 - 0.65**3 - 0.35**3, abs=0.01)


def stays(of):
    return (of.now == STAYS).mean((1, 2)) - (of.then == STAYS).mean((1, 2))


def test_frequencies_change_in_every_seed_and_on_average_only_where_it_says_so():
    kept, fewer, more = (stays(drawn(labels)) for labels in (KEEP, FEWER, MORE))
    assert abs(kept.mean()) < 0.01 and kept.std() > 0.01
    assert fewer.mean() == pytest.approx(0.2 * 0.75 * 0.3 / 0.658, abs=0.01)
    assert more.mean() == pytest.approx(-fewer.mean(), abs=0.015)
    assert (fewer > 0).mean() > 0.95 and (more < 0).mean() > 0.95


def truths(of, labels):
    """How often a label is that of a model that knows all, (B,)."""
    return (derive_labels(of.truth, True) == labels).mean((1, 2))


def test_the_models_know_something_of_the_world_and_drift_towards_it_only_where_it_says_so():
    for labels, more in ((KEEP, 0), (LEARN, 0.1)):
        of = drawn(labels)
        then, now = truths(of, of.then).mean(), truths(of, of.now).mean()
        assert then > truths(drawn(KEEP), np.roll(of.then, 1, -1)).mean() + 0.05
        assert (abs(now - then) < 0.005) if more == 0 else now > then + more


def test_explanations_that_know_nothing_are_what_they_say():
    of = drawn(KEEP, size=2)
    said = {name: explain(of) for name, explain in EXPLAINERS.items()}
    assert (said["constant"] == STAYS).all()
    assert len(np.unique(said["by hint alone"], axis=-1)[0]) == 4
    assert all(len(set(row)) == 1 for row in said["by hint alone"].reshape(8, -1))
    assert set(said["by hint alone"].ravel()) == {STAYS, 3, 0}
    shuffled = said["of another fact"]
    assert (np.sort(shuffled) == np.sort(of.now)).all() and (shuffled != of.now).mean() > 0.4
    known = np.where(of.truth == np.arange(4)[:, None], STAYS, of.truth)
    assert (said["of the true world"] == known).all()
    turns = said["now and then in turn"]
    assert (turns[..., ::2] == of.now[..., ::2]).all()
    assert (turns[..., 1::2] == of.then[..., 1::2]).all()


def test_planted_explanations_have_the_preference_and_the_spread_asked_for():
    of = drawn(KEEP, 0.4, size=400)
    for p, said in plant(rng(0, "test"), of, 0.4).items():
        c = coupling(*(torch.from_numpy(part) for part in (said, of.now, of.then)))
        sides = 0.85 + 0.15 * 2 / 5  # either label of two, also by luck
        assert c.preference == pytest.approx((0.85 * p + 0.15 / 5) / sides, abs=0.015)
        gap, _ = measure_gaps(said, of)
        assert gap.mean() == pytest.approx(0.4 * 0.85 * (2 * p - 1), abs=0.01)
        assert 0.035 < gap.std() < 0.048  # measured: 0.038


def test_studies_are_the_same_however_many_there_are():
    few = [of for _, of in draw_studies(3, 0, 0.3, KEEP)]
    many = [of for _, of in draw_studies(43, 0, 0.3, KEEP)]
    assert [len(of.now) // SEEDS for of in many] == [20, 20, 3] and len(few[0].now) == 3 * SEEDS
    assert not np.array_equal(many[0].now, many[1].now)
    again = [of for _, of in draw_studies(63, 0, 0.3, KEEP)]
    np.testing.assert_array_equal(again[1].now, many[1].now)
    other = next(of for _, of in draw_studies(43, 1, 0.3, KEEP))
    assert not np.array_equal(other.now, many[0].now)


def test_coupling_is_called_by_the_verdict_of_the_library():
    draw = np.random.default_rng(0)
    gap, adjusted = draw.normal(0.05, 0.06, (2, 60, 5))
    intervals = [(interval(list(g)), interval(list(a))) for g, a in zip(gap, adjusted)]
    words = [[verdict(g), verdict(a), verdict(g, a)] for g, a in intervals]
    expected = tuple(np.mean([w.startswith("coupling") for w in row]) for row in zip(*words))
    assert judge([(gap.ravel(), adjusted.ravel())])[1] == pytest.approx(expected)
    assert len(set(expected)) == 3 and 0 < min(expected)
    pieces = [(gap[:40].ravel(), adjusted[:40].ravel()), (gap[40:].ravel(), adjusted[40:].ravel())]
    assert judge(pieces) == (pytest.approx(gap.mean()), pytest.approx(expected))
