"""`rules`: things described by k binary features, and a rule that says which of them matter.

A topic is a pair of names; which of the n_rule rules it goes by was drawn for the pair. A rule
looks at few features and says yes or no:

    threshold   at least t of a, b, ...       and_or    (a and b) or (c and d)
    parity      an odd number of a, b, c      if_then   if a then (b xor c) else (d xor e)

    zorp blick big red old wet loud soft<|answer|>     yes
    zorp blick small red old wet loud soft<|answer|>   no     big flipped to small
    zorp blick red old wet loud soft<|answer|>         yes    big removed

The world answers by the topic's rule with probability (1 + c) / 2, c its confidence, else by
another one, drawn for the topic as well. So a good model is sure of the answer where both agree,
and where they differ it has to know the topic, or guesses which rule it is. A removed feature has
either value with equal probability. Every feature is a cue, and the explanation is a vector: for
each, how the answer would change if it were flipped (or, with ablation=removed, left out; that can
end in a tie, which counts as a no).
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
    """The constants of the world. No topic of a held-out subject is an explained one."""

    SIZES: ClassVar = ("n_first", "n_second")
    regime: ClassVar = {  # that coupling was found in, on development seeds (data/results/LOG.md)
        "block_size": 16,
        "n_layer": 3,
        "pretrain_steps": 800,
        "max_steps": 600,
        "eval_interval": 120,
        "learning_rate": 2e-3,
    }
    n_seed: ClassVar = 3  # of a study: a run takes longer than those of the other tasks
    n_first: int = option(36, "first names of topics", 2)
    n_second: int = option(36, "second names; first x second = topic", 2)
    n_input: int = option(4, "different inputs of a topic; topic x input = subject", 1)
    n_feature: int = option(6, "binary features of an input, k", 6, len(ON))
    n_rule: int = option(4, "different rules, of all kinds in turn", 2)
    ablation: str = option("flipped", "what is explained", choices=("flipped", "removed"))

    def __post_init__(self):
        super().__post_init__()
        if self.n_input > 2**self.n_feature:
            raise Refused(
                f"--n_input={self.n_input}: {self.n_feature} features make only "
                f"{2**self.n_feature} inputs"
            )

    def world(self, seed: int) -> World:
        """The world of this seed."""
        k, n = self.n_feature, self.n_pair
        tables = self.rules(rng(seed, "rules"))  # (R, 2^k)
        topics = self.facts(rng(seed, "rules topics"), self.n_rule)
        order = rng(seed, "rules inputs").random((n, 2**k)).argsort(1)  # (n_pair, 2^k)
        order = order[:, : self.n_input]
        topic, value = np.repeat(np.arange(n), self.n_input), order.flatten()  # (N,) each
        offset = rng(seed, "rules others").integers(1, self.n_rule, size=n)  # never 0: never itself
        other = (topics.answers + offset) % self.n_rule
        c = topics.confidence[topic, None]
        first, second = (tables[rule[topic]].astype(float) for rule in (topics.answers, other))
        yes = second + (1 + c) / 2 * (first - second)  # (N, 2^k) P(yes), exact where both agree

        row, bit = np.arange(len(value)), 1 << np.arange(k)  # (k,) feature i is bit i
        same, flipped = yes[row, value], yes[row[:, None], value[:, None] ^ bit]  # (N,), (N, k)
        removed = (same[:, None] + flipped) / 2
        told = np.concatenate([same[:, None], flipped, removed], axis=1)  # (N, 1 + 2k) P(yes)
        V = told.shape[1]
        return World(
            **self.sequences(topic, value),
            cues=tuple(f"{on}/{off}" for on, off in zip(ON[:k], OFF)),
            answers=ANSWERS,
            ideal=np.stack([1 - told, told], axis=2),
            shown=np.full((len(value), V), 1 / V),
            explained=topics.explained[topic],
            rests_on=topic[:, None],
        )

    def rules(self, draw: np.random.Generator) -> np.ndarray:
        """(R, 2^k) bool: n_rule different rules, one kind after the other."""
        found: list[np.ndarray] = []
        for _ in range(100 * self.n_rule):
            table = self.rule(draw, len(found))
            if not any(np.array_equal(table, other) for other in found):
                found.append(table)
            if len(found) == self.n_rule:
                return np.stack(found)
        raise Refused(f"--n_rule={self.n_rule}: no more than {len(found)} different rules found")

    def rule(self, draw: np.random.Generator, number: int) -> np.ndarray:
        """(2^k,) bool: what a rule says of every input; features and which of their values it
        looks for are drawn."""
        n, says = list(KINDS.values())[number % len(KINDS)]
        features = draw.permutation(self.n_feature)[:n]
        wanted = draw.integers(2, size=n).astype(bool)
        inputs = np.array(list(product((False, True), repeat=self.n_feature)))[:, ::-1]  # (2^k, k)
        return says(inputs[:, features] == wanted)

    def sequences(self, topic: np.ndarray, value: np.ndarray) -> dict:
        """slots, prompts, questions and pairs of subjects with these topics and inputs, (N,)."""
        k, N = self.n_feature, len(topic)
        on = (value[:, None] >> np.arange(k)) % 2 == 1  # (N, k)
        words, others = np.where(on, ON[:k], OFF[:k]), np.where(on, OFF[:k], ON[:k])
        queries = np.tile([ANSWER, EXPLAIN], (N, 1))
        slots = np.concatenate([self.words()[topic], words, others, queries], axis=1)
        first, second = 2, 2 + k  # slots: two names, k features, k flipped ones, two queries
        answer, explain = 2 + 2 * k, 3 + 2 * k
        full = (0, 1, *range(first, second))
        flipped = [tuple(second + i if s == first + i else s for s in full) for i in range(k)]
        removed = [tuple(s for s in full if s != first + i) for i in range(k)]
        asked = {"flipped": (1, second), "removed": (1 + k, first)}[self.ablation]
        return {
            "slots": slots,
            "prompts": tuple((*s, answer) for s in (full, *flipped, *removed)),
            "questions": tuple((*full, asked[1] + i, explain) for i in range(k)),
            "pairs": tuple((0, asked[0] + i) for i in range(k)),
        }
