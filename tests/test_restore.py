"""A loaded state gets into a model only as a copy of tensors that belong there; so do labels."""

import copy
import tracemalloc

import pytest
import torch
from torch import nn

from introspect import checkpoint
from introspect.checkpoint import Corrupt
from introspect.config import CotrainConfig, PretrainConfig
from introspect.fields import Refused
from introspect.optim import muon_and_adamw
from introspect.restore import check_tensor, count_bytes, newest_of_run, restore
from introspect.runs.stages import labels_folder, labels_key, load_labels, make_ingredients
from tests import plants
from tests.made_runs import measured
from tests.test_stages import TINY, tiny

SHAPE = (3, 4)


def numbers():
    return torch.arange(12.0).view(SHAPE)


def test_a_tensor_is_copied_whatever_memory_it_was_in():
    for name, edit in plants.SAME.items():
        given = edit(numbers())
        found = check_tensor(given, SHAPE, torch.float32, "w")
        assert found.equal(numbers()) and found.is_contiguous() and not found.requires_grad, name
        assert found.data_ptr() != given.data_ptr(), name
        assert found.untyped_storage().nbytes() == 4 * 12, name
    spread = check_tensor(torch.ones(1).expand(SHAPE), SHAPE, torch.float32, "w")
    spread[0, 0] = 5
    assert spread.sum() == 5 + 11  # each number has a place of its own


def test_what_is_no_such_tensor_is_refused_with_its_name():
    for name, edit in plants.TENSORS.items():
        with pytest.raises(Corrupt, match="^here: w: "):
            check_tensor(edit(numbers()), SHAPE, torch.float32, "here: w")
            pytest.fail(name)
    with pytest.raises(Corrupt, match=r"must be torch.float32 of shape \(3, 4\)"):
        check_tensor(numbers().T, SHAPE, torch.float32, "w")
    with pytest.raises(Corrupt, match="has numbers that are not finite"):
        check_tensor(numbers() / 0, SHAPE, torch.float32, "w")


