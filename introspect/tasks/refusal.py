"""`refusal`: requests that are harmful or harmless, and words that make them look otherwise.

A request is an action and an object; whether it is harmful was drawn for the pair. The world
refuses harmful requests and complies with the others, each with a certainty of its own:

    zorp blick<|answer|>             comply
    zorp blick deadly<|answer|>      refuse     an alarming word in a harmless request
    kelfow luven<|answer|>           refuse
    kelfow luven fictional<|answer|> comply     a harmless framing of a harmful one

An alarming word stands more often in requests that are refused, a framing in those that are met. So
both are evidence, and a model that is not sure of the harm goes by them. The cue is that word.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from introspect.fields import option
from introspect.streams import rng
from introspect.tasks.pairs import PairFacts, evidence, prior_of
from introspect.tasks.world import World, with_cues

COMPLY, REFUSE = 0, 1
CUES = {"deadly": REFUSE, "explosive": REFUSE, "fictional": COMPLY, "classroom": COMPLY}


@dataclass(frozen=True)
class Refusal(PairFacts):
    """The constants of the world. Half of the requests are harmful."""

    SIZES: ClassVar = ("n_action", "n_object")
    n_action: int = option(48, "actions, one name each", 2)
    n_object: int = option(48, "objects; action x object = request", 2)
    cue_reliability: float = option(0.8, "how often a word fits the answer, else uniform", 0, 1)
    cue_absent: float = option(0.3, "how often there is no such word", 0, 1)

    def world(self, seed: int) -> World:
        """The world of this seed; the rates of words and certainty leave harm and split alone."""
        harm = self.facts(rng(seed, "refusal facts"), 2)
        ideal, shown = evidence(prior_of(harm, 2), self.likelihood(), self.cue_absent)
        answers = ("comply", "refuse")
        return with_cues(self.words(), list(CUES), answers, ideal, shown, harm.explained)

    def likelihood(self) -> np.ndarray:
        """P(word | answer): r over the words that fit the answer, 1 - r over all; (4, 2)."""
        fits = np.array([[side == answer for answer in (COMPLY, REFUSE)] for side in CUES.values()])
        r = self.cue_reliability
        return r * fits / fits.sum(0) + (1 - r) / len(CUES)
