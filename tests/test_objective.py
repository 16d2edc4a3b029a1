"""What is trained on what: shuffled labels, labels of several tasks, the terms of a loss."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from introspect import cotrain, pretrain
from introspect.config import LabelConfig
from introspect.cotrain import objective
from introspect.labels import freeze
from introspect.runs.build import worlds_of
from introspect.runs.stages import hash_labels, make_labels, make_tasks
from tests.several import WORLDS, config

# --- labels ---


def shuffled_labels(seed, noise=0.0, world=WORLDS[0]):
    K = len(world.answers)
    logits = torch.randn(world.n_subject, 5, K, generator=torch.Generator().manual_seed(1))
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


def test_labels_of_a_mixture_are_those_of_each_task_and_hashed_together(tmp_path):
    cfg = config("hint+refusal+jabberwocky", label_order="shuffled")
    parts = make_tasks(cfg, "cpu")
    m0, found = make_labels(cfg, parts, tmp_path, "cpu")
    for part, labels in zip(parts, found):
        reference, _ = part.interview.ask_all(m0)
        assert torch.equal(labels.reference, reference)
        answers, K = reference.argmax(-1).tolist(), len(part.world.answers)
        rows = [[K if row[x] == row[y] else row[y] for x, y in part.world.pairs] for row in answers]
        with_cue = [[row[x] for x, _ in part.world.pairs] for row in answers]
        assert labels.original.tolist() == rows and labels.original_answers.tolist() == with_cue
        how = LabelConfig(label_order="shuffled")
        own = freeze(reference, reference, part.world, how, cfg.seed)
        assert labels.sha256() == own.sha256()
    assert len(list(tmp_path.glob("labels-*"))) == 3
    _, again = make_labels(cfg, parts, tmp_path, "cpu")
    assert hash_labels(again) == hash_labels(found)
    others = (found[::-1], found[:2], [found[0], found[2], found[1]], [found[0], *found[:2]])
    assert len({hash_labels(some) for some in (found, *others)}) == 5
    assert hash_labels(found[:1]) == found[0].sha256()


@pytest.mark.parametrize("order, noise, n_label", [
    ("true", 0.0, 1), ("true", 0.25, 3), ("shuffled", 0.0, 3), ("shuffled", 0.25, 3)])
def test_labels_of_three_seeds_are_cached_once_where_they_are_the_same(
    tmp_path, order, noise, n_label
):
    hashes = set()
    for seed in (0, 1, 2):
        cfg = config("hint+refusal", label_order=order, label_noise=noise, seed=seed, m0_seed=0)
        hashes.add(hash_labels(make_labels(cfg, make_tasks(cfg, "cpu"), tmp_path, "cpu")[1]))
    assert len(hashes) == n_label and len(list(tmp_path.glob("labels-*"))) == 2 * n_label


def test_true_and_shuffled_labels_of_one_seed_and_noise_are_not_confused(tmp_path):
    found = []
    for order in ("true", "shuffled"):
        cfg = config("hint+refusal", label_order=order, label_noise=0.25)
        found.append(hash_labels(make_labels(cfg, make_tasks(cfg, "cpu"), tmp_path, "cpu")[1]))
    assert found[0] != found[1]


# --- what is trained on what ---


def losses(cfg, disturb, name, steps=3):
    """Losses of some updates whose frozen labels of one task are changed by `disturb`."""
    parts, model = make_tasks(cfg, "cpu"), pretrain.new_model(cfg, worlds_of(cfg))
    frozen = []
    for i, part in enumerate(parts):
        g = torch.Generator().manual_seed(i)
        size = part.world.n_subject, len(part.world.prompts), len(part.world.answers)
        reference = torch.randn(size, generator=g)
        labels = freeze(reference, reference, part.world, LabelConfig(), 0)
        frozen.append(disturb(labels, part.world) if part.name == name else labels)
    loss_of = objective(cfg, parts, frozen, "cpu")
    return torch.stack([loss_of(model, step)[0].detach() for step in range(steps)])


def other_labels(labels, world):
    """Another label for every subject."""
    return labels._replace(targets=(labels.targets + 1) % world.n_explanation)


def other_held_out_labels(labels, world):
    held_out = torch.from_numpy(~world.explained)[:, None]
    return labels._replace(
        targets=torch.where(held_out, other_labels(labels, world).targets, labels.targets))


def other_behavior(labels, world):
    return labels._replace(reference=labels.reference.flip(0))


@pytest.mark.parametrize("anchor", ["explained", "all"])
@pytest.mark.parametrize("name, disturb, matters", [
    ("hint", other_labels, True), ("rules", other_labels, True), ("refusal", other_labels, False),
    ("jabberwocky", other_labels, False), ("hint", other_held_out_labels, False),
    ("hint", other_behavior, True), ("refusal", other_behavior, "all"),
    ("jabberwocky", other_behavior, False)])
def test_a_loss_depends_on_labels_of_explained_tasks_and_on_behavior_that_is_anchored(
    name, disturb, matters, anchor
):
    cfg = config("hint+refusal+rules+jabberwocky", unexplained="refusal", anchor=anchor)
    plain = losses(cfg, lambda labels, world: labels, "")
    moved = losses(cfg, disturb, name) != plain
    assert moved.all() if matters in (True, anchor) else not moved.any()


def test_each_term_of_a_loss_is_a_mean_over_its_tasks():
    """Of a model to which every answer is as likely as any, the loss of each task is known."""
    cfg = config("hint+refusal+jabberwocky", batch_size=6)
    parts, model = make_tasks(cfg, "cpu"), pretrain.new_model(cfg, worlds_of(cfg))
    for head in (model.task_head, model.explain_head):
        torch.nn.init.zeros_(head.weight)  # every answer, every explanation equally likely
    frozen = [
        freeze(torch.zeros(size), torch.zeros(size), part.world, LabelConfig(), 0)
        for part in parts
        for size in [(part.world.n_subject, len(part.world.prompts), len(part.world.answers))]
    ]
    total, terms = objective(cfg, parts, frozen, "cpu")(model, 0)
    expected = (math.log(4) + math.log(3)) / 2  # 3 answers and 2, and "would stay"
    assert terms["explanation"].item() == pytest.approx(expected, abs=1e-6)
    assert terms["kl"].item() == pytest.approx(0, abs=1e-7)
    assert total.item() == pytest.approx(expected, abs=1e-6)


def test_a_shift_of_one_task_is_trained_in_that_task_alone(monkeypatch):
    cfg = config("hint+refusal+rules", shift="refusal.cue_reliability=0.25", shift_weight=3.0)
    parts, model = make_tasks(cfg, "cpu"), pretrain.new_model(cfg, worlds_of(cfg))
    frozen = [
        freeze(logits, logits, part.world, LabelConfig(), 0)
        for part in parts
        for logits in [part.interview.ask_all(model)[0]]
    ]
    asked = []

    def noted(model, interview, world, n, draw):
        asked.append((interview, n))
        expected = replace(cfg.tasks["refusal"], cue_reliability=0.25).world(cfg.world_seed)
        assert np.array_equal(world.ideal, expected.ideal)
        return torch.tensor(10.0)

    monkeypatch.setattr(cotrain, "loss_of_world", noted)
    total, terms = objective(cfg, parts, frozen, "cpu")(model, 0)
    assert asked == [(parts[1].interview, 4)] and terms["shift"] == 10
    expected = terms["explanation"] + terms["kl"] + 3 * 10
    assert total.item() == pytest.approx(expected.item(), abs=1e-5)
