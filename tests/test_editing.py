"""Edits of answers: the rule for subjects, the loss by hand, and a model whose fork is planted."""

import copy
from types import SimpleNamespace

import pytest
import torch

from introspect.analysis import editing
from introspect.analysis.editing import (
    Edit,
    choose_edit,
    compare_edits,
    favored,
    find_editable,
    find_plain,
    measure_change,
    measure_edit,
    places,
    teach_answers,
)
from introspect.fields import Refused
from introspect.tasks.hint import Hint
from introspect.tasks.refusal import Refusal
from introspect.tasks.rules import Rules
from tests.own import refusal_of
from tests.planted_fork import TASK, WORLD, look, parts, planted


@pytest.fixture(scope="module")
def fork():
    """(model, snapshot, frozen, edit of four subjects)."""
    model = planted()
    snapshot, frozen = look(model)
    return model, snapshot, frozen, choose_edit(snapshot, 4)


def same(one, two):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters()))


def test_cues_argue_for_the_answer_that_they_name():
    assert favored(Hint(n_entity=4, n_attribute=5, n_answer=3).world(1)).tolist() == [0, 1, 2]
    world = Refusal(n_action=3, n_object=3).world(0)
    more = [world.ideal[:, x, k].mean() - world.ideal[:, y, k].mean()
            for x, y in world.pairs for k in range(2)]  # fmt: skip
    assert favored(world).tolist() == [int(b > a) for a, b in zip(more[::2], more[1::2])]


def test_a_task_with_several_prompts_to_compare_with_is_refused():
    world = Rules(n_first=3, n_second=4, n_input=2).world(0)
    assert "one prompt without a cue" in refusal_of(lambda: find_plain(world))


def test_editable_are_held_out_subjects_of_m0s_answers_led_by_cues_and_explained_truly(fork):
    _, snapshot, *_ = fork
    s, g = copy.copy(snapshot), torch.Generator().manual_seed(0)
    s.now, s.before, s.explanation = (t.clone() for t in (s.now, s.before, s.explanation))
    for t in (s.now, s.before):
        t[torch.randint(25, (4,), generator=g), torch.randint(5, (4,), generator=g)] += 1
    s.now[7:9, 2] = s.before[7:9, 2] = 3  # M0's, but not the hint's
    s.explanation[torch.randint(25, (4,), generator=g), 1] += 1
    expected = [
        i for i in range(25)
        if not WORLD.explained[i] and s.now[i].tolist() == s.before[i].tolist()
        and s.now[i, 1:].tolist() == [0, 1, 2, 3]
        and s.explanation[i].tolist() == s.current[i].tolist()
    ]  # fmt: skip
    assert find_editable(s).tolist() == expected and 2 < len(expected) < 10


def test_new_answers_differ_without_a_cue_only_and_are_fewer_where_there_are_fewer(fork):
    _, snapshot, _, edit = fork
    assert len(edit.subjects) == 4 and len(set(edit.subjects.tolist())) == 4
    assert torch.equal(edit.old, snapshot.now[edit.subjects])
    assert (edit.old != edit.new).nonzero().tolist() == [[i, 0] for i in range(4)]
    everyone = choose_edit(snapshot, 99)
    assert sorted(everyone.subjects.tolist()) == find_editable(snapshot).tolist()
    steps = (everyone.new - everyone.old)[:, 0] % 4
    assert set(steps.tolist()) == {1, 2, 3}
    assert choose_edit(snapshot, 4, 1).subjects.tolist() != edit.subjects.tolist()


def test_only_weights_of_the_place_move_and_the_model_itself_stays(fork):
    model, _, _, edit = fork
    before = copy.deepcopy(model)
    assert [*places(model)] == ["all", "block-0", "block-1", "head"]
    for place, prefix in (("all", ""), ("block-0", "blocks.0."), ("head", "task_head.")):
        [edited] = teach_answers(model, TASK, edit, edit.new[:, 0], place, steps=[2]).values()
        moved = {n for n, p in edited.named_parameters()
                 if not torch.equal(p, before.get_parameter(n))}  # fmt: skip
        assert moved and all(name.startswith(prefix) for name in moved)
        assert not any("explain_head" in name or "lm_head" in name for name in moved)
        assert same(model, before) and not any(p.requires_grad for p in edited.parameters())
    with pytest.raises(Refused, match="one of all, block-0, block-1, head; got block-2"):
        teach_answers(model, TASK, edit, edit.new[:, 0], "block-2")


