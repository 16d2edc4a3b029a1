"""`verdict`: stories of several deeds, weighed against each other, and the narrator's own view.

A deed is an actor and an act; its value was drawn for the pair. A story tells of n_deed deeds in
some order. With s the sum of their values over sqrt(n_deed), and sigma the logistic function,

    P(right) = sigma((s - m) / w)    P(wrong) = sigma((-s - m) / w)    P(shared) = the rest

so that a story far within the margin m of 0 is judged as shared, and near a margin it is unclear.

    zorp blick kelfow luven<|answer|>               shared
    zorp blick kelfow luven view:right<|answer|>    right

The narrator's view of himself equals the verdict with probability r, else it is any of the three.
So a good model goes by it where the deeds leave it unsure. The cue is the view.
"""

from dataclasses import dataclass
from math import perm
from typing import ClassVar

import numpy as np

from introspect.fields import Refused, option
from introspect.streams import rng
from introspect.tasks.pairs import Pairs, agreeing, evidence
from introspect.tasks.world import World, with_cues

VERDICTS = ("right", "wrong", "shared")


@dataclass(frozen=True)
class Verdict(Pairs):
    """The constants of the world. No deed of a held-out story is in an explained one."""

    SIZES: ClassVar = ("n_actor", "n_act")
    regime: ClassVar = {"block_size": 12}
    n_actor: int = option(24, "actors, one name each", 2)
    n_act: int = option(24, "acts; actor x act = deed", 2)
    n_deed: int = option(2, "different deeds of a story", 1, 4)
    n_story: int = option(2304, "stories", 2)
    margin: float = option(0.45, "a sum of values nearer to 0 is mostly judged as shared", 0)
    width: float = option(0.4, "of the range around a margin where a verdict is unclear", 1e-6)
    view_reliability: float = option(0.7, "how often the view equals the verdict", 0, 1)
    view_absent: float = option(0.3, "how often there is no view", 0, 1)
    rewritten_share: float = option(0.0, "share of deeds with a new value; for --shift", 0, 1)

    def __post_init__(self):
        super().__post_init__()
        fewest = min(self.n_explained, self.n_pair - self.n_explained)
        if fewest < self.n_deed:
            raise Refused(f"--n_deed={self.n_deed}: one side of the split has {fewest} deeds")
        if not 0 < round(self.n_story * self.explained_share) < self.n_story:
            raise Refused(f"--n_story={self.n_story}: one side of the split would have no story")

    def world(self, seed: int) -> World:
        """The world of this seed; the rates leave values, stories and split alone."""
        draw = rng(seed, "verdict deeds")
        values = draw.standard_normal(self.n_pair)
        explained_deed = self.split(draw)
        stories, explained = self.stories(draw, explained_deed)
        rewritten = draw.permutation(self.n_pair)[: round(self.n_pair * self.rewritten_share)]
        values[rewritten] = draw.standard_normal(len(rewritten))

        views = agreeing(self.view_reliability, len(VERDICTS))
        ideal, shown = evidence(self.verdicts(values[stories]), views, self.view_absent)
        words = self.words()[stories].reshape(len(stories), -1)  # (n_story, 2 n_deed)
        cues = [f"view:{verdict}" for verdict in VERDICTS]
        return with_cues(words, cues, VERDICTS, ideal, shown, explained, rests_on=stories)

    def stories(
        self, draw: np.random.Generator, explained_deed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n_story, n_deed) different deeds of one side of the split, and which side it is."""
        told, n = [], round(self.n_story * self.explained_share)
        for side, count in ((explained_deed, n), (~explained_deed, self.n_story - n)):
            deeds = np.flatnonzero(side)
            possible = perm(len(deeds), self.n_deed)
            if count > possible:
                raise Refused(
                    f"--n_story={self.n_story}: {len(deeds)} deeds on one side make {possible} "
                    f"stories, not {count}"
                )
            order = np.empty((0, self.n_deed), dtype=int)
            first = np.empty(0, dtype=int)
            while len(first) < count:
                more = draw.random((2 * count + 16, len(deeds))).argsort(1)[:, : self.n_deed]
                order = np.concatenate([order, more])
                _, first = np.unique(order, axis=0, return_index=True)  # no story is told twice
            told.append(deeds[order[np.sort(first)[:count]]])
        return np.concatenate(told), np.arange(self.n_story) < n

    def verdicts(self, values: np.ndarray) -> np.ndarray:
        """P(right), P(wrong), P(shared) of stories with these values (N, n_deed): (N, 3)."""
        s = values.sum(1) / np.sqrt(values.shape[1])
        beyond = [np.clip((side - self.margin) / self.width, -500, 500) for side in (s, -s)]
        right, wrong = (1 / (1 + np.exp(-x)) for x in beyond)  # clipped: exp(500) is a number
        return np.stack([right, wrong, np.maximum(1 - right - wrong, 0)], axis=1)
