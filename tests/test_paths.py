"""Patched edges: three whole passes over each prompt, with all other components held, agree."""

import copy

import pytest
import torch

from introspect.adapters import adapt
from introspect.analysis.passes import TOKENS, Pass, Site, list_points
from introspect.analysis.patching import at_site, interchange, summarize
from introspect.analysis.paths import Edge, send
from introspect.tokenizer import ANSWER, EXPLAIN, encode
from tests.test_patching import SOURCES, SUBJECTS, WORLD, gpt, part_of

KINDS = {"subject": slice(0, 2), "cue": slice(2, -1), "query": slice(-1, None)}  # of one prompt
WIDE = {"mlp.down": 64}


def model_of(n_layer):
    """Every norm has weights of its own, so that none stands for another."""
    model, generator = gpt(n_layer=n_layer), torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        if "norm" in name:
            p.data.uniform_(0.5, 2, generator=generator)
    return model


def sites_of(model, half, points):
    """One half of the channels of each place; in the last block, where it is read."""
    sites = []
    for point in points:
        size = WIDE.get(point.split(".", 2)[-1], 16) // 2
        last = point.startswith(f"blocks.{len(model.blocks) - 1}.")
        for tokens in ["query"] if last else TOKENS:
            sites.append(Site(point, tokens, half * size, (half + 1) * size))
    return sites


def edges_of(model):
    """From the second half of every component to the first half of every later one, and the end."""
    points = [p for p in list_points(model) if not p.endswith("resid")]
    edges = []
    for i, point in enumerate(points):
        for sender in sites_of(model, 1, [point]):
            readers = sites_of(model, 0, points[i + 1 :])
            edges += [Edge(sender, reader) for reader in (*readers, None)]
    return edges


def run(model, text, replace=None, hold=None):
    """One whole pass over one prompt.

    Args:
        replace: a site, and values of the input of its point to put there.
        hold: outputs of modules, which are given instead of what these compute.

    Returns:
        the output of the trunk at the last token; the input and the output of each component.
    """
    inputs, outputs, handles = {}, {}, []

    def before(point):
        def see(_, args):
            x = args[0].clone()
            if replace and replace[0].point == point:
                site, values = replace
                rows, channels = KINDS[site.tokens], slice(site.low, site.high)
                x[:, rows, channels] = values[:, rows, channels]
            inputs[point] = x
            return (x,)
        return see

    def after(point):
        def see(_, args, output):
            outputs[point] = output
            return (hold or {}).get(point)
        return see

    for point in list_points(model):
        if not point.endswith("resid"):
            module = model.get_submodule(point)
            handles.append(module.register_forward_pre_hook(before(point)))
            handles.append(module.register_forward_hook(after(point)))
    hidden = model.trunk(torch.tensor([text]))[0, -1]
    for handle in handles:
        handle.remove()
    return hidden, inputs, outputs


def by_hand(model, edge, subject, source, hold=True):
    """The definition: (1) both as they are; (2) the sender as in the source while all others write
    what they wrote, which shows what the reader makes of it; (3) that, at the reader alone."""
    _, theirs, _ = run(model, source)
    _, _, own = run(model, subject)
    others = {point: x for point, x in own.items() if point != edge.sender.point}
    values = theirs[edge.sender.point]
    hidden, made, _ = run(model, subject, (edge.sender, values), others if hold else None)
    if edge.reader is None:
        return hidden
    return run(model, subject, (edge.reader, made[edge.reader.point]))[0]


def prompts(subject, source):
    """Every prompt of a subject and of its source, in the order in which they are packed."""
    asked = [(v, ANSWER) for v in range(4)] + [(x, EXPLAIN) for x, _ in WORLD.pairs]
    return [[encode(WORLD.text(s, v) + query) for s in (subject, source)] for v, query in asked]


def passes(model, n=2):
    part = part_of()
    return Pass(model, part, SUBJECTS[:n]), Pass(model, part, SOURCES[:n])


@pytest.mark.parametrize("rank", [None, 2])
def test_every_edge_is_that_of_each_prompt_alone_with_all_else_held(rank):
    model = model_of(2 if rank else 3)
    if rank:
        for p in adapt(model, rank, seed=0):
            p.data += 0.3
    plain, source = passes(model)
    edges, moved = edges_of(model), set()
    texts = prompts(SUBJECTS[1].item(), SOURCES[1].item())
    for edge in edges:
        found = send(edge, plain, source)
        for at in range(0, 7, 3):  # without a cue, with the last, and the last explanation
            torch.testing.assert_close(
                found[1, at], by_hand(model, edge, *texts[at]), rtol=0, atol=1e-10
            )
        if (found - plain.hidden).abs().max() > 1e-3:
            moved.add((edge.sender.point, edge.reader and edge.reader.point))
    points = {(e.sender.point, e.reader and e.reader.point) for e in edges}
    unheard = {("embed", None), ("embed", f"blocks.{len(model.blocks) - 1}.mlp.down")}
    assert moved == points - unheard  # these read at a query, which is the same word for everyone


