"""Ingredients of a run: M0, what it is taught later, frozen labels; made once, then cached."""

import json
from functools import partial

import pytest
import torch

from introspect import checkpoint, pretrain
from introspect.checkpoint import Corrupt, load, seal
from introspect.config import LabelConfig
from introspect.interview import Interview
from introspect.labels import freeze
from introspect.runs.build import build, donor_of
from introspect.runs.jobs import Job, perform
from introspect.runs.stages import (
    hash_labels,
    labels_folder,
    m0_key,
    make_ingredients,
    make_labels,
    make_m0,
    make_tasks,
    teach,
)
from introspect.tasks.hint import Hint
from introspect.tasks.registry import find_tasks
from introspect.tokenizer import ANSWER, encode
from tests.several import SIZES, config
from tests.several import TINY as SEVERAL

TINY = dict(
    n_entity=4, n_attribute=4, n_layer=1, n_embd=16, n_head=2, pretrain_steps=6,
    pretrain_batch_size=8, muon_learning_rate=0.05, adamw_learning_rate=0.03, max_steps=4,
    batch_size=4, eval_interval=2, world_seed=0,
)
tiny = partial(build, {"hint": Hint})


def frozen(cache, **overrides):
    """(M0, frozen labels, configuration, world) of the tiny run with these fields."""
    cfg = tiny(TINY | overrides)
    tasks, m0, _, (labels,) = make_ingredients(cfg, cache, "cpu")
    return m0, labels, cfg, tasks[0].world


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
    forged["original"][3, 1] = (forged["original"][3, 1] + 1) % 3
    torch.save(forged, folder / "state.pt")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["state.pt"] = seal((folder / "state.pt").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert load(folder)[0]["original"][3, 1] == forged["original"][3, 1]  # the folder verifies
    with pytest.raises(Corrupt, match="do not have the hash they were frozen with"):
        frozen(tmp_path)


def test_a_donor_gives_its_own_labels_while_the_anchor_stays_m0(tmp_path, seed=0, donor_seed=1):
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


@pytest.mark.parametrize("donor, until", [("", 2), ("m0_seed=1", 2), ("pretrain_steps=9", 3)])
def test_label_progress_takes_an_earlier_checkpoint_of_the_labeled_model(tmp_path, donor, until):
    last = frozen(tmp_path, donor=donor)[1]
    _, early, cfg, world = frozen(tmp_path, donor=donor, label_progress=0.3)
    labeled = donor_of(cfg)
    model = make_m0(labeled, make_tasks(labeled, "cpu"), tmp_path / "x", "cpu", until=until)
    assert torch.equal(early.original, labels_of(model, world))
    assert torch.equal(early.reference, last.reference)
    assert not torch.equal(early.original, last.original)


def test_runs_of_other_seeds_share_m0_and_labels(tmp_path):
    _, labels, *_ = frozen(tmp_path, m0_seed=0, seed=0)
    before = sorted(tmp_path.iterdir())
    assert frozen(tmp_path, m0_seed=0, seed=1, kl_weight=0.0)[1].sha256() == labels.sha256()
    assert sorted(tmp_path.iterdir()) == before and len(before) == 2


def test_runs_of_other_seeds_share_labels_unless_these_are_drawn(tmp_path):
    drawn = {"donor_share": 0.5, "label_noise": 0.1, "turned_share": 0.5, "label_order": "shuffled"}
    for field, value in {**drawn, "label_progress": 0.5, "donor_share ": 1.0}.items():
        fields = {"donor": "m0_seed=1", "m0_seed": 0, field.strip(): value}
        found = {labels_folder(tiny(TINY | fields | {"seed": seed}), "hint", tmp_path, "cpu")
                 for seed in (0, 1)}
        assert len(found) == (2 if field in drawn else 1), field


# --- labels of several tasks ---


def test_labels_that_a_kill_left_unmade_are_made_and_the_others_kept(tmp_path):
    cfg = config("hint+refusal")
    tasks, m0, _, found = make_ingredients(cfg, tmp_path, "cpu")
    for name in ("hint", "refusal"):
        checkpoint.remove(labels_folder(cfg, name, tmp_path, "cpu"))
        again = make_labels(cfg, tasks, m0, tmp_path, "cpu")
        assert hash_labels(again) == hash_labels(found)


def test_labels_of_a_mixture_are_those_of_each_task_and_hashed_together(tmp_path):
    cfg = config("hint+refusal+jabberwocky", label_order="shuffled")
    tasks, m0, _, found = make_ingredients(cfg, tmp_path, "cpu")
    for task, labels in zip(tasks, found):
        reference, _ = task.interview.ask_all(m0)
        assert torch.equal(labels.reference, reference)
        answers, K = reference.argmax(-1).tolist(), len(task.world.answers)
        rows = [[K if row[x] == row[y] else row[y] for x, y in task.world.pairs] for row in answers]
        with_cue = [[row[x] for x, _ in task.world.pairs] for row in answers]
        assert labels.original.tolist() == rows and labels.original_answers.tolist() == with_cue
        how = LabelConfig(label_order="shuffled")
        own = freeze(reference, reference, task.world, how, cfg.seed)
        assert labels.sha256() == own.sha256()
    assert len(list(tmp_path.glob("labels-*"))) == 3
    again = make_labels(cfg, tasks, m0, tmp_path, "cpu")
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
        hashes.add(hash_labels(make_ingredients(cfg, tmp_path, "cpu").frozen))
    assert len(hashes) == n_label and len(list(tmp_path.glob("labels-*"))) == 2 * n_label


def test_true_and_shuffled_labels_of_one_seed_and_noise_are_not_confused(tmp_path):
    found = []
    for order in ("true", "shuffled"):
        cfg = config("hint+refusal", label_order=order, label_noise=0.25)
        found.append(hash_labels(make_ingredients(cfg, tmp_path, "cpu").frozen))
    assert found[0] != found[1]


# --- what is taught later ---


def model_of(learned):
    return torch.cat([p.flatten() for p in learned.parameters()])


def learn(cfg, cache):
    """Weights of M0, and of what it is after it has been taught."""
    tasks = make_tasks(cfg, "cpu")
    m0 = make_m0(cfg, tasks, cache, "cpu")
    before = model_of(m0)
    taught = teach(cfg, m0, tasks, cache, "cpu", pretrain.silent)
    assert torch.equal(model_of(m0), before)
    return before, model_of(taught)


def test_m0_has_never_learned_anything_of_a_task_that_is_taught_later(tmp_path):
    both = config("hint+jabberwocky", **{"hint.n_answer": 4})
    m0, taught = learn(both, tmp_path)
    rate = {"hint.n_answer": 4, "jabberwocky.word_reliability": 0.9}
    other = config("hint+jabberwocky", **rate)
    assert m0_key(other, "cpu") != m0_key(both, "cpu")
    other_m0, other_taught = learn(other, tmp_path)
    assert torch.equal(m0, other_m0) and not torch.equal(taught, other_taught)
    alone = build(find_tasks("hint"), SEVERAL | SIZES["hint"] | {"n_answer": 4})
    alone_m0, nothing_taught = learn(alone, tmp_path)
    assert torch.equal(m0, alone_m0) and torch.equal(m0, nothing_taught)
    assert not torch.equal(m0, taught)


def test_other_rates_of_what_m0_learns_make_another_m0(tmp_path):
    """Guards the test above: it would also pass if no rate mattered."""
    m0, _ = learn(config("hint+jabberwocky"), tmp_path)
    other, _ = learn(config("hint+jabberwocky", **{"hint.hint_reliability": 0.9}), tmp_path)
    assert not torch.equal(m0, other)


def test_teaching_goes_on_with_what_m0_knows_in_batches_of_its_own(tmp_path, monkeypatch):
    cfg = config("hint+jabberwocky")
    tasks, learned, draws = make_tasks(cfg, "cpu"), [], []
    draw_world_batch = pretrain.draw_world_batch

    def noted(world, n, draw, device):
        learned.append((next(p.name for p in tasks if p.world is world), n))
        draws.append(str(draw.bit_generator.state))
        return draw_world_batch(world, n, draw, device)

    monkeypatch.setattr(pretrain, "draw_world_batch", noted)
    m0 = make_m0(cfg, tasks, tmp_path, "cpu")
    teach(cfg, m0, tasks, tmp_path, "cpu", pretrain.silent)
    assert learned == [("hint", 8)] * 6 + [("hint", 4), ("jabberwocky", 4)] * 4
    assert len(set(draws)) == len(draws)


def test_what_was_taught_is_cached_by_how_long(tmp_path):
    taught = {}
    for steps in (4, 2, 0, 8):  # neither one that is longer nor one that is shorter is taken
        cfg = config("hint+jabberwocky", teach_steps=steps)
        m0, taught[steps] = learn(cfg, tmp_path / "shared")
        assert torch.equal(taught[steps], learn(cfg, tmp_path / str(steps))[1])
    assert torch.equal(taught[0], m0)
    assert not torch.equal(taught[4], taught[2]) and not torch.equal(taught[2], m0)


def test_what_runs_start_from_is_taught_before_any_of_them(tmp_path):
    cfg = config("hint+jabberwocky")
    assert perform(Job("reg", cfg, None), tmp_path, "cpu", pretrain.silent) is None
    kinds = sorted(folder.name.partition("-")[0] for folder in tmp_path.iterdir())
    assert kinds == ["m0", "taught"]
