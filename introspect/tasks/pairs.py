"""What tasks have in common: pairs of names, facts about them, and cues as evidence.

Knowledge belongs to a *pair* of names, so that recalling it takes the shared weights of the trunk:
an explanation can use it only by computing what the answer computes. If each fact had an embedding
row of its own, the explanation could keep a separate look-up table.
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
        for name, size in zip(self.SIZES, self.shape):
            if size > left:
                raise Refused(f"--{name}={size}: the vocabulary has words for {left} at most")
        n, explained = self.n_pair, self.n_explained
        if not 0 < explained < n:
            raise Refused(
                f"--explained_share={self.explained_share}: leaves {explained} of {n} pairs to "
                f"train explanations on and {n - explained} held out; both must be at least 1"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """How many first names there are, and how many second names."""
        first, second = (getattr(self, name) for name in self.SIZES)
        return first, second

    @property
    def n_name(self) -> int:
        """How many names the task takes from each half of the list."""
        return max(self.shape)

    @property
    def n_pair(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def n_explained(self) -> int:
        return round(self.n_pair * self.explained_share)

    def words(self) -> np.ndarray:
        """(n_pair, 2) the names of every pair."""
        (n, m), half = self.shape, len(names()) // 2
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
    """Each pair has a fact and a confidence c: the answer is the fact with probability c, else any.

    So a good model knows some facts and guesses others in its own way.
    """

    guess_share: float = option(0.3, "share of facts with a confidence below low_confidence", 0, 1)
    low_confidence: float = option(0.1, "other facts: uniform from here to 1", 0, 1)
    rewritten_share: float = option(0.0, "share of facts drawn anew; for --shift", 0, 1)

    def facts(self, draw: np.random.Generator, n_answer: int) -> Facts:
        """One fact for each pair. A rate alters no random number that a pair's values are made of;
        only rewritten_share gives some pairs a new fact."""
        N = self.n_pair
        facts = draw.integers(n_answer, size=N)
        height = draw.random(N)  # where in its range the confidence lies
        confidence = np.where(
            draw.random(N) < self.guess_share,
            height * self.low_confidence,
            self.low_confidence + height * (1 - self.low_confidence),
        )
        explained = self.split(draw)
        rewritten = draw.permutation(N)[: round(N * self.rewritten_share)]
        facts[rewritten] = draw.integers(n_answer, size=len(rewritten))
        return Facts(facts, confidence, explained)


def fact_prior(facts: Facts, n_answer: int) -> np.ndarray:
    """P(a) = c [a = fact] + (1 - c) / K: (N, K)."""
    c = facts.confidence[:, None]
    return c * np.eye(n_answer)[facts.answers] + (1 - c) / n_answer


def agreeing(reliability: float, n_answer: int) -> np.ndarray:
    """P(cue | answer) if each cue names one answer: r [cue = answer] + (1 - r) / K, (K, K)."""
    return reliability * np.eye(n_answer) + (1 - reliability) / n_answer


def evidence(
    prior: np.ndarray, likelihood: np.ndarray, absent: float
) -> tuple[np.ndarray, np.ndarray]:
    """What a cue says about the answer, by Bayes' rule: P(a | c) = P(a) P(c | a) / P(c).

    Args:
        prior: (N, K) P(a). likelihood: (P, K) P(c | a), columns sum to 1.
        absent: how often there is no cue.

    Returns:
        ideal (N, 1 + P, K) and shown (N, 1 + P); variant 0 has no cue, variant 1 + c has cue c.
    """
    prior = prior[:, None, :]  # (N, 1, K)
    joint = prior * likelihood  # (N, P, K)
    cue = joint.sum(-1, keepdims=True)  # (N, P, 1), P(c)
    # a cue that never occurs teaches nothing: the prior stays
    posterior = np.where(cue > 0, joint / np.where(cue > 0, cue, 1), prior)
    shown = np.concatenate([np.full((len(prior), 1), absent), (1 - absent) * cue[..., 0]], axis=1)
    return np.concatenate([prior, posterior], axis=1), shown
