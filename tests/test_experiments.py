"""Arms differ in what they ask about, and seeds are paired."""

import pytest

from introspect.fields import Refused
from introspect.lab.claims import CLAIMS
from introspect.runs.cli import parse
from introspect.runs.experiments import CLAIMED, EXPERIMENTS, UNCLAIMED
from tests.cases import each


@each("name", EXPERIMENTS)
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


def configs(*flags):
    return parse(["anchor", *flags]).configs()


def test_the_anchor_is_what_the_headline_study_asks_about():
    reg, noreg = (config.flat() for _, config in configs("--seed=3", "--seeds=1"))
    assert {k for k in reg if reg[k] != noreg[k]} == {"kl_weight"}
    assert reg["kl_weight"] > 0 == noreg["kl_weight"]


def test_seeds_are_the_same_in_all_arms_and_decide_world_and_m0():
    runs = [(arm, c.seed, c.m0_seed, c.world_seed) for arm, c in configs("--seeds=2")]
    assert runs == [(arm, s, s, s) for s in (0, 1) for arm in ("reg", "noreg")]


def test_a_flag_reaches_every_arm_but_not_against_its_definition():
    made = [c for _, c in configs("--n_layer=4", "--world_seed=9")]
    assert {c.gpt.n_layer for c in made} == {4} and {c.world_seed for c in made} == {9}
    for arm in ("", "/reg", "/noreg"):
        with pytest.raises(Refused, match="kl_weight=0.3: anchor is about kl_weight, 0.0 in arm n"):
            parse([f"anchor{arm}", "--kl_weight=0.3"])
    [(_, single)] = parse(["single/run", "--kl_weight=0.3"]).configs()
    assert single.cotrain.kl_weight == 0.3


def test_experiments_without_claims_can_be_judged_by_name_but_are_not_among_the_claims():
    assert set(UNCLAIMED) | set(CLAIMED) == set(EXPERIMENTS) and "dose" in UNCLAIMED
    assert not {claim.experiment for claim in CLAIMS} - set(CLAIMED)
