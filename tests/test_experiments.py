"""Arms differ in what they ask about, and seeds are paired."""

import pytest

from introspect.fields import Refused
from introspect.runs.cli import parse
from introspect.runs.experiments import EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_arms_differ_in_the_declared_fields_only(name):
    experiment = EXPERIMENTS[name]
    flat = {a: experiment.config(a, experiment.task, {}, 0).flat() for a in experiment.arms}
    base = experiment.config(next(iter(experiment.arms)), experiment.task, {}, 0).flat()
    for arm in experiment.arms:
        sets = experiment.sets(arm, 0)
        differing = {key for key in base if flat[arm][key] != base[key]}
        assert differing <= sets.keys()
        assert all(flat[arm][key] == value for key, value in sets.items())
    assert len({str(f) for f in flat.values()}) == len(flat)  # and they do differ


def test_the_anchor_is_what_the_headline_study_asks_about():
    reg, noreg = (parse([]).config(arm, 3).flat() for arm in ("reg", "noreg"))
    assert {k for k in reg if reg[k] != noreg[k]} == {"kl_weight"}
    assert reg["kl_weight"] > 0 == noreg["kl_weight"]


def test_seeds_are_the_same_in_all_arms_and_decide_world_and_m0():
    runs = [(arm, c.seed, c.m0_seed, c.world_seed) for arm, c in parse(["--seeds=2"]).configs()]
    assert runs == [(arm, s, s, s) for s in (0, 1) for arm in ("reg", "noreg")]


def test_a_flag_reaches_every_arm_but_not_against_its_definition():
    configs = parse(["--kl_weight=0.3", "--n_layer=4", "--world_seed=9"]).configs()
    assert [c.cotrain.kl_weight for _, c in configs[:2]] == [0.3, 0.0]
    assert {c.gpt.n_layer for _, c in configs} == {4} and {c.world_seed for _, c in configs} == {9}
    with pytest.raises(Refused, match="kl_weight=0.3: is part of .*, kl_weight=0.0 in noreg"):
        parse(["anchor/noreg", "--kl_weight=0.3"])
