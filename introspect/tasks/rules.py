"""`rules`: things described by k binary features, and a rule that says which features matter.

A topic is a pair of names; one of n_rule rules was drawn for it. A rule looks at a few features and
says yes or no:

    threshold   at least t of a, b, ...       and_or    (a and b) or (c and d)
    parity      an odd number of a, b, c      if_then   if a then (b xor c) else (d xor e)

    zorp blick big red old wet loud soft<|answer|>     yes
    zorp blick small red old wet loud soft<|answer|>   no     big flipped to small
    zorp blick red old wet loud soft<|answer|>         yes    big removed

The world answers by the rule of the topic with probability (1 + c) / 2, where c is its confidence,
else by a second rule, also drawn for the topic. So a good model is sure of the answer where both
rules agree; where they differ it has to know the topic, or it guesses. A removed feature has either
value with equal probability.

Every feature is a cue, so the explanation is a vector: for each feature it says how the answer
would change if the feature were flipped (with ablation=removed: left out, which can end in a tie; a
tie counts as a no).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from introspect.fields import Refused, option
from introspect.streams import rng
from introspect.tasks.pairs import PairFacts
from introspect.tasks.world import World
from introspect.tokenizer import ANSWER, EXPLAIN

ON = "big red old wet loud soft hot fast light round sweet near".split()
OFF = "small blue new dry quiet hard cold slow dark flat sour far".split()
ANSWERS = ("no", "yes")

# kind -> (how many features it looks at, their values (..., n) bool -> yes or no (...) bool)
KINDS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "threshold": (5, lambda x: x.sum(-1) >= 3),
    "parity": (3, lambda x: x.sum(-1) % 2 == 1),
    "and_or": (4, lambda x: (x[..., 0] & x[..., 1]) | (x[..., 2] & x[..., 3])),
    "if_then": (5, lambda x: np.where(x[..., 0], x[..., 1] ^ x[..., 2], x[..., 3] ^ x[..., 4])),
}


@dataclass(frozen=True)
class Rules(PairFacts):
    """The constants of the world. No topic has both explained and held-out subjects."""

    SIZES: ClassVar = ("n_first", "n_second")
    # settings in which coupling appeared on development seeds (data/results/LOG.md)
    regime: ClassVar = dict(block_size=16, n_layer=3, pretrain_steps=800, max_steps=600)
    regime |= dict(eval_interval=120, learning_rate=2e-3)
    n_seed: ClassVar = 3  # seeds of a study: a run takes longer than those of the other tasks
    n_first: int = option(36, "first names of topics", 2)
    n_second: int = option(36, "second names; first x second = topic", 2)
    n_input: int = option(4, "different inputs of a topic; topic x input = subject", 1)
    n_feature: int = option(6, "binary features of an input, k", 6, len(ON))
    n_rule: int = option(4, "different rules, of all kinds in turn", 2)
    ablation: str = option("flipped", "what is explained", choices=("flipped", "removed"))

    def __post_init__(self):
        super().__post_init__()
        k, most = self.n_feature, 2**self.n_feature
        if self.n_input > most:
            raise Refused(f"--n_input={self.n_input}: {k} features make only {most} inputs")

    def world(self, seed: int) -> World:
        """The world of this seed."""
        k, n = self.n_feature, self.n_pair
        tables = self.rules(rng(seed, "rules"))  # (R, 2^k)
        topics = self.facts(rng(seed, "rules topics"), self.n_rule)
        inputs = rng(seed, "rules inputs").random((n, 2**k)).argsort(1)[:, : self.n_input]
        topic, value = np.repeat(np.arange(n), self.n_input), inputs.flatten()  # (N,) each
        offset = rng(seed, "rules others").integers(1, self.n_rule, size=n)  # at least 1, so that
        other = (topics.answers + offset) % self.n_rule  # the second rule is not the first
        c = topics.confidence[topic, None]
        first, second = (tables[rule[topic]].astype(float) for rule in (topics.answers, other))
        yes = second + (1 + c) / 2 * (first - second)  # (N, 2^k) P(yes), exact where both agree

        row, bit = np.arange(len(value)), 1 << np.arange(k)  # (k,) feature i is bit i
        full, flipped = yes[row, value], yes[row[:, None], value[:, None] ^ bit]  # (N,), (N, k)
        removed = (full[:, None] + flipped) / 2
        p_yes = np.concatenate([full[:, None], flipped, removed], axis=1)  # (N, V), V = 1 + 2k
        return World(
            **self.sequences(topic, value),
            cues=tuple(f"{on}/{off}" for on, off in zip(ON[:k], OFF)),
            answers=ANSWERS,
            ideal=np.stack([1 - p_yes, p_yes], axis=2),
            shown=np.full(p_yes.shape, 1 / p_yes.shape[1]),
            explained=topics.explained[topic],
            rests_on=topic[:, None],
        )

    def rules(self, draw: np.random.Generator) -> np.ndarray:
        """(R, 2^k) bool: n_rule different rules, one kind after the other."""
        tables: list[np.ndarray] = []
        for _ in range(100 * self.n_rule):
            table = self.rule(draw, len(tables))
            if not any(np.array_equal(table, other) for other in tables):
                tables.append(table)
            if len(tables) == self.n_rule:
                return np.stack(tables)
        raise Refused(f"--n_rule={self.n_rule}: no more than {len(tables)} different rules found")

    def rule(self, draw: np.random.Generator, number: int) -> np.ndarray:
        """(2^k,) bool: the answer of a rule to every input. The features it looks at are drawn, and
        so is the value of each that it looks for."""
        n, answer = list(KINDS.values())[number % len(KINDS)]
        features = draw.permutation(self.n_feature)[:n]
        wanted = draw.integers(2, size=n).astype(bool)
        inputs = np.array(list(product((False, True), repeat=self.n_feature)))[:, ::-1]  # (2^k, k)
        return answer(inputs[:, features] == wanted)

    def sequences(self, topic: np.ndarray, value: np.ndarray) -> dict:
        """slots, prompts, questions and pairs of subjects with these topics and inputs, (N,)."""
        k, N = self.n_feature, len(topic)
        on = (value[:, None] >> np.arange(k)) % 2 == 1  # (N, k)
        words, others = np.where(on, ON[:k], OFF[:k]), np.where(on, OFF[:k], ON[:k])
        queries = np.tile([ANSWER, EXPLAIN], (N, 1))
        first, second = 2, 2 + k  # slots: two names, k features, k flipped ones, two queries
        answer, explain = 2 + 2 * k, 3 + 2 * k
        full = tuple(range(second))
        flipped = [tuple(second + i if s == first + i else s for s in full) for i in range(k)]
        removed = [tuple(s for s in full if s != first + i) for i in range(k)]
        # the variant without feature 0, and the slot of the word that a question about it shows
        variant, shown = {"flipped": (1, second), "removed": (1 + k, first)}[self.ablation]
        return {
            "slots": np.concatenate([self.words()[topic], words, others, queries], axis=1),
            "prompts": tuple((*s, answer) for s in (full, *flipped, *removed)),
            "questions": tuple((*full, shown + i, explain) for i in range(k)),
            "pairs": tuple((0, variant + i) for i in range(k)),
        }
