"""Configurations: what is refused, how seeds follow each other, and what a hash depends on."""

from dataclasses import asdict, fields, replace

import pytest

from introspect.config import GROUPS, LATER, GPTConfig, digest
from introspect.fields import Refused, allowed
from introspect.files import claim_folder
from introspect.runs.build import build
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.hint import Hint
from tests.cases import each


def config(**overrides):
    return build({"hint": Hint}, overrides)


def test_without_overrides_every_field_has_its_default():
    cfg = config()
    assert all(getattr(cfg, name) == group() for name, group in GROUPS.items())
    assert cfg.worlds == (Hint(),) and cfg.tasks == {"hint": Hint()}
    assert (cfg.task, cfg.seed, cfg.m0_seed, cfg.world_seed) == ("hint", 0, 0, 0)


def test_each_override_reaches_its_field_and_no_other():
    given = dict(n_entity=7, n_embd=32, pretrain_steps=9, label_noise=0.5, channel="tied", seed=3)
    cfg, before = config(**given).flat(), config().flat()
    assert {k: v for k, v in cfg.items() if v != before[k]} == given | dict(m0_seed=3, world_seed=3)


@each("given, seeds", [
    ({}, (0, 0, 0)), (dict(seed=2), (2, 2, 2)), (dict(seed=2, m0_seed=5), (2, 5, 5)),
    (dict(seed=2, world_seed=5), (2, 2, 5)), (dict(seed=2, m0_seed=0, world_seed=1), (2, 0, 1))])
def test_a_seed_that_is_not_given_is_that_of_the_stage_after_it(given, seeds):
    cfg = config(**given)
    assert (cfg.seed, cfg.m0_seed, cfg.world_seed) == seeds


def test_flat_has_every_field_of_every_group_once():
    groups = [Hint, *GROUPS.values()]
    names = ["task", "seed", "m0_seed", "world_seed", *(f.name for g in groups for f in fields(g))]
    assert len(set(names)) == len(names) and set(config().flat()) == set(names)


@each("wrong", [
    dict(n_layer=0), dict(n_layer=97), dict(n_layer=2.0), dict(n_layer="2"), dict(n_layer=True),
    dict(kl_weight=-0.1), dict(kl_weight=float("nan")), dict(kl_weight=float("inf")),
    dict(kl_weight="1"), dict(kl_weight=None), dict(kl_weight=True), dict(label_noise=1.0001),
    dict(channel="vocal"), dict(channel=None), dict(draw_seed=-1), dict(draw_seed=1.0),
    dict(grad_clip=0.0), dict(seed=-1), dict(m0_seed=True), dict(world_seed=1.0),
    dict(n_answer=1), dict(shift=3)])
def test_a_wrong_value_is_refused_by_the_name_of_its_flag(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(Refused, match=f"^--{name}={value}: must be "):
        config(**wrong)


@each("right", [
    dict(n_layer=1), dict(n_layer=96), dict(kl_weight=0.0), dict(kl_weight=2), dict(label_noise=1),
    dict(draw_seed=None), dict(draw_seed=0), dict(max_steps=0), dict(channel="probe")])
def test_the_ends_of_what_is_allowed_are_allowed(right):
    ((name, value),) = right.items()
    assert config(**right).flat()[name] == value


def test_a_whole_number_and_the_same_float_are_one_setting():
    assert config(kl_weight=2).sha256() == config(kl_weight=2.0).sha256()
    assert type(config(label_noise=1).labels.label_noise) is float
    for huge in (10**400, 10**20):
        with pytest.raises(Refused, match="^--kl_weight=1000"):
            config(kl_weight=huge)


def test_a_field_of_no_group_is_refused():
    with pytest.raises(Refused, match="--n_heads: task hint has no such field"):
        config(n_heads=2)


def test_heads_that_do_not_divide_the_width_are_refused_with_those_that_do():
    with pytest.raises(Refused, match="must divide n_embd=12, so one of 1, 2, 3, 4, 6, 12$"):
        config(n_head=5, n_embd=12)


def test_what_a_field_takes_is_said_in_words():
    words = {f.name: allowed(f) for group in GROUPS.values() for f in fields(group)}
    assert words["label_noise"] == "a number from 0 to 1"
    assert words["max_steps"] == "a whole number >= 0"
    assert words["draw_seed"] == "a whole number from 0 to 4294967295"
    assert words["anchor"] == "one of explained, all"
    assert words["shift"] == "text"


def test_a_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        config().cotrain.kl_weight = 0.0


def test_the_hash_depends_on_every_field():
    base = config(n_embd=64, draw_seed=1, n_entity=8, n_attribute=8)
    others = {"task": "x", "channel": "tied", "anchor": "all", "shift": "guess_share=0.5"}
    others |= {"label_order": "shuffled", "donor": "m0_seed=7", "knowledge": "names"}
    others |= {"refreshed": True, "anchor_reach": "head", "objective": "follow"}
    others |= {"begun_from": "0123456789abcdef"}
    hashes = {base.sha256()}
    fields = {name: value for name, value in base.flat().items() if name != "unexplained"}
    for name, value in fields.items():
        changed = others.get(name, value / 2 if isinstance(value, float) else None)
        changed = changed or (value * 2 if value else 1)
        if name in ("task", "seed", "m0_seed", "world_seed"):
            other = replace(base, **{name: changed})
        elif name in asdict(base.tasks["hint"]):
            other = replace(base, worlds=(replace(base.tasks["hint"], **{name: changed}),))
        else:
            key = next(k for k in GROUPS if name in asdict(getattr(base, k)))
            other = replace(base, **{key: replace(getattr(base, key), **{name: changed})})
        hashes.add(other.sha256())
    assert len(hashes) == 1 + len(fields)
    assert config(n_embd=64, draw_seed=1, n_entity=8, n_attribute=8).sha256() == base.sha256()


def test_a_digest_is_of_the_value_and_not_of_its_order():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1, "b": [1, 2]}) != digest({"a": 1, "b": [2, 1]})
    # printf '{"a":1,"b":[1,2.5,null]}' | sha256sum
    assert digest({"b": [1, 2.5, None], "a": 1}).startswith("d364ec9be01255f39c6a86697b9eb5d3")
    with pytest.raises(ValueError):
        digest(float("nan"))


def test_the_sizes_that_the_docstring_of_the_trunk_names_are_those_of_the_model():
    cfg = config()
    model = new_model(cfg, make_tasks(cfg, "cpu"))
    heads = {"task_head", "explain_head", "lm_head"}
    size = {name: p.numel() for name, p in model.named_parameters()}
    trunk = sum(n for name, n in size.items() if name.split(".")[0] not in heads)
    assert f"{trunk:,} parameters" in GPTConfig.__doc__
    assert f"has {sum(size.values()):,}" in GPTConfig.__doc__


def test_a_run_from_before_a_field_keeps_its_hash_and_folder(tmp_path):
    old, new = tmp_path / "old", config()
    fields = {k: v for k, v in new.flat().items() if k not in LATER}
    assert new.sha256() == digest(fields) and len(fields) == len(new.flat()) - len(LATER)
    claim_folder(old, {"config": fields})
    claim_folder(old, {"config": new.flat()})  # the same run
    changed = replace(new, cotrain=replace(new.cotrain, head_steps=1))
    with pytest.raises(Refused, match="head_steps=0 and not 1"):
        claim_folder(old, {"config": changed.flat()})
