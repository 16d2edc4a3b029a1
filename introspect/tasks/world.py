"""A world: the subjects of a task, their prompts with and without cues, and what is true of them.

    N subjects   S token slots   V variants of a subject's prompt   P pairs (with cue, without)
    K answers    E = K + 1 explanations

A *variant* is one prompt about a subject, for example with the hint B, or with no hint. A *pair*
names two variants, x and x\\C, that differ in the cue C only. The explanation of a pair says how
the answer to x would change if C were removed: class k < K = "it would change to answer k", class
K = "it would stay".
"""

from dataclasses import dataclass

import numpy as np

from introspect.tokenizer import ANSWER, EXPLAIN


@dataclass(frozen=True)
class World:
    slots: np.ndarray  # (N, S) words; every prompt of a subject is made of its slots
    prompts: tuple[tuple[int, ...], ...]  # V sequences of slots that end in <|answer|>
    questions: tuple[tuple[int, ...], ...]  # P sequences of slots that end in <|explain|>
    pairs: tuple[tuple[int, int], ...]  # P x (variant with the cue, the same without it)
    answers: tuple[str, ...]  # K names
    ideal: np.ndarray  # (N, V, K) P(answer | subject, variant), the ideal Bayesian answer
    shown: np.ndarray  # (N, V) how often the world shows each variant; rows sum to 1
    explained: np.ndarray  # (N,) bool; True: explanation-training subject, False: held out

    def __post_init__(self):
        N = len(self.slots)
        V, P, K = len(self.prompts), len(self.questions), len(self.answers)
        assert self.ideal.shape == (N, V, K) and self.shown.shape == (N, V)
        assert np.allclose(self.ideal.sum(-1), 1) and np.allclose(self.shown.sum(-1), 1)
        assert len(self.pairs) == P and all(0 <= x < V and 0 <= y < V for x, y in self.pairs)
        assert all((self.slots[:, p[-1]] == ANSWER).all() for p in self.prompts)
        assert all((self.slots[:, q[-1]] == EXPLAIN).all() for q in self.questions)
        assert self.explained.shape == (N,) and 0 < self.explained.sum() < N

    @property
    def n_subject(self) -> int:
        return len(self.slots)

    @property
    def n_explanation(self) -> int:
        return len(self.answers) + 1

    @property
    def longest_prompt(self) -> int:
        return max(len(s) for s in self.prompts + self.questions)

    def subjects(self, split: str) -> np.ndarray:
        """Numbers of the subjects of "train" (with explanation labels) or of "held_out"."""
        return np.flatnonzero(self.explained == {"train": True, "held_out": False}[split])

    def text(self, subject: int, variant: int) -> str:
        """The prompt of a variant without the query token, as a person would read it."""
        return " ".join(self.slots[subject, slot] for slot in self.prompts[variant][:-1])

    def draw(self, subjects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An answer to every variant of `subjects` (B,), drawn from `ideal`: (B, V)."""
        below = self.ideal[subjects].cumsum(-1)[..., :-1]  # (B, V, K - 1)
        return (rng.random((len(subjects), below.shape[1], 1)) >= below).sum(-1)

    def explanation(self, label: int) -> str:
        """An explanation class in words."""
        stays = label == len(self.answers)
        return "would stay" if stays else f"would change to {self.answers[label]}"
