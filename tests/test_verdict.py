"""The `verdict` world, against its own story: each deed's value solved for, each verdict anew."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, product
from math import exp, sqrt

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from introspect.fields import Refused
from introspect.tasks.verdict import Verdict
from tests.cases import each

VERDICTS = ("right", "wrong", "shared")
SMALL = Verdict(n_actor=4, n_act=5, n_story=60, margin=0.45, width=0.4, view_reliability=0.7,
                view_absent=0.3)
WORLD = SMALL.world(0)
LARGE = replace(SMALL, n_actor=24, n_act=24, n_story=2304)  # of 576 deeds, for statistics


def judged(values, margin, width):
    """P(right), P(wrong), P(shared) of one story."""
    s = sum(values) / sqrt(len(values))
    right = 1 / (1 + exp((margin - s) / width))
    wrong = 1 / (1 + exp((margin + s) / width))
    return [right, wrong, 1 - right - wrong]


def told(verdicts, r, absent):
    """{(view, verdict): probability}, by walking through every coin of the story."""
    table = dict.fromkeys(product((None, *VERDICTS), VERDICTS), 0.0)
    coins = product(zip(VERDICTS, verdicts), (True, False), (True, False), VERDICTS)
    for (verdict, p), there, follows, other in coins:
        view = (verdict if follows else other) if there else None
        p *= (1 - absent if there else absent) * (r if follows else 1 - r)
        table[view, verdict] += p / 3
    return table


def stories(world):
    """The deeds that each prompt tells of, each an actor and an act, as read from its text."""
    words = [world.text(s, 0).split() for s in range(world.n_subject)]
    return [tuple(zip(w[::2], w[1::2])) for w in words]


def sums(world, task):
    """The sum of each story's values, read back from the verdict without a view."""
    right = world.ideal[:, 0, world.answers.index("right")]
    s = task.margin + task.width * (np.log(right) - np.log1p(-right))
    return s * sqrt(task.n_deed)


def values_of(world, task):
    """{deed: value} that explain the sums of all stories, and by how much they miss them."""
    told_of = stories(world)
    deeds = sorted({deed for story in told_of for deed in story})
    occurs = np.array([[deed in story for deed in deeds] for story in told_of], dtype=float)
    values, _, rank, _ = np.linalg.lstsq(occurs, sums(world, task), rcond=None)
    assert rank == len(deeds) < len(told_of)  # more stories than unknowns
    return dict(zip(deeds, values)), abs(occurs @ values - sums(world, task)).max()


@given(st.lists(st.lists(st.floats(-4, 4), min_size=3, max_size=3), min_size=1, max_size=4),
       st.integers(1, 3), st.floats(0.01, 3), st.floats(0.05, 3))
def test_verdicts_are_logistic_in_the_sum_of_values(values, n_deed, margin, width):
    values = [row[:n_deed] for row in values]
    found = Verdict(margin=margin, width=width).verdicts(np.array(values))
    expected = [judged(row, margin, width) for row in values]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@each("values, verdict", [
    ((2, 1), "right"), ((-2, -1), "wrong"), ((2, -2), "shared"), ((0.1, 0), "shared"),
    ((3, -0.5, -0.5), "right"), ((-1, -1, 1, -1), "wrong")])
def test_good_deeds_make_a_story_right_and_balanced_ones_shared(values, verdict):
    found = SMALL.verdicts(np.array([values]))[0]
    assert VERDICTS[found.argmax()] == verdict and found.max() > 0.5


@each("n_deed", [1, 2, 4])
def test_at_a_margin_a_verdict_is_as_likely_as_not(n_deed):
    at = np.full((1, n_deed), 0.45 / sqrt(n_deed))
    task = replace(SMALL, margin=0.45, width=0.3)
    assert task.verdicts(at)[0, 0] == pytest.approx(1 / 2, abs=1e-12)
    assert task.verdicts(-at)[0, 1] == pytest.approx(1 / 2, abs=1e-12)


@each("margin, width", [(0.0, 0.4), (0.05, 0.01), (0.45, 1e-6)])
def test_verdicts_of_any_margin_and_width_are_probabilities(margin, width):
    task = replace(SMALL, margin=margin, width=width)
    found = task.verdicts(np.random.default_rng(0).standard_normal((10_000, 2)))
    assert (found >= 0).all() and np.allclose(found.sum(1), 1, rtol=0, atol=1e-12)
    assert task.world(0).n_subject == 60


