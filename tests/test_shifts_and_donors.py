"""Fields that name another world: a shift, trained towards, and a donor, which gives labels."""
from dataclasses import replace

import pytest

import train
from introspect.fields import Refused
from introspect.runs.build import build, donor_of, shifted
from introspect.runs.cli import parse
from introspect.tasks.hint import Hint
from tests.own import OWN, SMALL, edited, refusal_of
from tests.several import config


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


def test_a_shift_whose_world_fails_is_refused_before_anything_is_written(own):
    edited(own, "n, s = self.n_place", "n, s = self.n_place if self.strength < 0.7 else 3")
    edited_away = "n, s = self.n_place if self.strength < 0.7 else 3"
    text = (own / "weather.py").read_text()
    fails = f"{edited_away}, self.strength\n        assert s < 0.7, 'too strong'"
    (own / "weather.py").write_text(text.replace(f"{edited_away}, self.strength", fails))
    command = [f"--task={OWN}", *SMALL, "--shift=strength=0.9", "--out_dir=out"]
    refusal_of(lambda: train.main(command), "--shift=strength=0.9: ", "too strong", "line ")
    assert not (own / "out").exists()


def test_a_shifted_task_has_a_batch_of_its_own_size():
    small = ["--refusal.n_action=4", "--refusal.n_object=4", "--hint.n_entity=8"]
    command = ["--task=hint+refusal", "--unexplained=refusal", *small, "--batch_size=24"]
    command += ["--pretrain_batch_size=16"]
    assert parse(command).configs()
    shift = "--shift=refusal.cue_reliability=0.2"
    refusal_of(lambda: parse([*command, shift]), "--batch_size=24: task refusal has 16 subjects")


def test_a_shift_that_changes_the_prompts_is_refused(own):
    edited(own, "places = np.array(names()[:n])", "places = np.array(names()[int(s < 0.5):][:n])")
    assert parse([f"--task={OWN}", *SMALL, "--shift=strength=0.9"]).configs()
    command = [f"--task={OWN}", *SMALL, "--shift=strength=0.2"]
    refusal_of(lambda: parse(command), "--shift=strength=0.2: must leave the prompts")


def hint_config(**overrides):
    return build({"hint": Hint}, overrides)


def test_a_shift_changes_the_rates_it_names():
    before = Hint(n_entity=7)
    after = shifted({"hint": before}, "hint_reliability=0.25,guess_share=1e-1")
    assert after == {"hint": replace(before, hint_reliability=0.25, guess_share=0.1)}
    assert shifted({"hint": before}, "") == {}


@pytest.mark.parametrize("shift", ["hint_reliability", "hint_reliability=", "hint_reliability=x",
                                   "n_entity=3", "kl_weight=1", "=1", "guess_share=1,", ","])
def test_a_shift_that_names_no_rate_is_refused(shift):
    with pytest.raises(Refused, match=f"--shift={shift}: must be rate=number, of the rates guess"):
        hint_config(shift=shift)


@pytest.mark.parametrize("value", ["1.1", "-0.1", "nan", "inf"])
def test_a_rate_out_of_its_range_is_refused_when_the_configuration_is_built(value):
    with pytest.raises(Refused, match=f"--hint_reliability={value}: must be a number from 0 to 1"):
        hint_config(shift=f"hint_reliability={value}")


@pytest.mark.parametrize("donor, group, field, value", [
    ("m0_seed=9", None, "m0_seed", 9), ("n_layer=3", "gpt", "n_layer", 3),
    ("order_seed=4", "pretrain", "order_seed", 4),
    ("adamw_learning_rate=1e-2", "pretrain", "adamw_learning_rate", 0.01)])
def test_a_donor_is_m0_with_the_fields_that_it_names(donor, group, field, value):
    cfg = hint_config(seed=1, world_seed=4, donor=donor)
    other = donor_of(cfg)
    changed = {field: value}
    if group:
        changed = {group: replace(getattr(cfg, group), **changed)}
    assert other == replace(cfg, labels=replace(cfg.labels, donor=""), **changed)


def test_a_donor_may_know_another_world_of_the_same_seed():
    other = donor_of(hint_config(seed=3, donor="rewritten_share=0.5,m0_seed=8"))
    assert other.tasks == {"hint": Hint(rewritten_share=0.5)}
    assert (other.m0_seed, other.world_seed, other.seed) == (8, 3, 3)
    assert donor_of(hint_config()) == hint_config()


@pytest.mark.parametrize("donor, says", [
    ("m0_seed=0", "another model than M0 itself"), ("n_layer=2", "another model than M0 itself"),
    ("m0_seed", "is not a field with its value; must be of m0_seed"),
    ("n_embd=x", "not a field with its value"),
    ("n_entity=3", "not a field with its value"), ("kl_weight=1", "not a field with its value"),
    ("explained_share=0.2", "not a field with its value"), ("n_head=3", "must divide n_embd=64"),
    ("pretrain_steps=0", "--pretrain_steps=0: must be a whole number >= 1"), (",", "not a field")])
def test_a_donor_that_is_m0_or_impossible_is_refused(donor, says):
    with pytest.raises(Refused, match=f"^--donor={donor}: .*{says}"):
        hint_config(donor=donor)
