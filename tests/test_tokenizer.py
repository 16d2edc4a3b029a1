"""Text and token ids: every text comes back, and a word is one token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspect import tokenizer
from introspect.tokenizer import (
    ANSWER,
    EXPLAIN,
    decode,
    encode,
    encode_words,
    encoding,
    names,
    vocab_size,
    vocabulary,
)

pieces = [ANSWER, EXPLAIN, "zorp", " zorp", "hint:A", " ", "\n", "\t", "<|", "é", "🦉"]
special_text = st.lists(st.sampled_from(pieces) | st.text(max_size=4), max_size=8).map("".join)


@given(st.text() | special_text)
def test_every_text_comes_back(text):
    assert decode(encode(text)) == text


@given(st.lists(st.sampled_from([*vocabulary(), ANSWER, EXPLAIN]), min_size=1, max_size=8))
def test_a_text_of_words_has_one_token_a_word(words):
    text = "".join(f" {w}" if w in vocabulary() else w for w in words).removeprefix(" ")
    if words[0] in vocabulary():
        assert encode(text) == encode_words(words).tolist()
    else:  # the space in front of the first word is not part of a special
        assert encode(text) == [ord(" "), *encode_words(words).tolist()]


def test_an_unknown_word_is_written_in_bytes_and_refused_as_a_word():
    assert encode("zorpx") == list(b" zorpx")
    with pytest.raises(ValueError, match="'zorpx' is not a word of the vocabulary"):
        encode_words(["zorp", "zorpx"])


def test_a_word_keeps_its_token_wherever_it_stands():
    (zorp,) = encode("zorp")
    assert encode("blick zorp zorp")[1:] == [zorp, zorp]
    assert encode("zorp\nzorp") == [zorp, *b"\nzorp"]  # only a space belongs to a word


def test_specials_have_ids_of_their_own():
    assert encode("zorp" + ANSWER + EXPLAIN)[1:] == [256, 257]
    assert encode("<|answer") == list(b" <|answer")


def test_ids_are_bytes_then_specials_then_words_so_that_a_word_more_moves_none():
    words = [encoding().decode_single_token_bytes(258 + i) for i in range(len(vocabulary()))]
    assert words == [b" " + word.encode() for word in vocabulary()]
    assert [encoding().decode_single_token_bytes(i) for i in range(256)] == [
        bytes([i]) for i in range(256)
    ]
    n = 258 + len(set(vocabulary()))
    assert n <= vocab_size() < n + 1024 and vocab_size() % 1024 == 0
    assert names() == vocabulary()[: len(names())] and len(names()) == 512


def test_a_word_listed_twice_is_refused(monkeypatch):
    monkeypatch.setattr(tokenizer, "vocabulary", lambda: ("zorp", "blick", "zorp"))
    with pytest.raises(AssertionError):
        encoding.__wrapped__()


def test_an_array_of_words_keeps_its_shape():
    words = np.array([["zorp", ANSWER, "zorp"], ["hint:B", EXPLAIN, "blick"]])
    ids = encode_words(words)
    assert ids.dtype == np.int64 and ids.shape == (2, 3)
    for word, i in zip(words.flat, ids.flat):
        assert encoding().decode([i]).strip() == word


def test_a_lone_surrogate_is_refused_with_its_place():
    with pytest.raises(ValueError, match="a lone surrogate at position 2"):
        encode("ab\ud800c")


def test_names_are_letters_only_and_enough_for_the_default_world():
    assert all(name.isalpha() and name in vocabulary() for name in names())
    assert "hint:A" not in names() and "hint:A" in vocabulary()
    assert len(set(names())) == len(names()) >= 2 * 48
