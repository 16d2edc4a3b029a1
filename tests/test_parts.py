"""Several tasks in one model: whose rows are whose, how they are split, what is pooled."""

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch

from introspect import pretrain
from introspect.channels import Heads, Verbal
from introspect.config import LabelConfig
from introspect.interview import Interview, RunTask
from introspect.labels import freeze
from introspect.measure import (
    Snapshot,
    measure,
    measure_all,
    measure_competence,
    measure_m0,
)
from introspect.runs.build import build, worlds_of
from introspect.runs.items import choose_examples
from introspect.runs.stages import make_tasks
from introspect.tasks.registry import find_tasks
from introspect.tokenizer import ANSWER, EXPLAIN, encode
from tests.several import SIZES, WORLDS, config

# --- whose rows are whose ---

MIXED = config("refusal+hint+verdict")
AMONG = "comply refuse A B C right wrong shared".split()  # of all three, in their order


def gpt():
    model = pretrain.new_model(MIXED, worlds_of(MIXED)).double()
    for seed, head in enumerate((model.task_head, model.explain_head)):
        torch.nn.init.normal_(head.bias, generator=torch.Generator().manual_seed(seed))
        head.weight.data *= 50
    return model


def alone(model, text):
    """(C,) residual stream at the last token of one text."""
    return model.trunk(torch.tensor([encode(text)]))[0, -1]


def test_a_model_of_several_tasks_has_a_row_for_each_answer_of_any_of_them():
    model = gpt()
    assert model.task_head.out_features == len(AMONG) == 8
    assert model.explain_head.out_features == len(AMONG) + 1


@pytest.mark.parametrize("part", make_tasks(MIXED, "cpu"), ids=lambda part: part.name)
def test_answers_of_a_task_are_the_rows_of_its_own_answers(part):
    model, world, everyone = gpt(), part.world, torch.arange(part.world.n_subject)
    rows = [AMONG.index(answer) for answer in world.answers]
    expected = torch.stack([
        torch.stack([
            model.task_head(alone(model, world.text(s, v) + ANSWER))[rows]
            for v in range(len(world.prompts))
        ])
        for s in everyone
    ])
    asked = part.interview
    for found in (asked.answers(model, everyone), asked.both(model, everyone)[0],
                  asked.ask_all(model)[0]):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.std((0, 1)).min() > 1e-2 and expected.std(-1).min() > 1e-2  # guard: they differ


@pytest.mark.parametrize("channel", ["head", "tied", "same", "probe"])
@pytest.mark.parametrize("number", range(3), ids=MIXED.task.split("+"))
def test_explanations_of_a_task_are_the_rows_of_its_own_answers_and_would_stay(number, channel):
    model, part = gpt(), make_tasks(MIXED, "cpu", channel)[number]
    world, everyone = part.world, torch.arange(part.world.n_subject)
    expected = []
    for s in everyone:
        for x, _ in world.pairs:
            read = alone(model, world.text(s, x) + (ANSWER if channel == "same" else EXPLAIN))
            head = (model.task_head if channel == "tied" else model.explain_head)(read)
            said = [head[AMONG.index(answer)] for answer in world.answers]
            expected.append(torch.stack([*said, model.explain_head(read)[-1]]).log_softmax(0))
    expected = torch.stack(expected).view(len(everyone), len(world.pairs), -1)
    asked = part.interview
    for found in (asked.explanations(model, everyone), asked.both(model, everyone)[1]):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    said = asked.ask_all(model)[1]
    assert torch.equal(said, expected.argmax(-1))
    assert expected.std((0, 1)).min() > 1e-9 and expected.std(-1).min() > 1e-2  # guard: they differ
    words = [f"would change to {answer}" for answer in world.answers] + ["would stay"]
    assert [asked.channel.words(k) for k in range(len(words))] == words


def test_on_channel_verbal_a_task_of_several_is_asked_as_one_alone():
    model = gpt()
    for part in make_tasks(MIXED, "cpu", "verbal"):
        asked, everyone = part.interview, torch.arange(part.world.n_subject)
        alone = Interview(part.world, "verbal")
        assert torch.equal(asked.explanations(model, everyone), alone.explanations(model, everyone))
        sentences = {asked.channel.words(k) for k in range(2 * len(part.world.answers))}
        assert sentences == {f"would {does} {answer}" for answer in part.world.answers
                             for does in ("change to", "stay")}


def test_a_task_alone_and_one_whose_answers_are_those_of_all_read_every_row():
    (alone,) = make_tasks(build(find_tasks("hint"), SIZES["hint"]), "cpu")
    assert alone.interview.columns is None
    hint, taught = make_tasks(config("hint+jabberwocky", **{"jabberwocky.n_answer": 2}), "cpu")
    assert hint.interview.columns is None and taught.interview.columns.tolist() == [0, 1]


# --- splits ---


