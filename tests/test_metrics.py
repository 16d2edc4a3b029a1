"""Self, Orig, gap, drift and preference: by hand, by their identity and by their bound."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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


def test_empty_and_unequal_inputs_are_refused():
    for shapes in ([(0,)] * 3, [(2,), (2,), (3,)], [(4,), (2, 2), (4,)], [(1,), (4,), (4,)]):
        with pytest.raises(ValueError, match="need 3 equal, non-empty shapes"):
            coupling(*(torch.zeros(shape, dtype=torch.int64) for shape in shapes))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_majority_share_is_what_the_best_constant_explanation_gets(labels):
    best = max(sum(k == label for label in labels) for k in range(6)) / len(labels)
    assert majority_share(torch.tensor(labels)) == best
    assert majority_share(torch.tensor([labels, labels])) == best
