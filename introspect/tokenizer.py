"""Text <-> token ids: a `tiktoken.Encoding` of our own, built without a network.

The tokens are 256 bytes, so that every text can be encoded; two special tokens that end a prompt;
and one token for each word of vocabulary.txt with a space before it. Words added at the end of that
file leave all other ids as they are. A task of one's own may have more words, with the ids after
these. A text is encoded with one more space in front, so that its first word is a word like any
other; decoding removes the space.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
import tiktoken

ANSWER = "<|answer|>"  # the model's answer is read here
EXPLAIN = "<|explain|>"  # its explanation is read here; the sequence has no answer in it
SPECIALS = {ANSWER: 256, EXPLAIN: 257}
# the number of embeddings is a multiple of this, so that one more word seldom changes the model
ROWS = 1024


@cache
def paragraphs() -> list[str]:
    """The two parts of vocabulary.txt: invented names, and words that have a meaning in a task."""
    return (files("introspect") / "vocabulary.txt").read_text(encoding="utf-8").split("\n\n")


@cache
def vocabulary() -> tuple[str, ...]:
    """All words that have a token of their own, in the order of their ids."""
    return tuple(" ".join(paragraphs()).split())


@cache
def names() -> tuple[str, ...]:
    """The invented names, with which the vocabulary begins; tasks name their subjects with them."""
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
        explicit_n_vocab=first + len(vocabulary()),  # raises if a word is listed twice
    )


def vocab_size(own: Sequence[str] = ()) -> int:
    """The number of rows in a model's embedding: one for each token, and some to spare.

    Args:
        own: words beyond the vocabulary (World.own_words).
    """
    return -(-(encoding().n_vocab + len(own)) // ROWS) * ROWS


def encode(text: str) -> list[int]:
    """Token ids of `text`; special tokens in it are recognized.

    >>> encode("zorp<|answer|>") == [*encode("zorp"), *encode_words([ANSWER])]
    True

    Raises:
        ValueError: a lone surrogate (half of a character), which no token can encode.
    """
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise ValueError(f"not text: a lone surrogate at position {e.start}") from None
    return encoding().encode(" " + text, allowed_special="all")


def decode(ids: list[int]) -> str:
    """The text of some ids: `decode(encode(text)) == text` for every text."""
    return encoding().decode(ids)[1:]


def encode_words(words: np.ndarray | list[str], own: Sequence[str] = ()) -> np.ndarray:
    """The id of each word or special token in an array; same shape, int64.

    Args:
        own: words beyond the vocabulary (World.own_words); their ids follow those of the encoding.

    Raises:
        ValueError: a word that is not one token.
    """
    ids_of_own = {word: encoding().n_vocab + i for i, word in enumerate(own)}
    words = np.asarray(words)
    unique, where = np.unique(words, return_inverse=True)
    ids = np.empty(len(unique), dtype=np.int64)
    for i, word in enumerate(map(str, unique)):
        try:
            text = word if word in SPECIALS else f" {word}"
            ids[i] = ids_of_own.get(word) or encoding().encode_single_token(text)
        except KeyError:
            raise ValueError(f"{word!r} is not a word of the vocabulary") from None
    return ids[where].reshape(words.shape)
