"""What must hold in every world; checked when it is made, so that an error names the wrong field.

The letters N, S, V, P, K, F are those of introspect/tasks/world.py.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from introspect.fields import Refused
from introspect.tokenizer import ANSWER, EXPLAIN, SPECIALS, vocabulary


def check_world(world: Any) -> None:
    """Check a `World`, field by field.

    Raises:
        Refused: the first contradiction, in one line that begins with the name of the field.
    """
    slots, K = world.slots, len(world.answers)
    is_table = getattr(slots, "ndim", 0) == 2 and slots.size > 0
    require(is_table, f"slots: must be an (N, S) array of words, got {describe(slots)}")
    check_words("slots", np.unique(slots))
    (N, S), V, P = slots.shape, len(world.prompts), len(world.questions)
    for name, query in (("prompts", ANSWER), ("questions", EXPLAIN)):
        sequences = getattr(world, name)
        require(sequences, f"{name}: must be at least one sequence of slots, got none")
        for sequence in sequences:
            got, valid = tuple(sequence), all(0 <= slot < S for slot in sequence)
            require(got and valid, f"{name}: must be slots from 0 to {S - 1}, got {got}")
            ends = (slots[:, sequence[-1]] == query).all()
            require(ends, f"{name}: must end in a slot that holds {query}, got {got}")
    counts = len(world.pairs), len(world.cues)
    text = "pairs, cues: must be as many as questions, {}, got {} and {}"
    require(counts == (P, P), text.format(P, *counts))
    for x, y in world.pairs:
        text = f"pairs: must be two different variants from 0 to {V - 1}, got {(x, y)}"
        require(0 <= x < V and 0 <= y < V and x != y, text)
    several = len(set(world.answers)) == K >= 2
    require(several, f"answers: must be at least two different words, got {world.answers}")
    check_words("answers", world.answers)
    for name, shape in (("ideal", (N, V, K)), ("shown", (N, V))):
        shares = getattr(world, name)
        fits = getattr(shares, "shape", None) == shape
        require(fits, f"{name}: must be an array of shape {shape}, got {describe(shares)}")
        sums = np.all(shares >= 0) and np.allclose(shares.sum(-1), 1)
        require(sums, f"{name}: must be probabilities, which sum to 1 over the last axis")
    check_split(world.explained, world.rests_on, N)
    read = sorted({slot for prompt in world.prompts for slot in prompt})
    differ = len(np.unique(slots[:, read], axis=0)) == N
    require(differ, "slots: must differ between subjects, or the model cannot tell them apart")


def check_words(name: str, words: Iterable[Any]) -> None:
    """Refuse what is not a word: a text that can be printed, without a space in it."""
    for word in words:
        right = isinstance(word, str) and word.isprintable() and word and " " not in word
        got = repr(str(word)) if isinstance(word, str) else describe(word)
        require(right, f"{name}: must be words, each a text without a space, got {got}")


def find_own_words(world: Any) -> tuple[str, ...]:
    """The words of a world that the vocabulary lacks: those it was given, then those found."""
    known = {*vocabulary(), *SPECIALS, *world.own_words}
    words = {str(word) for word in (*np.unique(world.slots), *world.answers)}
    return (*world.own_words, *sorted(words - known))


def check_split(explained: Any, rests_on: Any, N: int) -> None:
    """Refuse a split with an empty side, or with a fact behind subjects of both sides."""
    got = describe(explained)
    require(got == f"bool {(N,)}", f"explained: must be a bool array of shape {(N,)}, got {got}")
    both = 0 < explained.sum() < N
    require(both, f"explained: must be true for some of the {N} subjects and false for others")
    is_table = getattr(rests_on, "ndim", 0) == 2 and len(rests_on) == N
    require(is_table, f"rests_on: must be an ({N}, F) array, got {describe(rests_on)}")
    for leak in np.intersect1d(rests_on[explained], rests_on[~explained]):
        raise Refused(f"rests_on: fact {leak} must not be behind explained and held-out subjects")


def require(holds: Any, message: str) -> None:
    if not holds:
        raise Refused(message)


def describe(value: Any) -> str:
    """The type and shape of an array, or the type of anything else."""
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{value.dtype} {tuple(shape)}"
