"""Configurations of several tasks: roles, flags, defaults, shifts and sizes of batches."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from introspect.fields import Refused, option
from introspect.runs.build import build, defaults_of, shifted
from introspect.runs.cli import parse
from introspect.tasks.hint import Hint
from introspect.tasks.registry import find_tasks
from tests.several import config


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
