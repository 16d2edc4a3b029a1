"""Several tasks in one model: whose rows are whose, what is pooled, and what comes after M0."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import scipy.stats
import torch

import train
from introspect import checkpoint, cotrain, pretrain
from introspect.channels import Heads, Verbal
from introspect.cli import parse
from introspect.config import build, defaults_of, shifted
from introspect.cotrain import objective
from introspect.fields import Refused, option
from introspect.interview import Interview
from introspect.labels import all_sha256, freeze, frozen_labels
from introspect.measure import Snapshot, competence, examples, m0_of, measure, measure_all
from introspect.parts import Part, parts_of
from introspect.record import read_json, read_lines
from introspect.study import Job, perform
from introspect.tasks.hint import Hint
from introspect.tasks.refusal import Refusal
from introspect.tokenizer import ANSWER, EXPLAIN, encode
from introspect.worlds import find_tasks, worlds_of
from tests.tiny import SIZE, STEPS, weights, without_time

SIZES = {
    "hint": dict(n_entity=3, n_attribute=4, n_answer=3),
    "refusal": dict(n_action=3, n_object=3),
    "verdict": dict(n_actor=5, n_act=4, n_story=14),
    "rules": dict(n_first=3, n_second=4, n_input=1),
    "jabberwocky": dict(n_creature=4, n_habit=3),
}
TINY = dict(
    n_layer=1, n_head=2, n_embd=16, block_size=16, pretrain_steps=6, pretrain_batch_size=8,
    muon_learning_rate=0.05, adamw_learning_rate=0.03, teach_steps=4, max_steps=4, batch_size=4,
)


def config(task, **overrides):
    """The tiny run of several tasks."""
    sizes = {f"{t}.{k}": v for t in task.split("+") for k, v in SIZES[t].items()}
    return build(find_tasks(task), TINY | sizes | overrides)


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


@pytest.mark.parametrize("part", parts_of(MIXED, "cpu"), ids=lambda part: part.name)
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
                  asked.everything(model)[0]):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.std((0, 1)).min() > 1e-2 and expected.std(-1).min() > 1e-2  # guard: they differ


@pytest.mark.parametrize("channel", ["head", "tied", "same", "probe"])
@pytest.mark.parametrize("number", range(3), ids=MIXED.task.split("+"))
def test_explanations_of_a_task_are_the_rows_of_its_own_answers_and_would_stay(number, channel):
    model, part = gpt(), parts_of(MIXED, "cpu", channel)[number]
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
    said = asked.everything(model)[1]
    assert torch.equal(said, expected.argmax(-1))
    assert expected.std((0, 1)).min() > 1e-9 and expected.std(-1).min() > 1e-2  # guard: they differ
    words = [f"would change to {answer}" for answer in world.answers] + ["would stay"]
    assert [asked.channel.words(k) for k in range(len(words))] == words


def test_on_channel_verbal_a_task_of_several_is_asked_as_one_alone():
    model = gpt()
    for part in parts_of(MIXED, "cpu", "verbal"):
        asked, everyone = part.interview, torch.arange(part.world.n_subject)
        alone = Interview(part.world, "verbal")
        assert torch.equal(asked.explanations(model, everyone), alone.explanations(model, everyone))
        sentences = {asked.channel.words(k) for k in range(2 * len(part.world.answers))}
        assert sentences == {f"would {does} {answer}" for answer in part.world.answers
                             for does in ("change to", "stay")}


def test_a_task_alone_and_one_whose_answers_are_those_of_all_read_every_row():
    (alone,) = parts_of(build(find_tasks("hint"), SIZES["hint"]), "cpu")
    assert alone.interview.columns is None
    hint, taught = parts_of(config("hint+jabberwocky", **{"jabberwocky.n_answer": 2}), "cpu")
    assert hint.interview.columns is None and taught.interview.columns.tolist() == [0, 1]


# --- splits ---


def test_parts_are_in_the_order_of_their_names_with_their_roles():
    cfg = config("jabberwocky+refusal+hint+rules", unexplained="hint+jabberwocky")
    roles = [(part.name, part.explained, part.taught) for part in parts_of(cfg, "cpu")]
    assert roles == [("jabberwocky", False, True), ("refusal", True, False),
                     ("hint", False, False), ("rules", True, False)]
    assert cfg.explained == ["refusal", "rules"]


@pytest.mark.parametrize("part", parts_of(config("hint+refusal+jabberwocky", unexplained="refusal"),
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

WORLDS = [Hint(n_entity=4, n_attribute=5, explained_share=0.4).world(3),
          Refusal(n_action=3, n_object=3, first_name=9).world(3)]  # 4 pairs each, 4 and 2 answers


def tables(number, explained=True):
    """A snapshot of random answers and explanations in one of two tasks, and its frozen labels."""
    world, name = WORLDS[number], ("hint", "refusal")[number]
    N, K, g = world.n_subject, len(world.answers), torch.Generator().manual_seed(10 + number)
    reference, noise = torch.randn(2, N, 5, K, generator=g)
    spoken = torch.randint(K + 1, (N, 4), generator=g)
    asked = SimpleNamespace(
        everything=lambda model: (reference + noise, spoken), channel=Heads("head", world, None)
    )
    frozen = freeze(reference, reference, world, 0.3, seed=0)
    part = Part(name, world, asked, explained, taught=False)
    return Snapshot(None, part, frozen), frozen


def items(snapshot, frozen, split):
    """One dict an item, by python integers."""
    world, part = snapshot.world, snapshot.part
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
        own, world = tasks[snapshot.part.name], snapshot.world
        rows = list(items(snapshot, frozen, "held_out"))
        assert own["n_items"] == len(rows) == (48 if snapshot is hint else 36)
        assert own["self"] == share(r["says"] == r["now"] for r in rows)
        every = rows + (list(items(snapshot, frozen, "train")) if snapshot is hint else [])
        assert own["changed"] == share(not r["stays"] for r in every)
        sure = [s for s in range(world.n_subject) if world.ideal[s, 0].max() >= 0.6]
        right = share(snapshot.now[s, 0].item() == world.ideal[s, 0].argmax() for s in sure)
        assert own["known"] == right
        moved.append(right != competence(world, frozen.reference)["known"])
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
    frozen = freeze(reference, reference, world, 0.3, seed=0, shuffled=True)
    asked = SimpleNamespace(
        everything=lambda model: (now, torch.zeros(20, 4, dtype=torch.int64)),
        channel=Verbal(world, "cpu"),
    )
    snapshot = Snapshot(None, Part("hint", world, asked, True, False), frozen)
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
    own = {"refusal": competence(WORLDS[1], of_refusal.reference),
           "hint": competence(WORLDS[0], of_hint.reference)}
    found = m0_of([refusal.part, hint.part], [of_refusal, of_hint])
    assert found == own["hint"] | {"tasks": own}
    assert m0_of([hint.part], [of_hint]) == own["hint"] != own["refusal"]


def test_examples_are_as_many_of_each_task():
    snapshots = [tables(0)[0], tables(1, explained=False)[0]]
    found = examples(snapshots, 5)
    for snapshot, five in zip(snapshots, (found[:5], found[5:])):
        world = snapshot.world
        texts = {world.text(s, x) for s in snapshot.rows("held_out") for x, _ in world.pairs}
        assert {e["prompt"] for e in five} <= texts and len(five) == 5
        assert {e["now_with_cue"] for e in five} <= set(world.answers)
    assert len(examples(snapshots[1:], 99)) == 9 * 4  # without labels, of every subject


# --- configurations ---


@pytest.mark.parametrize("task, unexplained, says", [
    ("hint", "rules", "--unexplained=rules: must be of hint"),
    ("hint+refusal", "rules", "--unexplained=rules: must be of hint, refusal"),
    ("hint+refusal", "hint+", "--unexplained=hint+: must be of hint, refusal"),
    ("hint+refusal", "hint,refusal", "--unexplained=hint,refusal: must be of hint, refusal"),
    ("hint", "hint", "--unexplained=hint: leaves no task of hint that M0 learns and that has"),
    ("hint+refusal", "refusal+hint", "leaves no task of hint+refusal that M0 learns and that has"),
    ("hint+jabberwocky", "hint", "leaves no task of hint+jabberwocky"),
    ("jabberwocky", "", "--task=jabberwocky: is taught after M0"),
    ("jabberwocky", "jabberwocky", "--task=jabberwocky: is taught after M0"),
])
def test_a_run_with_nothing_to_explain_is_refused(task, unexplained, says):
    with pytest.raises(Refused) as refusal:
        build(find_tasks(task), {"unexplained": unexplained})
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("task, unexplained, explained", [
    ("hint", "", "hint"), ("hint+refusal", "", "hint refusal"), ("refusal+hint", "hint", "refusal"),
    ("hint+jabberwocky", "", "hint"), ("jabberwocky+hint", "jabberwocky", "hint"),
    ("hint+rules+refusal", "refusal+hint", "rules")])
def test_tasks_are_explained_unless_they_are_taught_or_said_not_to_be(task, unexplained, explained):
    cfg = build(find_tasks(task), {"unexplained": unexplained})
    assert " ".join(cfg.explained) == explained


def test_beside_others_a_tasks_fields_have_its_name_in_front():
    command = parse(["--task=hint+refusal", "--hint.n_entity=50", "--refusal.guess_share=0.25"])
    flat = command.config("reg", 0).flat()
    assert (flat["hint.n_entity"], flat["refusal.n_action"]) == (50, 48)
    assert (flat["hint.guess_share"], flat["refusal.guess_share"]) == (0.3, 0.25)
    assert flat["task"] == "hint+refusal" and "guess_share" not in flat
    assert build(find_tasks("hint+refusal"), {k: v for k, v in flat.items() if k != "task"}) == (
        command.config("reg", 0)
    )


@pytest.mark.parametrize("flag, says", [
    ("--n_entity=5", "--n_entity=5: no such flag .did you mean --hint.n_entity"),
    ("--hint.n_entity=1", "--hint.n_entity=1: must be a whole number >= 2"),
    ("--refusal.n_action=two", "--refusal.n_action: 'two' given, must be a whole number >= 2"),
    ("--refusal.n_action=240", "--refusal.n_action=240: the vocabulary has words for 208 at most"),
    ("--jabberwocky.n_habit=2", "--jabberwocky.n_habit=2: no such flag"),
])
def test_wrong_fields_are_refused_by_the_flag_with_the_tasks_name(flag, says):
    with pytest.raises(Refused, match=says):
        parse(["--task=hint+refusal", flag])


@dataclass(frozen=True)
class Modest:
    regime: ClassVar = {"max_steps": 900, "batch_size": 8}
    n_thing: int = option(2, "things", 1)


@dataclass(frozen=True)
class Greedy:
    regime: ClassVar = {"max_steps": 300, "batch_size": 64, "n_layer": 3}
    n_other: int = option(2, "things", 1)


def test_defaults_are_the_largest_that_a_task_asks_for():
    assert defaults_of({"a": Modest}) == Modest.regime and defaults_of({"hint": Hint}) == {}
    for both in ({"a": Modest, "b": Greedy}, {"b": Greedy, "a": Modest}):
        assert defaults_of(both) == {"max_steps": 900, "batch_size": 64, "n_layer": 3}
    cfg = build({"a": Modest, "b": Greedy}, {"n_layer": 1, "a.n_thing": 5})
    assert (cfg.cotrain.max_steps, cfg.cotrain.batch_size, cfg.gpt.n_layer) == (900, 64, 1)
    assert cfg.worlds == (Modest(5), Greedy(2))
    asked = defaults_of(find_tasks("hint+rules"))  # hint is content with the general defaults
    usual = build(find_tasks("hint"), {}).flat()
    alone = defaults_of(find_tasks("rules"))
    assert alone["pretrain_steps"] < usual["pretrain_steps"] == asked["pretrain_steps"]


def test_tasks_with_names_skip_those_of_the_tasks_before_them():
    tasks = find_tasks("refusal+hint+verdict")
    asked = {k: v for k, v in defaults_of(tasks | {"a": Modest}).items() if "name" in k}
    refusal, hint = tasks["refusal"]().n_name, tasks["hint"]().n_name
    assert asked == {
        "refusal.first_name": 0, "hint.first_name": refusal, "verdict.first_name": refusal + hint
    }
    assert "first_name" not in defaults_of(find_tasks("hint"))
    given = build(find_tasks("refusal+hint"), {"hint.first_name": 100})
    assert given.flat()["hint.first_name"] == 100


def test_a_shift_of_one_task_of_several_leaves_the_others():
    cfg = config("hint+refusal", shift="refusal.cue_reliability=0.25,refusal.guess_share=0")
    refusal = cfg.tasks["refusal"]
    expected = {"refusal": replace(refusal, cue_reliability=0.25, guess_share=0.0)}
    assert shifted(cfg.tasks, cfg.cotrain.shift) == expected
    both = shifted(cfg.tasks, "hint.guess_share=0.1,refusal.guess_share=0.2")
    assert [(n, task.guess_share) for n, task in both.items()] == [("hint", 0.1), ("refusal", 0.2)]


@pytest.mark.parametrize("shift", ["cue_reliability=0.2", "hint.cue_reliability=0.2",
                                   "refusal.n_action=4", "refusal.explained_share=0.3"])
def test_a_shift_of_no_rate_of_several_tasks_is_refused(shift):
    with pytest.raises(Refused, match=f"--shift={shift}: must be rate=number, of the rates hint"):
        config("hint+refusal", shift=shift)


@pytest.mark.parametrize("flags, says", [
    ("--pretrain_batch_size=1", "--pretrain_batch_size=1: task hint has 36 subjects, 1 to so many "
     "for each of 2 tasks"),
    ("--pretrain_batch_size=33", "--pretrain_batch_size=33: task refusal has 16 subjects"),
    ("--batch_size=17", "--batch_size=17: task refusal has 8 explained subjects, 1 to so many for"),
    ("--batch_size=19 --unexplained=refusal", "--batch_size=19: task hint has 18 explained subj"),
    ("--batch_size=1", "--batch_size=1: task hint has 18 explained subjects, 1 to so many for"),
    ("--channel=verbal --block_size=6", "--block_size=6: task hint has prompts of 7 tokens"),
])
def test_a_batch_is_shared_by_its_tasks_and_must_be_of_a_size_for_each(flags, says):
    base = ["--task=hint+refusal", "--pretrain_batch_size=32", "--batch_size=16"]
    base += ["--hint.n_entity=6", "--hint.n_attribute=6"]
    base += ["--refusal.n_action=4", "--refusal.n_object=4"]
    parse(base)
    with pytest.raises(Refused) as refusal:
        parse([*base, *flags.split()])
    assert says in str(refusal.value)


def test_the_anchor_shares_its_batch_with_tasks_without_explanation_labels():
    base = ["--task=hint+refusal", "--unexplained=refusal", "--hint.explained_share=0.9"]
    base += ["--hint.n_entity=7", "--hint.n_attribute=6"]
    base += ["--refusal.n_action=4", "--refusal.n_object=4", "--pretrain_batch_size=8"]
    parse([*base, "--batch_size=32"])
    with pytest.raises(Refused, match="--batch_size=33: task refusal has 16 subjects, 1 to so ma"):
        parse([*base, "--batch_size=33"])


def test_m0_alone_must_have_subjects_for_its_whole_batch_though_teaching_shares_it():
    """M0 of `hint+jabberwocky` learns from hint only, before the batch is halved."""
    command = ["jabberwocky", "--hint.n_entity=8", "--hint.n_attribute=8"]
    assert parse([*command, "--pretrain_batch_size=64"]).configs()
    says = "--pretrain_batch_size=65: task hint has 64 subjects"
    with pytest.raises(Refused, match=says):
        parse([*command, "--pretrain_batch_size=65"])


def test_teaching_shares_its_batch_with_the_tasks_that_are_taught():
    base = ["jabberwocky", "--jabberwocky.n_creature=4", "--jabberwocky.n_habit=4"]
    parse([*base, "--pretrain_batch_size=32"])
    with pytest.raises(Refused, match="=33: task jabberwocky has 16 subjects, 1 to so many for ea"):
        parse([*base, "--pretrain_batch_size=33"])
    parse(["--task=hint+refusal", "--pretrain_batch_size=2"])
    with pytest.raises(Refused, match="--pretrain_batch_size=1: task hint has 2304 subjects, 1 to"):
        parse([*base, "--pretrain_batch_size=1"])


def test_several_features_of_one_answer_cannot_be_explained_at_its_place():
    with pytest.raises(Refused, match="--channel=same: task rules asks about several features"):
        parse(["--task=hint+rules", "--channel=same"])


# --- labels ---


def shuffled_labels(seed, noise=0.0, world=WORLDS[0]):
    K = len(world.answers)
    logits = torch.randn(world.n_subject, 5, K, generator=torch.Generator().manual_seed(1))
    return freeze(logits, logits, world, noise, seed, shuffled=True)


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
    parts = parts_of(cfg, "cpu")
    m0, found = frozen_labels(cfg, parts, tmp_path, "cpu")
    for part, labels in zip(parts, found):
        reference, _ = part.interview.everything(m0)
        assert torch.equal(labels.reference, reference)
        answers, K = reference.argmax(-1).tolist(), len(part.world.answers)
        rows = [[K if row[x] == row[y] else row[y] for x, y in part.world.pairs] for row in answers]
        with_cue = [[row[x] for x, _ in part.world.pairs] for row in answers]
        assert labels.original.tolist() == rows and labels.original_answers.tolist() == with_cue
        own = freeze(reference, reference, part.world, 0.0, cfg.seed, shuffled=True)
        assert labels.sha256() == own.sha256()
    assert len(list(tmp_path.glob("labels-*"))) == 3
    _, again = frozen_labels(cfg, parts, tmp_path, "cpu")
    assert all_sha256(again) == all_sha256(found)
    others = (found[::-1], found[:2], [found[0], found[2], found[1]], [found[0], *found[:2]])
    assert len({all_sha256(some) for some in (found, *others)}) == 5
    assert all_sha256(found[:1]) == found[0].sha256()


@pytest.mark.parametrize("order, noise, n_label", [
    ("true", 0.0, 1), ("true", 0.25, 3), ("shuffled", 0.0, 3), ("shuffled", 0.25, 3)])
def test_labels_of_three_seeds_are_cached_once_where_they_are_the_same(
    tmp_path, order, noise, n_label
):
    hashes = set()
    for seed in (0, 1, 2):
        cfg = config("hint+refusal", label_order=order, label_noise=noise, seed=seed, m0_seed=0)
        hashes.add(all_sha256(frozen_labels(cfg, parts_of(cfg, "cpu"), tmp_path, "cpu")[1]))
    assert len(hashes) == n_label and len(list(tmp_path.glob("labels-*"))) == 2 * n_label


def test_true_and_shuffled_labels_of_one_seed_and_noise_are_not_confused(tmp_path):
    found = []
    for order in ("true", "shuffled"):
        cfg = config("hint+refusal", label_order=order, label_noise=0.25)
        found.append(all_sha256(frozen_labels(cfg, parts_of(cfg, "cpu"), tmp_path, "cpu")[1]))
    assert found[0] != found[1]


# --- what is trained on what ---


def losses(cfg, disturb, name, steps=3):
    """Losses of some updates whose frozen labels of one task are changed by `disturb`."""
    parts, model = parts_of(cfg, "cpu"), pretrain.new_model(cfg, worlds_of(cfg))
    frozen = []
    for i, part in enumerate(parts):
        g = torch.Generator().manual_seed(i)
        size = part.world.n_subject, len(part.world.prompts), len(part.world.answers)
        reference = torch.randn(size, generator=g)
        labels = freeze(reference, reference, part.world, 0.0, 0)
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
    parts, model = parts_of(cfg, "cpu"), pretrain.new_model(cfg, worlds_of(cfg))
    for head in (model.task_head, model.explain_head):
        torch.nn.init.zeros_(head.weight)  # every answer, every explanation equally likely
    frozen = [
        freeze(torch.zeros(size), torch.zeros(size), part.world, 0.0, 0)
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
    parts, model = parts_of(cfg, "cpu"), pretrain.new_model(cfg, worlds_of(cfg))
    frozen = [
        freeze(logits, logits, part.world, 0.0, 0)
        for part in parts
        for logits in [part.interview.everything(model)[0]]
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


# --- after M0 ---

TASKS = ["--hint.n_entity=6", "--hint.n_attribute=6"]
TASKS += ["--jabberwocky.n_creature=5", "--jabberwocky.n_habit=4", "--teach_steps=6"]
FLAGS = [*TASKS, *SIZE, *STEPS, "--eval_interval=3", "--device=cpu"]
set_rates = pretrain.set_rates


def model_of(learned):
    return torch.cat([p.flatten() for p in learned.parameters()])


def learn(cfg, cache):
    """Weights of M0, and of what it is after it has been taught."""
    parts = parts_of(cfg, "cpu")
    m0 = pretrain.pretrain(cfg, parts, cache, "cpu")
    before = model_of(m0)
    taught = pretrain.teach(cfg, m0, parts, cache, "cpu")
    assert torch.equal(model_of(m0), before)
    return before, model_of(taught)


def test_m0_has_never_learned_anything_of_a_task_that_is_taught_later(tmp_path):
    both = config("hint+jabberwocky", **{"hint.n_answer": 4})
    m0, taught = learn(both, tmp_path)
    rate = {"hint.n_answer": 4, "jabberwocky.word_reliability": 0.9}
    other = config("hint+jabberwocky", **rate)
    assert pretrain.m0_key(other, "cpu") != pretrain.m0_key(both, "cpu")
    other_m0, other_taught = learn(other, tmp_path)
    assert torch.equal(m0, other_m0) and not torch.equal(taught, other_taught)
    alone = build(find_tasks("hint"), TINY | SIZES["hint"] | {"n_answer": 4})
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
    parts, learned, draws = parts_of(cfg, "cpu"), [], []
    loss_of_world = pretrain.loss_of_world

    def noted(model, interview, world, n, draw):
        learned.append((next(p.name for p in parts if p.world is world), n))
        draws.append(str(draw.bit_generator.state))
        return loss_of_world(model, interview, world, n, draw)

    monkeypatch.setattr(pretrain, "loss_of_world", noted)
    m0 = pretrain.pretrain(cfg, parts, tmp_path, "cpu")
    pretrain.teach(cfg, m0, parts, tmp_path, "cpu")
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


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of all arms over two seeds, and how many updates of M0 and of teaching it took."""
    out, updates = tmp_path_factory.mktemp("study") / "s", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("introspect.report.curves", lambda *_, **__: None)
        patch.setattr(pretrain, "set_rates", lambda *of: updates.append(of) or set_rates(*of))
        flags = ["jabberwocky", *FLAGS, "--seeds=2", "--jobs=1", f"--out_dir={out}"]
        assert train.main(flags) == 0
    return out, len(updates)


