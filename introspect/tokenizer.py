"""Text <-> token ids: a `tiktoken.Encoding` of our own, built without a network.

256 bytes, so that every text can be written; one token for each word of vocabulary.txt with a space
before it; two specials that end a prompt. A text gets one space in front before it is encoded, and
loses it again when it is decoded, so that its first word is a word like any other.
"""

from functools import cache
from importlib.resources import files

import numpy as np
import tiktoken

ANSWER = "<|answer|>"  # the model's answer is read here
EXPLAIN = "<|explain|>"  # its explanation is read here, in a sequence without the answer


@cache
def vocabulary() -> tuple[str, ...]:
    """The words with a token of their own, in the order of their ids."""
    return tuple((files("introspect") / "vocabulary.txt").read_text(encoding="utf-8").split())


@cache
def names() -> tuple[str, ...]:
    """The invented words of the vocabulary, from which tasks name their subjects."""
    return tuple(word for word in vocabulary() if word.isalpha())


@cache
def encoding() -> tiktoken.Encoding:
    ranks = {bytes([i]): i for i in range(256)}
    ranks |= {f" {word}".encode(): 256 + i for i, word in enumerate(vocabulary())}
    n = 256 + len(vocabulary())
    return tiktoken.Encoding(
        name="introspect",
        pat_str=r" ?\S+|\s",
        mergeable_ranks=ranks,
        special_tokens={ANSWER: n, EXPLAIN: n + 1},
        explicit_n_vocab=n + 2,  # refuses a word listed twice, which would leave a hole
    )


def vocab_size() -> int:
    return encoding().n_vocab


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
            is_special = word in (ANSWER, EXPLAIN)
            ids[i] = encoding().encode_single_token(str(word) if is_special else f" {word}")
        except KeyError:
            raise ValueError(f"{str(word)!r} is not a word of the vocabulary") from None
    return ids[where].reshape(words.shape)
