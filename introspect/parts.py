"""The tasks of one run: which of them M0 learns, which are explained, and what they share.

A run of one task has one part. With several, all share the trunk and its heads: the task head has a
row for each answer of any of them, and a part reads the rows of its own answers.
"""

from typing import NamedTuple

import numpy as np

from introspect.config import Config
from introspect.interview import Interview
from introspect.runs.build import worlds_of
from introspect.tasks.registry import joint_answers
from introspect.tasks.world import World


class Part(NamedTuple):
    """One task of a run."""

    name: str
    world: World
    interview: Interview
    explained: bool  # some of its subjects have explanation labels
    taught: bool  # M0 has never seen it; it is learned during co-training

    def subjects(self, split: str) -> np.ndarray:
        """Numbers of the subjects of "train" or of "held_out"; without labels, all are held out."""
        if self.explained:
            return self.world.subjects(split)
        return np.arange(self.world.n_subject if split == "held_out" else 0)


def parts_of(cfg: Config, device: str, channel: str = "head") -> list[Part]:
    """The tasks of a run, in the order in which they are named, asked through a channel."""
    worlds = worlds_of(cfg)
    among = joint_answers(worlds)
    return [
        Part(
            name,
            world,
            Interview(world, channel, device, among),
            explained=name in cfg.explained,
            taught=name not in cfg.learned,
        )
        for name, world in worlds.items()
    ]
