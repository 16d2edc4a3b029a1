"""Labels of answers, what spoils them, and how they are frozen: an item at a time."""

from collections import Counter

import pytest
import torch

from introspect.config import LabelConfig
from introspect.labels import add_noise, explanation_labels, freeze, sentence_labels
from introspect.tasks.hint import Hint
from tests.several import WORLDS

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


def test_noise_replaces_exactly_its_share_and_nothing_by_itself():
    for share in (0, 0.004, 0.006, 0.3, 0.5, 1):
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


def test_a_share_outside_0_to_1_is_refused():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share of noise must be in 0..1"):
            add_noise(LABELS, share, n_label=5, seed=0)


def test_a_sentence_label_names_the_answer_that_stays_and_else_is_the_label():
    labels, with_cue = torch.tensor([[3, 0, 3], [2, 3, 1]]), torch.tensor([[2, 1, 0], [0, 1, 2]])
    assert sentence_labels(labels, with_cue, n_answer=3).tolist() == [[5, 0, 3], [2, 4, 1]]


# --- frozen ---


def logits_of(world, seed=1):
    shape = world.n_subject, len(world.prompts), len(world.answers)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows_of(answers, world):
    """The label of every item, by a loop over answers (N, V)."""
    K = len(world.answers)
    return [[K if row[x] == row[y] else row[y] for x, y in world.pairs] for row in answers]


def test_labels_are_read_off_the_answers_of_whom_they_describe():
    """Of 20 subjects, 0.3 * 20 = 6 keep M0's own labels; the anchor holds all to M0."""
    labeled, reference = logits_of(WORLDS[0]), logits_of(WORLDS[0], 2)
    foreign = torch.tensor(rows_of(labeled.argmax(-1).tolist(), WORLDS[0]))
    own = torch.tensor(rows_of(reference.argmax(-1).tolist(), WORLDS[0]))
    for share, n_own in ((1.0, 0), (0.7, 6), (0.0, 20)):
        labels = freeze(labeled, reference, WORLDS[0], LabelConfig(donor_share=share), 0)
        is_own = (labels.original == own).all(1)
        assert torch.equal(labels.original, torch.where(is_own[:, None], own, foreign))
        assert is_own.sum() == n_own and torch.equal(labels.reference, reference)
        with_cue = torch.tensor(WORLDS[0].pairs)[:, 0]
        answers = torch.where(is_own[:, None], reference.argmax(-1), labeled.argmax(-1))
        assert torch.equal(labels.original_answers, answers[:, with_cue])
        assert torch.equal(labels.targets, labels.original)
        assert torch.equal(labels.target_answers, labels.original_answers)


def test_a_systematic_error_shifts_every_label_of_some_first_words():
    world, logits = WORLDS[0], logits_of(WORLDS[0])
    own, wrong = (freeze(logits, logits, world, LabelConfig(turned_share=s), 0) for s in (0, 0.5))
    rows = (wrong.original != own.original).any(1)
    assert torch.equal(wrong.original[rows], (own.original[rows] + 1) % 5)
    assert torch.equal(wrong.original[~rows], own.original[~rows])
    words = {word: set(rows[world.slots[:, 0] == word].tolist()) for word in world.slots[:, 0]}
    assert sorted(map(tuple, words.values())) == [(False,), (False,), (True,), (True,)]
    assert torch.equal(wrong.targets, wrong.original)  # held out and explained alike


def test_noise_is_in_the_targets_of_explained_subjects_only():
    world, logits = WORLDS[0], logits_of(WORLDS[0])
    plain = freeze(logits, logits, world, LabelConfig(), 1)
    noisy, other = (freeze(logits, logits, world, LabelConfig(label_noise=0.25), s) for s in (1, 2))
    for labels in (noisy, other):
        assert torch.equal(labels.original, plain.original)
        wrong = (labels.targets != plain.original).sum(1)  # (N,)
        assert wrong[world.explained].sum() == wrong.sum() == 8  # a quarter of 8 subjects x 4 hints
    assert not torch.equal(noisy.targets, other.targets)


def shuffled_labels(seed, noise=0.0, world=WORLDS[0]):
    logits = logits_of(world)
    how = LabelConfig(label_noise=noise, label_order="shuffled")
    return freeze(logits, logits, world, how, seed)


@pytest.mark.parametrize("world", WORLDS, ids=["hint", "refusal"])
def test_shuffled_labels_are_those_of_explained_subjects_dealt_out_again(world):
    labels, explained = shuffled_labels(0, world=world), world.explained
    rows = [torch.cat(two, dim=1)[explained].tolist() for two in (
        (labels.original, labels.original_answers), (labels.targets, labels.target_answers))]
    assert sorted(rows[0]) == sorted(rows[1]) and rows[0] != rows[1]
    assert len({tuple(row) for row in rows[0]}) > 1
    for own, dealt in ((labels.original, labels.targets),
                       (labels.original_answers, labels.target_answers)):
        assert torch.equal(own[~explained], dealt[~explained])
        for p in range(4):  # each class as often as it was, cue by cue
            assert Counter(own[explained, p].tolist()) == Counter(dealt[explained, p].tolist())


def test_a_seed_decides_how_labels_are_shuffled_and_nothing_else():
    zero, again, one = shuffled_labels(0), shuffled_labels(0), shuffled_labels(1)
    assert torch.equal(zero.targets, again.targets) and not torch.equal(zero.targets, one.targets)
    assert torch.equal(zero.original, one.original)
    assert zero.sha256() == again.sha256() != one.sha256()


def test_noise_comes_after_shuffling():
    plain, noisy = shuffled_labels(0), shuffled_labels(0, noise=0.25)
    wrong = noisy.targets != plain.targets
    assert wrong[WORLDS[0].explained].sum() == 8 and wrong.sum() == 8  # of 8 subjects, 4 hints
    assert torch.equal(noisy.target_answers, plain.target_answers)
    nothing_true = shuffled_labels(0, noise=1.0).targets[WORLDS[0].explained]
    assert (nothing_true != plain.targets[WORLDS[0].explained]).all()
    assert nothing_true.unique().tolist() == [0, 1, 2, 3, 4]  # wrong in every way


def test_the_hash_names_labels_and_targets_but_not_the_reference():
    g = torch.Generator().manual_seed(0)
    world = Hint(n_entity=4, n_attribute=4).world(0)
    logits, other = torch.randn(2, 16, 5, 4, generator=g)
    plain = freeze(logits, logits, world, LabelConfig(), 0)
    assert freeze(logits, other, world, LabelConfig(), 0).sha256() == plain.sha256()
    assert freeze(other, logits, world, LabelConfig(), 0).sha256() != plain.sha256()
    assert freeze(logits, logits, world, LabelConfig(label_noise=0.1), 0).sha256() != plain.sha256()
    moved = plain._replace(original=plain.original.flip(0))
    assert moved.sha256() != plain.sha256()
