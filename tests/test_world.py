"""A world: how its answers are drawn, and what its explanations say."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import scipy.stats

from introspect.tasks.hint import Hint

SMALL = Hint(n_entity=5, n_attribute=6, n_answer=3)
WORLD = SMALL.world(0)


def test_draws_occur_as_often_as_the_ideal_answers():
    """Chi square of 30 subjects x 4 variants x 2 free shares, 4,000 draws each."""
    subjects = np.repeat(np.arange(30), 4000)
    drawn = WORLD.draw(subjects, np.random.default_rng(0)).reshape(30, 4000, 4)
    counts = (drawn[..., None] == np.arange(3)).sum(1)  # (30, 4, 3)
    for expected, is_right in ((WORLD.ideal, True), (np.full((30, 4, 3), 1 / 3), False)):
        chi_square = ((counts - 4000 * expected) ** 2 / (4000 * expected)).sum()
        assert (scipy.stats.chi2.sf(chi_square, df=30 * 4 * 2) > 0.001) == is_right


def test_draws_of_variants_and_of_subjects_are_independent():
    blind = replace(SMALL, guess_share=1.0, low_confidence=0.0, hint_reliability=0.0).world(0)
    drawn = blind.draw(np.zeros(20_000, dtype=int), np.random.default_rng(0))  # all uniform
    pairs = [(drawn[:, 0], drawn[:, 1]), (drawn[:, 2], drawn[:, 3]), (drawn[1:, 0], drawn[:-1, 0])]
    for a, b in pairs:
        assert abs((a == b).mean() - 1 / 3) < 5 * np.sqrt(2 / 9 / 20_000)


def test_an_impossible_answer_is_never_drawn():
    sure = replace(SMALL, guess_share=0.0, low_confidence=1.0).world(0)
    drawn = sure.draw(np.arange(30).repeat(100), np.random.default_rng(0))
    facts = sure.ideal[:, 0].argmax(-1)
    assert (drawn == facts.repeat(100)[:, None]).all()
    smallest = SimpleNamespace(random=np.zeros)  # 0 is a number that a generator may give
    assert (sure.draw(np.arange(30), smallest) == facts[:, None]).all() and facts.any()


def test_explanations_in_words():
    words = [WORLD.explanation(k) for k in range(WORLD.n_explanation)]
    assert words == [*(f"would change to {letter}" for letter in "ABC"), "would stay"]


def test_any_two_variants_may_be_a_pair():
    turned = tuple((y, x) for x, y in WORLD.pairs)
    assert replace(WORLD, pairs=turned).pairs == turned
