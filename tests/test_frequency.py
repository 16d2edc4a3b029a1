"""The gap that frequencies of labels give alone, and what is beyond it, by all ways to deal out."""

from itertools import permutations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect.frequency import adjusted_gap, balanced_match, by_frequency
from introspect.metrics import coupling

with_cues = st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=7)


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
def test_cues_of_another_shape_are_refused(measure):
    for shapes in ([(0,)] * 4, [(2,), (2,), (2,), (3,)], [(4, 2)] * 3 + [(2,)]):
        with pytest.raises(ValueError, match="need 4 equal, non-empty shapes"):
            measure(*(torch.zeros(shape, dtype=torch.int64) for shape in shapes))


# --- Self, each class counting the same ---


def share(true):
    true = list(true)
    return sum(true) / len(true)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_balanced_is_the_mean_over_classes_of_what_is_right(rows):
    said, now = (torch.tensor(column) for column in zip(*rows))
    shares = [share(s == k for s, n in rows if n == k) for k in range(4) if k in [*zip(*rows)][1]]
    assert balanced_match(said, now) == pytest.approx(sum(shares) / len(shares), abs=1e-12)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 3))
def test_a_constant_gets_one_class_of_them_all_or_none(now, said):
    found = balanced_match(torch.full((len(now),), said), torch.tensor(now))
    assert found == pytest.approx((said in now) / len(set(now)), abs=1e-12)


def test_repeating_the_items_of_one_class_changes_self_and_not_balanced():
    said, now = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2])
    assert balanced_match(said, now) == pytest.approx((1 + 1 + 0.5) / 3)
    again = torch.tensor([0, 0, 0, 0, 1, 2, 3])
    assert balanced_match(said[again], now[again]) == balanced_match(said, now)
    assert (said == now)[again].double().mean() != (said == now).double().mean()
