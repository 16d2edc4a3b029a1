"""Do answers and explanations use the same parts of the model? Interchange interventions.

    n subjects   P pairs   S sites   an item is a pair (subject, cue), as everywhere

At a *site*, a slice of the channels at some tokens, the activations of a subject are replaced by
those of another one, its *source* (Geiger et al. 2021, arXiv:2106.02997), at the same variant (our
choice), in every sequence that answers and in every one that explains. The patched answers give
patched labels; the patched explanations either go where these go, or they do not:

    follow   of items whose label the patch changes, the share of patched explanations equal to the
             patched label minus the share equal to the label as it was: -1..1
    moved    of the same items, the share whose explanation changes at all, right or wrong: 0..1

Null of both: the answers are patched at the site and the explanations at another site of the same
point, tokens and size, with the same source; mean over all such sites, so that nothing is drawn.
`follow_shared` is follow minus its null, -2..2, `moved_shared` is moved minus its own, -1..1: both
are 0 on average over where an explanation might be computed.

What these can show. Tokens of the subject and of the cue stand before either query, and the tree of
prompts computes them once for both: what is changed there moves both passes whatever they share
later. At the *query* tokens each pass has activations of its own, so only there does a number above
its null say that both use the same heads, neurons or channels. A whole layer says nothing: replace
all that a pass knows, and it speaks of the source, so that every true explanation follows. Heads
and neurons are parts of the model; a slice of the residual stream is an arbitrary basis, in which
circuits may be shared and not be seen. `moved` is the weaker one: a patch that changes much moves
every reader, also a head that was never trained, whose value is its floor. `follow` asks for the
right change, so it grows with how often explanations are true at all. `right` is follow on the
items whose explanations, of the subject and of its source, are true without a patch; two models
then differ in their items, and where these are few, constant explanations are among them. Nothing
here says that explanations are computed from answers: both may follow one recall.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from introspect.interview import CHUNK, RunTask
from introspect.model import GPT
from introspect.streams import rng

TOKENS = ("subject", "cue", "query")


class Site(NamedTuple):
    point: str  # a module of the model; its input is what is replaced
    tokens: str  # one of TOKENS
    low: int  # channels low .. high - 1
    high: int

    @property
    def place(self) -> str:
        """Sites of one place differ only in their channels, and are each other's null."""
        return f"{self.point} {self.tokens}"


def sites_of(model: GPT) -> list[Site]:
    """Embedding, heads, neurons and residual stream at each kind of token, cut into as many slices
    as there are heads (our choice). The last block has only tokens that are read."""
    found, last = [], len(model.blocks) - 1
    inside = ("attn.proj", "mlp.down", "resid")
    for point in ("embed", *(f"blocks.{i}.{p}" for i in range(last + 1) for p in inside)):
        module = model.get_submodule(point)
        width = getattr(module, "in_features", model.token.embedding_dim)
        size = width // model.blocks[0].attn.n_head
        for tokens in ("query",) if in_last_block(model, point) else TOKENS:
            found += [Site(point, tokens, low, low + size) for low in range(0, width, size)]
    return found


def in_last_block(model: GPT, point: str) -> bool:
    return point.startswith(f"blocks.{len(model.blocks) - 1}.")


def nodes_of(part: RunTask) -> dict[str, Tensor]:
    """Where each kind of token stands in the packed prompts of a part: node numbers.

    query: what is read, the last token of each sequence. subject: what every prompt has. cue: the
    rest, which some prompt does without.
    """
    packed, prompts = part.interview.plan.packed, part.world.prompts
    common = set.intersection(*map(set, prompts))
    query = torch.zeros_like(packed.slots, dtype=torch.bool)
    query[packed.ends] = True
    everywhere = torch.tensor([int(slot) in common for slot in packed.slots], device=query.device)
    subject, cue = everywhere & ~query, ~everywhere & ~query
    masks = {"subject": subject, "cue": cue, "query": query}
    return {tokens: mask.nonzero()[:, 0] for tokens, mask in masks.items()}


