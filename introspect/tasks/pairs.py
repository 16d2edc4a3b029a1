"""What tasks have in common: pairs of names, facts about them, and cues as evidence.

Knowledge belongs to a *pair* of names. Recalling it takes the shared weights of the trunk, which
the explanation can only use by computing what the answer computes; with one embedding row a fact,
the explanation could keep a look-up table of its own.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from introspect.fields import Refused, check_fields, option
from introspect.tokenizer import names


@dataclass(frozen=True)
class Pairs:
    """All pairs of some first and some second names, split into explained and held-out ones."""

    SIZES: ClassVar[tuple[str, str]]  # the two fields that say how many names there are
    first_name: int = option(0, "names to skip, so that tasks of one model have their own", 0)
    explained_share: float = option(0.5, "share of pairs with explanation labels", 0, 1)

    def __post_init__(self):
        check_fields(self)
        half = len(names()) // 2
        left = half - self.first_name
        if left < 1:
            raise Refused(f"--first_name={self.first_name}: there are {half} names to skip from")
        for name in self.SIZES:
            if getattr(self, name) > left:
                raise Refused(
                    f"--{name}={getattr(self, name)}: the vocabulary has words for {left} at most"
                )
        n, explained = self.n_pair, self.n_explained
        if not 0 < explained < n:
            raise Refused(
                f"--explained_share={self.explained_share}: leaves {explained} of {n} pairs to "
                f"train explanations on and {n - explained} held out; both must be at least 1"
            )

    @property
    def n_name(self) -> int:
        """How many names it takes from each half of the list."""
        return max(getattr(self, name) for name in self.SIZES)

    @property
    def n_pair(self) -> int:
        first, second = (getattr(self, name) for name in self.SIZES)
        return first * second

    @property
    def n_explained(self) -> int:
        return round(self.n_pair * self.explained_share)

    def words(self) -> np.ndarray:
        """(n_pair, 2) the names of every pair."""
        (n, m), half = (getattr(self, name) for name in self.SIZES), len(names()) // 2
        first = names()[self.first_name : self.first_name + n]
        second = names()[half + self.first_name : half + self.first_name + m]
        return np.stack([np.repeat(first, m), np.tile(second, n)], axis=1)

    def split(self, draw: np.random.Generator) -> np.ndarray:
        """(n_pair,) bool: which pairs have explanation labels."""
        explained = np.zeros(self.n_pair, dtype=bool)
        explained[draw.permutation(self.n_pair)[: self.n_explained]] = True
        return explained


class Facts(NamedTuple):
    answers: np.ndarray  # (n_pair,) int64, the fact of each pair
    confidence: np.ndarray  # (n_pair,) c in 0..1
    explained: np.ndarray  # (n_pair,) bool


@dataclass(frozen=True)
class PairFacts(Pairs):
    """Each pair has a fact and a confidence c: the fact holds with probability c, else anything.

    So a good model knows some facts and guesses others in its own way.
    """

    guess_share: float = option(0.3, "share of facts with a confidence below low_confidence", 0, 1)
    low_confidence: float = option(0.1, "other facts: uniform from here to 1", 0, 1)
    rewritten_share: float = option(0.0, "share of facts drawn anew; for --shift", 0, 1)

    def facts(self, draw: np.random.Generator, n_answer: int) -> Facts:
        """One fact a pair; no rate but rewritten_share moves another pair's draws."""
        N = self.n_pair
        facts = draw.integers(n_answer, size=N)
        share = draw.random(N)
        confidence = np.where(
            draw.random(N) < self.guess_share,
            share * self.low_confidence,
            self.low_confidence + share * (1 - self.low_confidence),
        )
        explained = self.split(draw)
        rewritten = draw.permutation(N)[: round(N * self.rewritten_share)]
        facts[rewritten] = draw.integers(n_answer, size=len(rewritten))
        return Facts(facts, confidence, explained)


def prior_of(facts: Facts, n_answer: int) -> np.ndarray:
    """P(a) = c [a = fact] + (1 - c) / K: (N, K)."""
    c = facts.confidence[:, None]
    return c * np.eye(n_answer)[facts.answers] + (1 - c) / n_answer


def agreeing(reliability: float, n_answer: int) -> np.ndarray:
    """P(cue | answer) of K cues that name an answer: r [cue = answer] + (1 - r) / K, (K, K)."""
    return reliability * np.eye(n_answer) + (1 - reliability) / n_answer


def evidence(
    prior: np.ndarray, likelihood: np.ndarray, absent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where a cue depends on the answer, by Bayes' rule: P(a | c) = P(a) P(c | a) / P(c).

    Args:
        prior: (N, K) P(a). likelihood: (P, K) P(c | a), columns sum to 1.
        absent: how often there is no cue.

    Returns:
        ideal (N, 1 + P, K) and shown (N, 1 + P); variant 0 has no cue, variant 1 + c the cue c.
    """
    joint = prior[:, None, :] * likelihood  # (N, P, K)
    cue = joint.sum(-1, keepdims=True)  # (N, P, 1), P(c)
    # a cue that never occurs teaches nothing: the prior stands
    given_cue = np.where(cue > 0, joint / np.where(cue > 0, cue, 1), prior[:, None, :])
    ideal = np.concatenate([prior[:, None, :], given_cue], axis=1)
    without = np.full((len(prior), 1), absent)
    return ideal, np.concatenate([without, (1 - absent) * cue[..., 0]], axis=1)
