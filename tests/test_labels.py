"""Frozen labels: whose answers they describe, what is noise, and that they cannot change unseen."""

import hashlib
import json
from functools import partial

import pytest
import torch

from introspect.checkpoint import Corrupt, load
from introspect.config import LabelConfig
from introspect.interview import Interview
from introspect.labels import freeze
from introspect.runs.build import build, donor_of
from introspect.runs.stages import make_labels, make_m0, make_tasks
from introspect.tasks.hint import Hint
from introspect.tokenizer import ANSWER, encode

TINY = dict(
    n_entity=4, n_attribute=4, n_layer=1, n_embd=16, n_head=2, pretrain_steps=6,
    pretrain_batch_size=8, muon_learning_rate=0.05, adamw_learning_rate=0.03, max_steps=4,
    batch_size=4, eval_interval=2, world_seed=0,
)
tiny = partial(build, {"hint": Hint})


def frozen(cache, **overrides):
    """(M0, frozen labels, configuration, world) of the tiny run with these fields."""
    cfg = tiny(TINY | overrides)
    (part,) = parts = make_tasks(cfg, "cpu")
    m0, (labels,) = make_labels(cfg, parts, cache, "cpu")
    return m0, labels, cfg, part.world


def labels_of(model, world):
    """E(model), by asking for each answer by itself and comparing an item at a time."""
    def answer(subject, variant):
        ids = torch.tensor([encode(world.text(subject, variant) + ANSWER)])
        return model.task_head(model.trunk(ids)[0, -1]).argmax().item()

    rows = []
    for s in range(world.n_subject):
        with_cue, without = ([answer(s, v) for v in pair] for pair in zip(*world.pairs))
        rows.append([4 if a == b else b for a, b in zip(with_cue, without)])
    return torch.tensor(rows)


def test_labels_are_read_off_the_answers_of_m0_which_is_frozen(tmp_path):
    m0, labels, _, world = frozen(tmp_path)
    assert torch.equal(labels.original, labels_of(m0, world))
    assert torch.equal(labels.targets, labels.original)
    torch.testing.assert_close(labels.reference, Interview(world).ask_all(m0)[0])
    assert not any(p.requires_grad for p in m0.parameters())
    assert len(labels.original.unique()) > 1  # guard: not all the same


def test_labels_come_from_the_cache_the_second_time(tmp_path):
    m0, labels, *_ = frozen(tmp_path)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    m0_again, again, *_ = frozen(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(labels, again))
    assert all(torch.equal(a, b) for a, b in zip(m0.parameters(), m0_again.parameters()))
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == files


def test_a_label_flipped_in_the_cache_is_noticed_even_with_a_consistent_manifest(tmp_path):
    _, labels, *_ = frozen(tmp_path)
    (folder,) = tmp_path.glob("labels-*")
    forged = {k: v.clone() for k, v in labels._asdict().items()}
    forged["original"][3, 1] += 1
    torch.save(forged, folder / "state.pt")
    manifest = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("state.pt", "meta.json")
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert load(folder)[0]["original"][3, 1] == forged["original"][3, 1]  # the folder verifies
    with pytest.raises(Corrupt, match="do not have the hash they were frozen with"):
        frozen(tmp_path)


@pytest.mark.parametrize("seed, donor_seed", [(0, 1), (1, 0)])
def test_a_donor_gives_its_own_labels_while_the_anchor_stays_m0(tmp_path, seed, donor_seed):
    m0, own, _, world = frozen(tmp_path, m0_seed=seed)
    same_m0, donated, *_ = frozen(tmp_path, m0_seed=seed, donor=f"m0_seed={donor_seed}")
    donor, of_donor, *_ = frozen(tmp_path, m0_seed=donor_seed)
    assert torch.equal(donated.original, labels_of(donor, world))
    assert torch.equal(donated.original, of_donor.original)
    assert torch.equal(donated.reference, own.reference)
    assert all(torch.equal(a, b) for a, b in zip(m0.parameters(), same_m0.parameters()))
    assert not torch.equal(donated.original, own.original)
    assert not torch.equal(donated.reference, of_donor.reference)