class Interchange(NamedTuple):
    """Labels of answers and explanations, in the classes of the channel, on the CPU."""

    sites: list[Site]
    labels: Tensor  # (n, P) as it is
    said: Tensor  # (n, P)
    source_labels: Tensor  # (n, P) of the source, as it is
    source_said: Tensor  # (n, P)
    patched_labels: Tensor  # (S, n, P)
    patched_said: Tensor  # (S, n, P)


def interchange(
    model: GPT, part: RunTask, subjects: Tensor, sources: Tensor, sites: list[Site]
) -> Interchange:
    """Ask about `subjects` (n,) with the activations of `sources` (n,) at one site after the other.

    Costs len(sites) + 2 passes over the subjects. Nothing stays hooked.
    """
    device, nodes = model.token.weight.device, nodes_of(part)
    subjects, sources = subjects.to(device), sources.to(device)
    asked = []  # one (2 + S, 2, b, P) a chunk: source, subject, each site; labels and what is said
    for chunk, others in zip(subjects.split(CHUNK), sources.split(CHUNK)):
        kept: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for point in {site.point for site in sites}:
                stack.enter_context(model.hooked(point, keep_in(kept, point)))
            found = [labels_and_said(model, part, others)]
        found.append(labels_and_said(model, part, chunk))
        for site in sites:
            last = in_last_block(model, site.point)  # which has a row for each token that is read
            rows = slice(None) if last else nodes[site.tokens]
            with model.hooked(site.point, swap(kept[site.point], rows, site.low, site.high)):
                found.append(labels_and_said(model, part, chunk))
        asked.append(torch.stack(found))
    labels, said = torch.cat(asked, dim=2).unbind(1)  # (2 + S, n, P) each
    return Interchange(sites, labels[1], said[1], labels[0], said[0], labels[2:], said[2:])


def keep_in(kept: dict[str, Tensor], point: str) -> Callable[[Tensor], None]:
    def keep(x: Tensor) -> None:
        kept[point] = x

    return keep


def swap(other: Tensor, rows: Tensor | slice, low: int, high: int) -> Callable[[Tensor], Tensor]:
    """x (B, T, C) with `other` in place of it at these rows and channels."""

    def swapped(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, rows, low:high] = other[:, rows, low:high]
        return x

    return swapped


def labels_and_said(model: GPT, part: RunTask, subjects: Tensor) -> Tensor:
    """(2, B, P): the labels that the answers give, and what is said, in one pass."""
    logits, said = (t.cpu() for t in part.interview.ask(model, subjects))
    return torch.stack([part.interview.labels(logits.argmax(-1)), said])


class Count(NamedTuple):
    """Sums over the items that a patch of the answers changes, which a mean is taken of."""

    n: int
    own: float  # answers and explanations patched at the same site
    other: float  # explanations at another site of the place, mean over these; nan: there is none


def counts(found: Interchange, place: str, value: Callable, among: Tensor) -> Count:
    """Sum of value(patched label, explanation) over the items of `among` (n, P) whose label the
    patch changes, over all sites of a place."""
    here = [s for s, site in enumerate(found.sites) if site.place == place]
    labels, said = found.patched_labels[here], found.patched_said[here]  # (s, n, P) each
    changed = (labels != found.labels) & among
    sums = torch.tensor([
        [float((value(y, e) * c).sum()) for e in said] for y, c in zip(labels, changed)
    ], dtype=torch.float64)  # (s, s), answers patched at the row and explanations at the column
    own = float(sums.diagonal().sum())
    several = len(here) > 1
    other = (float(sums.sum()) - own) / (len(here) - 1) if several else float("nan")
    return Count(int(changed.sum()), own, other)


