"""Losses, against loops over their definitions with math.log."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect.losses import behavior_kl, explanation_loss, world_loss


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64) * 2


def classes(n_class, *shape, seed=0):
    return torch.randint(n_class, shape, generator=torch.Generator().manual_seed(seed))


def log_p(logits, k):
    """log softmax of a list of numbers, at k."""
    return logits[k] - math.log(sum(math.exp(x) for x in logits))


def test_world_loss_is_the_mean_over_subjects_of_cross_entropies_weighted_by_shown():
    logits, answers, shown = normal(5, 3, 4), classes(4, 5, 3), normal(5, 3, seed=1).softmax(-1)
    total = 0.0
    for b, v in product(range(5), range(3)):
        total -= shown[b, v].item() * log_p(logits[b, v].tolist(), answers[b, v])
    assert world_loss(logits, answers, shown).item() == pytest.approx(total / 5, abs=1e-12)


def test_world_loss_expects_what_drawing_the_variant_as_well_would_expect():
    """All 3^3 answers to three variants, against all 3 * 3 draws of a variant and an answer."""
    logits, ideal = normal(3, 3), normal(3, 3, seed=1).softmax(-1)
    shown = normal(3, seed=2).softmax(0)
    ours = sum(
        math.prod(ideal[v, a].item() for v, a in enumerate(drawn))
        * world_loss(logits[None], torch.tensor([drawn]), shown[None]).item()
        for drawn in product(range(3), repeat=3)
    )
    plain = -sum(
        (shown[v] * ideal[v, a]).item() * log_p(logits[v].tolist(), a)
        for v, a in product(range(3), range(3))
    )
    assert ours == pytest.approx(plain, abs=1e-12)


def test_world_loss_of_a_sure_and_a_blind_answer_by_hand():
    """Shown 3/4 and 1/4: right for sure costs 0, uniform over 2 costs log 2."""
    logits = torch.tensor([[[1000.0, 0.0], [0.0, 0.0]]])
    loss = world_loss(logits, torch.tensor([[0, 1]]), torch.tensor([[0.75, 0.25]]))
    assert loss.item() == pytest.approx(math.log(2) / 4, abs=1e-7)


def test_explanation_loss_is_the_mean_cross_entropy_of_all_items():
    logits, labels = normal(5, 3, 4), classes(4, 5, 3)
    items = [-log_p(logits[b, p].tolist(), labels[b, p]) for b, p in product(range(5), range(3))]
    found = explanation_loss(logits.log_softmax(-1), labels).item()
    assert found == pytest.approx(sum(items) / 15, abs=1e-12)


def test_explanation_loss_pulls_toward_its_label():
    logits = normal(5, 3, 4).requires_grad_()
    labels = classes(4, 5, 3)
    explanation_loss(logits.log_softmax(-1), labels).backward()
    one_hot = torch.eye(4, dtype=torch.float64)[labels]
    expected = (logits.detach().softmax(-1) - one_hot) / 15  # d CE / d logits = p - 1[label]
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-12)


def test_behavior_kl_is_the_mean_over_subjects_and_variants_of_its_sum():
    logits, reference = normal(5, 3, 4), normal(5, 3, 4, seed=1)
    total = 0.0
    for b, v in product(range(5), range(3)):
        now, then = logits[b, v].tolist(), reference[b, v].tolist()
        for k in range(4):
            total += math.exp(log_p(then, k)) * (log_p(then, k) - log_p(now, k))
    assert behavior_kl(logits, reference).item() == pytest.approx(total / 15, abs=1e-12)


def test_behavior_kl_runs_from_the_reference_to_the_model():
    """p0 = (1/2, 1/2), p = (1/4, 3/4): KL(p0 || p) = log(2) / 2 + log(2/3) / 2 = log(4/3) / 2;
    the other direction is log(1/2) / 4 + 3 log(3/2) / 4 = 0.131."""
    p0 = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64).log()
    p = torch.tensor([[[0.25, 0.75]]], dtype=torch.float64).log()
    assert behavior_kl(p, p0).item() == pytest.approx(math.log(4 / 3) / 2, abs=1e-12)
    assert behavior_kl(p0, p).item() == pytest.approx(0.1308, abs=1e-4)


def test_behavior_kl_moves_the_model_and_never_the_reference():
    logits, reference = normal(5, 3, 4).requires_grad_(), normal(5, 3, 4, seed=1).requires_grad_()
    behavior_kl(logits, reference).backward()
    assert reference.grad is None
    expected = (logits.softmax(-1) - reference.softmax(-1)).detach() / 15  # p - p0
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-12)


@given(st.lists(st.floats(-20, 20), min_size=6, max_size=6))
def test_behavior_kl_is_zero_for_equal_distributions_and_positive_for_others(numbers):
    logits, reference = torch.tensor(numbers, dtype=torch.float64).view(2, 1, 1, 3)
    assert abs(behavior_kl(logits + 5, logits).item()) < 1e-12  # a constant changes nothing
    distance = (logits.softmax(-1) - reference.softmax(-1)).abs().sum().item()
    assert behavior_kl(logits, reference).item() >= distance**2 / 2 - 1e-12  # Pinsker's inequality
