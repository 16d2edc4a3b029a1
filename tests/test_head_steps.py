"""The first updates, in which only the head that says the explanation is trained."""

import copy

import pytest
import torch

from introspect import cotrain
from introspect.runs.build import build
from introspect.runs.stages import ask_through, make_labels, make_m0, make_tasks, run_key
from introspect.tasks.registry import find_tasks
from tests.several import SIZES, TINY

HEADS = {"head": "explain_head", "verbal": "lm_head"}


def trained(tmp_path, folder="run", **fields):
    """(weights of M0, weights after co-training) by name."""
    sizes = TINY | SIZES["hint"] | dict(eval_interval=2, block_size=20)
    cfg = build(find_tasks("hint"), sizes | fields)
    tasks = make_tasks(cfg, "cpu")
    m0 = make_m0(cfg, tasks, tmp_path / "cache", "cpu")
    frozen = make_labels(cfg, tasks, m0, tmp_path / "cache", "cpu")
    model, c = copy.deepcopy(m0), cfg.cotrain
    asked = ask_through(tasks, c.channel, "cpu")
    out, key = tmp_path / folder, run_key(cfg, "cpu")
    cotrain.cotrain(model, asked, frozen, c, cfg.seed, out, "", made_of=key)
    return [dict(m.named_parameters()) for m in (m0, model)]


@pytest.mark.parametrize("channel", ["head", "verbal"])
def test_nothing_but_the_head_moves_until_then_and_everything_after(tmp_path, channel):
    before, after = trained(tmp_path, channel=channel, head_steps=4, max_steps=4)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith(HEADS[channel]) for name in moved)
    before, after = trained(tmp_path, "longer", channel=channel, head_steps=4, max_steps=6)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"token.weight", "blocks.0.mlp.up.weight", "task_head.bias"} <= moved


def test_the_head_moves_as_if_all_else_were_frozen(tmp_path):
    """Its first updates are those of channel probe, whose trunk never moves."""
    flags = dict(max_steps=4, kl_weight=0.0, grad_clip=1e9)
    _, ready = trained(tmp_path, "a", head_steps=4, **flags)
    _, probe = trained(tmp_path, "b", channel="probe", **flags)
    torch.testing.assert_close(ready["explain_head.weight"], probe["explain_head.weight"])


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    flags = dict(head_steps=3, max_steps=6)
    _, whole = trained(tmp_path, "whole", **flags)
    set_rates, calls = cotrain.set_rates, iter(range(100))

    def killed(*args):
        if next(calls) == 5:
            raise KeyboardInterrupt
        set_rates(*args)

    monkeypatch.setattr(cotrain, "set_rates", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, "killed", **flags)
    monkeypatch.undo()
    _, resumed = trained(tmp_path, "killed", **flags)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