def test_a_donor_of_other_size_world_or_order_is_asked_about_the_same_prompts(tmp_path):
    _, own, _, world = frozen(tmp_path)
    for donor in ("n_embd=8", "n_layer=2", "order_seed=5", "rewritten_share=1.0"):
        m0, donated, cfg, _ = frozen(tmp_path, donor=donor)
        learned = make_tasks(donor_of(cfg), "cpu")
        model = make_m0(donor_of(cfg), learned, tmp_path / donor, "cpu")
        assert torch.equal(donated.original, labels_of(model, world))
        assert torch.equal(donated.reference, own.reference)
        assert not torch.equal(donated.original, own.original)


def test_another_order_of_batches_keeps_the_initial_weights(tmp_path):
    cfg, other = tiny(TINY), tiny(TINY | {"order_seed": 5})
    ends = []
    for c, until in ((cfg, 0), (other, 0), (cfg, 1), (other, 1)):
        model = make_m0(c, make_tasks(c, "cpu"), tmp_path, "cpu", until=until)
        ends.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[2], ends[3])


def test_the_dial_of_foreign_labels_mixes_by_subject_and_only_grows(tmp_path):
    own, donor = frozen(tmp_path)[1], frozen(tmp_path, donor="m0_seed=1")[1]
    foreign = torch.zeros(16, dtype=torch.bool)
    for share, n in ((0.0, 0), (0.25, 4), (0.5, 8), (1.0, 16)):
        mixed = frozen(tmp_path, donor="m0_seed=1", donor_share=share)[1]
        is_own = (mixed.original == own.original).all(1)
        is_foreign = (mixed.original == donor.original).all(1)
        assert (is_own | is_foreign).all()
        assert is_own.sum() >= 16 - n and is_foreign.sum() >= n
        assert not (foreign & ~is_foreign).any()  # what was foreign at a smaller share still is
        foreign = is_foreign & ~is_own
        assert torch.equal(mixed.reference, own.reference)


def test_a_turned_share_turns_every_label_of_some_first_words(tmp_path):
    _, own, _, world = frozen(tmp_path)
    turned = frozen(tmp_path, turned_share=0.5)[1]
    rows = (turned.original != own.original).any(1)
    assert torch.equal(turned.original[rows], (own.original[rows] + 1) % 5)
    assert torch.equal(turned.original[~rows], own.original[~rows])
    words = {word: set(rows[world.slots[:, 0] == word].tolist()) for word in world.slots[:, 0]}
    assert sorted(map(tuple, words.values())) == [(False,), (False,), (True,), (True,)]
    assert torch.equal(turned.targets, turned.original)  # held out and explained alike


@pytest.mark.parametrize("donor, until", [("", 2), ("m0_seed=1", 2), ("pretrain_steps=9", 3)])
def test_label_progress_takes_an_earlier_checkpoint_of_the_labeled_model(tmp_path, donor, until):
    last = frozen(tmp_path, donor=donor)[1]
    _, early, cfg, world = frozen(tmp_path, donor=donor, label_progress=0.3)
    labeled = donor_of(cfg)
    model = make_m0(labeled, make_tasks(labeled, "cpu"), tmp_path / "x", "cpu", until=until)
    assert torch.equal(early.original, labels_of(model, world))
    assert torch.equal(early.reference, last.reference)
    assert not torch.equal(early.original, last.original)


def test_noise_touches_the_targets_only_and_exactly_its_share(tmp_path):
    plain = frozen(tmp_path)[1]
    noisy = frozen(tmp_path, label_noise=0.25, m0_seed=0, seed=1)[1]
    other = frozen(tmp_path, label_noise=0.25, m0_seed=0, seed=2)[1]
    explained = torch.from_numpy(Hint(n_entity=4, n_attribute=4).world(0).explained)
    for labels in (noisy, other):
        assert torch.equal(labels.original, plain.original)
        assert torch.equal(labels.reference, plain.reference)
        wrong = (labels.targets != plain.original).sum(1)  # (N,)
        assert wrong[explained].sum() == 8  # a quarter of 8 subjects x 4 hints
        assert wrong[~explained].sum() == 0
    assert not torch.equal(noisy.targets, other.targets)


def test_runs_of_other_seeds_share_m0_and_labels(tmp_path):
    _, labels, *_ = frozen(tmp_path, m0_seed=0, seed=0)
    before = sorted(tmp_path.iterdir())
    assert frozen(tmp_path, m0_seed=0, seed=1, kl_weight=0.0)[1].sha256() == labels.sha256()
    assert sorted(tmp_path.iterdir()) == before and len(before) == 2


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
