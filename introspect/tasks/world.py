"""The protocol of a task: what it has to say of its world.

    N subjects   S token slots   V variants of a subject's prompt   P pairs (with cue, without)
    K answers    E = K + 1 explanations   F facts that the answers about a subject rest on

A task is a frozen dataclass of constants, its fields made by `fields.option`, with a method
`world(seed) -> World`. A *variant* is one prompt about a subject, for example with the hint B, or
with no hint. A *pair* names two variants, x and x\\C, that differ in the cue C only. What is
explained of a pair is how the answer to x would change if C were removed: class k < K = "it would
change to answer k", class K = "it would stay".

Two attributes of the class are optional: `regime`, defaults of a run that suit the task better than
the general ones, by flag, and `taught = True`, for what is learned after M0.

    sample              World.draw            without_cue, ablate   World.pairs
    prompt as text      World.text            answer classes        World.answers
    features            World.cues            ground truth          World.ideal, World.truth
    split, what must not leak                 World.explained, World.rests_on
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from introspect.fields import Refused
from introspect.tokenizer import ANSWER, EXPLAIN, encode_words

WORDS = " (introspect/vocabulary.txt has the words; add yours at its end)"
# "would change to B", "would stay B": what stands before each place where a token is due
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
    shown: np.ndarray  # (N, V) how often the world shows each variant; rows sum to 1
    explained: np.ndarray  # (N,) bool; True: explanation-training subject, False: held out
    rests_on: np.ndarray  # (N, F) int, the facts behind a subject; none is on both sides

    def __post_init__(self):
        for wrong in self._wrongs():
            raise Refused(wrong)

    def _wrongs(self):
        """What contradicts the protocol, in the order of the fields."""
        if getattr(self.slots, "ndim", 0) != 2 or self.slots.size == 0:
            yield f"slots: must be an (N, S) array of words, got {of_shape(self.slots)}"
        (N, S), K = self.slots.shape, len(self.answers)
        V, P = len(self.prompts), len(self.questions)
        try:
            encode_words(np.unique(self.slots))
        except ValueError as e:
            yield f"slots: {e}{WORDS}"
        for name, query in (("prompts", ANSWER), ("questions", EXPLAIN)):
            sequences = getattr(self, name)
            if not sequences:
                yield f"{name}: must be at least one sequence of slots, got none"
            for sequence in sequences:
                if not sequence or not all(0 <= slot < S for slot in sequence):
                    yield f"{name}: must be slots from 0 to {S - 1}, got {tuple(sequence)}"
                if not (self.slots[:, sequence[-1]] == query).all():
                    yield f"{name}: must end in a slot that holds {query}, got {tuple(sequence)}"
        if len(self.pairs) != P or len(self.cues) != P:
            yield (
                f"pairs, cues: must be as many as questions, {P}, "
                f"got {len(self.pairs)} and {len(self.cues)}"
            )
        for x, y in self.pairs:
            if not (0 <= x < V and 0 <= y < V and x != y):
                yield f"pairs: must be two different variants from 0 to {V - 1}, got {(x, y)}"
        if K < 2 or len(set(self.answers)) < K:
            yield f"answers: must be at least two different words, got {self.answers}"
        try:
            encode_words(list(self.answers))
        except ValueError as e:
            yield f"answers: {e}{WORDS}"
        for name, shape in (("ideal", (N, V, K)), ("shown", (N, V))):
            share = getattr(self, name)
            if getattr(share, "shape", None) != shape:
                yield f"{name}: must be an array of shape {shape}, got {of_shape(share)}"
            if not (np.all(share >= 0) and np.allclose(share.sum(-1), 1)):
                yield f"{name}: must be probabilities, which sum to 1 over the last axis"
        if of_shape(self.explained) != f"bool {(N,)}":
            yield f"explained: must be a bool array of shape {(N,)}, got {of_shape(self.explained)}"
        if not 0 < self.explained.sum() < N:
            yield f"explained: must be true for some of the {N} subjects and false for others"
        if getattr(self.rests_on, "ndim", 0) != 2 or len(self.rests_on) != N:
            yield f"rests_on: must be an ({N}, F) array, got {of_shape(self.rests_on)}"
        leaks = np.intersect1d(self.rests_on[self.explained], self.rests_on[~self.explained])
        if len(leaks):
            yield f"rests_on: fact {leaks[0]} must not be behind explained and held-out subjects"
        asked = sorted({slot for prompt in self.prompts for slot in prompt})
        if len(np.unique(self.slots[:, asked], axis=0)) < N:
            yield "slots: must differ between subjects, or the model cannot tell them apart"

    @property
    def n_subject(self) -> int:
        return len(self.slots)

    @property
    def n_explanation(self) -> int:
        return len(self.answers) + 1

    @property
    def longest_prompt(self) -> int:
        return max(len(s) for s in self.prompts + self.questions)

    @property
    def truth(self) -> np.ndarray:
        """(N, P) the label of an ideal answerer: what removing each cue does in the world itself.

        Where two answers are equally likely, the first is taken."""
        answers = self.ideal.argmax(-1)
        with_cue, without = (answers[:, [pair[i] for pair in self.pairs]] for i in (0, 1))
        return np.where(with_cue == without, len(self.answers), without)

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


def of_shape(value: object) -> str:
    """An array's type and shape, or what it is instead."""
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{value.dtype} {tuple(shape)}"


def with_cues(
    subjects: np.ndarray,
    cues: Sequence[str],
    answers: Sequence[str],
    ideal: np.ndarray,
    shown: np.ndarray,
    explained: np.ndarray,
    rests_on: np.ndarray | None = None,
) -> World:
    """A world whose prompts are a subject's words, alone or with one of P cue words behind them.

    Args:
        subjects: (N, W) words. cues: P words. answers: K words.
        ideal: (N, 1 + P, K), shown: (N, 1 + P); variant 0 has no cue, variant 1 + c the cue c.
        explained: (N,) bool. rests_on: (N, F); default: every subject rests on a fact of its own.
    """
    subjects = np.asarray(subjects)
    if subjects.ndim != 2:
        raise Refused(f"subjects: must be an (N, W) array of words, got {of_shape(subjects)}")
    (N, W), P = subjects.shape, len(cues)
    first_cue, answer, explain = W, W + P, W + P + 1  # slots: the words, P cues, two queries
    words = tuple(range(W))
    slots = np.concatenate([subjects, np.tile([*cues, ANSWER, EXPLAIN], (N, 1))], axis=1)
    cued = [(*words, first_cue + c) for c in range(P)]
    return World(
        slots=slots,
        prompts=((*words, answer), *((*x, answer) for x in cued)),
        questions=tuple((*x, explain) for x in cued),
        pairs=tuple((1 + c, 0) for c in range(P)),
        cues=tuple(cues),
        answers=tuple(answers),
        ideal=ideal,
        shown=shown,
        explained=explained,
        rests_on=np.arange(N)[:, None] if rests_on is None else rests_on,
    )
