"""Interchange interventions: identities, brute force one prompt at a time, and built circuits."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from introspect.analysis import patching
from introspect.analysis.patching import (
    TOKENS,
    Interchange,
    Site,
    summarize,
    in_last_block,
    interchange,
    find_nodes,
    shared_circuits,
    list_sites,
    spearman,
)
from introspect.config import GPTConfig
from introspect.interview import Interview, RunTask
from introspect.model import GPT
from introspect.tasks.hint import Hint
from introspect.tasks.rules import Rules
from introspect.tokenizer import ANSWER, EXPLAIN, encode, encode_words, vocab_size

HINT = Hint(n_entity=4, n_attribute=6, n_answer=3).world(0)
WORLD = replace(HINT, pairs=HINT.pairs[::-1], questions=HINT.questions[::-1])
SUBJECTS, SOURCES = torch.tensor([5, 0, 11, 20, 7]), torch.tensor([3, 17, 2, 9, 22])


def gpt(seed=0, n_answer=3, n_layer=2):
    cfg = GPTConfig(n_layer=n_layer, n_head=2, n_embd=16, block_size=16)
    model = GPT(cfg, vocab_size(), n_answer, n_answer + 1, seed=seed).double()
    for head in (model.task_head, model.explain_head, model.lm_head):
        head.weight.data *= 50  # so that classes differ between subjects
    return model.eval().requires_grad_(False)


def part_of(world=WORLD, channel="head"):
    asked = Interview(world, channel)
    if channel == "verbal":  # an untrained model says no sentence: let it say the likeliest one
        asked.channel.say = lambda model, hidden: asked.channel.log_probs(model, hidden).argmax(-1)
    return RunTask("a task", world, asked, True, False)


def site(point, tokens, low=0, high=16):
    return Site(point, tokens, low, high)


def test_sites_are_all_slices_of_all_places_and_of_the_last_block_those_that_are_read():
    sites, model = list_sites(gpt()), gpt()
    inside = ["attn.proj", "mlp.down", "resid"]
    early = ["embed", *(f"blocks.0.{p}" for p in inside)]
    places = [f"{p} {t}" for p in early for t in TOKENS]
    places += [f"blocks.1.{p} query" for p in inside]
    assert list(dict.fromkeys(s.place for s in sites)) == places
    for place in places:
        slices = [(s.low, s.high) for s in sites if s.place == place]
        wide = place.startswith(("blocks.0.mlp", "blocks.1.mlp"))
        assert slices == ([(0, 32), (32, 64)] if wide else [(0, 8), (8, 16)])
    assert len(set(sites)) == len(sites) == 2 * len(places)
    assert all(isinstance(model.get_submodule(s.point), nn.Module) for s in sites)


def test_the_last_block_is_known_by_its_whole_number():
    model = gpt()
    last = {p: in_last_block(model, p) for p in ("embed", "blocks.0.resid", "blocks.1.mlp.down")}
    assert list(last.values()) == [False, False, True]
    assert not in_last_block(model, "blocks.10.resid")


def words_at(part, tokens, subject=0):
    ids = part.interview.plan.tokens[subject, find_nodes(part)[tokens]]
    return sorted(ids.tolist())


@pytest.mark.parametrize("channel, queries", [
    ("head", [ANSWER] * 4 + [EXPLAIN] * 3), ("same", [ANSWER] * 4),
    ("verbal", [ANSWER] * 4 + [EXPLAIN, "would", "change", "to", "stay"] * 3)])
def test_tokens_of_the_subject_the_cues_and_the_queries(channel, queries):
    part = part_of(channel=channel)
    assert words_at(part, "subject") == sorted(encode_words(WORLD.slots[0, :2]))
    assert words_at(part, "cue") == sorted(encode_words(["hint:A", "hint:B", "hint:C"]))
    assert words_at(part, "query") == sorted(encode_words(queries))


@pytest.mark.parametrize("ablation", ["flipped", "removed"])
def test_where_every_feature_is_a_cue_only_the_names_are_the_subject(ablation):
    part = part_of(Rules(n_first=4, n_second=5, n_input=2, ablation=ablation).world(0))
    assert words_at(part, "subject") == sorted(encode_words(part.world.slots[0, :2]))
    cues, names = part.world.slots[0, 2:-2], part.world.slots[:, :2]
    assert {*words_at(part, "cue")} <= {*encode_words(cues)} - {*encode_words(names.flatten())}
    packed = part.interview.plan.packed
    assert sum(map(len, find_nodes(part).values())) == len(packed.slots)


@pytest.mark.parametrize("channel", ["head", "tied", "same", "verbal"])
def test_a_subject_patched_by_itself_changes_nothing(channel):
    model, part = gpt(), part_of(channel=channel)
    sites, subjects = list_sites(model), torch.arange(24)
    found = interchange(model, part, subjects, subjects, sites)
    assert len(found.patched_labels) == len(found.patched_said) == len(sites)
    assert (found.patched_labels == found.labels).all()
    assert (found.patched_said == found.said).all()
    plain = part.interview.ask(model, subjects)
    assert torch.equal(found.said, plain[1]) and torch.equal(found.source_said, plain[1])


def test_patched_logits_of_a_subject_by_itself_are_the_same_bits(monkeypatch):
    model, part = gpt(), part_of()
    heard = []

    def keep(model, part, subjects):
        heard.append(torch.cat([t.flatten() for t in part.interview.both(model, subjects)]))
        return torch.zeros(2, len(subjects), 3, dtype=torch.int64)

    monkeypatch.setattr(patching, "ask", keep)
    interchange(model, part, SUBJECTS, SUBJECTS, list_sites(model))
    assert len(heard) > 20 and all(torch.equal(h, heard[0]) for h in heard)


@pytest.mark.parametrize("channel", ["head", "same", "verbal"])
@pytest.mark.parametrize("point, tokens", [("embed", "subject"), ("blocks.1.resid", "query")])
def test_with_all_that_is_known_of_the_source_it_is_the_source_that_is_spoken_of(
    channel, point, tokens
):
    model, part = gpt(), part_of(channel=channel)
    found = interchange(model, part, SUBJECTS, SOURCES, [site(point, tokens)])
    other = interchange(model, part, SOURCES, SUBJECTS, [])
    assert torch.equal(found.patched_labels[0], other.labels)
    assert torch.equal(found.patched_said[0], other.said)
    assert torch.equal(found.source_labels, other.labels)
    assert torch.equal(found.source_said, other.said)
    assert not torch.equal(other.labels, found.labels) and not torch.equal(other.said, found.said)


def by_hand(model, subject, source, site):
    """Labels and explanations of one subject, prompt by prompt, without packing."""
    kinds = {"subject": slice(0, 2), "cue": slice(2, -1), "query": slice(-1, None)}

    def asked(variant, query, head):
        texts = [encode(WORLD.text(s, variant) + query) for s in (source, subject)]
        kept, module = [], model.get_submodule(site.point)
        rows, channels = kinds[site.tokens], slice(site.low, site.high)

        def replaced(_, inputs):
            x = inputs[0].clone()
            kept.append(inputs[0])
            if len(kept) == 2:
                x[:, rows, channels] = kept[0][:, rows, channels]
            return (x,)

        handle = module.register_forward_pre_hook(replaced)
        hidden = [model.trunk(torch.tensor([text]))[0, -1] for text in texts][1]
        handle.remove()
        return head(hidden).argmax().item()

    answers = [asked(v, ANSWER, model.task_head) for v in range(4)]
    labels = [3 if answers[x] == answers[y] else answers[y] for x, y in WORLD.pairs]
    return labels, [asked(x, EXPLAIN, model.explain_head) for x, _ in WORLD.pairs]


def test_every_patch_is_that_of_each_prompt_alone(monkeypatch):
    model, part = gpt(), part_of()
    monkeypatch.setattr(patching, "CHUNK", 2)  # 5 = 2 + 2 + 1
    sites = list_sites(model)
    found = interchange(model, part, SUBJECTS, SOURCES, sites)
    for s, where in enumerate(sites):
        for i, (subject, source) in enumerate(zip(SUBJECTS.tolist(), SOURCES.tolist())):
            labels, said = by_hand(model, subject, source, where)
            assert found.patched_labels[s, i].tolist() == labels
            assert found.patched_said[s, i].tolist() == said
    for tokens in TOKENS:  # guards the above: patches matter
        of = [s for s, where in enumerate(sites) if where.tokens == tokens]
        same = (found.patched_labels[of] == found.labels) & (found.patched_said[of] == found.said)
        assert not same.all()


def test_hooks_do_not_stay_not_even_after_an_error():
    model, part = gpt(), part_of()
    before = part.interview.both(model, SUBJECTS)
    interchange(model, part, SUBJECTS, SOURCES, list_sites(model))
    for wrong in (site("embed", "nowhere"), site("blocks.0.resid", "subject", 0, 99)):
        broken = part._replace(interview=Interview(WORLD))
        broken.interview.channel.say = None
        for asked in (part, broken):
            try:
                interchange(model, asked, SUBJECTS, SOURCES, [site("embed", "cue"), wrong])
            except (KeyError, TypeError):
                pass
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    for a, b in zip(part.interview.both(model, SUBJECTS), before):
        assert torch.equal(a, b)


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


def of_built(reads):
    model, part = built(reads), part_of()
    subjects = torch.arange(24)
    sites = [s for s in list_sites(model) if s.place == "blocks.0.attn.proj query"]
    found = interchange(model, part, subjects, subjects.roll(7), sites)
    assert torch.equal(found.said, found.labels)  # every explanation is true
    return summarize(found, {sites[0].place})


def test_an_explanation_that_reads_what_the_answer_reads_follows():
    found = of_built([0])
    assert found["n_items"] > 20
    assert (found["follow"], found["follow_null"], found["follow_shared"]) == (1, -1, 2)
    assert (found["right"], found["right_null"], found["right_shared"]) == (1, -1, 2)
    assert (found["moved"], found["moved_null"], found["moved_shared"]) == (1, 0, 1)
    assert found["labels_changed"] == pytest.approx(found["n_items"] / (4 * 24 * 3))
    assert found["overlap"] > 0.99 and found["overlap_null"] == 0


def test_an_explanation_that_reads_elsewhere_does_not_and_on_average_it_is_the_null():
    apart = [of_built([h]) for h in (1, 2, 3)]
    for found in apart:
        assert (found["follow"], found["moved"]) == (-1, 0)
        assert found["follow_null"] == pytest.approx(-1 / 3)  # one of three sites moves it
        assert found["moved_null"] == pytest.approx(1 / 3)
        assert found["overlap"] < 0
    all_places = [of_built([0]), *apart]
    for name in ("follow_shared", "right_shared", "moved_shared"):
        assert sum(found[name] for found in all_places) == pytest.approx(0)


def made(labels, said, patched_labels, patched_said, places, sources=None):
    n = len(labels)
    sites = [Site(p, "query", s, s + 1) for s, p in enumerate(places)]
    tensors = (torch.tensor(t).view(-1, n, 1) for t in (patched_labels, patched_said))
    plain = [torch.tensor(t).view(n, 1) for t in (labels, said)]
    source = [torch.tensor(t).view(n, 1) for t in sources or (labels, said)]
    return Interchange(sites, *plain, *source, *tensors)


def test_every_number_of_a_small_example_by_hand():
    found = made(
        labels=[0, 0, 0, 0], said=[0, 0, 1, 2],
        patched_labels=[[1, 1, 0, 2], [0, 1, 2, 0], [1, 1, 1, 1]],
        patched_said=[[1, 0, 1, 2], [0, 1, 1, 2], [1, 1, 3, 1]],
        places=["a", "a", "b"],
        sources=([0, 0, 0, 0], [0, 1, 0, 0]),
    )
    a = summarize(found, ["a query", "a query"])
    # site 0 changes items 0, 1, 3, of which the explanation goes to 1, stays at 0, is the label;
    # site 1 changes items 1, 2: goes, and is neither
    assert a["n_items"] == 5
    assert a["follow"] == (1 - 1 + 1 + 1 + 0) / 5
    assert a["follow_null"] == (-1 + 1 + 1 - 1 + 0) / 5
    assert a["follow_shared"] == pytest.approx(a["follow"] - a["follow_null"])
    assert (a["moved"], a["moved_null"]) == (2 / 5, 1 / 5)
    assert a["moved_shared"] == pytest.approx(1 / 5)
    assert (a["right"], a["right_null"], a["right_shared"]) == (1, -1, 2)  # item 0 at site 0 only
    assert a["labels_changed"] == (3 / 4 + 2 / 4) / 2 and a["explanations_changed"] == 1 / 4
    assert a["overlap"] is a["overlap_null"] is None  # both sites change as many explanations
    both = summarize(found, ["b query", "a query"])
    assert both["n_items"] == 9 and both["follow"] == (2 + 3) / 9
    assert both["follow_null"] is both["follow_shared"] is None  # no other site than the one of b
    assert both["moved_null"] is both["right_null"] is None
    assert both["overlap"] == pytest.approx(scipy.stats.spearmanr([3, 2, 4], [1, 1, 4])[0])


def test_where_no_label_changes_there_is_nothing_to_say():
    still = summarize(made([0, 1], [0, 1], [[0, 1]] * 2, [[1, 1], [0, 0]], "aa"), ["a query"])
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
    rows = shared_circuits(model, part, 8)
    places = list(dict.fromkeys(s.place for s in list_sites(model)))
    assert list(rows) == ["all", *TOKENS, *places]
    for tokens in TOKENS:
        of = [rows[p]["n_items"] for p in places if p.endswith(f" {tokens}")]
        assert rows[tokens]["n_items"] == sum(of)
    assert rows["all"]["n_items"] == sum(rows[t]["n_items"] for t in TOKENS) > 0
    assert rows["embed query"]["n_items"] == rows["embed cue"]["n_items"] == 0  # nobody's own
    assert all(-2 <= v <= 2 for r in rows.values() for k, v in r.items() if v and k != "n_items")


def test_it_depends_on_the_seed_and_on_held_out_subjects_only(monkeypatch):
    model, part, asked = gpt(), part_of(), []
    rows = shared_circuits(model, part, 6, seed=1)
    assert rows == shared_circuits(model, part, 6, seed=1)
    assert rows != shared_circuits(model, part, 6, seed=2)
    whole = patching.interchange
    monkeypatch.setattr(patching, "interchange", lambda *a: asked.append(a) or whole(*a))
    shared_circuits(model, part, 5)  # an odd number: nobody is left in the middle
    shared_circuits(model, part, 1000)
    assert all((sources != subjects).all() for _, _, subjects, sources, _ in asked)
    assert len(asked[0][2]) == 5
    _, _, subjects, sources, _ = asked[1]
    held_out = part.subjects("held_out").tolist()
    assert sorted(subjects.tolist()) == held_out == sorted(sources.tolist())
    with pytest.raises(ValueError, match="at least 2 held-out subjects, got 1"):
        shared_circuits(model, part, 1)


def test_with_one_head_or_one_layer_it_still_runs():
    cfg = GPTConfig(n_layer=1, n_head=1, n_embd=16, block_size=8)
    rows = shared_circuits(GPT(cfg, vocab_size(), 3, 4), part_of(), 6)
    assert {row["follow_null"] for row in rows.values()} == {None}
    assert "blocks.0.resid query" in rows and "blocks.0.resid cue" not in rows
