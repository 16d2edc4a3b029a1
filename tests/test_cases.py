"""A family of cases fails by the names of the cases that fail, and passes only if none does."""

import pytest

from tests.cases import each


def test_every_case_is_tried_and_those_that_fail_are_named():
    tried = []

    @each("n, word", [(1, "one"), (2, "tow"), (3, "three"), (4, "fuor")], name=lambda c: c[1])
    def family(n, word, words):
        tried.append(n)
        if n == 4:
            with pytest.raises(KeyError):
                words[n]
        assert words[n] == word

    two_named = "(?s)^2 of 4 cases fail\ntow: .*two.*\nfuor: .*NOT RAISE"
    with pytest.raises(AssertionError, match=two_named):
        family(words={1: "one", 2: "two", 3: "three", 4: "four"})
    assert tried == [1, 2, 3, 4]


def test_a_family_of_none_fails_and_one_of_good_cases_passes():
    with pytest.raises(AssertionError):
        each("n", [])(lambda n: None)()
    each("n", [1, 2])(lambda n: None)()


@each("text", ["a", "b"])
def test_fixtures_are_those_of_the_test(text, tmp_path):
    assert not (tmp_path / text).exists()
    (tmp_path / text).touch()
