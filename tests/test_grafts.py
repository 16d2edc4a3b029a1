"""Grafts: symmetries that are exact and some that are not, alarms, and a planted explainer."""

import copy

import numpy as np
import pytest
import torch

from introspect.adapters import adapt
from introspect.analysis import editing, grafts
from introspect.analysis.editing import choose_edit, measure_edit, teach_answers
from introspect.analysis.grafts import (
    add_change,
    alarms,
    area,
    compare_grafts,
    draw_rotation,
    fold_norms,
    hits,
    rotate,
)
from introspect.interview import Interview, RunTask
from tests.own import refusal_of
from tests.planted_fork import TASK, C, look, parts, planted
from tests.test_probes import HINT, gpt


def uneven(seed=0, n_layer=3):
    """A model whose every weight is random, those of its norms and biases too."""
    model, g = gpt(n_layer=n_layer), torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=g).double()
    return model


def computed(model, channel="head"):
    """All logits of answers, and log-probabilities of explanations."""
    return Interview(HINT, channel).both(model, torch.arange(HINT.n_subject))


def differ(one, two, channel="head"):
    """The largest difference of what two models compute."""
    pairs = zip(computed(one, channel), computed(two, channel))
    return max(float((a - b).abs().max()) for a, b in pairs)


def orthogonal(n=16, seed=3):
    return torch.linalg.qr(torch.from_numpy(np.random.default_rng(seed).normal(size=(n, n))))[0]


def test_a_graft_of_nothing_is_the_identity_and_one_on_m0_is_the_run():
    recipient, run, start = (uneven(seed) for seed in range(3))
    same = add_change(recipient, start, start)
    assert all(torch.equal(p, q) for p, q in zip(same.parameters(), recipient.parameters()))
    assert differ(add_change(start, run, start), run) < 1e-9 < 0.1 < differ(start, run)
    assert differ(uneven(0), recipient) == 0  # the recipient itself stays


@pytest.mark.parametrize("channel", ["head", "verbal", "same", "tied"])
def test_folding_norms_and_turning_what_is_folded_change_nothing(channel):
    model = uneven()
    folded = fold_norms(model)
    assert all(bool((p == 1).all()) for n, p in folded.named_parameters() if "norm" in n)
    turned = rotate(folded, draw_rotation(16))
    assert differ(model, folded, channel) < 1e-9 and differ(model, turned, channel) < 1e-9
    assert float((turned.token.weight - model.token.weight).abs().max()) > 0.5


def test_a_permutation_is_exact_with_the_norms_as_they_are():
    model = uneven()
    permutation = torch.eye(16)[torch.randperm(16, generator=torch.Generator().manual_seed(0))]
    assert differ(model, rotate(model, permutation)) < 1e-9


@pytest.mark.parametrize("prepare, rotation", [
    (copy.deepcopy, draw_rotation(16)),  # norms not folded
    (fold_norms, orthogonal()),  # moves the vector of ones
    (fold_norms, torch.diag(torch.tensor([1.0, -1.0] * 8))),  # so do signs
    (fold_norms, draw_rotation(16) + 0.1),  # not orthogonal
])  # fmt: skip
def test_other_turns_are_not_exact(prepare, rotation):
    model = uneven()
    assert differ(model, rotate(prepare(model), rotation)) > 0.01


