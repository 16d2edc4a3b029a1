"""The `refusal` world, against its own story: every coin of it counted, and read as text."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import scipy.stats

from introspect.fields import Refused
from introspect.tasks.refusal import Refusal
from tests.cases import each

FITS = {"deadly": "refuse", "explosive": "refuse", "fictional": "comply", "classroom": "comply"}
SMALL = Refusal(n_action=5, n_object=6, cue_reliability=0.8, cue_absent=0.3)
WORLD = SMALL.world(0)
LARGE = Refusal().world(0)  # 2,304 requests, for statistics


def harm_and_certainty(world):
    """Read back from the answers without a word: P(refuse) is (1 + c) / 2 where harmful."""
    refuse = world.ideal[:, 0, world.answers.index("refuse")]
    return refuse > 0.5, abs(2 * refuse - 1)


def word_of(world, variant):
    """The third word of a prompt, None where there is none."""
    return (*world.text(0, variant).split(), None)[2]


def told(harmful, c, r, absent):
    """{(word, answer): probability}, by walking through every coin of the story."""
    table = {(word, answer): Fraction(0)
             for word, answer in product((None, *FITS), ("comply", "refuse"))}
    coins = product((True, False), ("comply", "refuse"), (True, False), (True, False), (0, 1), FITS)
    for knows, guess, there, fits, which, any_word in coins:
        answer = ("refuse" if harmful else "comply") if knows else guess
        fitting = [word for word, side in FITS.items() if side == answer][which]
        word = (fitting if fits else any_word) if there else None
        p = (c if knows else 1 - c) * (1 - absent if there else absent) * (r if fits else 1 - r)
        table[word, answer] += p / (2 * 2 * 4)
    return table


def given(table, word):
    """P(answer | word); where the word never occurs, it teaches nothing."""
    row = {a: table[word, a] for a in ("comply", "refuse")}
    if not sum(row.values()):
        row = {a: sum(p for (_, b), p in table.items() if a == b) for a in row}
    return {a: p / sum(row.values()) for a, p in row.items()}


@each("r, sure", product([Fraction(0), Fraction(1, 4), Fraction(8, 10), Fraction(1)],
                         [False, True]))
def test_answers_are_bayes_rule_over_every_coin_of_the_story(r, sure):
    rates = dict(guess_share=0.0, low_confidence=1.0) if sure else {}
    world = replace(SMALL, cue_reliability=float(r), cue_absent=0.25, **rates).world(0)
    harm, certainty = harm_and_certainty(world)
    assert harm.any() and not harm.all() and (certainty == 1).all() == sure
    for s, v in product(range(30), range(5)):
        word, table = word_of(world, v), told(harm[s], Fraction(certainty[s]), r, Fraction(1, 4))
        occurs = sum(table[word, a] for a in world.answers)
        assert world.shown[s, v] == pytest.approx(float(occurs), abs=1e-12)
        expected = [float(given(table, word)[a]) for a in world.answers]
        np.testing.assert_allclose(world.ideal[s, v], expected, rtol=0, atol=1e-12)


@each("r", [Fraction(0), Fraction(1, 3), Fraction(1)])
def test_likelihood_of_words_is_that_of_a_sure_narrator(r):
    found = replace(SMALL, cue_reliability=float(r)).likelihood()
    np.testing.assert_allclose(found.sum(0), [1, 1], rtol=0, atol=1e-12)
    for a, harmful in enumerate((False, True)):
        table = told(harmful, Fraction(1), r, Fraction(0))
        expected = [float(table[word, WORLD.answers[a]]) for word in WORLD.cues]
        np.testing.assert_allclose(found[:, a], expected, rtol=0, atol=1e-12)


def test_truth_goes_both_ways_and_is_that_of_the_counted_story():
    """Without an alarming word, a refusal becomes compliance; without a framing, the reverse."""
    harm, certainty = harm_and_certainty(WORLD)
    seen = set()
    for s, (p, (x, y)) in product(range(30), enumerate(WORLD.pairs)):
        table = told(harm[s], Fraction(certainty[s]), Fraction(8, 10), Fraction(3, 10))
        before, after = (
            max(row, key=row.get)
            for row in (given(table, word_of(WORLD, v)) for v in (x, y)))
        says = "would stay" if before == after else f"would change to {after}"
        assert WORLD.explanation(WORLD.truth[s, p]) == says
        seen.add((FITS[WORLD.cues[p]], says))
    changes = {("refuse", "would change to comply"), ("comply", "would change to refuse")}
    assert seen == {*changes, ("refuse", "would stay"), ("comply", "would stay")}


def test_words_move_every_answer_their_way_and_least_those_that_are_sure():
    refuse = LARGE.ideal[..., LARGE.answers.index("refuse")]
    for p, (x, y) in enumerate(LARGE.pairs):
        moved = (refuse[:, x] - refuse[:, y]) * (1 if FITS[LARGE.cues[p]] == "refuse" else -1)
        assert (moved > 0).all()
        _, certainty = harm_and_certainty(LARGE)
        assert moved[certainty < 0.1].min() > moved[certainty > 0.95].max()


def test_words_that_never_fit_on_purpose_teach_nothing():
    world = replace(SMALL, cue_reliability=0.0).world(0)
    assert {world.explanation(label) for label in world.truth.flat} == {"would stay"}


def test_half_of_the_requests_are_harmful_with_a_certainty_of_its_own():
    harm, certainty = harm_and_certainty(LARGE)
    assert abs(harm.mean() - 1 / 2) < 5 * np.sqrt(1 / 4 / len(harm))
    low = certainty < 0.1
    assert abs(low.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / len(harm))
    assert scipy.stats.kstest(certainty[low] / 0.1, "uniform").pvalue > 0.001
    assert scipy.stats.kstest((certainty[~low] - 0.1) / 0.9, "uniform").pvalue > 0.001


@each("rates", [dict(cue_reliability=0.2), dict(cue_absent=0.9),
                dict(guess_share=0.9), dict(low_confidence=0.5)])
def test_worlds_that_differ_in_rates_only_share_harm_and_split(rates):
    other = replace(SMALL, **rates).world(0)
    (harm, certainty), (same, other_certainty) = map(harm_and_certainty, (WORLD, other))
    assert np.array_equal(harm, same) and np.array_equal(WORLD.explained, other.explained)
    assert np.array_equal(WORLD.slots, other.slots)
    of_words = next(iter(rates)).startswith("cue")
    assert np.allclose(certainty, other_certainty, rtol=0, atol=1e-12) == of_words
    assert np.allclose(WORLD.ideal, other.ideal) == ("cue_absent" in rates)
    assert not np.allclose(WORLD.shown, other.shown)


def test_a_request_is_an_action_and_an_object_and_a_cue_is_a_word_behind_them():
    plain = [WORLD.text(s, 0) for s in range(30)]
    actions, objects = (list(dict.fromkeys(t.split()[i] for t in plain)) for i in (0, 1))
    assert plain == [f"{a} {o}" for a, o in product(actions, objects)]
    assert len(actions) == 5 and len(objects) == 6
    assert WORLD.cues == tuple(FITS) and WORLD.answers == ("comply", "refuse")
    for s, (p, (x, y)) in product(range(30), enumerate(WORLD.pairs)):
        assert WORLD.text(s, x) == f"{plain[s]} {WORLD.cues[p]}" and WORLD.text(s, y) == plain[s]
        assert WORLD.slots[s, list(WORLD.questions[p])][:-1].tolist() == WORLD.text(s, x).split()


@each("wrong", [dict(cue_reliability=1.1), dict(cue_absent=-0.1),
                dict(n_action=1), dict(n_object=1)])
def test_impossible_constants_are_refused_by_name(wrong):
    with pytest.raises(Refused, match=f"^--{next(iter(wrong))}="):
        replace(SMALL, **wrong)
