"""A concurrent objective with a target of its own: what else moves behavior while explanations are
trained.

    target = (1 - strength) B(M0) + strength T          loss: KL(target || B(M))

    follow   T is certain of the answer that the cue speaks for; without a cue, T is B(M0)
    ignore   T is what M0 answers without the cue
    WORD     T is certain of this answer, whatever is asked

It is trained on half of the held-out subjects, which have no explanation labels and are not
measured then. At strength 0 it is further training that asks for nothing new: the control of every
objective. Targets made of M0's own answers are our choice; the paper's objective is not known.
"""

import numpy as np
import torch
from torch import Tensor

from introspect.streams import rng
from introspect.tasks.world import World


def choose_aside(world: World, seed: int) -> np.ndarray:
    """Numbers of the held-out subjects that an objective is trained on: a random half, rounded
    down."""
    held_out = world.subjects("held_out")
    return np.sort(rng(seed, "objective subjects").permutation(held_out)[: len(held_out) // 2])


def objective_targets(reference: Tensor, world: World, objective: str, strength: float) -> Tensor:
    """log of the target (N, V, K), in nats.

    The answer that a cue speaks for is the one whose probability it raises most in the world: the
    largest P(answer | cue) / P(answer).

    Args:
        reference: (N, V, K) logits of M0. strength: 0..1.
    """
    p, K = reference.softmax(-1), len(world.answers)
    aim = p.clone()
    if objective in world.answers:
        aim = torch.eye(K)[world.answers.index(objective)].expand_as(p)
    elif objective == "ignore":
        for x, y in world.pairs:
            aim[:, x] = p[:, y]
    else:
        ideal = torch.from_numpy(world.ideal).clamp(min=1e-12)
        for x, y in world.pairs:
            aim[:, x] = torch.eye(K)[(ideal[:, x] / ideal[:, y]).argmax(-1)]
    return ((1 - strength) * p + strength * aim).clamp(min=1e-30).log()
