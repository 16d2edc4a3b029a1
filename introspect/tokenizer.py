"""Text <-> token ids: a `tiktoken.Encoding` of our own, built without a network.

256 bytes, so that every text can be written; two specials that end a prompt; one token for each
word of vocabulary.txt with a space before it. Words can be added at its end without moving an id.
A text gets one space in front before it is encoded, and loses it again when it is decoded, so that
its first word is a word like any other.
"""

from functools import cache
from importlib.resources import files

import numpy as np
import tiktoken

ANSWER = "<|answer|>"  # the model's answer is read here
EXPLAIN = "<|explain|>"  # its explanation is read here, in a sequence without the answer
SPECIALS = {ANSWER: 256, EXPLAIN: 257}
ROWS = 1024  # a model has a multiple of this many embeddings, so that a word more changes none


@cache
def paragraphs() -> list[str]:
    """vocabulary.txt: names, an empty line, and the words that mean something in a task."""
    return (files("introspect") / "vocabulary.txt").read_text(encoding="utf-8").split("\n\n")


@cache
def vocabulary() -> tuple[str, ...]:
    """The words with a token of their own, in the order of their ids."""
    return tuple(" ".join(paragraphs()).split())


@cache
def names() -> tuple[str, ...]:
    """The invented words that begin the vocabulary, from which tasks name their subjects."""
    return tuple(paragraphs()[0].split())


@cache
def encoding() -> tiktoken.Encoding:
    first = 256 + len(SPECIALS)
    ranks = {bytes([i]): i for i in range(256)}
    ranks |= {f" {word}".encode(): first + i for i, word in enumerate(vocabulary())}
    return tiktoken.Encoding(
        name="introspect",
        pat_str=r" ?\S+|\s",
        mergeable_ranks=ranks,
        special_tokens=SPECIALS,
        explicit_n_vocab=first + len(vocabulary()),  # refuses a word listed twice: it leaves a hole
    )


def vocab_size() -> int:
    """Rows of a model's embedding: the tokens there are, and room for more."""
    return -(-encoding().n_vocab // ROWS) * ROWS


def encode(text: str) -> list[int]:
    """Token ids of `text`; specials in it are recognized.

    >>> encode("zorp<|answer|>") == [*encode("zorp"), *encode_words([ANSWER])]
    True

    Raises:
        ValueError: a lone surrogate, which is not text and which no token can write.
    """
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise ValueError(f"not text: a lone surrogate at position {e.start}") from None
    return encoding().encode(" " + text, allowed_special="all")


def decode(ids: list[int]) -> str:
    """`decode(encode(text)) == text` for every text."""
    return encoding().decode(ids)[1:]


def encode_words(words: np.ndarray | list[str]) -> np.ndarray:
    """The id of each word or special of an array, same shape, int64.

    Raises:
        ValueError: a word that is not one token.
    """
    words = np.asarray(words)
    unique, where = np.unique(words, return_inverse=True)
    ids = np.empty(len(unique), dtype=np.int64)
    for i, word in enumerate(unique):
        try:
            is_special = word in SPECIALS
            ids[i] = encoding().encode_single_token(str(word) if is_special else f" {word}")
        except KeyError:
            raise ValueError(f"{str(word)!r} is not a word of the vocabulary") from None
    return ids[where].reshape(words.shape)
