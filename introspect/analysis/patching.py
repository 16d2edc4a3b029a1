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

The null of both leaves the answers as they are patched and gives the explanations, at the same
site, the activations of another source. They can change as much as before, but not to where the
answers went. `follow_shared` is follow minus its null, -2..2, and `moved_shared` is moved minus its
null, -1..1. Both are 0 for an explanation that a patch does not reach and, on average, for one that
it merely scrambles. Where explanations follow their patch, the null of follow is how often two
sources give one label, minus how often the second leaves the label as it was.

What these statistics can show:
- A site is a node of a computation, no circuit. Edges between sites are for paths.py.
- One head can carry all of it. The rows "together" patch all heads of a layer at once, so that a
  fact that several heads bring is replaced as a whole.
- Tokens of the subject and of the cue stand before both queries, and the tree of prompts computes
  them once for both. A patch there changes answers and explanations whatever they share later. At
  the *query* tokens each has activations of its own. Only there does a number above its null say
  that both use the same heads, neurons or channels.
- A whole layer shows nothing: with all that a pass knows replaced, true explanations follow. In a
  slice of the residual stream, which is an arbitrary basis, what is shared may stay invisible.
- `moved` is weaker: a patch that changes much changes every explanation, even that of a head that
  was never trained, whose value is the floor. `follow` asks for the correct change, so it grows
  with how often explanations are true at all.
- `right` is follow on the items whose explanations, of the subject and of its source, are true
  without a patch. Two models differ in these items. If they are few, constant explanations are
  among them.
- Nothing here shows that explanations are computed from answers: both may use one recalled fact.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

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


def list_layers(model: GPT) -> list[Site]:
    """All heads of each layer at once, at each kind of token."""
    sites = [site for site in list_sites(model) if site.point.endswith("attn.proj")]
    width = max(site.high for site in sites)
    return [site._replace(high=width) for site in sites if site.low == 0]


class Interchange(NamedTuple):
    """Labels and explanations, in the classes of the channel, on the CPU."""

    sites: list  # of Site or of Edge (paths.py)
    labels: Tensor  # (n, P) without a patch, as the next three
    said: Tensor  # (n, P) explanations
    source_labels: Tensor  # (n, P) of the source
    source_said: Tensor  # (n, P)
    patched_labels: Tensor  # (S, n, P)
    patched_said: Tensor  # (S, n, P)
    other_said: Tensor | None  # (S, n, P) with another source; None: no null is asked for


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
    others: Tensor | None = None,
) -> Interchange:
    """Ask about `subjects` (n,) with the activations of `sources` (n,) at one site at a time.

    Costs two passes over the subjects, and for each site what comes after its point; with `others`
    one pass more, and twice as much for each site.

    Args:
        sites: what `patch` takes as its first argument: sites, or edges with patch=paths.send.
        others: (n,) the sources of the null.

    >>> from tempfile import TemporaryDirectory
    >>> from introspect.analysis.notebook import SMALL, run
    >>> with TemporaryDirectory() as out:
    ...     made = run("anchor/reg", out_dir=out, **SMALL)
    >>> [s], sites, subjects = made.run.snapshots, list_layers(made.model), torch.arange(3)
    >>> patched = interchange(made.model, s.task, subjects, subjects + 1, sites)
    >>> patched.patched_said.shape  # one layer at the query; 3 subjects, each with 4 hints
    torch.Size([1, 3, 4])
    """
    device = model.token.weight.device
    subjects, sources = subjects.to(device), sources.to(device)
    null = [] if others is None else others.to(device).split(CHUNK)
    chunks = []  # (2 + S, 2, b, P): source, subject, each site; labels, explanations
    null_chunks = []  # (S, b, P)
    for i, (chunk, of) in enumerate(zip(subjects.split(CHUNK), sources.split(CHUNK))):
        plain, source = Pass(model, part, chunk), Pass(model, part, of)
        results = [source.heard(source.hidden), plain.heard(plain.hidden)]
        for site in sites:
            results.append(plain.heard(patch(site, plain, source)))
        chunks.append(torch.stack(results))
        if null and sites:
            other = Pass(model, part, null[i])
            said = [plain.heard(patch(site, plain, other))[1] for site in sites]
            null_chunks.append(torch.stack(said))
    labels, said = torch.cat(chunks, dim=2).unbind(1)  # (2 + S, n, P) each
    other_said = torch.cat(null_chunks, dim=1) if null_chunks else None
    plain, source = (labels[1], said[1]), (labels[0], said[0])
    return Interchange(sites, *plain, *source, labels[2:], said[2:], other_said)


def add_up(x: Interchange, places: list[str], value: Value, among: Tensor) -> dict[str, Any]:
    """Over the items of `among` (n, P) whose label a patch changes, of all sites of these places:
    their number, the mean of value(patched label, patched explanation), and the same mean with the
    explanations of the null. None for a mean of nothing."""
    here = [s for s, site in enumerate(x.sites) if site.place in places]
    labels = x.patched_labels[here]
    changed = (labels != x.labels) & among
    n = int(changed.sum())

    def average(said: Tensor | None) -> float | None:
        if said is None or n == 0:
            return None
        return float((value(labels, said[here]) * changed).sum()) / n

    return {"n": n, "own": average(x.patched_said), "null": average(x.other_said)}


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
        sums = add_up(x, places, value, among)
        result.setdefault("n_items", sums["n"])
        result[name], result[f"{name}_null"] = sums["own"], sums["null"]
        shared = None if sums["null"] is None else sums["own"] - sums["null"]
        result[f"{name}_shared"] = shared
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


def shared_sites(
    model: GPT, part: RunTask, n_subject: int = 256, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """`summarize` for n_subject random held-out subjects, each with another one as its source, and
    a third one as that of the null.

    Returns:
        a row for "all" places, for each of TOKENS, and for each place, "blocks.1.attn.proj query".
        Claims may rest on the rows at the query only; "all" is mostly tokens of the subject. Then a
        row for all heads of a layer at once, "blocks.1.attn.proj query together", in no other row.

    Raises:
        ValueError: fewer than three subjects, so that none could be the source of the null.
    """
    subjects = rng(seed, "patching").permutation(part.subjects("held_out"))[:n_subject]
    if len(subjects) < 3:
        raise ValueError(f"need at least 3 held-out subjects, got {len(subjects)}")
    chosen = torch.from_numpy(subjects)

    def patch(sites: list[Site]) -> Interchange:
        return interchange(model, part, chosen, chosen.roll(1), sites, others=chosen.roll(2))

    single, joint = patch(list_sites(model)), patch(list_layers(model))
    places = list(dict.fromkeys(site.place for site in single.sites))
    rows = {"all": places}
    rows |= {tokens: [p for p in places if p.endswith(tokens)] for tokens in TOKENS}
    rows |= {place: [place] for place in places}
    summaries = {name: summarize(single, those) for name, those in rows.items() if those}
    layers = [site.place for site in joint.sites]
    return summaries | {f"{place} together": summarize(joint, [place]) for place in layers}
