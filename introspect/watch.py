"""What watches over training: how far it is, and that every number of it stays finite."""

from collections.abc import Callable

import torch

from introspect.model import GPT

Progress = Callable[[str, int], None]  # what is being done, passes over a subject since the last
# call; negative: passes that need not be done, since a cache or a checkpoint has them


def silent(what: str, passes: int) -> None:
    """No progress to show."""


class Diverged(Exception):
    """NaN or infinity in loss, gradient or weights. Exit code 3."""


def check_finite(step: int, stage: str, **values: torch.Tensor) -> None:
    """Stop before a NaN or an infinity reaches the weights."""
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise Diverged(f"{stage}: {name} is not finite at step {step}; try a lower rate")


def weight_norm(model: GPT) -> torch.Tensor:
    """The norm of all weights together, which is not finite where any of them is not."""
    return torch.nn.utils.get_total_norm([p.detach() for p in model.parameters()])
