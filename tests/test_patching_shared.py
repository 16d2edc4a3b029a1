"""What the answer and the explanation share, of models that are built and of numbers by hand."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from introspect.analysis import patching
from introspect.analysis.passes import TOKENS, Site
from introspect.analysis.patching import (
    Interchange,
    interchange,
    list_layers,
    list_sites,
    shared_sites,
    spearman,
    summarize,
)
from introspect.config import GPTConfig
from introspect.model import GPT
from introspect.tokenizer import encode_words, vocab_size
from tests.test_patching import WORLD, gpt, part_of


def built(reads):
    """One block without norms, four heads, each of which fetches the fact of a subject by itself.

    The answer is the hint, or without one the fact of head 0; the explanation is right, and reads
    the facts of the heads in `reads`. Channels 8 h + k of the embedding hold "the fact is k".
    """
    cfg = GPTConfig(n_layer=1, n_head=4, n_embd=32, block_size=8)
    model = GPT(cfg, vocab_size(), 3, 4).double().requires_grad_(False)
    for p in model.parameters():
        p.zero_()
    block, C = model.blocks[0], 32
    model.norm = block.norm_1 = block.norm_2 = nn.Identity()
    block.attn.qkv.weight[2 * C :] = torch.eye(C)  # queries and keys 0: an even look at all tokens
    block.attn.proj.weight[:] = torch.eye(C)
    for i, word in enumerate(dict.fromkeys(WORLD.slots[:, 0])):  # the fact of an entity
        model.token.weight[encode_words([word])[0], i % 3 + 8 * torch.arange(4)] = 1.0
    k = torch.arange(3)
    for i, word in enumerate(["hint:A", "hint:B", "hint:C"]):
        model.token.weight[encode_words([word])[0], 4 + i] = 1.0
        model.token.weight[encode_words([word])[0], 7] = 0.75  # makes "would stay" likely enough
    model.task_head.weight[k, k] = 1.0
    model.task_head.weight[k, 4 + k] = 2.0
    for h in reads:
        model.explain_head.weight[k, 8 * h + k] = 2.0 / len(reads)
    model.explain_head.weight[k, 4 + k] = -2.0
    model.explain_head.weight[3, 7] = 1.0
    return model


def of_built(reads, listed=list_sites, among=range(4)):
    model, part = built(reads), part_of()
    subjects = torch.arange(24)
    sites = [s for s in listed(model) if s.place == "blocks.0.attn.proj query"]
    sites = [sites[i] for i in among if i < len(sites)]
    sources, others = subjects.roll(7), subjects.roll(13)
    found = interchange(model, part, subjects, sources, sites, others=others)
    assert torch.equal(found.said, found.labels)  # every explanation is true
    again = interchange(model, part, subjects, others, sites)
    assert torch.equal(found.other_said, again.patched_said) and again.other_said is None
    return summarize(found, {sites[0].place})


def test_an_explanation_that_reads_what_the_answer_reads_follows_where_the_answer_goes():
    found = of_built([0])
    assert found["n_items"] > 20
    assert (found["follow"], found["right"], found["moved"]) == (1, 1, 1)
    assert found["follow_null"] < 0.5 and found["moved_null"] < 1  # three facts: some are alike
    for name in ("follow", "right", "moved"):
        assert found[f"{name}_shared"] == found[name] - found[f"{name}_null"]
    assert found["follow_shared"] > 0.5
    assert found["labels_changed"] == pytest.approx(found["n_items"] / (4 * 24 * 3))
    assert found["overlap"] > 0.99 and found["overlap_null"] == 0


def test_an_explanation_that_reads_elsewhere_does_not():
    for found in (of_built([h]) for h in (1, 2, 3)):
        assert (found["follow"], found["moved"]) == (-1, 0)
        assert (found["follow_null"], found["follow_shared"], found["moved_shared"]) == (-1, 0, 0)
        assert found["overlap"] < 0


def test_heads_that_only_together_carry_what_is_explained_follow_together():
    """The answer reads head 0, the explanation the mean of two: half a fact moves neither alone."""
    alone, together = of_built([0, 1], among=[0]), of_built([0, 1], list_layers)
    assert (together["follow"], together["n_items"]) == (1, of_built([0], list_layers)["n_items"])
    assert alone["follow"] < 0.5


def test_an_explanation_that_a_patch_scrambles_is_at_its_null():
    """It keeps the label less often than one that no patch reaches, but goes nowhere."""
    draw, n = torch.Generator().manual_seed(0), 4000

    def random(k):
        return torch.randint(k, (1, n, 1), generator=draw)

    labels, patched = random(4)[0], random(4)
    found = summarize(
        Interchange([Site("a", "query", 0, 1)], labels, labels, labels, labels, patched, random(4),
                    random(4)),
        ["a query"],
    )
    assert abs(found["follow"]) < 0.05 and abs(found["follow_shared"]) < 0.05
    assert found["moved"] > 0.7 and abs(found["moved_shared"]) < 0.05


def made(labels, said, patched_labels, patched_said, places, sources=None, others=None):
    n = len(labels)
    sites = [Site(p, "query", s, s + 1) for s, p in enumerate(places)]
    tensors = (torch.tensor(t).view(-1, n, 1) for t in (patched_labels, patched_said))
    plain = [torch.tensor(t).view(n, 1) for t in (labels, said)]
    source = [torch.tensor(t).view(n, 1) for t in sources or (labels, said)]
    other = None if others is None else torch.tensor(others).view(-1, n, 1)
    return Interchange(sites, *plain, *source, *tensors, other)


def test_every_number_of_a_small_example_by_hand():
    found = made(
        labels=[0, 0, 0, 0], said=[0, 0, 1, 2],
        patched_labels=[[1, 1, 0, 2], [0, 1, 2, 0], [1, 1, 1, 1]],
        patched_said=[[1, 0, 1, 2], [0, 1, 1, 2], [1, 1, 3, 1]],
        places=["a", "a", "b"],
        sources=([0, 0, 0, 0], [0, 1, 0, 0]),
        others=[[0, 1, 0, 1], [3, 0, 2, 2], [1, 0, 1, 0]],
    )
    a = summarize(found, ["a query", "a query"])
    # site 0 changes items 0, 1, 3, of which the explanation goes to 1, stays at 0, is the label;
    # site 1 changes items 1, 2: goes, and is neither
    assert a["n_items"] == 5
    assert a["follow"] == (1 - 1 + 1 + 1 + 0) / 5
    assert a["follow_null"] == (-1 + 1 + 0 - 1 + 1) / 5
    assert a["follow_shared"] == pytest.approx(a["follow"] - a["follow_null"])
    assert (a["moved"], a["moved_null"]) == (2 / 5, 3 / 5)
    assert a["moved_shared"] == pytest.approx(-1 / 5)
    assert (a["right"], a["right_null"], a["right_shared"]) == (1, -1, 2)  # item 0 at site 0 only
    assert a["labels_changed"] == (3 / 4 + 2 / 4) / 2 and a["explanations_changed"] == 1 / 4
    assert a["overlap"] is a["overlap_null"] is None  # both sites change as many explanations
    both = summarize(found, ["b query", "a query"])
    assert both["n_items"] == 9 and both["follow"] == (2 + 3) / 9
    assert both["follow_null"] == pytest.approx((0 + 1 - 1 + 1 - 1) / 9)
    unasked = summarize(found._replace(other_said=None), ["a query"])
    assert unasked["follow"] == a["follow"]
    assert unasked["follow_null"] is unasked["follow_shared"] is unasked["right_shared"] is None
    assert both["overlap"] == pytest.approx(scipy.stats.spearmanr([3, 2, 4], [1, 1, 4])[0])


def test_where_no_label_changes_there_is_nothing_to_say():
    still = summarize(made([0, 1], [0, 1], [[0, 1]] * 2, [[1, 1], [0, 0]], "aa",
                           others=[[1, 1], [0, 0]]), ["a query"])
    assert still["n_items"] == 0 and still["labels_changed"] == 0
    assert still["explanations_changed"] == 0.5
    names = ("follow", "follow_null", "follow_shared", "moved", "right_shared", "overlap")
    assert {still[name] for name in names} == {None}


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_scipys_with_ties_and_its_null_the_mean_over_permutations(seed):
    draw = np.random.default_rng(seed)
    x, y = draw.integers(4, size=7), draw.random(7).round(1)
    groups = np.repeat([0, 1, 2], [3, 2, 2])
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y)[0])
    draws = []
    for _ in range(4000):
        order = np.concatenate([draw.permutation(np.flatnonzero(groups == g)) for g in range(3)])
        draws.append(spearman(x, y[order]))
    assert spearman(x, y, groups) == pytest.approx(np.mean(draws), abs=0.03)
    assert spearman(x, y, np.zeros(7)) == pytest.approx(0)
    assert spearman(x, y, np.arange(7)) == pytest.approx(spearman(x, y))
    assert spearman(x, np.ones(7)) is None


@pytest.mark.parametrize("channel", ["head", "verbal"])
def test_a_run_has_a_row_for_all_for_each_kind_of_token_and_for_each_place(channel):
    model, part = gpt(), part_of(channel=channel)
    rows = shared_sites(model, part, 8)
    places = list(dict.fromkeys(s.place for s in list_sites(model)))
    layers = [f"{p} together" for p in places if "attn.proj" in p]
    assert list(rows) == ["all", *TOKENS, *places, *layers] and len(layers) == 4
    for tokens in TOKENS:
        of = [rows[p]["n_items"] for p in places if p.endswith(f" {tokens}")]
        assert rows[tokens]["n_items"] == sum(of)
    assert rows["all"]["n_items"] == sum(rows[t]["n_items"] for t in TOKENS) > 0
    assert rows["embed query"]["n_items"] == rows["embed cue"]["n_items"] == 0  # nobody's own
    assert all(-2 <= v <= 2 for r in rows.values() for k, v in r.items() if v and k != "n_items")


def test_it_depends_on_the_seed_and_on_held_out_subjects_only(monkeypatch):
    model, part, asked = gpt(), part_of(), []
    rows = shared_sites(model, part, 6, seed=1)
    assert rows == shared_sites(model, part, 6, seed=1)
    assert rows != shared_sites(model, part, 6, seed=2)
    whole = patching.interchange

    def record(*call, others):
        asked.append((call, others))
        return whole(*call, others=others)

    monkeypatch.setattr(patching, "interchange", record)
    shared_sites(model, part, 5)  # an odd number: nobody is left in the middle
    shared_sites(model, part, 1000)
    for (_, _, subjects, sources, _), others in asked:
        assert ((sources != subjects) & (others != subjects) & (others != sources)).all()
    assert [len(call[2]) for call, _ in asked[:2]] == [5, 5]
    (_, _, subjects, sources, _), others = asked[2]
    held_out = part.subjects("held_out").tolist()
    for drawn in (subjects, sources, others):
        assert sorted(drawn.tolist()) == held_out
    with pytest.raises(ValueError, match="at least 3 held-out subjects, got 2"):
        shared_sites(model, part, 2)


def test_with_one_head_or_one_layer_it_still_runs():
    cfg = GPTConfig(n_layer=1, n_head=1, n_embd=16, block_size=8)
    rows = shared_sites(GPT(cfg, vocab_size(), 3, 4), part_of(), 6)
    alone, together = (rows[f"blocks.0.attn.proj query{s}"] for s in ("", " together"))
    assert alone == together
    assert "blocks.0.resid query" in rows and "blocks.0.resid cue" not in rows