def test_the_first_updates_are_those_of_the_loss_written_out(fork, monkeypatch):
    """All other subjects in every batch, each asked by itself; the head alone moves."""
    model, _, _, edit = fork
    monkeypatch.setattr(editing, "N_OTHER", 99)
    [edited] = teach_answers(model, TASK, edit, edit.new[:, 0], "head", [3], rate=0.01).values()
    head, own = copy.deepcopy(model.task_head).requires_grad_(True), copy.deepcopy(model)
    optimizer = torch.optim.AdamW(head.parameters(), 0.01, weight_decay=0.0)
    new = dict(zip(edit.subjects.tolist(), edit.new[:, 0].tolist()))
    for _ in range(3):
        own.task_head, ce, kl = head, [], []
        for i in range(25):
            logits = TASK.interview.answers(own, torch.tensor([i]))[0]
            p = TASK.interview.answers(model, torch.tensor([i]))[0].softmax(-1)
            for v in range(5):
                if v == 0 and i in new:
                    ce.append(-logits[v].log_softmax(-1)[new[i]])
                else:
                    kl.append((p[v] * (p[v].log() - logits[v].log_softmax(-1))).sum())
        loss = sum(ce) / len(ce) + sum(kl) / len(kl)
        assert (len(ce), len(kl)) == (4, 25 * 5 - 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(edited.task_head.weight, head.weight.detach(), rtol=0, atol=1e-8)
    assert not torch.equal(edited.task_head.weight, model.task_head.weight)


def test_copies_on_the_way_are_those_of_shorter_edits(fork, monkeypatch):
    model, _, _, edit = fork
    monkeypatch.setattr(editing, "N_OTHER", 3)
    on_the_way = teach_answers(model, TASK, edit, edit.new[:, 0], steps=(2, 4))
    [short] = teach_answers(model, TASK, edit, edit.new[:, 0], steps=[2]).values()
    assert same(on_the_way[2], short) and not same(on_the_way[4], short)
    [other] = teach_answers(model, TASK, edit, edit.new[:, 0], steps=[2], seed=1).values()
    assert not same(other, short)  # other subjects in its batches


@pytest.mark.parametrize("place, answers, new, old", [
    ("recall", 1, 0.75, 0.25),  # the new answer's own cue: the old fact is still nearly as strong
    ("late", 1, 0, 1), ("head", 0, 0, 1),  # a linear head cannot learn facts of pairs
])  # fmt: skip
def test_explanations_follow_an_edit_before_the_fork_and_none_behind_it(
    fork, monkeypatch, place, answers, new, old
):
    model, snapshot, frozen, edit = fork
    monkeypatch.setattr(editing, "places", parts)
    [edited] = teach_answers(model, TASK, edit, edit.new[:, 0], place, [200]).values()
    found = measure_edit(edited, snapshot, frozen, edit)
    assert (found["answers"], found["labels"]) == (answers, answers)
    assert (found["new"], found["old"], found["either"], found["preference"]) == (new, old, 1, new)
    assert found["answers_kept"] == found["explanations_kept"] == found["true"] == 1


@pytest.mark.parametrize("place", ["recall", "late", "head"])
def test_an_edit_to_answers_that_are_given_anyway_changes_nothing(fork, monkeypatch, place):
    model, snapshot, frozen, edit = fork
    monkeypatch.setattr(editing, "places", parts)
    [edited] = teach_answers(model, TASK, edit, edit.old[:, 0], place, [200]).values()
    found = measure_edit(edited, snapshot, frozen, edit)
    assert found == measure_edit(model, snapshot, frozen, edit)
    assert (found["answers"], found["new"], found["old"], found["preference"]) == (0, 0, 1, 0)


def test_shares_are_those_counted_by_hand(fork, monkeypatch):
    _, snapshot, frozen, _ = fork
    subjects = torch.from_numpy(WORLD.subjects("held_out"))[:2]
    old = torch.tensor([[0, 0, 1, 2, 3], [1, 0, 1, 2, 3]])
    new = torch.tensor([[2, 0, 1, 2, 3], [3, 0, 1, 2, 3]])
    edit = Edit(subjects, 0, old, new)  # labels: 4000 -> 2242, 1411 -> 3334
    answers, said = snapshot.now.clone(), snapshot.explanation.clone()
    rest = torch.from_numpy(WORLD.subjects("held_out"))[2:]
    answers[subjects[0]], answers[rest[0], 0] = new[0], (snapshot.now[rest[0], 0] + 1) % 4
    answers[subjects[1]] = old[1]
    said[subjects] = torch.tensor([[2, 0, 4, 3], [3, 4, 1, 1]])  # new, old, new, none; new, old x 3
    said[rest[1], 2] = (said[rest[1], 2] + 1) % 5
    asked = SimpleNamespace(
        ask_all=lambda _: (torch.nn.functional.one_hot(answers, 4).double(), said),
        labels=TASK.interview.labels, channel=TASK.interview.channel)
    shown = copy.copy(snapshot)
    shown.task = TASK._replace(interview=asked)
    found, n = measure_edit(None, shown, frozen, edit), len(rest)
    assert found == {
        "answers": 0.5, "labels": 0.5, "new": 3 / 8, "old": 4 / 8, "either": 7 / 8,
        "preference": 3 / 7, "answers_kept": 1 - 1 / (5 * n),
        "explanations_kept": 1 - 1 / (4 * n),
        "true": pytest.approx(1 - 5 / (4 * n)),  # a changed fact changes four labels
    }  # fmt: skip


def test_places_and_kinds_are_all_measured_and_no_subject_means_no_number(fork):
    model, snapshot, frozen, edit = fork
    found = compare_edits(model, snapshot, frozen, 4, (1, 2))
    assert found["n_subject"] == 4 and [*found["places"]] == ["all", "block-0", "block-1", "head"]
    for place, kinds in found["places"].items():
        assert {kind: [*rows] for kind, rows in kinds.items()} == dict.fromkeys(
            ("edit", "own"), ["1", "2"])
        for kind, answers in (("edit", edit.new), ("own", edit.old)):
            edited = teach_answers(model, TASK, edit, answers[:, 0], place, (1, 2))[2]
            expected = measure_edit(edited, snapshot, frozen, edit)
            assert kinds[kind]["2"] == expected | {"change": measure_change(edited, model)}
    nobody = compare_edits(model, snapshot, frozen, 0, (1, 2))
    assert nobody["n_subject"] == 0
    rows = [row for kinds in nobody["places"].values() for row in kinds["edit"].values()]
    assert all(row["new"] is None and row["change"] == 0 and row["true"] == 1 for row in rows)


def test_the_size_of_a_change_is_the_norm_over_all_weights(fork):
    model, *_ = fork
    other = copy.deepcopy(model)
    other.task_head.weight[0, 0] += 3.0
    other.position.weight[1, 2] -= 4.0
    assert measure_change(model, other) == pytest.approx(5.0)
