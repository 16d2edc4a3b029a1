"""A loaded state is put in place only where every tensor of it belongs there."""

import copy

import pytest
import torch

from introspect import checkpoint
from introspect.checkpoint import Corrupt
from introspect.optim import muon_and_adamw
from introspect.restore import check_tensor, newest_of_run, restore, restore_model
from introspect.runs.build import build
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.registry import find_tasks
from tests.cases import each

SMALL = dict(n_entity=4, n_attribute=4, n_layer=1, n_head=2, n_embd=8)
CONFIG = build(find_tasks("hint"), SMALL)
TASKS = make_tasks(CONFIG, "cpu")


def trained(step):
    """A model and its optimizers after so many updates in which the explanation heads rest."""
    model = new_model(CONFIG, TASKS)
    optimizers = muon_and_adamw(model, CONFIG.pretrain)
    for _ in range(step):
        for name, p in model.named_parameters():
            p.grad = None if name.startswith(("explain", "lm")) else torch.ones_like(p)
        for optimizer in optimizers:
            optimizer.step()
    return model, optimizers


def state_of(model, optimizers):
    inner = [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers]
    return {"model": copy.deepcopy(model.state_dict()), "optimizers": inner}


def test_a_state_is_put_in_place_and_training_goes_on_as_it_would_have():
    model, optimizers = trained(2)
    other, others = trained(0)
    restore(state_of(model, optimizers), other, others, 2, "here")
    for each_model, each_optimizers in ((model, optimizers), (other, others)):
        for p in each_model.parameters():
            p.grad = torch.full_like(p, 0.5)
        for optimizer in each_optimizers:
            optimizer.step()
    assert all(p.equal(q) for p, q in zip(model.parameters(), other.parameters()))


def change(path, value):
    """Replaces what is at this path of a state; a function is given what was there."""

    def spoil(state):
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value(state[path[-1]]) if callable(value) else value

    return spoil


def drop(*path):
    def spoil(state):
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return spoil


def with_nan(tensor):
    tensor.view(-1)[-1] = float("nan")
    return tensor


def with_negative(tensor):
    tensor.view(-1)[-1] = -1e-9
    return tensor


ADAM, MUON = ("optimizers", 1, "state", 0), ("optimizers", 0, "state", 0)  # of token, of attn.qkv
TOKEN = ("model", "token.weight")
SPOILED = [  # how, and what is said
    (drop("model"), "must hold a model and its optimizers"),
    (change(("more",), 1), "must hold a model and its optimizers"),
    (drop(*TOKEN), "must hold the weights of this model"),
    (change(("model", "more"), torch.ones(1)), "must hold the weights of this model"),
    (change(("model",), []), "must hold the weights of this model"),
    (change(TOKEN, lambda t: t[:-1]), r"token.weight: must be torch.float32 of shape \(1024, 8\)"),
    (change(TOKEN, lambda t: t.double()), "token.weight: must be torch.float32"),
    (change(TOKEN, lambda t: t.long()), "token.weight: must be torch.float32"),
    (change(TOKEN, lambda t: t.to("meta")), "token.weight: must be torch.float32"),
    (change(TOKEN, lambda t: t.to_sparse()), "token.weight: must be torch.float32"),
    (change(TOKEN, lambda t: torch.nn.Parameter(t)), "token.weight: must be torch.float32"),
    (change(TOKEN, lambda t: t.tolist()), "token.weight: must be torch.float32"),
    (change(TOKEN, with_nan), "token.weight: has numbers that are not finite"),
    (change(TOKEN, lambda t: t * float("inf")), "token.weight: has numbers that are not finite"),
    (change(("optimizers",), {}), "must hold 2 optimizers"),
    (change(("optimizers",), lambda o: o[:1]), "must hold 2 optimizers"),
    (change(("optimizers", 0), []), "must hold the state of an optimizer of 4 weights"),
    (change(("optimizers", 0, "state"), []), "must hold the state of an optimizer of 4 weights"),
    (change(("optimizers", 0, "state", 4), {}), "of an optimizer of 4 weights"),
    (change(("optimizers", 0, "state", "0"), {}), "of an optimizer of 4 weights"),
    (drop(*ADAM), "AdamW of token.weight: is missing"),
    (drop(*MUON), "Muon of blocks.0.attn.qkv.weight: is missing"),
    (change(ADAM, []), "AdamW of token.weight: must have step, exp_avg, exp_avg_sq"),
    (drop(*ADAM, "exp_avg"), "must have step, exp_avg, exp_avg_sq"),
    (change((*ADAM, "more"), torch.ones(())), "must have step, exp_avg, exp_avg_sq"),
    (drop(*MUON, "momentum_buffer"), "must have momentum_buffer"),
    (change((*ADAM, "exp_avg"), torch.zeros(8)), "token.weight: must be torch.float32 of shape"),
    (change((*ADAM, "exp_avg_sq"), torch.zeros(2048, 8)), "token.weight: must be torch.float32"),
    (change((*MUON, "momentum_buffer"), with_nan), "attn.qkv.weight: has numbers that are not fi"),
    (change((*ADAM, "exp_avg_sq"), with_negative), "must be the state after 2 updates"),
    (change((*ADAM, "step"), torch.tensor(3.0)), "must be the state after 2 updates"),
    (change((*ADAM, "step"), 2), "must be torch.float32 of shape"),
]