def test_what_goes_through_others_is_left_out_and_between_neighbours_is_nothing():
    """The control of the test above: its bound tells an edge from all paths together."""
    model = model_of(3)
    plain, source = passes(model)
    texts = prompts(SUBJECTS[1].item(), SOURCES[1].item())[2]
    sender = Site("blocks.0.attn.proj", "subject", 0, 8)
    neighbour = Site("blocks.0.mlp.down", "subject", 0, 64)
    far = Site("blocks.2.attn.proj", "query", 8, 16)
    for reader, same in ((neighbour, True), (far, False)):
        found = send(Edge(sender, reader), plain, source)[1, 2]
        total = by_hand(model, Edge(sender, reader), *texts, hold=False)
        assert ((found - total).abs().max() < 1e-10) == same
        assert same or (found - total).abs().max() > 1e-3


def test_a_sender_that_the_reader_cannot_see_or_that_says_the_same_changes_nothing():
    plain, source = passes(model_of(3))
    for point, high in (("blocks.1.attn.proj", 16), ("blocks.1.mlp.down", 64)):
        reader = Site(point, "cue", 0, high)  # no token of a cue attends to a query
        sender = Site("blocks.0.mlp.down", "query", 0, 64)
        assert torch.equal(send(Edge(sender, reader), plain, source), plain.hidden)
        sender = sender._replace(tokens="cue")
        assert not torch.equal(send(Edge(sender, reader), plain, source), plain.hidden)
        assert torch.equal(send(Edge(sender, reader), plain, plain), plain.hidden)


def test_the_last_component_speaks_to_the_end_alone():
    model = model_of(2)
    plain, source = passes(model)
    site = Site("blocks.1.mlp.down", "query", 3, 40)
    torch.testing.assert_close(
        send(Edge(site, None), plain, source), at_site(site, plain, source), rtol=0, atol=1e-12
    )


def test_no_gradient_is_kept():
    plain, source = passes(model_of(2).requires_grad_(True))
    sender = Site("embed", "subject", 0, 8)
    for reader in (None, Site("blocks.0.mlp.down", "subject", 0, 8)):
        assert not send(Edge(sender, reader), plain, source).requires_grad
    assert not plain.hidden.requires_grad and not plain.before_mlp[0].requires_grad


def test_edges_are_asked_about_and_summarized_as_sites_are():
    model, part = model_of(2), part_of()
    reader = Site("blocks.1.attn.proj", "query", 0, 16)
    edges = [Edge(Site("embed", "subject", low, low + 8), reader) for low in (0, 8)]
    edges.append(Edge(edges[0].sender, None))
    others = SUBJECTS.flip(0)
    found = interchange(model, part, SUBJECTS, SOURCES, edges, patch=send, others=others)
    assert found.patched_labels.shape == found.patched_said.shape == (3, 5, 3)
    plain, source = passes(model, 5)
    for s, edge in enumerate(edges):
        labels, said = plain.heard(send(edge, plain, source))
        assert torch.equal(found.patched_labels[s], labels)
        assert torch.equal(found.patched_said[s], said)
    assert edges[0].place == edges[1].place == "embed subject > blocks.1.attn.proj query"
    both, end = (summarize(found, [edges[i].place]) for i in (0, 2))
    assert both["n_items"] > 0 and both["follow_null"] is not None
    assert end["follow_null"] is None  # no other of its place


@pytest.mark.parametrize("sender, reader", [
    ("blocks.0.resid", None), ("embed", "blocks.0.resid"), ("embed", "embed"),
    ("blocks.0.mlp.down", "blocks.0.attn.proj"), ("blocks.0.attn.proj", "blocks.0.attn.proj"),
    ("blocks.1.attn.proj", "blocks.0.mlp.down"), ("norm", None), ("embed", "norm")])
def test_a_reader_comes_after_its_sender_and_both_are_components(sender, reader):
    plain, source = passes(model_of(2))
    edge = Edge(Site(sender, "query", 0, 8), reader and Site(reader, "query", 0, 8))
    with pytest.raises(ValueError, match="need a component and a later one, or the end, got"):
        send(edge, plain, source)


def test_no_hook_stays_not_even_after_an_error():
    model = model_of(2)
    plain, source = passes(model)
    broken = copy.copy(plain)
    broken.packed = plain.packed._replace(mask=plain.packed.mask[:3])
    edge = Edge(Site("embed", "subject", 0, 8), Site("blocks.1.attn.proj", "query", 0, 8))
    for each in (plain, broken):
        try:
            send(edge, each, source)
        except (IndexError, RuntimeError):
            assert each is broken
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
