"""The `hint` world, against its own story: enumerated, simulated and read as text."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import scipy.stats

from introspect.fields import Refused
from introspect.tasks.hint import Hint
from introspect.tasks.pairs import Facts, agreeing, evidence, fact_prior
from introspect.tokenizer import ANSWER, EXPLAIN, encode, encode_words, names
from tests.cases import each

SMALL = Hint(n_entity=5, n_attribute=6, n_answer=3)
WORLD = SMALL.world(0)
LARGE = Hint()  # 2,304 facts, for statistics
HALF = len(names()) // 2  # of the invented words name entities, the others attributes


def facts_and_confidence(world):
    """Read back from the answers without a hint: c [a = fact] + (1 - c) / K."""
    prior, K = world.ideal[:, 0], len(world.answers)
    return prior.argmax(-1), (prior.max(-1) * K - 1) / (K - 1)


def posterior(facts, confidence, r, absent, K=3):
    """What the task computes for facts with these confidences."""
    prior = fact_prior(Facts(facts, confidence, None), K)
    return evidence(prior, agreeing(r, K), absent)


def told(fact, c, r, absent, K):
    """{(variant, answer): probability}, by walking through every coin of the story."""
    table = {}
    for knows, guess, shown, follows, other in product((1, 0), range(K), (1, 0), (1, 0), range(K)):
        answer = fact if knows else guess
        variant = (1 + (answer if follows else other)) if shown else 0
        p = (c if knows else 1 - c) * (1 - absent if shown else absent) * (r if follows else 1 - r)
        table[variant, answer] = table.get((variant, answer), 0) + p / K / K
    return table


@each("c, r", product([Fraction(0), Fraction(1, 10), Fraction(9, 10)],
                      [Fraction(0), Fraction(6, 10), Fraction(1)]))
def test_posterior_is_bayes_rule_over_every_coin_of_the_story(c, r):
    K, absent, facts = 3, Fraction(3, 10), np.array([2, 0])
    ideal, shown = posterior(facts, np.full(2, float(c)), float(r), float(absent))
    for row, fact in enumerate(facts):
        table = told(fact, c, r, absent, K)
        for v in range(K + 1):
            total = sum(table[v, a] for a in range(K) if (v, a) in table)
            assert shown[row, v] == pytest.approx(float(total), abs=1e-12)
            given = [float(table.get((v, a), 0) / total) for a in range(K)]
            np.testing.assert_allclose(ideal[row, v], given, rtol=0, atol=1e-12)


def test_posterior_is_what_a_simulation_counts():
    """400,000 tellings; each share is known to sqrt(p (1 - p) / n), here to 5 times that."""
    n, K, c, r, absent, fact = 400_000, 3, 0.5, 0.6, 0.3, 1
    draw = np.random.default_rng(0)
    answer = np.where(draw.random(n) < c, fact, draw.integers(K, size=n))
    hint = np.where(draw.random(n) < r, answer, draw.integers(K, size=n))
    variant = np.where(draw.random(n) < absent, 0, 1 + hint)
    ideal, shown = (t[0] for t in posterior(np.array([fact]), np.array([c]), r, absent))
    for v in range(K + 1):
        among = answer[variant == v]
        assert abs(len(among) / n - shown[v]) < 5 * np.sqrt(shown[v] / n)
        share = np.bincount(among, minlength=K) / len(among)
        assert (abs(share - ideal[v]) < 5 * np.sqrt(ideal[v] / len(among))).all()


def test_a_hint_that_never_occurs_teaches_nothing():
    """r = 1 and c = 1: only the fact is ever hinted; the other hints leave the prior, the fact."""
    ideal, shown = posterior(np.array([1]), np.ones(1), 1.0, 0.3)
    assert ideal[0].tolist() == [[0, 1, 0]] * 4
    np.testing.assert_allclose(shown, [[0.3, 0, 0.7, 0]], rtol=0, atol=1e-12)


def test_confidences_are_a_mixture_of_two_uniforms_and_facts_are_uniform():
    facts, c = facts_and_confidence(LARGE.world(0))
    low = c < 0.1
    assert abs(low.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / len(c))
    assert scipy.stats.kstest(c[low] / 0.1, "uniform").pvalue > 0.001
    assert scipy.stats.kstest((c[~low] - 0.1) / 0.9, "uniform").pvalue > 0.001
    anew, _ = facts_and_confidence(replace(LARGE, rewritten_share=1.0).world(0))
    for drawn in (facts, anew):
        assert scipy.stats.chisquare(np.bincount(drawn, minlength=4)).pvalue > 0.001
    assert abs((facts == anew).mean() - 1 / 4) < 5 * np.sqrt(3 / 16 / len(c))  # drawn, not moved
    assert abs(np.corrcoef(facts == 0, c)[0, 1]) < 5 / np.sqrt(len(c))


def test_train_and_held_out_subjects_are_disjoint_and_all_and_mixed():
    world = replace(LARGE, explained_share=0.25).world(0)
    train, held_out = world.subjects("train"), world.subjects("held_out")
    assert sorted([*train, *held_out]) == list(range(2304)) and len(train) == 576
    for number in (train // 48, train % 48):  # every entity and every attribute is in both
        counts = np.bincount(number, minlength=48)
        assert 0 < counts.min() and counts.max() < 48
    other = replace(LARGE, explained_share=0.25).world(1).subjects("train")
    assert not np.array_equal(train, other)


@each("rates", [dict(hint_reliability=0.2), dict(hint_absent=0.9),
                dict(guess_share=0.9), dict(low_confidence=0.5)])
def test_worlds_that_differ_in_rates_only_share_facts_and_split(rates):
    here, there = LARGE.world(0), replace(LARGE, **rates).world(0)
    (facts, c), (other_facts, other_c) = facts_and_confidence(here), facts_and_confidence(there)
    assert np.array_equal(facts, other_facts) and np.array_equal(here.explained, there.explained)
    assert np.array_equal(here.slots, there.slots)
    assert np.allclose(c, other_c, rtol=0, atol=1e-12) == ("hint" in next(iter(rates)))
    changed = here.shown if "hint_absent" in rates else here.ideal
    assert abs(changed - (there.shown if "hint_absent" in rates else there.ideal)).max() > 0.1


def test_another_seed_is_another_world_and_the_same_seed_the_same():
    other, again = SMALL.world(1), SMALL.world(0)
    assert np.array_equal(WORLD.ideal, again.ideal) and np.array_equal(WORLD.slots, again.slots)
    assert not np.array_equal(facts_and_confidence(WORLD)[0], facts_and_confidence(other)[0])


def test_every_further_rewritten_fact_is_one_more_draw_of_one_fact():
    """26 answers: a fact drawn anew stays the same in 1 of 26 draws only."""
    task = replace(SMALL, n_answer=26, low_confidence=0.5, guess_share=0.0)
    worlds = [replace(task, rewritten_share=m / 30).world(0) for m in range(31)]
    facts, confidence = zip(*(facts_and_confidence(w) for w in worlds))
    touched = [np.flatnonzero(a != b).tolist() for a, b in zip(facts, facts[1:])]
    assert all(len(t) <= 1 for t in touched)  # one at a time
    each = sum(touched, [])
    assert len(set(each)) == len(each) >= 25  # each once, all but those drawn the same
    np.testing.assert_allclose(confidence[-1], confidence[0], rtol=0, atol=1e-9)
    assert np.array_equal(worlds[0].explained, worlds[-1].explained)


def test_prompts_are_text_whose_tokens_are_the_slots():
    ids = encode_words(WORLD.slots)
    ends = [(p, v, ANSWER) for v, p in enumerate(WORLD.prompts)]
    ends += [(q, x, EXPLAIN) for q, (x, _) in zip(WORLD.questions, WORLD.pairs)]
    for s, (slots, variant, query) in product(range(WORLD.n_subject), ends):
        assert encode(WORLD.text(s, variant) + query) == ids[s, list(slots)].tolist()
    assert WORLD.longest_prompt == 4


def test_a_subject_is_two_names_and_a_cue_is_the_hint_of_its_variant():
    plain = [WORLD.text(s, 0) for s in range(30)]
    entities, attributes = (list(dict.fromkeys(t.split()[i] for t in plain)) for i in (0, 1))
    assert plain == [f"{e} {a}" for e, a in product(entities, attributes)]
    assert len(entities) == 5 and len(attributes) == 6 and not set(entities) & set(attributes)
    for s, k in product(range(30), range(3)):
        assert WORLD.text(s, 1 + k) == f"{plain[s]} hint:{WORLD.answers[k]}"
    assert WORLD.pairs == ((1, 0), (2, 0), (3, 0)) and WORLD.answers == ("A", "B", "C")


@each("wrong", [
    dict(n_entity=HALF + 1), dict(n_attribute=HALF + 1), dict(n_answer=27), dict(n_entity=1),
    dict(explained_share=0.0), dict(explained_share=1.0), dict(explained_share=0.01),
    dict(guess_share=1.1), dict(hint_reliability=-0.1)])
def test_impossible_constants_are_refused_by_name(wrong):
    with pytest.raises(Refused, match=f"--{next(iter(wrong))}="):
        replace(SMALL, **wrong)


def test_the_largest_world_has_a_name_for_each_entity_and_each_attribute():
    for sizes in (dict(n_entity=HALF, n_attribute=2), dict(n_entity=2, n_attribute=HALF)):
        world = replace(SMALL, n_answer=26, **sizes).world(0)
        assert len(set(world.slots[:, :2].flat)) == HALF + 2