def test_parts_are_in_the_order_of_their_names_with_their_roles():
    cfg = config("jabberwocky+refusal+hint+rules", unexplained="hint+jabberwocky")
    roles = [(part.name, part.explained, part.taught) for part in make_tasks(cfg, "cpu")]
    assert roles == [("jabberwocky", False, True), ("refusal", True, False),
                     ("hint", False, False), ("rules", True, False)]
    assert cfg.explained == ["refusal", "rules"]


@pytest.mark.parametrize("part", make_tasks(config("hint+refusal+jabberwocky", unexplained="refusal"),
                                          "cpu"), ids=lambda part: part.name)
def test_without_explanation_labels_every_subject_is_held_out(part):
    train_, held_out = (part.subjects(split).tolist() for split in ("train", "held_out"))
    everyone = range(part.world.n_subject)
    if part.name == "hint":
        assert train_ == [s for s in everyone if part.world.explained[s]]
        assert held_out == [s for s in everyone if not part.world.explained[s]]
    else:
        assert train_ == [] and held_out == list(everyone)


# --- measures ---


def tables(number, explained=True):
    """A snapshot of random answers and explanations in one of two tasks, and its frozen labels."""
    world, name = WORLDS[number], ("hint", "refusal")[number]
    N, K, g = world.n_subject, len(world.answers), torch.Generator().manual_seed(10 + number)
    reference, noise = torch.randn(2, N, 5, K, generator=g)
    spoken = torch.randint(K + 1, (N, 4), generator=g)
    asked = SimpleNamespace(
        everything=lambda model: (reference + noise, spoken), channel=Heads("head", world, None)
    )
    frozen = freeze(reference, reference, world, LabelConfig(label_noise=0.3), 0)
    part = RunTask(name, world, asked, explained, taught=False)
    return Snapshot(None, part, frozen), frozen


def items(snapshot, frozen, split):
    """One dict an item, by python integers."""
    world, part = snapshot.world, snapshot.task
    before, now, K = frozen.reference.argmax(-1).tolist(), snapshot.now.tolist(), len(world.answers)
    for s in range(world.n_subject):
        if (world.explained[s] and part.explained) == (split == "train"):
            for p, (x, y) in enumerate(world.pairs):
                then = K if before[s][x] == before[s][y] else before[s][y]
                yield {
                    "task": part.name,
                    "subject": (part.name, s),
                    "says": snapshot.explanation[s, p].item(),
                    "now": K if now[s][x] == now[s][y] else now[s][y],
                    "then": then,
                    "used": frozen.targets[s, p].item() if split == "train" else then,
                    "with_moved": now[s][x] != before[s][x],
                    "without_moved": now[s][y] != before[s][y],
                    "stays": now[s][x] == now[s][y],
                }


def share(true):
    true = list(true)
    return sum(true) / len(true)


def expected_of(rows):
    """What is measured of items, by loops over them."""
    differ = [r for r in rows if r["now"] != r["then"]]
    sides = [r["says"] == r["now"] for r in differ if r["says"] in (r["now"], r["then"])]

    def constant(side):
        of = [Counter(r[side] for r in rows if r["task"] == t) for t in ("hint", "refusal")]
        return sum(max(counts.values(), default=0) for counts in of) / len(rows)

    by_subject = {}
    for r in rows:
        side = (r["says"] == r["now"]) - (r["says"] == r["then"])
        by_subject.setdefault(r["subject"], []).append(side)
    means, G = [np.mean(sides) for sides in by_subject.values()], len(by_subject)
    half = scipy.stats.t.ppf(0.975, G - 1) * np.std(means, ddof=1) / math.sqrt(G)
    self_, orig = (share(r["says"] == r[side] for r in rows) for side in ("now", "then"))
    return {
        "self": self_,
        "orig": orig,
        "gap": self_ - orig,
        "gap_low": pytest.approx(self_ - orig - half, abs=1e-9),
        "gap_high": pytest.approx(self_ - orig + half, abs=1e-9),
        "drift": len(differ) / len(rows),
        "compatibility": share(r["now"] == r["used"] for r in rows),
        "preference": share(sides),
        "behavior_drift": share(r["with_moved"] for r in rows),
        "behavior_drift_without_cue": share(r["without_moved"] for r in rows),
        "majority": pytest.approx(constant("then"), abs=1e-12),
        "majority_now": pytest.approx(constant("now"), abs=1e-12),
        "n_items": len(rows),
    }


@pytest.mark.parametrize("split", ["held_out", "train"])
@pytest.mark.parametrize("numbers", [(0, 1), (1, 0), (1,)], ids=str)
def test_measures_of_several_tasks_are_those_of_their_items_pooled(numbers, split):
    made = [tables(number) for number in numbers]
    rows = [row for one in made for row in items(*one, split)]
    assert measure([snapshot for snapshot, _ in made], split) == expected_of(rows)


def test_no_two_measures_are_alike_here():
    """Guards the test above: exchanging two that are alike would not show."""
    both = [tables(number)[0] for number in (0, 1)]
    held_out, train_ = measure(both, "held_out"), measure(both, "train")
    assert len({(round(held_out[k], 9), round(train_[k], 9)) for k in held_out}) == len(held_out)
    rows = [row for number in (0, 1) for row in items(*tables(number), "train")]
    noisy = expected_of([row | {"then": row["used"]} for row in rows])
    assert noisy["majority"].expected != pytest.approx(train_["majority"])


