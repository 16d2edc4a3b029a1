"""Labels and label noise, an item at a time."""

import pytest
import torch

from introspect.labels import add_noise, explanation_labels

PAIRS = torch.tensor([[2, 0], [1, 0], [3, 1]])  # no two of a kind: with and without cannot swap
LABELS = torch.randint(5, (40, 3), generator=torch.Generator().manual_seed(0))


def test_a_label_is_the_answer_without_the_cue_where_it_differs_and_else_stays():
    answers = torch.randint(4, (50, 4), generator=torch.Generator().manual_seed(0))
    labels = explanation_labels(answers, PAIRS, n_answer=4)
    for row, found in zip(answers.tolist(), labels.tolist()):
        expected = []
        for with_cue, without in PAIRS.tolist():
            expected.append(4 if row[with_cue] == row[without] else row[without])
        assert found == expected
    assert labels.flatten().bincount(minlength=5).min() > 0  # every label occurs


def test_two_subjects_by_hand():
    """Without a hint 0 and 2. The first follows the hint 1 and would go back; all else stays."""
    answers = torch.tensor([[0, 0, 1], [2, 2, 2]])  # variants: no hint, hint 0, hint 1
    labels = explanation_labels(answers, torch.tensor([[1, 0], [2, 0]]), n_answer=3)
    assert labels.tolist() == [[3, 0], [3, 3]]


@pytest.mark.parametrize("share", [0, 0.004, 0.006, 0.3, 0.5, 1])
def test_noise_replaces_exactly_its_share_and_nothing_by_itself(share):
    noisy = add_noise(LABELS, share, n_label=5, seed=0)
    assert (noisy != LABELS).sum() == round(share * 120)
    assert noisy.shape == LABELS.shape and 0 <= noisy.min() and noisy.max() < 5


def test_noise_leaves_its_input_alone():
    before = LABELS.clone()
    add_noise(LABELS, 1.0, n_label=5, seed=0)
    assert torch.equal(LABELS, before)


def test_noise_depends_on_the_seed_only():
    torch.manual_seed(0)
    first = add_noise(LABELS, 0.3, n_label=5, seed=0)
    torch.manual_seed(1)
    assert torch.equal(add_noise(LABELS, 0.3, n_label=5, seed=0), first)
    other = add_noise(LABELS, 0.3, n_label=5, seed=1)
    assert not torch.equal(other != LABELS, first != LABELS)


def test_noise_is_uniform_over_places_and_over_the_other_classes():
    """20,000 zeros, half replaced: each of classes 1..4 gets 2,500 and each half of the places
    5,000, within 5 standard deviations of the binomial, sqrt(10,000 / 4 * 3 / 4) = 43 and 50."""
    noisy = add_noise(torch.zeros(20_000, dtype=torch.int64), 0.5, n_label=5, seed=0)
    assert ((noisy.bincount(minlength=5)[1:] - 2500).abs() < 5 * 43).all()
    assert abs(int((noisy[:10_000] != 0).sum()) - 5000) < 5 * 50


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="share of noise must be in 0..1"):
        add_noise(LABELS, share, n_label=5, seed=0)
