"""`jabberwocky`: a behavior that M0 has never seen, taught later, without any explanation labels.

Nonsense about nonsense, in words that no other task uses:

    zorp blick<|answer|>             A
    zorp blick slithy<|answer|>      C

Each pair of names has a fact with a confidence, as in `hint`; each of K words from Carroll's poem
stands for one answer, which one was drawn, and is found beside it with reliability r, else beside
any. M0 learns all that from answers alone, beside what it knows already; then explanations are
trained, on the labels of other tasks. The cue is the word. Is what is said of the new one true?
"""

from dataclasses import dataclass
from typing import ClassVar

from introspect.fields import option
from introspect.streams import rng
from introspect.tasks.hint import LETTERS
from introspect.tasks.pairs import PairFacts, agreeing, evidence, prior_of
from introspect.tasks.world import World, with_cues

WORDS = (
    "brillig slithy toves gyre gimble wabe mimsy borogoves mome raths outgrabe jubjub frumious "
    "bandersnatch vorpal manxome tumtum uffish whiffling tulgey burbled galumphing frabjous "
    "callooh callay chortled"
).split()


@dataclass(frozen=True)
class Jabberwocky(PairFacts):
    """The constants of the world. It needs another task beside it that M0 learns."""

    SIZES: ClassVar = ("n_creature", "n_habit")
    taught: ClassVar = True  # after M0
    n_creature: int = option(16, "creatures, one name each", 2)
    n_habit: int = option(16, "habits; creature x habit = subject", 2)
    n_answer: int = option(4, "answers A, B, ...; a word stands for one of them", 2, len(LETTERS))
    word_reliability: float = option(0.6, "how often a word stands beside its answer", 0, 1)
    word_absent: float = option(0.3, "how often there is no word", 0, 1)

    def world(self, seed: int) -> World:
        """The world of this seed; the rates leave facts, the words' meaning and split alone."""
        K, draw = self.n_answer, rng(seed, "jabberwocky facts")
        meaning = draw.permutation(K)  # (K,) word w stands for answer meaning[w]
        facts = self.facts(draw, K)
        likelihood = agreeing(self.word_reliability, K)[meaning]
        ideal, shown = evidence(prior_of(facts, K), likelihood, self.word_absent)
        return with_cues(self.words(), WORDS[:K], LETTERS[:K], ideal, shown, facts.explained)
