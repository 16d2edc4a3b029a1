"""Packing, against its definition by sets of prefixes and against each sequence on its own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect.config import GPTConfig
from introspect.model import GPT
from introspect.packing import pack

SEQUENCES = [(0, 1, 2), (0, 1, 3, 2), (0, 1), (4, 1, 2), (0, 2, 2, 2)]  # one is a prefix of others
some_sequences = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), min_size=1, max_size=8
)


def gpt(seed=0, n_layer=3):
    cfg = GPTConfig(n_layer=n_layer, n_head=2, n_embd=8, block_size=8)
    return GPT(cfg, vocab_size=5, n_answer=3, n_explanation=4, seed=seed).double()


@given(some_sequences)
def test_each_end_sees_its_own_sequence_in_order_and_nothing_else(sequences):
    packed = pack(sequences)
    for sequence, end in zip(sequences, packed.ends):
        seen = packed.mask[end].nonzero().flatten()
        assert packed.slots[seen].tolist() == list(sequence)
        assert packed.positions[seen].tolist() == list(range(len(sequence)))


@given(some_sequences)
def test_there_is_one_node_for_each_different_prefix(sequences):
    prefixes = {s[:end] for s in sequences for end in range(1, len(s) + 1)}
    packed = pack(sequences)
    found = [tuple(packed.slots[row].tolist()) for row in packed.mask]
    assert len(found) == len(prefixes) and set(found) == prefixes


@given(some_sequences)
def test_a_node_attends_to_itself_and_its_ancestors_which_stand_before_it(sequences):
    packed = pack(sequences)
    assert packed.mask.diagonal().all()
    assert not packed.mask.triu(1).any()
    assert packed.mask.sum(1).tolist() == (packed.positions + 1).tolist()
    reach = packed.mask.double()
    assert torch.equal(reach @ reach > 0, packed.mask)  # an ancestor of an ancestor is one, too


@pytest.mark.parametrize("sequences", [[], [()], [(0, 1), ()]])
def test_no_sequence_and_an_empty_one_are_refused(sequences):
    with pytest.raises(ValueError, match="at least one sequence, and no empty one"):
        pack(sequences)


def packed_and_alone(model, mask=None):
    """(S, C) twice: read at the ends of one packed pass, and at the end of each sequence alone."""
    packed = pack(SEQUENCES)
    mask = packed.mask if mask is None else mask
    together = model.trunk(packed.slots[None], packed.positions, mask, packed.ends)[0]
    alone = [model.trunk(torch.tensor([s]))[0, -1] for s in SEQUENCES]
    return together, torch.stack(alone)


@pytest.mark.parametrize("n_layer", [1, 3])
def test_a_packed_pass_equals_a_pass_of_each_sequence_alone(n_layer):
    together, alone = packed_and_alone(gpt(n_layer=n_layer))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_a_packed_pass_with_a_plain_causal_mask_does_not():
    """Guards the test above: it would also pass if no sequence could see any other."""
    together, alone = packed_and_alone(gpt(), torch.ones(11, 11, dtype=torch.bool).tril())
    wrong = (together - alone).abs().amax(1) > 1e-3
    assert wrong.tolist() == [False, True, False, True, True]  # two of them stand first


def test_packing_moves_as_a_whole():
    packed = pack(SEQUENCES)
    assert {t.device.type for t in packed.to("meta")} == {"meta"}
    assert all(torch.equal(a, b) for a, b in zip(packed, packed.to("cpu")))