@each("spoil, says", SPOILED, name=lambda case: case[1])
def test_a_state_of_another_form_is_refused_before_an_optimizer_sees_it(spoil, says):
    state = state_of(*trained(2))
    spoil(state)
    model, optimizers = trained(0)
    with pytest.raises(Corrupt, match=f"here: .*{says}|here: {says}"):
        restore(state, model, optimizers, 2, "here")


def test_what_is_stretched_over_one_number_gets_memory_of_its_own():
    """A fused update would write past the end of its storage."""
    stretched = torch.zeros(1).expand(1024, 8)
    copied = check_tensor(stretched, (1024, 8), torch.float32, "x")
    assert copied.is_contiguous() and copied.untyped_storage().nbytes() == 4 * 1024 * 8
    shared = torch.zeros(4)
    assert check_tensor(shared, (4,), torch.float32, "x").data_ptr() != shared.data_ptr()


def test_before_the_first_update_an_optimizer_has_no_state():
    state = state_of(*trained(0))
    assert not any(optimizer["state"] for optimizer in state["optimizers"])
    restore(state, *trained(0), 0, "here")
    with pytest.raises(Corrupt, match="is missing"):
        restore(state, *trained(0), 1, "here")


def test_weights_alone_are_restored_as_well():
    model, other = trained(2)[0], trained(0)[0]
    restore_model(model.state_dict(), other, "here")
    assert all(p.equal(q) for p, q in zip(model.parameters(), other.parameters()))


MEASURED = dict.fromkeys(
    ("self", "orig", "gap", "drift", "compatibility", "preference", "behavior_drift", "gap_low",
     "behavior_drift_without_cue", "majority", "majority_now", "gap_high"), 0.5,
) | {"n_items": 3}  # fmt: skip
ROW = MEASURED | {"train": MEASURED, "step": 2, "seconds": 1.0}
METAS = [
    ({"rows": [ROW]}, "meta.json must be an object with rows, seconds"),
    ({"rows": [], "seconds": 1}, "meta.json must end with step 2"),
    ({"rows": [ROW, ROW | {"step": 1}], "seconds": 1}, "meta.json must end with step 2"),
    ({"rows": [ROW | {"gap": "0.5"}], "seconds": 1}, "gap must be int or float"),
    ({"rows": {}, "seconds": 1}, "rows must be a list"),
]


def test_the_rows_of_a_run_must_have_their_form_and_end_with_its_step(tmp_path):
    state = state_of(*trained(0))
    for i, (meta, says) in enumerate(METAS):
        checkpoint.save_step(tmp_path / str(i) / "checkpoints", 2, state, meta)
        with pytest.raises(Corrupt, match=f"step 2: {says}"):
            newest_of_run(tmp_path / str(i), trained(0)[0], 3)
    checkpoint.save_step(tmp_path / "checkpoints", 2, state, {"rows": [ROW], "seconds": 1})
    step, loaded, meta = newest_of_run(tmp_path, trained(0)[0], 3)
    assert step == 2 and meta["rows"] == [ROW] and loaded.keys() == state.keys()
    assert newest_of_run(tmp_path / "none", trained(0)[0], 3) is None
