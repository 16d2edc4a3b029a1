"""A loaded state is put in place once every tensor of it was held against what belongs there.

An optimizer trusts its state: one with fewer numbers than its weight makes a fused update write
past its end. So each tensor must have the shape and the kind that the model implies, and numbers
that are finite, and it is copied into memory of its own.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from introspect.checkpoint import Corrupt, Meta, State, newest
from introspect.config import CotrainConfig
from introspect.forms import ROW
from introspect.reading import MB, MOST_LINES, NUMBER, misfit


def check_tensor(value: Any, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> Tensor:
    """A copy of a loaded tensor.

    Raises:
        Corrupt: not a plain tensor of this shape and kind, or with numbers that are not finite.
    """
    plain = type(value) is Tensor and value.layout is torch.strided and value.device.type == "cpu"
    if not (plain and value.shape == shape and value.dtype is dtype):
        raise Corrupt(f"{what}: must be {dtype} of shape {tuple(shape)}")
    if not value.isfinite().all():
        raise Corrupt(f"{what}: has numbers that are not finite")
    return value.detach().clone(memory_format=torch.contiguous_format)


def count_bytes(model: nn.Module) -> int:
    """Bytes of a model's weights and of two moments of each, the most that a state of it holds."""
    return 3 * sum(p.numel() * p.element_size() for p in model.state_dict().values())


def restore(
    state: Any, model: nn.Module, optimizers: list[Optimizer], step: int, what: str
) -> None:
    """Put a state {"model", "optimizers"} into a model and its optimizers.

    Args:
        step: how many updates the state is after. what: where it is from, for messages.

    Raises:
        Corrupt: it does not have the tensors of this model, or not as many as its optimizers need.
    """
    if not isinstance(state, dict) or state.keys() != {"model", "optimizers"}:
        raise Corrupt(f"{what}: must hold a model and its optimizers")
    restore_model(state["model"], model, what)
    names = {id(p): name for name, p in model.named_parameters()}
    if not isinstance(state["optimizers"], list) or len(state["optimizers"]) != len(optimizers):
        raise Corrupt(f"{what}: must hold {len(optimizers)} optimizers")
    for optimizer, loaded in zip(optimizers, state["optimizers"]):
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        states = loaded.get("state") if isinstance(loaded, dict) else None
        if not isinstance(states, dict) or not states.keys() <= set(range(len(weights))):
            raise Corrupt(f"{what}: must hold the state of an optimizer of {len(weights)} weights")
        checked = {}
        for i, weight in enumerate(weights):
            name = f"{what}: {type(optimizer).__name__} of {names[id(weight)]}"
            if i in states:
                checked[i] = check_moments(states[i], weight, optimizer, step, name)
            elif step and "head" not in names[id(weight)]:  # a head may not have been asked yet
                raise Corrupt(f"{name}: is missing")
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": checked, "param_groups": groups})


def restore_model(state: Any, model: nn.Module, what: str) -> None:
    """Put loaded weights into a model; raises as `restore` does."""
    own = model.state_dict()
    if not isinstance(state, dict) or state.keys() != own.keys():
        raise Corrupt(f"{what}: must hold the weights of this model")
    weights = {
        name: check_tensor(state[name], weight.shape, weight.dtype, f"{what}: {name}")
        for name, weight in own.items()
    }
    model.load_state_dict(weights)


def check_moments(
    state: Any, weight: Tensor, optimizer: Optimizer, step: int, what: str
) -> dict[str, Tensor]:
    """What an optimizer keeps of one weight, copied; raises as `restore` does."""
    shapes = {"momentum_buffer": weight.shape}
    if isinstance(optimizer, torch.optim.AdamW):
        shapes = {"step": (), "exp_avg": weight.shape, "exp_avg_sq": weight.shape}
    if not isinstance(state, dict) or state.keys() != shapes.keys():
        raise Corrupt(f"{what}: must have {', '.join(shapes)}")
    checked = {
        key: check_tensor(state[key], shape, torch.float32 if key == "step" else weight.dtype, what)
        for key, shape in shapes.items()
    }
    if "step" in checked and (checked["step"] != step or (checked["exp_avg_sq"] < 0).any()):
        raise Corrupt(f"{what}: must be the state after {step} updates")
    return checked


def newest_of_run(
    out: Path, model: nn.Module, c: CotrainConfig, made_of: str | None = None, until=None
) -> tuple[int, State, Meta] | None:
    """The newest checkpoint of the run in `out`, not later than step `until`; see newest.

    Args:
        model: with the adapters of the run, if it has some.

    Raises:
        Refused: as checkpoint.newest does, or its rows are not those of such a run.
    """
    n_row = c.max_steps // c.eval_interval + 2
    most = min(MB * (1 + n_row // 100), MOST_LINES)  # an evaluation takes a few kilobytes
    saved = newest(out / "checkpoints", until, made_of, count_bytes(model), most)
    if saved:
        step, _, meta = saved
        if wrong := misfit(meta, {"rows": [ROW], "seconds": NUMBER}, "meta.json"):
            raise Corrupt(f"{out}, step {step}: {wrong}")
        steps, before = [row["step"] for row in meta["rows"]], range(0, step, c.eval_interval)
        due = step == c.max_steps or step < c.max_steps and step % c.eval_interval == 0
        if not due or len(steps) != len(before) + 1 or steps != [*before, step]:
            raise Corrupt(f"{out}, step {step}: must have the evaluations of this run up to here")
    return saved