def test_narrow_margins_overflow_nowhere():
    values = np.array([[-50.0], [-0.45], [0.0], [0.45], [50.0]])
    with np.errstate(all="raise", under="ignore"):
        found = Verdict(margin=0.45, width=1e-6).verdicts(values)
    expected = [[0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [0.5, 0, 0.5], [1, 0, 0]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@each("n_deed", [2, 3, 4])
def test_every_deed_has_one_value_in_all_the_stories_that_tell_of_it(n_deed):
    task = replace(SMALL, n_deed=n_deed, width=1.0)
    world = task.world(0)
    values, missed = values_of(world, task)
    assert missed < 1e-9 and len(values) > 15 and np.ptp(list(values.values())) > 1
    assert all(len(set(story)) == n_deed for story in stories(world))


def test_values_are_standard_normal_and_deeds_are_told_of_evenly():
    world = LARGE.world(0)
    values, missed = values_of(world, LARGE)
    assert missed < 1e-9 and len(values) == 576
    assert scipy.stats.kstest(list(values.values()), "norm").pvalue > 0.001
    told_of = stories(world)
    for place, explained in product((0, 1), (True, False)):
        counts = Counter(s[place] for s, e in zip(told_of, world.explained) if e == explained)
        assert len(counts) <= 288
        frequencies = [*counts.values(), *[0] * (288 - len(counts))]
        assert scipy.stats.chisquare(frequencies).pvalue > 0.001


@each("rates", [{}, dict(view_reliability=0.0), dict(view_reliability=1.0),
                dict(view_absent=0.75, view_reliability=0.2)])
def test_answers_are_bayes_rule_over_every_verdict_and_view(rates):
    task = replace(SMALL, **rates)
    world, (values, _) = task.world(0), values_of(WORLD, SMALL)
    for s, story in enumerate(stories(world)):
        verdicts = judged([values[deed] for deed in story], 0.45, 0.4)
        table = told(verdicts, task.view_reliability, task.view_absent)
        for v in range(4):
            view = (*world.text(s, v).split(), None)[4]
            view = view and view.removeprefix("view:")
            total = sum(table[view, a] for a in VERDICTS)
            assert world.shown[s, v] == pytest.approx(total, abs=1e-9)
            expected = [table[view, a] / total for a in VERDICTS]
            np.testing.assert_allclose(world.ideal[s, v], expected, rtol=0, atol=1e-9)


def test_truth_is_what_the_counted_story_says():
    values, _ = values_of(WORLD, SMALL)
    seen = set()
    for s, story in enumerate(stories(WORLD)):
        verdicts = judged([values[deed] for deed in story], 0.45, 0.4)
        table = told(verdicts, 0.7, 0.3)
        for p, view in enumerate(VERDICTS):
            before = max(VERDICTS, key=lambda a: table[view, a])
            after = VERDICTS[verdicts.index(max(verdicts))]
            says = "would stay" if before == after else f"would change to {after}"
            assert WORLD.explanation(WORLD.truth[s, p]) == says
            seen.add((view, says))
    assert {view for view, _ in seen} == {*VERDICTS} and len({says for _, says in seen}) == 4


def test_no_deed_is_told_of_on_both_sides_and_no_story_twice():
    for world in (WORLD, LARGE.world(0)):
        told_of = stories(world)
        sides = [{deed for story, e in zip(told_of, world.explained) if e == side for deed in story}
                 for side in (True, False)]
        assert all(sides) and not sides[0] & sides[1]
        assert len(set(told_of)) == len(told_of) == world.n_subject
        assert all(len(set(story)) == 2 for story in told_of)


@each("share, n_story", [(0.5, 60), (0.3, 60), (0.7, 61)])
def test_sides_have_their_share_of_the_stories(share, n_story):
    world = replace(SMALL, explained_share=share, n_story=n_story).world(0)
    assert world.explained.sum() == round(share * n_story) and world.n_subject == n_story


def test_stories_rest_on_the_deeds_of_their_text():
    number = {}
    for story, facts in zip(stories(WORLD), WORLD.rests_on.tolist()):
        assert len(story) == len(facts)
        for deed, fact in zip(story, facts):
            assert number.setdefault(deed, fact) == fact
    assert len(set(number.values())) == len(number)


@each("n_deed", [1, 2, 3, 4])
def test_a_prompt_is_two_names_a_deed_and_a_view(n_deed):
    world = replace(SMALL, n_deed=n_deed, n_story=20).world(0)
    assert world.cues == tuple(f"view:{v}" for v in VERDICTS) and world.answers == VERDICTS
    plain = [world.text(s, 0) for s in range(20)]
    assert {len(text.split()) for text in plain} == {2 * n_deed}
    for s, (p, (x, y)) in product(range(20), enumerate(world.pairs)):
        assert world.text(s, x) == f"{plain[s]} {world.cues[p]}" and world.text(s, y) == plain[s]
    deeds = {deed for story in stories(world) for deed in story}
    assert len({actor for actor, _ in deeds}) == 4 and len({act for _, act in deeds}) == 5


@each("rates", [
    dict(view_reliability=0.2), dict(view_absent=0.9), dict(margin=0.1), dict(width=0.9)])
def test_worlds_that_differ_in_rates_only_share_values_stories_and_split(rates):
    task = replace(SMALL, **rates)
    other = task.world(0)
    assert stories(WORLD) == stories(other) and np.array_equal(WORLD.explained, other.explained)
    here, there = values_of(WORLD, SMALL)[0], values_of(other, task)[0]
    assert here == pytest.approx(there, abs=1e-9)
    of_views = next(iter(rates)).startswith("view")
    assert np.allclose(WORLD.ideal[:, 0], other.ideal[:, 0]) == of_views
    assert not np.allclose(WORLD.shown, other.shown)


def test_every_further_rewritten_deed_is_one_more_draw_of_one_value():
    tasks = [replace(SMALL, rewritten_share=max(m - 0.3, 0) / 20) for m in range(21)]
    worlds = [task.world(0) for task in tasks]
    assert all(stories(w) == stories(WORLD) for w in worlds)
    assert all(np.array_equal(w.explained, WORLD.explained) for w in worlds)
    values = [values_of(w, SMALL)[0] for w in worlds]
    touched = [[d for d in a if abs(a[d] - b[d]) > 1e-6] for a, b in zip(values, values[1:])]
    assert max(map(len, touched)) == 1
    each = sum(touched, [])
    assert len(each) == len(set(each)) == len(values[0])
    assert not any(abs(values[0][a] - values[-1][b]) < 1e-6  # drawn, not moved
                   for a, b in combinations(values[0], 2))


def test_as_many_stories_as_there_are_can_be_told():
    """Four deeds, two on each side: two stories each way."""
    task = Verdict(n_actor=2, n_act=2, n_story=4)
    assert len(set(stories(task.world(0)))) == 4
    with pytest.raises(Refused, match="^--n_story=6: 2 deeds on one side make 2 stories, not 3$"):
        replace(task, n_story=6).world(0)
    one_deed = Verdict(n_deed=1, n_story=576).world(0)  # every deed is a story, however unlikely
    assert len(set(stories(one_deed))) == 576


@each("share", [0.1, 0.9])
def test_a_side_with_fewer_deeds_than_a_story_is_refused(share):
    assert Verdict(n_actor=4, n_act=5, n_story=20, n_deed=2, explained_share=share)
    with pytest.raises(Refused, match="^--n_deed=3: one side of the split has 2 deeds$"):
        Verdict(n_actor=4, n_act=5, n_story=20, n_deed=3, explained_share=share)
    with pytest.raises(Refused, match="^--n_story=4: one side of the split would have no story$"):
        Verdict(n_actor=4, n_act=5, n_story=4, n_deed=2, explained_share=share)


@each("wrong", [
    dict(n_deed=0), dict(n_deed=5), dict(n_story=1), dict(margin=-0.1), dict(width=0.0),
    dict(view_reliability=1.1), dict(view_absent=-0.1), dict(n_actor=1), dict(n_act=1),
    dict(rewritten_share=1.1)])
def test_impossible_constants_are_refused_by_name(wrong):
    with pytest.raises(Refused, match=f"^--{next(iter(wrong))}="):
        replace(SMALL, **wrong)