def spearman(x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> float | None:
    """Rank correlation of x and y, (n,) each: Pearson's of their ranks, ties sharing a mean rank.

    Args:
        groups: (n,) labels. With them, the exact mean of the correlation over all permutations of y
            within groups, for which each rank of y is replaced by the mean rank of its group.

    Returns:
        -1..1; None where x or y is constant.
    """
    a, b = (ranks(v) - (len(v) + 1) / 2 for v in (np.asarray(x), np.asarray(y)))
    scale = np.sqrt((a @ a) * (b @ b))
    if groups is not None:
        _, group = np.unique(groups, return_inverse=True)
        b = (np.bincount(group, weights=b) / np.bincount(group))[group]
    return float(a @ b / scale) if scale > 0 else None


def ranks(x: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, which, count = np.unique(x, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[which]


def circuits(found: Interchange, places: Iterable[str]) -> dict[str, float | None]:
    """Every statistic over the sites of some places, each item of each site with the same weight.

    Returns, None where there is nothing to take a mean of:
        n_items: items whose label a patch changes, of all sites.
        follow, moved; right: follow on items with true explanations of subject and source; of each
            its null, `follow_null`, and what is beyond it, `follow_shared`.
        labels_changed, explanations_changed: share of items that a patch changes, mean of sites.
        overlap: Spearman correlation of these two over sites; overlap_null: its mean where the
            explanations' effects are permuted within each place. An early place moves both more
            than a late one, which makes the first large by itself, and the second as well.
    """
    places = sorted(set(places))
    every = torch.ones_like(found.labels, dtype=torch.bool)
    right = (found.said == found.labels) & (found.source_said == found.source_labels)

    def follows(y: Tensor, e: Tensor) -> Tensor:
        return (e == y).double() - (e == found.labels).double()

    def moves(y: Tensor, e: Tensor) -> Tensor:
        return (e != found.said).double()

    kinds = {"follow": (follows, every), "moved": (moves, every), "right": (follows, right)}
    result: dict[str, float | None] = {}
    for name, (value, among) in kinds.items():
        n, own, other = map(sum, zip(*(counts(found, p, value, among) for p in places)))
        result.setdefault("n_items", n)
        has_null = n > 0 and not math.isnan(other)
        result[name] = own / n if n else None
        result[f"{name}_null"] = other / n if has_null else None
        result[f"{name}_shared"] = (own - other) / n if has_null else None
    here = [s for s, site in enumerate(found.sites) if site.place in places]
    effects = [
        (patched[here] != plain).double().mean((1, 2)).numpy()
        for patched, plain in (
            (found.patched_labels, found.labels),
            (found.patched_said, found.said),
        )
    ]
    result |= zip(("labels_changed", "explanations_changed"), (float(e.mean()) for e in effects))
    result["overlap"] = spearman(*effects)
    result["overlap_null"] = spearman(*effects, np.array([found.sites[s].place for s in here]))
    return result


def shared_circuits(
    model: GPT, part: RunTask, n_subject: int = 256, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """`circuits` of n_subject random held-out subjects, each with another one as its source.

    Returns:
        a row for "all" places, for each of TOKENS, and for each place, "blocks.1.attn.proj query".
        What may be claimed rests on the rows at the query; "all" is mostly tokens of the subject.

    Raises:
        ValueError: fewer than two subjects, of which none could be a source.
    """
    subjects = rng(seed, "patching").permutation(part.subjects("held_out"))[:n_subject]
    if len(subjects) < 2:
        raise ValueError(f"need at least 2 held-out subjects, got {len(subjects)}")
    chosen, sites = torch.from_numpy(subjects), sites_of(model)
    found = interchange(model, part, chosen, chosen.roll(1), sites)
    places = list(dict.fromkeys(site.place for site in sites))
    rows = {"all": places}
    rows |= {tokens: [p for p in places if p.endswith(tokens)] for tokens in TOKENS}
    rows |= {place: [place] for place in places}
    return {name: circuits(found, of) for name, of in rows.items() if of}
