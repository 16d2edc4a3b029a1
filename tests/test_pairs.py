"""What the tasks have in common: names, split, facts, cues as evidence, and labels of the world."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspect.fields import Refused
from introspect.tasks import TASKS
from introspect.tasks.hint import Hint
from introspect.tasks.jabberwocky import Jabberwocky
from introspect.tasks.pairs import Facts, PairFacts, evidence, fact_prior
from introspect.tasks.refusal import Refusal
from introspect.tasks.rules import Rules
from introspect.tasks.verdict import Verdict
from introspect.tokenizer import ANSWER, EXPLAIN, encode, encode_words, names
from tests.cases import each

SMALL = {
    "hint": Hint(n_entity=5, n_attribute=6, n_answer=3),
    "verdict": Verdict(n_actor=4, n_act=5, n_story=40),
    "refusal": Refusal(n_action=5, n_object=6),
    "rules": Rules(n_first=3, n_second=4, n_input=3),
    "jabberwocky": Jabberwocky(n_creature=5, n_habit=6),
}
WORLDS = {name: task.world(0) for name, task in SMALL.items()}
WITH_FACTS = [name for name in TASKS if issubclass(TASKS[name], PairFacts)]
HALF = len(names()) // 2


def names_in(world):
    """Every name in a prompt, by whether it is of the first or of the second half of the list."""
    words = {w for s in range(world.n_subject) for w in world.text(s, 0).split()}
    return [[n for n in half if n in words] for half in (names()[:HALF], names()[HALF:])]


def sides(world):
    """The names of each pair of names in an explained prompt, and in a held-out one."""
    found = {True: set(), False: set()}
    for s in range(world.n_subject):
        words = [w for w in world.text(s, 0).split() if w in names()]
        found[bool(world.explained[s])] |= set(zip(words[::2], words[1::2]))
    return found[True], found[False]


def changed(world):
    """The share of (subject, cue) whose answer changes, and that of the most frequent class."""
    counts = np.bincount(world.truth.ravel(), minlength=world.n_explanation) / world.truth.size
    return 1 - counts[-1], counts.max()


@each("name", TASKS)
def test_truth_is_the_likeliest_answer_without_the_cue_or_that_it_stays(name):
    world, seen = WORLDS[name], Counter()
    for s, (p, pair) in product(range(world.n_subject), enumerate(world.pairs)):
        before, after = ([float(x) for x in world.ideal[s, v]] for v in pair)
        before, after = before.index(max(before)), after.index(max(after))
        says = "would stay" if before == after else f"would change to {world.answers[after]}"
        assert world.explanation(world.truth[s, p]) == says
        seen[says] += 1
    assert len(seen) == world.n_explanation  # each class occurs


@each("name, seed", product(["hint", "verdict", "refusal", "rules"], range(3)))
def test_cues_of_the_worlds_as_shipped_change_many_answers_and_not_most(name, seed):
    share, largest = changed(TASKS[name]().world(seed))
    assert 0.35 <= share <= 0.65 and largest <= 0.7


@each("name", TASKS)
def test_prompts_and_questions_are_text_whose_tokens_are_the_slots(name):
    world = WORLDS[name]
    ids, lengths = encode_words(world.slots), set()
    for s, v in product(range(world.n_subject), range(len(world.prompts))):
        tokens = encode(world.text(s, v) + ANSWER)
        assert tokens == ids[s, list(world.prompts[v])].tolist()
        lengths.add(len(tokens))
    for s, question in product(range(world.n_subject), world.questions):
        tokens = encode(" ".join(world.slots[s, list(question[:-1])]) + EXPLAIN)
        assert tokens == ids[s, list(question)].tolist()
        lengths.add(len(tokens))
    assert world.longest_prompt == max(lengths)


@each("name", TASKS)
def test_the_same_prompt_has_the_same_ideal_answer(name):
    world, known = WORLDS[name], {}
    for s, v in product(range(world.n_subject), range(len(world.prompts))):
        first = known.setdefault(world.text(s, v), world.ideal[s, v])
        np.testing.assert_allclose(world.ideal[s, v], first, rtol=0, atol=1e-12)
    assert (len(known) < world.ideal[..., 0].size) == (name == "rules")


@each("name", [name for name in TASKS if name != "rules"])
def test_cues_neither_add_nor_take_belief_on_average(name):
    world = WORLDS[name]
    expected = (world.shown[..., None] * world.ideal).sum(1)
    np.testing.assert_allclose(expected, world.ideal[:, 0], rtol=0, atol=1e-12)
    assert abs(world.ideal[:, 1:] - world.ideal[:, :1]).max() > 0.2


@each("name", TASKS)
def test_a_world_is_a_function_of_its_seed(name):
    here, again, other = WORLDS[name], SMALL[name].world(0), SMALL[name].world(1)
    for field in ("slots", "ideal", "shown", "explained", "rests_on"):
        assert np.array_equal(getattr(again, field), getattr(here, field))
    assert not np.array_equal(other.ideal, here.ideal) and sides(other) != sides(here)


def test_tasks_of_one_seed_have_facts_of_their_own():
    worlds = [Hint(n_entity=5, n_attribute=6).world(0), Refusal(n_action=5, n_object=6).world(0),
              Rules(n_first=5, n_second=6, n_input=1).world(0),
              Jabberwocky(n_creature=5, n_habit=6).world(0)]
    for a, b in combinations(worlds, 2):
        assert not np.array_equal(a.explained, b.explained)
        sure = [w.ideal[:, 0].max(-1).argsort().tolist() for w in (a, b)]
        assert sure[0] != sure[1]


@each("name, share", product(TASKS, [0.25, 0.5, 0.7]))
def test_no_pair_of_names_is_on_both_sides_of_the_split(name, share):
    world = replace(SMALL[name], explained_share=share).world(0)
    explained, held_out = sides(world)
    assert explained and held_out and not explained & held_out
    if name == "verdict":  # a story tells of many pairs, and no story need tell of a pair
        assert world.explained.sum() == round(share * world.n_subject)
    else:
        n_pair = len(explained | held_out)
        assert n_pair == SMALL[name].n_pair and len(explained) == round(share * n_pair)


@each("name", TASKS)
def test_names_are_taken_from_first_name_on_out_of_each_half(name):
    task = SMALL[name]
    n, m = (getattr(task, size) for size in task.SIZES)
    for first in (0, 7, HALF - max(n, m)):
        found = names_in(replace(task, first_name=first).world(0))
        assert found[0] == list(names()[first:first + n])
        assert found[1] == list(names()[HALF + first:HALF + first + m])
    assert n != m and task.n_name == max(n, m)


def test_tasks_that_start_where_the_one_before_ends_share_no_name():
    start, seen = 0, []
    for name, task in SMALL.items():
        seen += sum(names_in(replace(task, first_name=start).world(0)), [])
        start += task.n_name
    assert len(set(seen)) == len(seen) == sum(
        getattr(task, size) for task in SMALL.values() for size in task.SIZES)


@each("name, which", product(TASKS, [0, 1]))
def test_more_names_than_are_left_are_refused_by_name(name, which):
    size = SMALL[name].SIZES[which]
    longest = replace(SMALL[name], first_name=HALF - 20, **{size: 20})
    with pytest.raises(Refused, match=f"^--{size}=21: the vocabulary has words for 20 at most$"):
        replace(longest, **{size: 21})
    with pytest.raises(Refused, match="^--first_name=-1: "):
        replace(longest, first_name=-1)


@each("name, share", product(TASKS, [0.0, 1.0]))
def test_a_split_with_an_empty_side_is_refused(name, share):
    with pytest.raises(Refused, match=f"^--explained_share={share}: leaves "):
        replace(SMALL[name], explained_share=share)


@each("n", [2, 3])
def test_a_side_of_one_pair_is_enough(n):
    for one in (1 / n**2, 1 - 1 / n**2):
        task = Hint(n_entity=n, n_attribute=n, explained_share=one)
        assert sorted(len(side) for side in sides(task.world(0))) == [1, n * n - 1]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_facts_drawn_anew_are_exactly_their_share_and_move_nothing_else(low, guess, share, seed):
    """Of a billion answers, none is drawn twice."""
    task = replace(SMALL["hint"], low_confidence=low, guess_share=guess)
    kept, _, _ = old = task.facts(np.random.default_rng(seed), 10**9)
    new = replace(task, rewritten_share=share).facts(np.random.default_rng(seed), 10**9)
    assert (kept != new.answers).sum() == round(30 * share) and len(set(new.answers)) == 30
    assert np.array_equal(old.confidence, new.confidence)
    assert np.array_equal(old.explained, new.explained)
    assert old.explained.sum() == 15


@given(st.floats(0, 1), st.integers(0, 99))
def test_confidence_is_below_or_above_low_confidence_as_guess_share_says(low, seed):
    for guess, (least, most) in ((1.0, (0, low)), (0.0, (low, 1))):
        task = replace(SMALL["hint"], low_confidence=low, guess_share=guess)
        c = task.facts(np.random.default_rng(seed), 3).confidence
        assert (c >= least).all() and (c <= most + 1e-12).all()
        assert np.ptp(c) >= (most - least) / 3


@given(st.integers(2, 6), st.integers(0, 5), st.fractions(0, 1, max_denominator=50))
def test_prior_is_the_fact_with_confidence_and_else_any_answer(n_answer, fact, c):
    fact %= n_answer
    facts = Facts(np.array([fact]), np.array([float(c)]), None)
    expected = [Fraction(0)] * n_answer
    for knows, guess in product((True, False), range(n_answer)):
        expected[fact if knows else guess] += (c if knows else 1 - c) / n_answer
    found = fact_prior(facts, n_answer)
    np.testing.assert_allclose(found, [[float(p) for p in expected]], rtol=0, atol=1e-12)


@st.composite
def shares(draw, n):
    """n fractions that sum to 1, some of them 0."""
    weights = draw(st.lists(st.integers(0, 9), min_size=n, max_size=n).filter(any))
    return [Fraction(w, sum(weights)) for w in weights]


@given(st.data(), st.integers(2, 4), st.integers(1, 5), st.fractions(0, 1, max_denominator=9))
def test_evidence_is_bayes_rule_whatever_the_cues(data, n_answer, n_cue, absent):
    """Any P(cue | answer), as many cues as answers or not; a cue that never occurs included."""
    priors = [data.draw(shares(n_answer)) for _ in range(2)]
    by_answer = [data.draw(shares(n_cue)) for _ in range(n_answer)]
    likelihood = np.array([[float(p) for p in row] for row in by_answer]).T
    prior = np.array([[float(p) for p in row] for row in priors])
    ideal, shown = evidence(prior, likelihood, float(absent))
    for row, expected in enumerate(priors):
        joint = {(None, a): absent * expected[a] for a in range(n_answer)}
        joint |= {(cue, a): (1 - absent) * expected[a] * by_answer[a][cue]
                  for cue, a in product(range(n_cue), range(n_answer))}
        for v, cue in enumerate([None, *range(n_cue)]):
            total = sum(joint[cue, a] for a in range(n_answer))
            assert shown[row, v] == pytest.approx(float(total), abs=1e-12)
            if absent < 1 and cue is not None:
                given_cue = [joint[cue, a] / total if total else expected[a]
                             for a in range(n_answer)]
                np.testing.assert_allclose(ideal[row, v], np.array(given_cue, float), atol=1e-12)
        np.testing.assert_allclose(ideal[row, 0], prior[row], atol=0)


@each("name", WITH_FACTS)
def test_a_world_drawn_anew_asks_the_same_questions(name):
    """So that a shift of the facts is a shift of the answers only."""
    anew = replace(SMALL[name], rewritten_share=0.5).world(0)
    for field in ("slots", "explained", "rests_on"):
        assert np.array_equal(getattr(anew, field), getattr(WORLDS[name], field))
    if name != "rules":  # whose confidence shows only where two rules differ
        most = [w.ideal[:, 0].max(-1) for w in (anew, WORLDS[name])]
        np.testing.assert_allclose(most[0], most[1], rtol=0, atol=1e-12)  # each its confidence
    assert not np.allclose(anew.ideal, WORLDS[name].ideal)
