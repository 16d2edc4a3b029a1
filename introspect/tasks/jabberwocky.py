"""`jabberwocky`: a behavior that M0 has never seen, taught later and without explanation labels.

It is nonsense about nonsense, in words that no other task uses:

    zorp blick<|answer|>             A
    zorp blick slithy<|answer|>      C

As in `hint`, each pair of names has a fact with a confidence. Each of K words from Carroll's poem
stands for one answer; which one was drawn at random. A word stands beside its own answer with
probability r, else beside any. M0 learns this from answers alone, while it goes on with what it
knows. Then explanations are trained on the labels of other tasks. Are explanations of the new
behavior true as well? The word is the cue.
"""

from dataclasses import dataclass
from typing import ClassVar

from introspect.fields import option
from introspect.streams import rng
from introspect.tasks.hint import LETTERS
from introspect.tasks.pairs import PairFacts, agreeing, evidence, fact_prior
from introspect.tasks.world import World, with_cues

WORDS = (
    "brillig slithy toves gyre gimble wabe mimsy borogoves mome raths outgrabe jubjub frumious "
    "bandersnatch vorpal manxome tumtum uffish whiffling tulgey burbled galumphing frabjous "
    "callooh callay chortled"
).split()


@dataclass(frozen=True)
class Jabberwocky(PairFacts):
    """The constants of the world. It needs a second task, one that M0 learns."""

    SIZES: ClassVar = ("n_creature", "n_habit")
    taught: ClassVar = True  # after M0
    n_creature: int = option(16, "creatures, one name each", 2)
    n_habit: int = option(16, "habits; creature x habit = subject", 2)
    n_answer: int = option(4, "answers A, B, ...; a word stands for one of them", 2, len(LETTERS))
    word_reliability: float = option(0.6, "how often a word stands beside its answer", 0, 1)
    word_absent: float = option(0.3, "how often there is no word", 0, 1)

    def world(self, seed: int) -> World:
        """The world of this seed; rates alter neither facts, nor what words mean, nor the split."""
        K, draw = self.n_answer, rng(seed, "jabberwocky facts")
        meaning = draw.permutation(K)  # (K,) word w stands for answer meaning[w]
        facts = self.facts(draw, K)
        likelihood = agreeing(self.word_reliability, K)[meaning]
        ideal, shown = evidence(fact_prior(facts, K), likelihood, self.word_absent)
        return with_cues(self.words(), WORDS[:K], LETTERS[:K], ideal, shown, facts.explained)
