"""Self, Orig, gap, drift and preference: by hand, by their identity and by their bound."""

from itertools import permutations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect.frequency import adjusted_gap, by_frequency
from introspect.metrics import coupling, majority_share

items = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=30)


def of(explanation, current, original):
    return coupling(*(torch.tensor(t) for t in (explanation, current, original)))


def test_five_items_by_hand():
    """Item 1: with both. 2, 3: labels differ, with the current one. 4: with the original. 5: with
    none. So Self = 3/5, Orig = 2/5, drift = 4/5, and 2 of the 3 that decide choose the current."""
    c = of([1, 2, 2, 0, 3], [1, 2, 2, 1, 1], [1, 0, 1, 0, 0])
    assert c == (0.6, 0.4, 0.8, 2 / 3)
    assert c.gap == 0.6 - 0.4


def test_following_the_current_or_the_original_label_are_the_two_ends():
    current, original = [0, 1, 2, 2], [0, 2, 1, 2]
    assert of(current, current, original) == (1, 0.5, 0.5, 1)
    assert of(original, current, original) == (0.5, 1, 0.5, 0)


def test_preference_is_none_where_nothing_is_decided():
    assert of([0, 1], [0, 2], [0, 2]) == (0.5, 0.5, 0, None)  # the labels agree
    assert of([0, 1], [1, 2], [2, 0]) == (0, 0, 1, None)  # they differ, and neither is said


def loop(rows):
    """All of `coupling` from its words, an item at a time, and the gap from the identity."""
    differ = [(e, c, o) for e, c, o in rows if c != o]
    current = sum(e == c for e, c, o in differ)
    original = sum(e == o for e, c, o in differ)
    drift = len(differ) / len(rows)
    gap = drift * (current / len(differ) - original / len(differ)) if differ else 0
    preference = current / (current + original) if current + original else None
    self_match = sum(e == c for e, c, o in rows) / len(rows)
    orig_match = sum(e == o for e, c, o in rows) / len(rows)
    return self_match, orig_match, drift, preference, gap


@given(items)
def test_gap_is_drift_times_the_difference_where_the_labels_differ(rows):
    *expected, gap = loop(rows)
    c = coupling(*torch.tensor(rows).T)
    assert tuple(c) == tuple(expected)
    assert c.gap == pytest.approx(gap, abs=1e-12)
    assert abs(c.gap) <= c.drift + 1e-12


@given(items)
def test_exchanging_the_labels_turns_gap_and_preference_around(rows):
    explanation, current, original = torch.tensor(rows).T
    c, other = coupling(explanation, current, original), coupling(explanation, original, current)
    assert other.gap == -c.gap and other.drift == c.drift
    if c.preference is not None:
        assert other.preference == pytest.approx(1 - c.preference, abs=1e-12)


def test_the_shape_of_the_items_does_not_matter():
    rows = torch.randint(3, (3, 24), generator=torch.Generator().manual_seed(0))
    assert coupling(*rows) == coupling(*rows.view(3, 6, 4))


@given(items)
def test_arrays_give_what_tensors_give(rows):
    tensors = torch.tensor(rows).T
    assert coupling(*tensors.numpy()) == coupling(*tensors)


@pytest.mark.parametrize("shapes", [[(0,), (0,), (0,)], [(2,), (2,), (3,)], [(4,), (2, 2), (4,)],
                                    [(1,), (4,), (4,)]])
def test_empty_and_unequal_inputs_are_refused(shapes):
    with pytest.raises(ValueError, match="three equal, non-empty shapes"):
        coupling(*(torch.zeros(shape, dtype=torch.int64) for shape in shapes))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_majority_share_is_what_the_best_constant_explanation_gets(labels):
    best = max(sum(k == label for label in labels) for k in range(6)) / len(labels)
    assert majority_share(torch.tensor(labels)) == best
    assert majority_share(torch.tensor([labels, labels])) == best