@pytest.mark.parametrize("n", [2, 3, 16])
def test_a_rotation_is_orthogonal_and_keeps_the_vector_of_ones(n):
    drawn = draw_rotation(n, 1)
    torch.testing.assert_close(drawn @ drawn.T, torch.eye(n).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(drawn @ torch.ones(n).double(), torch.ones(n).double())
    assert torch.equal(drawn, draw_rotation(n, 1))
    assert n == 2 or not torch.allclose(drawn, draw_rotation(n, 2))


def test_rotations_are_uniform():
    """The mean is the projection on the ones, as no direction beside it is preferred."""
    mean = sum(draw_rotation(3, seed) for seed in range(2000)) / 2000
    torch.testing.assert_close(mean, torch.full((3, 3), 1 / 3).double(), rtol=0, atol=0.05)


def test_a_change_in_the_recipients_own_coordinates_is_the_graft_again():
    recipient, run, start = (fold_norms(uneven(seed)) for seed in range(3))
    R, plain = draw_rotation(16), add_change(recipient, run, start)
    turned = add_change(*(rotate(model, R) for model in (recipient, run, start)))
    assert differ(plain, turned) < 1e-9
    assert differ(plain, add_change(rotate(recipient, R), run, start)) > 0.1


def test_the_area_is_the_share_of_pairs_in_order_and_hits_count_above_a_threshold():
    draw = np.random.default_rng(0)
    for n, m in ((1, 1), (7, 5), (30, 41)):
        a, b = (torch.from_numpy(draw.integers(0, 9, size).astype(float)) for size in (n, m))
        pairs = [(x > y) + (x == y) / 2 for x in a.tolist() for y in b.tolist()]
        assert area(a, b) == pytest.approx(sum(pairs) / (n * m))
    scores = torch.arange(40.0)
    assert hits(scores, scores) == 2 / 40 and hits(scores + 1, scores) == 3 / 40
    assert hits(scores, scores, 0.5) == 0.5 and hits(scores, scores, 0.0) == 0
    assert hits(scores, scores[:19]) == 21 / 40  # too few others for a false alarm
    none = torch.zeros(0)
    assert area(none, scores) is area(scores, none) is hits(none, scores) is hits(scores, none)


def test_an_alarm_is_how_much_less_likely_the_words_of_the_run_are(monkeypatch):
    monkeypatch.setattr(grafts, "CHUNK", 4)
    run, other, subjects = uneven(0), uneven(1), torch.tensor([3, 40, 7, 8, 0])
    task = RunTask("hint", HINT, Interview(HINT), True, False)
    said = task.interview.ask_all(run)[1][subjects]
    found = alarms(run, other, task, subjects, said)
    p, q = (computed(m)[1][subjects] for m in (run, other))
    by_hand = [[float(p[i, c, e] - q[i, c, e]) for c, e in enumerate(row)]
               for i, row in enumerate(said)]  # fmt: skip
    np.testing.assert_allclose(found.numpy(), by_hand, atol=1e-9)
    assert not alarms(run, run, task, subjects, said).any()
    assert len(alarms(run, other, task, subjects[:0], said[:0])) == 0


def test_an_explainer_that_reads_the_recall_serves_an_edited_model_and_no_turned_one(monkeypatch):
    run = planted()
    snapshot, frozen = look(run)
    start, edit = copy.deepcopy(run), choose_edit(snapshot, 4)
    start.explain_head.weight.zero_()
    monkeypatch.setattr(editing, "places", parts)
    [edited] = teach_answers(start, TASK, edit, edit.new[:, 0], "recall", [200]).values()
    grafted = add_change(edited, run, start)
    found = measure_edit(grafted, snapshot, frozen, edit)
    assert found["answers"] == found["true"] == 1 and found["preference"] == 0.75
    before, after = measure_edit(edited, snapshot, frozen, edit), rotate_planted(edited)
    assert before["true"] < 0.5  # without the graft nothing is explained
    turned = add_change(after, run, start)
    assert torch.equal(TASK.interview.ask_all(turned)[0].argmax(-1),
                       TASK.interview.ask_all(edited)[0].argmax(-1))  # fmt: skip
    assert measure_edit(turned, snapshot, frozen, edit)["true"] < 0.5


def rotate_planted(model):
    """The same function in other coordinates; without norms, any orthogonal matrix will do."""
    turned, R = copy.deepcopy(model), orthogonal(C)
    for name in ("token", "position", "task_head", "explain_head", "lm_head"):
        turned.get_submodule(name).weight.copy_(turned.get_submodule(name).weight @ R.T)
    for block in turned.blocks:
        for reader in (block.attn.qkv, block.mlp.up):
            reader.weight.copy_(reader.weight @ R.T)
        block.attn.proj.weight.copy_(R @ block.attn.proj.weight)
        last = block.mlp.down[1] if block is turned.blocks[0] else block.mlp.down
        last.weight.copy_(R @ last.weight)
    return turned


@pytest.mark.parametrize("n", [4, 0])
def test_every_recipient_is_measured(n, monkeypatch):
    run, start = uneven(0, n_layer=2), uneven(1, n_layer=2)
    task = RunTask("hint", HINT, Interview(HINT), True, False)
    snapshot, frozen = look(run, task)
    rows = snapshot.rows("held_out")
    monkeypatch.setattr(grafts, "find_editable", lambda _: rows)
    monkeypatch.setattr(editing, "find_editable", lambda _: rows)
    found = compare_grafts(run, start, snapshot, frozen, n, 2)
    assert (found["n_subject"], found["n_other"]) == (n, len(rows) - n)
    assert [*found][2:] == ["edited", "own", "rotated"]
    edit = choose_edit(snapshot, n)
    for name in ("edited", "own"):
        answers = (edit.new if name == "edited" else edit.old)[:, 0]
        recipient = teach_answers(start, task, edit, answers, steps=[2])[2] if n else start
        grafted = add_change(*map(fold_norms, (recipient, run, start)))
        expected = measure_edit(grafted, snapshot, frozen, edit)
        assert {key: found[name][key] for key in expected} == expected
        assert (found[name]["area"] is None) == (n == 0)


def test_adapters_are_refused():
    run = gpt()
    adapt(run, 2, 0)
    assert "adapter_rank" in refusal_of(lambda: compare_grafts(run, gpt(), None, None))
