"""Do answers and explanations use the same parts of the model? Interchange interventions.

    n subjects   P pairs   S sites   an item is a pair (subject, cue), as everywhere

A *site* is a slice of the channels at some tokens. There the activations of a subject are replaced
by those of another subject, its *source* (Geiger et al. 2021, arXiv:2106.02997), at the same
variant (our choice), in all sequences at once: in every one that answers and in every one that
explains. The patched answers give patched labels. Two statistics ask whether the patched
explanations change with them, each over the items whose label the patch changes:

    follow   share of patched explanations equal to the patched label, minus the share equal to the
             label without a patch: -1..1
    moved    share whose explanation changes at all, correctly or not: 0..1

The null of both patches the answers at the site and the explanations at another site of the same
point, tokens and size, with the same source, averaged over all such sites. `follow_shared` is
follow minus its null, -2..2, and `moved_shared` is moved minus its null, -1..1. Both are 0 on
average over where an explanation might be computed. But the null of follow is negative by
construction: if the other site carries nothing, the explanation keeps the label without a patch and
counts -1. So `follow_shared` overstates. An explanation that a patch merely scrambles has a follow
of about 0 and still exceeds its null. Read `follow` beside it.

What these statistics can show:
- "Circuits" here means sites, the nodes of a computation. Edges between them are for paths.py.
- Tokens of the subject and of the cue stand before both queries, and the tree of prompts computes
  them once for both. A patch there changes answers and explanations whatever they share later. At
  the *query* tokens each has activations of its own. Only there does a number above its null say
  that both use the same heads, neurons or channels.
- A whole layer shows nothing: with all that a pass knows replaced, true explanations follow. In a
  slice of the residual stream, which is an arbitrary basis, shared circuits may stay invisible.
- `moved` is weaker: a patch that changes much changes every explanation, even that of a head that
  was never trained, whose value is the floor. `follow` asks for the correct change, so it grows
  with how often explanations are true at all.
- `right` is follow on the items whose explanations, of the subject and of its source, are true
  without a patch. Two models differ in these items. If they are few, constant explanations are
  among them.
- Nothing here shows that explanations are computed from answers: both may use one recalled fact.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from introspect.analysis.passes import TOKENS, Pass, Site, in_last_block, list_points
from introspect.interview import CHUNK, RunTask
from introspect.model import GPT
from introspect.streams import rng

Value = Callable[[Tensor, Tensor], Tensor]  # patched labels, patched explanations -> value, (n, P)


def list_sites(model: GPT) -> list[Site]:
    """Embedding, heads, neurons and residual stream at each kind of token, cut into as many slices
    as there are heads (our choice). The last block computes only the query, which is read."""
    sites = []
    for point in list_points(model):
        module = model.get_submodule(point)
        width = getattr(module, "in_features", model.token.embedding_dim)
        size = width // model.blocks[0].attn.n_head
        for tokens in ("query",) if in_last_block(model, point) else TOKENS:
            sites += [Site(point, tokens, low, low + size) for low in range(0, width, size)]
    return sites


class Interchange(NamedTuple):
    """Labels and explanations, in the classes of the channel, on the CPU."""

    sites: list  # of Site or of Edge (paths.py)
    labels: Tensor  # (n, P) without a patch, as the next three
    said: Tensor  # (n, P) explanations
    source_labels: Tensor  # (n, P) of the source
    source_said: Tensor  # (n, P)
    patched_labels: Tensor  # (S, n, P)
    patched_said: Tensor  # (S, n, P)


def at_site(site: Site, plain: Pass, source: Pass) -> Tensor:
    """Output (B, A, C) of the trunk, with the values of `source` at the site."""
    return plain.finish(site.point, plain.patched(site, source.inputs[site.point]))


def interchange(
    model: GPT,
    part: RunTask,
    subjects: Tensor,
    sources: Tensor,
    sites: list,
    patch: Callable[..., Tensor] = at_site,
) -> Interchange:
    """Ask about `subjects` (n,) with the activations of `sources` (n,) at one site at a time.

    Costs two passes over the subjects, and for each site what comes after its point.

    Args:
        sites: what `patch` takes as its first argument: sites, or edges with patch=paths.send.
    """
    device = model.token.weight.device
    subjects, sources = subjects.to(device), sources.to(device)
    chunks = []  # (2 + S, 2, b, P): source, subject, each site; labels, explanations
    for chunk, others in zip(subjects.split(CHUNK), sources.split(CHUNK)):
        plain, source = Pass(model, part, chunk), Pass(model, part, others)
        results = [source.heard(source.hidden), plain.heard(plain.hidden)]
        for site in sites:
            results.append(plain.heard(patch(site, plain, source)))
        chunks.append(torch.stack(results))
    labels, said = torch.cat(chunks, dim=2).unbind(1)  # (2 + S, n, P) each
    return Interchange(sites, labels[1], said[1], labels[0], said[0], labels[2:], said[2:])


def add_up(x: Interchange, place: str, value: Value, among: Tensor) -> tuple[int, float, float]:
    """Count the items of `among` (n, P) whose label a patch changes, over all sites of a place.

    Returns:
        their number; the sum of value(patched label, patched explanation) over them; the same sum
        with explanations patched at another site, mean over these, nan if there is none.
    """
    here = [s for s, site in enumerate(x.sites) if site.place == place]
    labels, said = x.patched_labels[here], x.patched_said[here]  # (s, n, P) each
    changed = (labels != x.labels) & among
    sums = torch.tensor([
        [float((value(y, e) * c).sum()) for e in said] for y, c in zip(labels, changed)
    ], dtype=torch.float64)  # (s, s), answers patched at the row, explanations at the column
    own = float(sums.diagonal().sum())
    other = (float(sums.sum()) - own) / (len(here) - 1) if len(here) > 1 else math.nan
    return int(changed.sum()), own, other


def spearman(x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> float | None:
    """Rank correlation of x and y, (n,) each: Pearson's of their ranks, ties sharing a mean rank.

    Args:
        groups: (n,) labels. With groups, the exact mean of the correlation over all permutations of
            y within groups: each rank of y is replaced by the mean rank of its group.

    Returns:
        -1..1; None if x or y is constant.
    """
    a, b = (rank(v) - (len(v) + 1) / 2 for v in (x, y))
    scale = np.sqrt((a @ a) * (b @ b))
    if groups is not None:
        _, group = np.unique(groups, return_inverse=True)
        b = (np.bincount(group, weights=b) / np.bincount(group))[group]
    return float(a @ b / scale) if scale > 0 else None


def rank(x: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, which, count = np.unique(x, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[which]


def summarize(x: Interchange, places: Iterable[str]) -> dict[str, float | None]:
    """Every statistic over the sites of some places; each item of each site has the same weight.

    Returns, with None for a mean of nothing:
        n_items: items whose label a patch changes, of all sites.
        follow, moved, and right, which is follow on items with true explanations of subject and
            source; for each its null, `follow_null`, and the difference, `follow_shared`.
        labels_changed, explanations_changed: share of items that a patch changes, mean of sites.
        overlap: Spearman correlation of these two over sites. overlap_null: its mean if the effects
            on explanations are permuted within each place. A patch at an early place changes both
            more than one at a late place, which alone makes both correlations large.
    """
    places = sorted(set(places))
    every = torch.ones_like(x.labels, dtype=torch.bool)
    true = (x.said == x.labels) & (x.source_said == x.source_labels)

    def follows(y: Tensor, e: Tensor) -> Tensor:
        return (e == y).double() - (e == x.labels).double()

    def moves(y: Tensor, e: Tensor) -> Tensor:
        return (e != x.said).double()

    result: dict[str, float | None] = {}
    for name, value, among in (
        ("follow", follows, every), ("moved", moves, every), ("right", follows, true)
    ):
        n, own, other = map(sum, zip(*(add_up(x, p, value, among) for p in places)))
        has_null = n > 0 and not math.isnan(other)
        result.setdefault("n_items", n)
        result[name] = own / n if n else None
        result[f"{name}_null"] = other / n if has_null else None
        result[f"{name}_shared"] = (own - other) / n if has_null else None
    here = [s for s, site in enumerate(x.sites) if site.place in places]
    labels, said = (
        (patched[here] != plain).double().mean((1, 2)).numpy()
        for patched, plain in ((x.patched_labels, x.labels), (x.patched_said, x.said))
    )  # (s,) each: share of items that each site changes
    names = np.array([x.sites[s].place for s in here])
    return result | {
        "labels_changed": float(labels.mean()),
        "explanations_changed": float(said.mean()),
        "overlap": spearman(labels, said),
        "overlap_null": spearman(labels, said, names),
    }


def shared_circuits(
    model: GPT, part: RunTask, n_subject: int = 256, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """`summarize` for n_subject random held-out subjects, each with another one as its source.

    Returns:
        a row for "all" places, for each of TOKENS, and for each place, "blocks.1.attn.proj query".
        Claims may rest on the rows at the query only; "all" is mostly tokens of the subject.

    Raises:
        ValueError: fewer than two subjects, so that none could be a source.
    """
    subjects = rng(seed, "patching").permutation(part.subjects("held_out"))[:n_subject]
    if len(subjects) < 2:
        raise ValueError(f"need at least 2 held-out subjects, got {len(subjects)}")
    chosen, sites = torch.from_numpy(subjects), list_sites(model)
    result = interchange(model, part, chosen, chosen.roll(1), sites)
    places = list(dict.fromkeys(site.place for site in sites))
    rows = {"all": places}
    rows |= {tokens: [p for p in places if p.endswith(tokens)] for tokens in TOKENS}
    rows |= {place: [place] for place in places}
    return {name: summarize(result, those) for name, those in rows.items() if those}