def dealt_out(rows):
    """Gaps of all ways to deal out the explanations of each cue among its items."""
    cues = [[row for row in rows if row[3] == c] for c in {row[3] for row in rows}]
    for orders in product(*[permutations([row[0] for row in items]) for items in cues]):
        sides = [
            (said == now) - (said == then)
            for order, items in zip(orders, cues)
            for said, (_, now, then, _) in zip(order, items)
        ]
        yield sum(sides) / len(rows)


with_cues = st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=7)


@given(with_cues)
def test_by_frequency_is_the_mean_gap_over_all_ways_to_deal_out_the_explanations(rows):
    gaps, items = list(dealt_out(rows)), torch.tensor(rows).T
    assert by_frequency(*items) == pytest.approx(sum(gaps) / len(gaps), abs=1e-12)
    rest = coupling(*items[:3]).gap - sum(gaps) / len(gaps)
    assert adjusted_gap(*items) == pytest.approx(rest, abs=1e-12)


def test_the_gap_that_frequencies_give_by_hand():
    """Cue 5: said 0 0 1, now 0 0 0, then 0 1 1: 2/3 (1 - 1/3) + 1/3 (0 - 2/3) = 2/9, of the three
    quarters of the items that have it. Cue 9: one item, said as now, which
    its frequencies say as well. The gap is (1 - 1 + 0 + 1) / 4."""
    said, now = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 0, 2])
    then, cue = torch.tensor([0, 1, 1, 3]), torch.tensor([5, 5, 5, 9])
    assert coupling(said, now, then).gap == 0.25
    assert by_frequency(said, now, then, cue) == pytest.approx((3 * 2 / 9 + 1) / 4, abs=1e-15)
    assert adjusted_gap(said, now, then, cue) == pytest.approx((1 - 3 * 2 / 9 - 1) / 4, abs=1e-15)


@given(with_cues, st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_what_depends_on_the_cue_alone_has_no_adjusted_gap_at_all(rows, by_cue):
    _, now, then, cue = torch.tensor(rows * 5 + rows[:1]).T
    for said in (torch.tensor(by_cue)[cue], torch.full_like(now, by_cue[0])):
        assert adjusted_gap(said, now, then, cue) == 0
        frequencies = coupling(said, now, then).gap
        assert by_frequency(said, now, then, cue) == pytest.approx(frequencies, abs=1e-12)


def test_a_constant_gains_what_its_label_gains_and_nothing_of_it_counts():
    now, then = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1])
    same = torch.zeros(4, dtype=torch.int64)
    assert coupling(same, now, then).gap == by_frequency(same, now, then, same) == 0.5
    assert adjusted_gap(same, now, then, same) == 0


def test_explanations_that_follow_the_model_on_each_subject_have_an_adjusted_gap():
    now, then = torch.tensor([0, 1, 0, 1]), torch.tensor([1, 0, 1, 0])
    cue = torch.zeros(4, dtype=torch.int64)
    assert adjusted_gap(now, now, then, cue) == 1 and by_frequency(now, now, then, cue) == 0
    assert adjusted_gap(then, now, then, cue) == -1


@given(with_cues)
def test_shape_order_and_names_of_labels_and_cues_do_not_matter(rows):
    said, now, then, cue = items = torch.tensor(rows * 2).T
    expected = adjusted_gap(*items)
    assert adjusted_gap(*items.view(4, 2, -1)) == expected
    renamed = [torch.tensor([-7, 40, 3])[t] for t in items]
    assert adjusted_gap(*renamed) == pytest.approx(expected, abs=1e-12)
    assert adjusted_gap(said, then, now, cue) == pytest.approx(-expected, abs=1e-12)
    assert by_frequency(*items.flip(1)) == pytest.approx(by_frequency(*items), abs=1e-12)


@pytest.mark.parametrize("measure", [by_frequency, adjusted_gap])
@pytest.mark.parametrize("shapes", [[(0,)] * 4, [(2,), (2,), (2,), (3,)], [(4, 2)] * 3 + [(2,)]])
def test_cues_of_another_shape_are_refused(measure, shapes):
    with pytest.raises(ValueError, match="four equal, non-empty shapes"):
        measure(*(torch.zeros(shape, dtype=torch.int64) for shape in shapes))
