"""`verdict`: stories of several deeds, weighed against each other, and the narrator's own view.

A deed is an actor and an act; each such pair has a value, drawn at random. A story consists of
n_deed deeds in some order. Let s be the sum of their values over sqrt(n_deed), sigma the logistic
function, m the margin and w the width:

    P(right) = sigma((s - m) / w)    P(wrong) = sigma((-s - m) / w)    P(shared) = the rest

So a story with s near 0 is judged as shared, and a story with s near m or -m is unclear.

    zorp blick kelfow luven<|answer|>               shared
    zorp blick kelfow luven view:right<|answer|>    right

The narrator's view of himself equals the verdict with probability r, else it is any of the three.
So a good model goes by the view where the deeds leave it unsure. The cue is the view.
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
    """The constants of the world. No deed is in both an explained and a held-out story."""

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
        if not 0 < self.n_explained_story < self.n_story:
            raise Refused(f"--n_story={self.n_story}: one side of the split would have no story")

    @property
    def n_explained_story(self) -> int:
        return round(self.n_story * self.explained_share)

    def world(self, seed: int) -> World:
        """The world of this seed; the rates alter neither values nor stories nor split."""
        draw = rng(seed, "verdict deeds")
        values = draw.standard_normal(self.n_pair)
        explained_deed = self.split(draw)  # (n_pair,)
        n, deeds = self.n_explained_story, np.arange(self.n_pair)
        train = self.stories(draw, deeds[explained_deed], n)
        held_out = self.stories(draw, deeds[~explained_deed], self.n_story - n)
        stories = np.concatenate([train, held_out])  # (n_story, n_deed)
        rewritten = draw.permutation(self.n_pair)[: round(self.n_pair * self.rewritten_share)]
        values[rewritten] = draw.standard_normal(len(rewritten))

        views = agreeing(self.view_reliability, len(VERDICTS))
        ideal, shown = evidence(self.verdicts(values[stories]), views, self.view_absent)
        words = self.words()[stories].reshape(self.n_story, -1)  # (n_story, 2 n_deed)
        cues, explained = [f"view:{verdict}" for verdict in VERDICTS], np.arange(self.n_story) < n
        return with_cues(words, cues, VERDICTS, ideal, shown, explained, rests_on=stories)

    def stories(self, draw: np.random.Generator, deeds: np.ndarray, count: int) -> np.ndarray:
        """(count, n_deed): different stories, each of different deeds out of `deeds`."""
        possible = perm(len(deeds), self.n_deed)
        if count > possible:
            raise Refused(
                f"--n_story={self.n_story}: {len(deeds)} deeds on one side make {possible} "
                f"stories, not {count}"
            )
        orders, first = np.empty((0, self.n_deed), dtype=int), np.empty(0, dtype=int)
        while len(first) < count:  # draw more, and drop stories that were drawn before
            more = draw.random((2 * count + 16, len(deeds))).argsort(1)[:, : self.n_deed]
            orders = np.concatenate([orders, more])
            _, first = np.unique(orders, axis=0, return_index=True)
        return deeds[orders[np.sort(first)[:count]]]

    def verdicts(self, values: np.ndarray) -> np.ndarray:
        """P(right), P(wrong), P(shared), (N, 3), of stories with values (N, n_deed)."""
        s = values.sum(1) / np.sqrt(values.shape[1])
        beyond = [np.clip((side - self.margin) / self.width, -500, 500) for side in (s, -s)]
        right, wrong = (1 / (1 + np.exp(-x)) for x in beyond)  # clipped: exp(500) is a number
        return np.stack([right, wrong, np.maximum(1 - right - wrong, 0)], axis=1)
