"""The `jabberwocky` world: what its words mean is read back from its answers."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import scipy.stats

from introspect.config import is_taught
from introspect.fields import Refused
from introspect.tasks import TASKS
from introspect.tasks.jabberwocky import Jabberwocky
from introspect.tokenizer import names
from tests.cases import each

RELIABILITY, ABSENT = Fraction(6, 10), Fraction(3, 10)
SMALL = Jabberwocky(n_creature=5, n_habit=6, n_answer=5, word_reliability=0.6, word_absent=0.3)
WORLD = SMALL.world(0)


def facts_and_confidence(world):
    """Read back from the answers without a word: c [a = fact] + (1 - c) / K."""
    prior, K = world.ideal[:, 0], len(world.answers)
    return prior.argmax(-1), (prior.max(-1) * K - 1) / (K - 1)


def meaning_of(world):
    """{word: the answer that it makes likelier}, the same for every subject."""
    found = {}
    for p, (x, y) in enumerate(world.pairs):
        likelier = np.unique((world.ideal[:, x] / world.ideal[:, y]).argmax(-1))
        assert len(likelier) == 1
        found[world.cues[p]] = world.answers[likelier[0]]
    return found


def told(meaning, answers, fact, c):
    """{(word, answer): probability}, by walking through every coin of the story."""
    table, K = {}, len(answers)
    coins = product((True, False), answers, (True, False), (True, False), meaning)
    for knows, guess, there, beside, other in coins:
        answer = fact if knows else guess
        own = next(word for word, means in meaning.items() if means == answer)
        word = (own if beside else other) if there else None
        p = (c if knows else 1 - c) * (1 - ABSENT if there else ABSENT)
        p *= RELIABILITY if beside else 1 - RELIABILITY
        table[word, answer] = table.get((word, answer), 0) + p / K / K
    return table


@each("n_answer", [2, 5, 26])
def test_each_word_stands_for_an_answer_of_its_own(n_answer):
    world = replace(SMALL, n_answer=n_answer).world(0)
    assert sorted(meaning_of(world).values()) == sorted(world.answers)
    poem = replace(SMALL, n_answer=26).world(0).cues
    assert world.cues == poem[:n_answer] and len(world.cues) == n_answer


def test_what_a_word_stands_for_is_drawn_with_the_world():
    """Each of two words means each of two answers in about half of 60 worlds."""
    worlds = [replace(SMALL, n_answer=2, n_creature=2, n_habit=2).world(s) for s in range(60)]
    first = sum(meaning_of(w)[w.cues[0]] == "A" for w in worlds)
    assert scipy.stats.binomtest(first, 60).pvalue > 0.001
    assert len({tuple(meaning_of(SMALL.world(s)).values()) for s in range(10)}) > 7


def test_answers_are_bayes_rule_over_every_coin_of_the_story():
    meaning, (facts, confidence) = meaning_of(WORLD), facts_and_confidence(WORLD)
    assert list(meaning.values()) != sorted(meaning.values())  # or the letters would do
    for s in range(30):
        table = told(meaning, WORLD.answers, WORLD.answers[facts[s]], Fraction(confidence[s]))
        for v in range(6):
            word = (*WORLD.text(s, v).split(), None)[2]
            total = sum(table[word, a] for a in WORLD.answers)
            assert WORLD.shown[s, v] == pytest.approx(float(total), abs=1e-12)
            expected = [float(table[word, a] / total) for a in WORLD.answers]
            np.testing.assert_allclose(WORLD.ideal[s, v], expected, rtol=0, atol=1e-12)


def test_truth_is_what_the_counted_story_says():
    meaning, (facts, confidence) = meaning_of(WORLD), facts_and_confidence(WORLD)
    seen = set()
    for s in range(30):
        fact = WORLD.answers[facts[s]]
        table = told(meaning, WORLD.answers, fact, Fraction(confidence[s]))
        for p, word in enumerate(WORLD.cues):
            before = max(WORLD.answers, key=lambda a: table[word, a])
            says = "would stay" if before == fact else f"would change to {fact}"
            assert WORLD.explanation(WORLD.truth[s, p]) == says
            seen.add(says)
    assert len(seen) == 6


@each("rates", [dict(word_reliability=0.2), dict(word_absent=0.9),
                dict(guess_share=0.9), dict(rewritten_share=0.5)])
def test_worlds_that_differ_in_rates_only_share_facts_meaning_and_split(rates):
    other = replace(SMALL, **rates).world(0)
    same = np.array_equal(facts_and_confidence(WORLD)[0], facts_and_confidence(other)[0])
    assert same == ("rewritten_share" not in rates)
    assert meaning_of(WORLD) == meaning_of(other)
    assert np.array_equal(WORLD.slots, other.slots)
    assert np.array_equal(WORLD.explained, other.explained)
    assert not np.allclose(WORLD.shown, other.shown)


def test_a_prompt_is_a_creature_a_habit_and_a_word():
    plain = [WORLD.text(s, 0) for s in range(30)]
    creatures, habits = (list(dict.fromkeys(t.split()[i] for t in plain)) for i in (0, 1))
    assert plain == [f"{c} {h}" for c, h in product(creatures, habits)]
    assert len(creatures) == 5 and len(habits) == 6 and set(creatures + habits) <= set(names())
    for s, (p, (x, y)) in product(range(30), enumerate(WORLD.pairs)):
        assert WORLD.text(s, x) == f"{plain[s]} {WORLD.cues[p]}" and WORLD.text(s, y) == plain[s]
    assert WORLD.answers == tuple("ABCDE")


def test_its_words_are_of_no_other_task():
    mine = set(replace(SMALL, n_answer=26).world(0).cues)
    worlds = [task().world(0) for name, task in TASKS.items() if name != "jabberwocky"]
    others = {word for world in worlds for word in np.unique(world.slots)}
    assert len(mine) == 26 and not mine & (others | set(names()))


def test_it_alone_is_taught():
    assert [name for name, task in TASKS.items() if is_taught(task())] == ["jabberwocky"]


@each("wrong", [dict(word_reliability=1.1), dict(word_absent=-0.1),
                dict(n_answer=27), dict(n_answer=1), dict(n_habit=1)])
def test_impossible_constants_are_refused_by_name(wrong):
    with pytest.raises(Refused, match=f"^--{next(iter(wrong))}="):
        replace(SMALL, **wrong)
