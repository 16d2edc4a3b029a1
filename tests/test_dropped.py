"""Labels that say "would change" may be kept from training; nothing else changes."""

from collections import Counter

import numpy as np
import pytest
import torch

from introspect.analysis.rivals import explain_by
from introspect.config import LabelConfig
from introspect.labels import DROPPED, drop_changes, freeze, sentence_labels
from introspect.losses import explanation_loss
from introspect.measure import Snapshot, measure
from introspect.runs.build import build
from introspect.runs.stages import labels_key, make_ingredients
from introspect.tasks.hint import Hint

K = 4
WORLD = Hint(n_entity=8, n_attribute=8).world(0)


def config(**overrides):
    return build({"hint": Hint}, {"n_entity": 8, "n_attribute": 8, "batch_size": 8,
                                  "pretrain_batch_size": 8, **overrides})


def random_labels(shape, seed=0):
    return torch.randint(K + 1, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kept, n", [(1.0, 60), (0.5, 30), (0.31, 19), (0.0, 0)])
def test_so_many_changes_are_kept_and_all_that_stay(kept, n):
    labels = torch.cat([torch.full((30,), K), torch.arange(60) % K]).view(9, 10)
    left = drop_changes(labels, kept, K, seed=3)
    given = left != DROPPED
    assert int(given.sum()) == 30 + n and torch.equal(left[given], labels[given])
    assert Counter(left.flatten().tolist())[K] == 30
    assert torch.equal(drop_changes(labels, kept, K, seed=3), left)


def test_a_larger_share_keeps_what_a_smaller_one_keeps_and_seeds_differ():
    labels = random_labels((20, 4))
    small, large, other = (drop_changes(labels, share, K, seed)
                           for share, seed in ((0.2, 0), (0.6, 0), (0.2, 1)))
    assert ((small == DROPPED) | (large == small)).all()
    assert (small != large).any() and (small != other).any()


def test_a_dropped_label_has_no_part_in_the_loss():
    log_probs = torch.randn(5, 4, K + 1, dtype=torch.float64).log_softmax(-1).requires_grad_()
    labels = drop_changes(random_labels((5, 4)), 0.3, K, seed=0)
    rows, cues = np.nonzero(labels.numpy() != DROPPED)
    assert 0 < len(rows) < 20
    loss = explanation_loss(log_probs, labels)
    by_hand = [-log_probs[i, j, labels[i, j]] for i, j in zip(rows, cues)]
    assert loss.item() == pytest.approx(sum(by_hand).item() / len(rows), abs=1e-12)
    loss.backward()
    assert torch.equal(log_probs.grad.abs().sum(-1) > 0, labels != DROPPED)


def test_a_batch_without_any_label_teaches_nothing():
    log_probs = torch.randn(2, 4, K + 1).log_softmax(-1).requires_grad_()
    loss = explanation_loss(log_probs, torch.full((2, 4), DROPPED))
    loss.backward()
    assert loss.item() == 0 and log_probs.grad.abs().max() == 0


def test_only_training_labels_are_dropped_after_all_else():
    logits = torch.randn(64, 5, K, generator=torch.Generator().manual_seed(0))
    spoiled = {"label_noise": 0.2, "label_order": "shuffled"}
    plain = freeze(logits, logits, WORLD, LabelConfig(**spoiled), 1)
    dropped = freeze(logits, logits, WORLD, LabelConfig(**spoiled, kept_changes=0.1), 1)
    gone = dropped.targets == DROPPED
    train = torch.from_numpy(WORLD.explained)
    changed = plain.targets[train] < K
    assert int(gone[train].sum()) == int(changed.sum()) - round(0.1 * int(changed.sum())) > 20
    assert not gone[~train].any() and torch.equal(dropped.targets[~gone], plain.targets[~gone])
    for name in ("original", "original_answers", "target_answers", "reference"):
        assert torch.equal(getattr(dropped, name), getattr(plain, name))
    assert dropped.sha256() != plain.sha256()


def test_a_sentence_is_dropped_as_a_class_is():
    labels, answers = torch.tensor([[DROPPED, K, 2]]), torch.tensor([[1, 3, 0]])
    assert sentence_labels(labels, answers, K).tolist() == [[DROPPED, K + 3, 2]]


def test_a_classifier_is_fitted_to_what_is_left():
    x = torch.eye(3, dtype=torch.float64)[torch.arange(12) % 3].view(12, 1, 3)
    labels = (torch.arange(12) % 3)[:, None]
    spoiled = labels.clone()
    spoiled[3:] = DROPPED
    rows = torch.arange(12)
    assert torch.equal(explain_by(x, spoiled, rows), labels)
    assert not torch.equal(explain_by(x, spoiled.clamp(min=0), rows), labels)


def test_agreement_with_the_labels_trained_on_is_of_those_that_there_are(tmp_path):
    cfg = config(kept_changes=0.25, pretrain_steps=20)
    made = make_ingredients(cfg, tmp_path, "cpu")
    snapshot = Snapshot(made.m0, made.tasks[0], made.frozen[0])
    train = snapshot.rows("train")
    assert (snapshot.targets[train] == DROPPED).any()
    assert measure([snapshot], "train")["compatibility"] == 1  # M0 agrees with all of its own
    snapshot.targets[snapshot.targets != DROPPED] = K
    stays = (snapshot.current == K)[train][snapshot.targets[train] != DROPPED]
    found = measure([snapshot], "train")["compatibility"]
    assert found == pytest.approx(stays.double().mean().item()) and 0.5 < found < 1


def test_labels_are_cached_by_the_share_and_the_seed():
    keys = {labels_key(config(kept_changes=share, seed=seed, m0_seed=0), "hint", "cpu")
            for share in (1.0, 0.5) for seed in (0, 1)}
    assert len(keys) == 3  # without a share, all seeds have the same labels