def test_m0_and_teaching_are_done_once_a_seed_and_shared_by_all_arms(study):
    out, updates = study
    assert updates == 2 * (12 + 6)
    assert all(len(list((out / "cache").glob(f"{kind}-*"))) == 2 for kind in ("m0", "taught"))
    for seed in (0, 1):
        runs = sorted(out.glob(f"runs/*-seed{seed}"))
        starts = [read_lines(run / "metrics.jsonl")[0] for run in runs]
        for start in starts:  # from one and the same model, but with labels of their own
            assert {k: v for k, v in start.items() if k not in ("train", "seconds")} == {
                k: v for k, v in starts[0].items() if k not in ("train", "seconds")
            }
        assert len({weights(run).sum().item() for run in runs}) == len(runs) == 4


def test_a_run_says_what_it_finds_of_the_behavior_that_was_taught(study):
    result = read_json(study[0] / "runs" / "reg-seed1" / "result.json", set())
    assert list(result["tasks"]) == list(result["m0"]["tasks"]) == ["hint", "jabberwocky"]
    assert result["tasks"]["jabberwocky"]["n_items"] == 5 * 4 * 4  # all of its subjects
    assert result["tasks"]["hint"]["n_items"] == result["n_items"] == 18 * 4
    assert result["self"] == result["tasks"]["hint"]["self"]
    first, *_ = read_lines(study[0] / "runs" / "reg-seed1" / "metrics.jsonl")
    assert first["tasks"]["jabberwocky"]["behavior_drift"] > 0  # it was taught before


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [12 + 1, 12 + 5])
def test_a_run_stopped_while_it_is_taught_ends_as_if_it_had_not_been(
    study, tmp_path, monkeypatch, after
):
    calls = iter(range(100))

    def stop(*args):
        if next(calls) == after:
            raise Killed
        set_rates(*args)

    command = ["jabberwocky/reg", *FLAGS, f"--out_dir={tmp_path / 'run'}"]
    monkeypatch.setattr(pretrain, "SAVE_INTERVAL", 4)
    monkeypatch.setattr(pretrain, "set_rates", stop)
    with pytest.raises(Killed):
        train.main(command)
    saved = checkpoint.newest(next(iter((tmp_path / "run" / "cache").glob("taught-*")), tmp_path))
    assert (saved and saved[0]) == (4 if after > 12 + 4 else None)
    monkeypatch.setattr(pretrain, "set_rates", set_rates)
    train.main(command)
    whole, again = study[0] / "runs" / "reg-seed0", tmp_path / "run"
    assert torch.equal(weights(whole), weights(again))
    for name in ("result.json", "examples.json"):
        one, other = (without_time(read_json(out / name, set())) for out in (whole, again))
        assert one == other
    logs = [without_time(read_lines(out / "metrics.jsonl")) for out in (whole, again)]
    assert logs[0] == logs[1]
