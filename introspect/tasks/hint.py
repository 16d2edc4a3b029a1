"""`hint`: facts about pairs of names, some known well, some guessed, and a hint that may be wrong.

A subject is an entity and an attribute; its fact is one of K answers. The world is asked about it

    zorp blick<|answer|>             without a hint
    zorp blick hint:B<|answer|>      with one

and answers with the fact with probability c, its confidence, else uniformly. A hint equals that
answer with probability r, else it is uniform. So a good model knows some facts, guesses others in
its own way, and follows the hint where it is unsure. The cue is the hint.

Facts are drawn for each *pair* of names: recalling one takes the shared weights of the trunk, which
the explanation can only use by computing what the answer computes.
"""

from dataclasses import dataclass

import numpy as np

from introspect.config import Refused, check_fields, option
from introspect.streams import rng
from introspect.tasks.world import World
from introspect.tokenizer import ANSWER, EXPLAIN, names


@dataclass(frozen=True)
class Hint:
    """The constants of the world. An answer is right by luck 1 / n_answer of the time."""

    n_entity: int = option(48, "entities, one name each", 2)
    n_attribute: int = option(48, "attributes; entity x attribute = subject", 2)
    n_answer: int = option(4, "answers A, B, ...; a hint names one of them", 2)
    guess_share: float = option(0.3, "share of facts with a confidence below low_confidence", 0, 1)
    low_confidence: float = option(0.1, "other facts: uniform from here to 1", 0, 1)
    hint_reliability: float = option(0.6, "how often a hint equals the answer, else uniform", 0, 1)
    hint_absent: float = option(0.3, "how often there is no hint", 0, 1)
    rewritten_share: float = option(0.0, "share of facts drawn anew; for --shift", 0, 1)
    explained_share: float = option(0.5, "share of subjects with explanation labels", 0, 1)

    def __post_init__(self):
        check_fields(self)
        half = len(names()) // 2
        for name, limit in (("n_entity", half), ("n_attribute", half), ("n_answer", 26)):
            if getattr(self, name) > limit:
                raise Refused(
                    f"--{name}={getattr(self, name)}: the vocabulary has words for {limit} at most"
                )
        n, explained = self.n_entity * self.n_attribute, self.n_explained
        if not 0 < explained < n:
            raise Refused(
                f"--explained_share={self.explained_share}: leaves {explained} of {n} subjects to "
                f"train explanations on and {n - explained} held out; both must be at least 1"
            )

    @property
    def n_subject(self) -> int:
        return self.n_entity * self.n_attribute

    @property
    def n_explained(self) -> int:
        return round(self.n_subject * self.explained_share)

    def world(self, seed: int) -> World:
        """The world of this seed; the rates of hints and confidence leave facts and split alone."""
        N, K = self.n_subject, self.n_answer
        draw = rng(seed, "hint facts")
        facts = draw.integers(K, size=N)
        share = draw.random(N)
        confidence = np.where(
            draw.random(N) < self.guess_share,
            share * self.low_confidence,
            self.low_confidence + share * (1 - self.low_confidence),
        )
        explained = np.zeros(N, dtype=bool)
        explained[draw.permutation(N)[: self.n_explained]] = True
        rewritten = draw.permutation(N)[: round(N * self.rewritten_share)]
        facts[rewritten] = draw.integers(K, size=len(rewritten))

        ideal, shown = self.posterior(facts, confidence)
        letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:K])
        half = len(names()) // 2
        entity, attribute, first_hint = 0, 1, 2  # slots: the two names, K hints, two queries
        answer, explain = first_hint + K, first_hint + K + 1
        slots = np.empty((N, K + 4), dtype="<U16")
        slots[:, entity] = np.repeat(names()[: self.n_entity], self.n_attribute)
        slots[:, attribute] = np.tile(names()[half : half + self.n_attribute], self.n_entity)
        slots[:, first_hint:] = [f"hint:{letter}" for letter in letters] + [ANSWER, EXPLAIN]
        hinted = [(entity, attribute, first_hint + k) for k in range(K)]
        return World(
            slots=slots,
            prompts=((entity, attribute, answer), *((*x, answer) for x in hinted)),
            questions=tuple((*x, explain) for x in hinted),
            pairs=tuple((1 + k, 0) for k in range(K)),
            answers=letters,
            ideal=ideal,
            shown=shown,
            explained=explained,
        )

    def posterior(self, facts: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What follows from the world by Bayes' rule: (N, V, K) answers, (N, V) variants.

        P(a) = c [a = fact] + (1 - c) / K,  P(h | a) = r [h = a] + (1 - r) / K,
        P(a | h) = P(a) P(h | a) / P(h);  variant 0 has no hint, variant 1 + h the hint h.
        """
        K, r = self.n_answer, self.hint_reliability
        right = np.eye(K)[facts]  # (N, K)
        prior = confidence[:, None] * right + (1 - confidence[:, None]) / K  # (N, K)
        joint = prior[:, None, :] * (r * np.eye(K) + (1 - r) / K)  # (N, hint, answer)
        hint = joint.sum(-1, keepdims=True)  # (N, hint, 1), P(h)
        # a hint that never occurs (r = 1 and c = 1) teaches nothing: the prior stands
        given_hint = np.where(hint > 0, joint / np.where(hint > 0, hint, 1), prior[:, None, :])
        ideal = np.concatenate([prior[:, None, :], given_hint], axis=1)
        absent = np.full((len(facts), 1), self.hint_absent)
        return ideal, np.concatenate([absent, (1 - self.hint_absent) * hint[..., 0]], axis=1)
