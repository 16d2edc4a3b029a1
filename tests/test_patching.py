"""Interchange interventions: identities, and brute force one prompt at a time."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from introspect.adapters import adapt
from introspect.analysis import patching
from introspect.analysis.passes import TOKENS, Pass, Site, find_nodes, in_last_block, list_points
from introspect.analysis.patching import interchange, list_sites
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


def by_hooks(model, part, subjects, sources, site):
    """The output of the trunk, of a whole pass in which a hook replaces the values of the site."""
    (tokens, packed), kept = part.interview.plan, []
    last = site.point.startswith(f"blocks.{len(model.blocks) - 1}.")
    rows = slice(None) if last else find_nodes(part)[site.tokens]

    def replaced(x):
        kept.append(x)
        if len(kept) == 2:
            x = x.clone()
            x[:, rows, site.low : site.high] = kept[0][:, rows, site.low : site.high]
            return x

    with model.hooked(site.point, replaced):
        for asked in (sources, subjects):
            hidden = model.trunk(tokens[asked], packed.positions, packed.mask, packed.ends)
    return hidden


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_layer", [1, 3])
@pytest.mark.parametrize("channel", ["head", "same", "verbal"])
def test_a_pass_that_goes_on_from_a_site_is_a_whole_pass_with_hooks_to_the_last_bit(
    channel, n_layer, dtype
):
    model, part = gpt(n_layer=n_layer).to(dtype), part_of(channel=channel)
    adapt(model, 2, seed=0)
    for block in model.blocks:
        block.attn.proj.b.data += 0.5
    plain, source = Pass(model, part, SUBJECTS), Pass(model, part, SOURCES)
    changed = set()
    for where in list_sites(model):
        whole = by_hooks(model, part, SUBJECTS, SOURCES, where)
        found = plain.finish(where.point, plain.patched(where, source.inputs[where.point]))
        assert torch.equal(found, whole)
        if not torch.equal(whole, plain.hidden):
            changed.add(where.point)
    assert changed == set(list_points(model))  # guards the above: patches matter
    with torch.enable_grad():
        assert not plain.finish("embed", plain.inputs["embed"] + 1).requires_grad


def test_a_pass_keeps_what_each_part_of_a_block_reads():
    model, part = gpt(n_layer=3), part_of()
    kept, read = Pass(model, part, SUBJECTS), {}
    names = [f"blocks.{i}.{norm}" for i in range(3) for norm in ("norm_1", "norm_2")]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(model.hooked(name, partial(read.__setitem__, name)))
        part.interview.ask(model, SUBJECTS)
    for i in range(3):
        assert torch.equal(kept.before_attn[i], read[f"blocks.{i}.norm_1"])
        assert torch.equal(kept.before_mlp[i], read[f"blocks.{i}.norm_2"])


def test_where_a_patch_replaces_nothing_nothing_is_computed():
    model, part = gpt(), part_of()
    kept = Pass(model, part, SUBJECTS)
    same = kept.patched(site("embed", "query"), Pass(model, part, SOURCES).inputs["embed"])
    assert kept.finish("embed", same) is kept.hidden  # all subjects are asked in the same words


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
