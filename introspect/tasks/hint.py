"""`hint`: facts about pairs of names, some known well, some guessed, and a hint that may be wrong.

A subject is an entity and an attribute; its fact is one of K answers. The world is asked about it

    zorp blick<|answer|>             without a hint
    zorp blick hint:B<|answer|>      with one

and answers with the fact with probability c, its confidence, else uniformly. A hint equals that
answer with probability r, else it is uniform. So a good model knows some facts, guesses others in
its own way, and follows the hint where it is unsure. The cue is the hint.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from introspect.fields import Refused, option
from introspect.streams import rng
from introspect.tasks.pairs import PairFacts, agreeing, evidence, prior_of
from introspect.tasks.world import World, with_cues
from introspect.tokenizer import names

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Hint(PairFacts):
    """The constants of the world. An answer is right by luck 1 / n_answer of the time."""

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
        if self.knowledge == "names" and self.first_name + self.n_pair > len(names()):
            raise Refused(
                f"--knowledge=names: must be at most {len(names()) - self.first_name} facts, one "
                f"name each; {self.SIZES[0]} x {self.SIZES[1]} is {self.n_pair}"
            )

    def words(self) -> np.ndarray:
        """(n_pair, 2) the names of every pair, or (n_pair, 1) the name that stands for it."""
        if self.knowledge == "pairs":
            return super().words()
        return np.array(names()[self.first_name : self.first_name + self.n_pair])[:, None]

    def world(self, seed: int) -> World:
        """The world of this seed; the rates of hints and confidence leave facts and split alone."""
        letters = LETTERS[: self.n_answer]
        facts = self.facts(rng(seed, "hint facts"), self.n_answer)
        hints = agreeing(self.hint_reliability, self.n_answer)
        ideal, shown = evidence(prior_of(facts, self.n_answer), hints, self.hint_absent)
        words = [f"hint:{letter}" for letter in letters]
        return with_cues(self.words(), words, letters, ideal, shown, facts.explained)