def test_subjects_of_two_tasks_with_one_number_are_two_subjects():
    """Guards the interval above: if they were one, it would be another."""
    rows = [row for number in (0, 1) for row in items(*tables(number), "held_out")]
    mixed = [row | {"subject": row["subject"][1]} for row in rows]
    assert len({r["subject"] for r in mixed}) < len({r["subject"] for r in rows})
    low = expected_of(rows)["gap_low"]
    assert low != expected_of(mixed)["gap_low"].expected


def test_all_measures_are_pooled_over_explained_tasks_and_of_each_task():
    (hint, of_hint), (refusal, of_refusal) = tables(0), tables(1, explained=False)
    found = measure_all([refusal, hint])
    tasks, train_ = found.pop("tasks"), found.pop("train")
    assert found == measure([hint], "held_out") and train_ == measure([hint], "train")
    assert list(tasks) == ["refusal", "hint"]
    moved = []
    for snapshot, frozen in ((hint, of_hint), (refusal, of_refusal)):
        own, world = tasks[snapshot.task.name], snapshot.world
        rows = list(items(snapshot, frozen, "held_out"))
        assert own["n_items"] == len(rows) == (48 if snapshot is hint else 36)
        assert own["self"] == share(r["says"] == r["now"] for r in rows)
        every = rows + (list(items(snapshot, frozen, "train")) if snapshot is hint else [])
        assert own["changed"] == share(not r["stays"] for r in every)
        sure = [s for s in range(world.n_subject) if world.ideal[s, 0].max() >= 0.6]
        right = share(snapshot.now[s, 0].item() == world.ideal[s, 0].argmax() for s in sure)
        assert own["known"] == right
        moved.append(right != measure_competence(world, frozen.reference)["known"])
    assert any(moved)  # guard: what M0 knows is something else


def test_explained_tasks_are_pooled_where_there_are_several():
    both = [tables(0)[0], tables(1)[0]]
    found = measure_all(both)
    assert found["self"] == measure(both, "held_out")["self"] != found["tasks"]["hint"]["self"]
    assert found["train"] == measure(both, "train")
    assert "tasks" not in measure_all(both[:1])


def test_on_channel_verbal_labels_name_the_answer_that_stays_of_whom_they_describe():
    """Of M0 for the original labels, of another subject for shuffled ones, of the model now."""
    world, g = WORLDS[0], torch.Generator().manual_seed(0)
    reference, now = torch.randn(2, 20, 5, 4, generator=g)
    how = LabelConfig(label_noise=0.3, label_order="shuffled")
    frozen = freeze(reference, reference, world, how, 0)
    asked = SimpleNamespace(
        everything=lambda model: (now, torch.zeros(20, 4, dtype=torch.int64)),
        channel=Verbal(world, "cpu"),
    )
    snapshot = Snapshot(None, RunTask("hint", world, asked, True, False), frozen)
    counts = Counter()
    for s in range(20):
        for p, (x, y) in enumerate(world.pairs):
            a, b, c, d = ("ABCD"[of[s, v].argmax()] for of in (reference, now) for v in (x, y))
            label, stays = frozen.targets[s, p], "ABCD"[frozen.target_answers[s, p]]
            expected = {
                "original": f"would stay {a}" if a == b else f"would change to {b}",
                "current": f"would stay {c}" if c == d else f"would change to {d}",
                "targets": f"would stay {stays}" if label == 4 else world.explanation(label),
            }
            for kind, sentence in expected.items():
                assert asked.channel.words(getattr(snapshot, kind)[s, p].item()) == sentence
                counts[kind, "stay" in sentence] += 1
    assert len(counts) == 6 and min(counts.values()) >= 10  # guard: enough of each


def test_m0_is_described_by_its_first_explained_task_and_by_each():
    (hint, of_hint), (refusal, of_refusal) = tables(0), tables(1, explained=False)
    own = {"refusal": measure_competence(WORLDS[1], of_refusal.reference),
           "hint": measure_competence(WORLDS[0], of_hint.reference)}
    found = measure_m0([refusal.part, hint.part], [of_refusal, of_hint])
    assert found == own["hint"] | {"tasks": own}
    assert measure_m0([hint.part], [of_hint]) == own["hint"] != own["refusal"]


def test_examples_are_as_many_of_each_task():
    snapshots = [tables(0)[0], tables(1, explained=False)[0]]
    found = choose_examples(snapshots, 5)
    for snapshot, five in zip(snapshots, (found[:5], found[5:])):
        world = snapshot.world
        texts = {world.text(s, x) for s in snapshot.rows("held_out") for x, _ in world.pairs}
        assert {e["prompt"] for e in five} <= texts and len(five) == 5
        assert {e["now_with_cue"] for e in five} <= set(world.answers)
    assert len(choose_examples(snapshots[1:], 99)) == 9 * 4  # without labels, of every subject
