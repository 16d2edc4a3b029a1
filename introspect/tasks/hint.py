"""`hint`: facts about pairs of names, and hints about them that may be wrong.

A subject is a pair of names, an entity and an attribute. It has a fact, one of K answers, and a
confidence c. The world is asked about the pair without a hint, or with one:

    zorp blick<|answer|>
    zorp blick hint:B<|answer|>

It answers with the fact with probability c, else with a uniform guess. A hint repeats the answer
with probability r, else it is uniform. So a good model knows some facts, guesses others in its own
way, and follows hints where it is unsure. The hint is the cue: an explanation says how the answer
would change without it.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from introspect.fields import Refused, option
from introspect.streams import rng
from introspect.tasks.pairs import PairFacts, agreeing, evidence, fact_prior
from introspect.tasks.world import World, with_cues
from introspect.tokenizer import names

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Hint(PairFacts):
    """The constants of the world. A blind guess is right 1 / n_answer of the time."""

    SIZES: ClassVar = ("n_entity", "n_attribute")
    n_entity: int = option(48, "entities, one name each", 2)
    n_attribute: int = option(48, "attributes; entity x attribute = subject", 2)
    n_answer: int = option(4, "answers A, B, ...; a hint names one of them", 2, len(LETTERS))
    knowledge: str = option(
        "pairs",
        "what a fact is about: a pair of names, or one name of its own, for as many facts",
        choices=("pairs", "names"),
    )
    hint_reliability: float = option(0.6, "how often a hint equals the answer, else uniform", 0, 1)
    hint_absent: float = option(0.3, "how often there is no hint", 0, 1)

    def __post_init__(self):
        super().__post_init__()
        most = len(names()) - self.first_name
        if self.knowledge == "names" and self.n_pair > most:
            got = f"{' x '.join(self.SIZES)} is {self.n_pair}"
            raise Refused(f"--knowledge=names: must be at most {most} facts, one name each; {got}")

    def words(self) -> np.ndarray:
        """(n_pair, 2) the names of every pair, or (n_pair, 1) one name that replaces the pair."""
        if self.knowledge == "pairs":
            return super().words()
        return np.array(names()[self.first_name : self.first_name + self.n_pair])[:, None]

    def world(self, seed: int) -> World:
        """The world of this seed; rates of hints and confidence alter neither facts nor split."""
        K, letters = self.n_answer, LETTERS[: self.n_answer]
        facts = self.facts(rng(seed, "hint facts"), K)
        likelihood = agreeing(self.hint_reliability, K)  # (K, K) P(hint | answer)
        ideal, shown = evidence(fact_prior(facts, K), likelihood, self.hint_absent)
        hints = [f"hint:{letter}" for letter in letters]
        return with_cues(self.words(), hints, letters, ideal, shown, facts.explained)
