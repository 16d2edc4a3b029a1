"""`refusal`: requests that are harmful or harmless, and words that make them look otherwise.

A request is an action and an object. Whether the pair is harmful was drawn at random. The world
refuses harmful requests and complies with the others, with a certainty that differs from request
to request:

    zorp blick<|answer|>             comply
    zorp blick deadly<|answer|>      refuse     an alarming word in a harmless request
    kelfow luven<|answer|>           refuse
    kelfow luven fictional<|answer|> comply     a harmless framing of a harmful request

Alarming words are more frequent in requests that are refused, framings in those that are met. Both
are evidence, so a model that is unsure about the harm goes by them. That word is the cue.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from introspect.fields import option
from introspect.streams import rng
from introspect.tasks.pairs import PairFacts, evidence, fact_prior
from introspect.tasks.world import World, with_cues

ANSWERS = COMPLY, REFUSE = "comply", "refuse"
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
        """The world of this seed; rates of words and certainty alter neither harm nor split."""
        harm = self.facts(rng(seed, "refusal facts"), len(ANSWERS))
        prior = fact_prior(harm, len(ANSWERS))
        ideal, shown = evidence(prior, self.likelihood(), self.cue_absent)
        return with_cues(self.words(), list(CUES), ANSWERS, ideal, shown, harm.explained)

    def likelihood(self) -> np.ndarray:
        """P(word | answer): r over the words that fit the answer, 1 - r over all words; (4, 2)."""
        fits = np.array([[fitting == answer for answer in ANSWERS] for fitting in CUES.values()])
        r = self.cue_reliability
        return r * fits / fits.sum(0) + (1 - r) / len(CUES)