class Small(nn.Module):
    """A matrix for Muon, and for AdamW a bias and a head."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)


def trained(steps=2, head=True):
    """(model, its optimizers) after updates, in which the head has taken part or not."""
    torch.manual_seed(0)
    model = Small()
    optimizers = muon_and_adamw(model, PretrainConfig())
    for _ in range(steps):
        model.zero_grad(set_to_none=True)
        hidden = model.blocks(torch.ones(5, 4))
        (model.head(hidden) if head else hidden).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    return model, optimizers


def state_of(model, optimizers):
    inner = [optimizer.state_dict() for optimizer in optimizers]
    return copy.deepcopy({"model": model.state_dict(), "optimizers": inner})


def test_a_state_is_put_back_to_the_bit_and_training_goes_on_as_it_would_have():
    for head in (True, False):
        whole = state_of(*trained(4, head))
        model, optimizers = trained(0)
        before = copy.deepcopy([o.state_dict()["param_groups"] for o in optimizers])
        restore(state_of(*trained(4, head)), model, optimizers, 4, "here")
        again = state_of(model, optimizers)
        assert str(again) == str(whole)
        assert [o.state_dict()["param_groups"] for o in optimizers] == before
    restore(state_of(*trained(0)), *trained(0), 0, "here")


def test_rates_of_the_state_are_not_taken():
    state = state_of(*trained(2))
    state["optimizers"][0]["param_groups"] = [{"lr": 1e9, "params": [0]}]
    state["optimizers"][1].pop("param_groups")
    model, optimizers = trained(0)
    rates = [group["lr"] for o in optimizers for group in o.param_groups]
    restore(state, model, optimizers, 2, "here")
    assert [group["lr"] for o in optimizers for group in o.param_groups] == rates


def adam(state):
    return state["optimizers"][1]["state"]


def first_of_muon(state):
    return state["optimizers"][0]["state"][0]


WRONG = [  # what is done to a state, what the refusal says
    (lambda s: s.pop("model"), "must hold a model and its optimizers"),
    (lambda s: s.pop("optimizers"), "must hold a model and its optimizers"),
    (lambda s: s.update(more=1), "must hold a model and its optimizers"),
    (lambda s: s.update(model=[]), "must hold the weights of this model"),
    (lambda s: s["model"].pop("head.bias"), "must hold the weights of this model"),
    (lambda s: s["model"].update(more=numbers()), "must hold the weights of this model"),
    (lambda s: s["model"].update({"head.bias": torch.zeros(3)}), r"here: head.bias: must be"),
    (lambda s: s["model"].update({"head.bias": torch.zeros(2).double()}), "head.bias: must be"),
    (lambda s: s["optimizers"].pop(), "must hold 2 optimizers"),
    (lambda s: s["optimizers"].append({}), "must hold 2 optimizers"),
    (lambda s: s.update(optimizers={0: {}, 1: {}}), "must hold 2 optimizers"),
    (lambda s: s["optimizers"].__setitem__(0, None), "the state of an optimizer of 1 weights"),
    (lambda s: s["optimizers"][0].pop("state"), "the state of an optimizer of 1 weights"),
    (lambda s: s["optimizers"][0].update(state=[]), "the state of an optimizer of 1 weights"),
    (lambda s: adam(s).update({3: adam(s)[0]}), "the state of an optimizer of 3 weights"),
    (lambda s: adam(s).update({-1: adam(s)[0]}), "the state of an optimizer of 3 weights"),
    (lambda s: adam(s).pop(0), "AdamW of blocks.bias: is missing"),
    (lambda s: s["optimizers"][0]["state"].pop(0), "Muon of blocks.weight: is missing"),
    (lambda s: adam(s).update({1: []}), "AdamW of head.weight: must have step, exp_avg, exp_avg"),
    (lambda s: adam(s)[1].pop("exp_avg"), "must have step, exp_avg, exp_avg_sq"),
    (lambda s: adam(s)[1].update(max_exp_avg_sq=numbers()), "must have step, exp_avg"),
    (lambda s: first_of_muon(s).update(more=numbers()), "must have momentum_buffer"),
    (lambda s: first_of_muon(s).update(momentum_buffer=torch.zeros(2)), "must be torch.float32"),
    (lambda s: first_of_muon(s)["momentum_buffer"].fill_(torch.inf), "not finite"),
    (lambda s: adam(s)[1].update(exp_avg=torch.zeros(1)), r"must be torch.float32 of shape \(2, 3"),
    (lambda s: adam(s)[1].update(exp_avg_sq=torch.zeros(9)), "must be torch.float32 of shape"),
    (lambda s: adam(s)[1].update(step=torch.zeros(1)), r"must be torch.float32 of shape \(\)"),
    (lambda s: adam(s)[1].update(step=2), "must be torch.float32"),
    (lambda s: adam(s)[1]["step"].add_(1), "must be the state after 2 updates"),
    (lambda s: adam(s)[1]["step"].sub_(1), "must be the state after 2 updates"),
    (lambda s: adam(s)[1]["exp_avg_sq"][1, 2].fill_(-1e-20), "must be the state after 2 updates"),
]  # fmt: skip


def test_a_state_of_something_else_is_refused():
    for number, (spoil, says) in enumerate(WRONG):
        state = state_of(*trained(2))
        spoil(state)
        with pytest.raises(Corrupt, match=says):
            restore(state, *trained(0), 2, "here")
            pytest.fail(f"number {number}")
    for state in (None, [], 3, {}):
        with pytest.raises(Corrupt, match="must hold a model and its optimizers"):
            restore(state, *trained(0), 2, "here")


def test_only_a_head_may_not_have_been_asked_yet():
    state = state_of(*trained(2, head=False))
    assert adam(state).keys() == {0}
    restore(state, *trained(0), 2, "here")
    with pytest.raises(Corrupt, match="blocks.bias: is missing"):
        state["optimizers"][1]["state"] = {}
        restore(state, *trained(0), 2, "here")


def test_the_bytes_of_a_state_are_bounded_by_its_weights():
    model, optimizers = trained(1)
    assert count_bytes(model) == 3 * 4 * (12 + 3 + 6 + 2)
    kept = state_of(model, optimizers)
    moments = [s.values() for o in kept["optimizers"] for s in o["state"].values()]
    tensors = [*kept["model"].values(), *(t for values in moments for t in values)]
    assert sum(t.numel() * t.element_size() for t in tensors) <= count_bytes(model) + 3 * 4


C = CotrainConfig(max_steps=5, eval_interval=2)
ROWS = [  # step of the checkpoint, steps of its rows, whether they are those of a run
    (0, [0], True),
    (2, [0, 2], True),
    (4, [0, 2, 4], True),
    (5, [0, 2, 4, 5], True),
    (0, [], False),
    (2, [0], False),
    (2, [2], False),
    (2, [0, 2, 2], False),
    (2, [0, 1, 2], False),
    (3, [0, 2, 3], False),
    (4, [0, 4], False),
    (4, [2, 0, 4], False),
    (4, [0, 2, 5], False),
    (5, [0, 2, 5], False),
    (6, [0, 2, 4, 6], False),
]


def test_the_rows_of_a_checkpoint_are_the_evaluations_up_to_its_step(tmp_path):
    row = {k: v for k, v in measured("hint")[0].items() if k not in ("controls", "tasks")}
    model = Small()
    for number, (step, steps, right) in enumerate(ROWS):
        out = tmp_path / str(number)
        meta = {"rows": [row | {"step": s, "seconds": 1.0} for s in steps], "seconds": 2.0}
        checkpoint.save_step(out / "checkpoints", step, {"model": {}}, meta, "hash")
        if right:
            assert newest_of_run(out, model, C, "hash")[0] == step
            continue
        with pytest.raises(Refused, match=f"step {step}: must have the evaluations of this run"):
            newest_of_run(out, model, C, "hash")
            pytest.fail(str((step, steps)))
    with pytest.raises(Refused, match="must be of this configuration"):
        newest_of_run(tmp_path / "0", model, C, "other")
    checkpoint.save_step(tmp_path / "x" / "checkpoints", 0, {}, {"rows": [{}], "seconds": 1.0})
    with pytest.raises(Refused, match="step 0: rows.0. must be an object with"):
        newest_of_run(tmp_path / "x", model, C)
    assert newest_of_run(tmp_path / "none", model, C) is None


def test_a_step_that_is_far_off_takes_no_memory(tmp_path):
    row = {k: v for k, v in measured("hint")[0].items() if k not in ("controls", "tasks")}
    step, c = 10**7, CotrainConfig(max_steps=10**7, eval_interval=1)
    meta = {"rows": [row | {"step": step, "seconds": 1.0}], "seconds": 2.0}
    checkpoint.save_step(tmp_path / "checkpoints", step, {"model": {}}, meta, "hash")
    tracemalloc.start()
    with pytest.raises(Refused, match="must have the evaluations of this run"):
        newest_of_run(tmp_path, Small(), c, "hash")
    assert tracemalloc.get_traced_memory()[1] < 2**27  # of which 2**26 is the room for meta.json
    tracemalloc.stop()


# --- labels ---


def test_labels_are_those_of_this_world_with_the_hash_they_were_frozen_with(tmp_path):
    cfg = tiny(TINY)
    (task, *_), _, _, (right,) = make_ingredients(cfg, tmp_path, "cpu")
    folder = labels_folder(cfg, "hint", tmp_path, "cpu")
    key, n_class = labels_key(cfg, "hint", "cpu"), task.world.n_explanation

    def load(**changed):
        """What is loaded where other tensors, with the hash of these labels, have been sealed."""
        fields = right._asdict() | changed
        fields = {k: v for k, v in fields.items() if v is not None}
        sha256 = right._replace(**{k: v for k, v in fields.items() if k in right._fields}).sha256()
        checkpoint.remove(folder)
        checkpoint.save(folder, fields, {"sha256": sha256}, key)
        return load_labels(cfg, task, tmp_path, "cpu")

    assert all(a.equal(b) for a, b in zip(load(), right))
    largest = right.original.clone()
    largest[0, 0], largest[1, 0] = n_class - 1, 0
    assert load(original=largest).original.equal(largest)
    answers = right.target_answers.clone()
    answers[0, 0] = n_class - 2
    assert load(target_answers=answers).target_answers.equal(answers)
    for key_, value in (("original", n_class), ("targets", -1), ("original_answers", n_class - 1)):
        wrong = getattr(right, key_).clone()
        wrong[2, 1] = value
        with pytest.raises(Corrupt, match=f"{key_} must be from 0 to"):
            load(**{key_: wrong})
    for key_, wrong, says in (
        ("original", right.original.float(), "original: must be torch.int64"),
        ("targets", right.targets[:-1], "targets: must be torch.int64"),
        ("reference", right.reference.long(), "reference: must be torch.float32"),
        ("reference", right.reference[:, :-1], "reference: must be torch.float32"),
        ("reference", right.reference / 0, "not finite|manifest"),
        ("more", right.targets, "not the labels of this version"),
    ):
        with pytest.raises(Corrupt, match=says):
            load(**{key_: wrong})
    with pytest.raises(Corrupt, match="not the labels of this version"):
        load(target_answers=None)
    checkpoint.remove(folder)
    checkpoint.save(folder, right._asdict(), {"sha256": "0" * 64}, key)
    with pytest.raises(Corrupt, match="do not have the hash they were frozen with"):
        load_labels(cfg, task, tmp_path, "cpu")
    checkpoint.remove(folder)
    checkpoint.save(folder, right._asdict(), {"sha256": right.sha256()}, "another hash")
    with pytest.raises(Refused, match="must be of this configuration"):
        load_labels(cfg, task, tmp_path, "cpu")
