"""From flags to a configuration: roles, defaults, donors, shifts, worlds, sizes of batches."""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import pytest

from introspect.fields import Refused, option
from introspect.runs.build import build, defaults_of, worlds_of
from introspect.runs.cli import parse
from introspect.tasks.hint import Hint
from introspect.tasks.registry import find_tasks
from introspect.tokenizer import names
from tests.own import OWN, SMALL, edited, refusal_of

ALL = "hint+refusal+verdict+rules+jabberwocky"


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
    flat = command.configs()[0][1].flat()
    assert (flat["hint.n_entity"], flat["refusal.n_action"]) == (50, 48)
    assert (flat["hint.guess_share"], flat["refusal.guess_share"]) == (0.3, 0.25)
    assert flat["task"] == "hint+refusal" and "guess_share" not in flat
    assert build(find_tasks("hint+refusal"), {k: v for k, v in flat.items() if k != "task"}) == (
        command.configs()[0][1]
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


def test_two_tasks_with_a_prompt_in_common_are_refused():
    sizes = {"hint.n_entity": 6, "hint.n_attribute": 6, "refusal.n_action": 4,
             "refusal.n_object": 4, "hint.first_name": 0}
    config = build(find_tasks("hint+refusal"), sizes | {"refusal.first_name": 5})
    shared = f"{names()[5]} {names()[len(names()) // 2 + 5]}"
    refusal_of(lambda: worlds_of(config), "--task=hint+refusal: hint and refusal have a prompt in "
               f"common, {shared!r}; give each its own names")
    apart = build(find_tasks("hint+refusal"), sizes | {"refusal.first_name": 6})
    assert list(worlds_of(apart)) == ["hint", "refusal"]


def test_a_prompt_in_common_is_refused_on_the_command_line():
    flags = ["--task=rules+hint+refusal", "--hint.first_name=0", "--refusal.first_name=0"]
    refusal_of(lambda: parse(flags), "hint and refusal have a prompt")


def test_built_in_tasks_of_one_model_have_names_of_their_own():
    worlds = worlds_of(build(find_tasks(ALL), {}))
    assert list(worlds) == ALL.split("+")
    used = {name: set(world.slots.flat) & set(names()) for name, world in worlds.items()}
    assert all(len(words) >= 32 for words in used.values())
    for a, b in combinations(ALL.split("+"), 2):
        assert not used[a] & used[b]


@pytest.mark.parametrize("name", ["n_layer", "seed", "out_dir", "channel", "target", "help"])
def test_a_field_with_the_name_of_another_flag_is_refused(own, name):
    edited(own, "    strength: float", f"    {name}: float")
    refusal_of(lambda: parse([f"--task={OWN}"]), f"{name} is the name of another flag; rename it")


def test_what_options_allow_holds_though_the_task_does_not_check_it(own):
    refusal_of(lambda: parse([f"--task={OWN}", "--strength=1.5"]), "--strength=1.5: must be")
    refusal_of(lambda: parse([f"--task={OWN}", "--shift=strength=7"]), "--shift=strength=7", "to 1")


def test_a_value_that_a_task_refuses_itself_is_refused_in_one_line(own):
    check = """    def __post_init__(self):
        if self.n_place % 2:
            raise ValueError("an odd number of places")

    def world(self, seed):"""
    edited(own, "    def world(self, seed):", check)
    assert parse([f"--task={OWN}", *SMALL, "--n_place=8"]).configs()
    odd = [f"--task={OWN}", *SMALL, "--n_place=9"]
    refusal_of(lambda: parse(odd), "an odd number of places")


def test_a_field_first_name_is_ones_own_where_no_names_are_counted(own):
    edited(own, "n_place: int = option(12, \"places, one name each\", 2)",
           "n_place: int = option(12, \"places\", 2)\n    first_name: int = option(7, \"any\", 0)")
    text = (own / "weather.py").read_text().replace("names()[:n]", "names()[-n:]")
    (own / "weather.py").write_text(text)
    config = build(find_tasks(f"hint+{OWN}"), {})
    assert config.tasks[OWN].first_name == 7
