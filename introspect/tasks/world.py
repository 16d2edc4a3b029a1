"""A world: everything that a task says to a model, and how likely each answer is.

A *subject* is what a prompt is about, such as a pair of names. It has V *variants* of its prompt,
for example one with the hint B and one without a hint. A *pair* names two variants, x and x\\C,
that differ in one cue C only. An explanation of a pair says how the answer to x would change if C
were removed: class k < K means "it would change to answer k", class K means "it would stay".

    N subjects   S token slots   V variants of a subject's prompt   P pairs (with cue, without)
    K answers    K + 1 explanations   F facts that the answers about a subject depend on

A *task* is a frozen dataclass of constants with a method `world(seed) -> World`; its fields are
made by `fields.option`. Its class may have two more attributes: `regime`, which overrides defaults
of a run by flag, and `taught = True`, if the task is learned only after M0 has been trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from introspect.tasks.check import check_world, describe, find_own_words, require
from introspect.tokenizer import ANSWER, EXPLAIN

# an explanation in words, cut before each place where the model has to say the next word
SENTENCES = ((), ("would",), ("would", "change"), ("would", "change", "to"), ("would", "stay"))


@dataclass(frozen=True)
class World:
    slots: np.ndarray  # (N, S) words; every prompt of a subject is made of its slots
    prompts: tuple[tuple[int, ...], ...]  # V sequences of slots that end in <|answer|>
    questions: tuple[tuple[int, ...], ...]  # P sequences of slots that end in <|explain|>
    pairs: tuple[tuple[int, int], ...]  # P x (variant with the cue, the same without it)
    cues: tuple[str, ...]  # P names of what each pair removes
    answers: tuple[str, ...]  # K words
    ideal: np.ndarray  # (N, V, K) P(answer | subject, variant), the ideal Bayesian answer
    shown: np.ndarray  # (N, V) how often training shows each variant; rows sum to 1
    explained: np.ndarray  # (N,) bool; True: explanations are trained on it, False: held out
    rests_on: np.ndarray  # (N, F) int, numbers of the facts behind a subject; no fact is behind
    # both an explained and a held-out subject
    own_words: tuple[str, ...] = ()  # those that vocabulary.txt lacks: found in slots and answers

    def __post_init__(self):
        check_world(self)
        object.__setattr__(self, "own_words", find_own_words(self))

    @property
    def n_subject(self) -> int:
        return len(self.slots)

    @property
    def n_explanation(self) -> int:
        return len(self.answers) + 1

    @property
    def longest_prompt(self) -> int:
        return max(len(sequence) for sequence in self.prompts + self.questions)

    @property
    def truth(self) -> np.ndarray:
        """(N, P) labels of an ideal answerer, which gives the first of equally likely answers."""
        answers = self.ideal.argmax(-1)
        with_cue, without = (answers[:, [pair[i] for pair in self.pairs]] for i in (0, 1))
        return np.where(with_cue == without, len(self.answers), without)

    def subjects(self, split: str) -> np.ndarray:
        """Numbers of the subjects in "train" (with explanation labels) or in "held_out"."""
        return np.flatnonzero(self.explained == {"train": True, "held_out": False}[split])

    def text(self, subject: int, variant: int) -> str:
        """The prompt of a variant as a person would read it, without the query token at its end."""
        return " ".join(self.slots[subject, slot] for slot in self.prompts[variant][:-1])

    def draw(self, subjects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An answer to every variant of `subjects` (B,), drawn from `ideal`: (B, V)."""
        below = self.ideal[subjects].cumsum(-1)[..., :-1]  # (B, V, K - 1)
        return (rng.random((len(subjects), below.shape[1], 1)) >= below).sum(-1)

    def explanation(self, label: int) -> str:
        """An explanation class in words."""
        stays = label == len(self.answers)
        return "would stay" if stays else f"would change to {self.answers[label]}"


def with_cues(
    subjects: np.ndarray,
    cues: Sequence[str],
    answers: Sequence[str],
    ideal: np.ndarray,
    shown: np.ndarray,
    explained: np.ndarray,
    rests_on: np.ndarray | None = None,
) -> World:
    """A world whose prompts are the words of a subject, alone or followed by one of P cue words.

    Args:
        subjects: (N, W) words. cues: P words. answers: K words.
        ideal: (N, 1 + P, K), shown: (N, 1 + P); variant 0 has no cue, variant 1 + c has cue c.
        explained: (N,) bool. rests_on: (N, F); default: every subject has one fact of its own.
    """
    subjects = np.asarray(subjects)
    text = f"subjects: must be an (N, W) array of words, got {describe(subjects)}"
    require(subjects.ndim == 2, text)
    (N, W), P = subjects.shape, len(cues)
    words, answer, explain = tuple(range(W)), W + P, W + P + 1  # slots: words, cues, two queries
    with_cue = [(*words, W + c) for c in range(P)]
    return World(
        slots=np.concatenate([subjects, np.tile([*cues, ANSWER, EXPLAIN], (N, 1))], axis=1),
        prompts=((*words, answer), *((*sequence, answer) for sequence in with_cue)),
        questions=tuple((*sequence, explain) for sequence in with_cue),
        pairs=tuple((1 + c, 0) for c in range(P)),
        cues=tuple(cues),
        answers=tuple(answers),
        ideal=ideal,
        shown=shown,
        explained=explained,
        rests_on=np.arange(N)[:, None] if rests_on is None else rests_on,
    )
