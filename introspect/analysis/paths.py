"""What one component tells one later component directly: patches of edges instead of nodes.

The trunk is additive: what a component reads is the sum of the embedding and of the outputs of all
components before it, normalized. An edge joins a sender s with a reader r. Only r hears s as it is
in the pass of the source; every other component, those that r hears too, hears s as it was. So an
edge is one path of Goldowsky-Dill et al. 2023 (arXiv:2304.05969) up to its reader. The path patches
of Wang et al. 2022 (arXiv:2211.00593) differ: theirs may also run through MLPs between s and r.

    d  = f_s(a_s with the values of the source at its site) - f_s(a_s)
    a' = what r makes of norm(x_r + d)

and the pass goes on with a' at the site of r. Here a_s is the input of the point of s, f_s is
`attn.proj`, `mlp.down` or the identity of `embed`, and x_r is the stream that r reads. Components
between s and r are not computed again, and nothing is approximated.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from introspect.analysis.passes import Pass, Site, in_last_block, list_points


class Edge(NamedTuple):
    """From heads, neurons or channels of the embedding to heads or neurons that come later.

    >>> sender, reader = Site("embed", "cue", 0, 16), Site("blocks.1.attn.proj", "query", 16, 32)
    >>> Edge(sender, reader).place, Edge(sender, None).place
    ('embed cue > blocks.1.attn.proj query', 'embed cue > end')
    """

    sender: Site
    reader: Site | None  # None: the heads of the model, which answer and explain

    @property
    def place(self) -> str:
        return f"{self.sender.place} > {self.reader.place if self.reader else 'end'}"


@torch.no_grad()
def send(edge: Edge, plain: Pass, source: Pass) -> Tensor:
    """Output (B, A, C) of the trunk if only the reader of the edge hears the sender of `source`.

    A head reads by its queries, keys and values at once. Edges are asked about as sites are, and
    summarized by their places: interchange(model, part, subjects, sources, edges, patch=send).

    Args:
        plain, source: passes of one model over as many subjects (B,), of the same part.

    Raises:
        ValueError: the sender is no component, or the reader is none that comes later.
    """
    (sender, reader), model, ends = edge, plain.model, plain.packed.ends
    points = list_points(model)
    components = [p for p in points if not p.endswith("resid")]
    known = sender.point in components
    later = components[components.index(sender.point) + 1 :] if known else []
    if not known or reader and reader.point not in later:
        raise ValueError(f"need a component and a later one, or the end, got {edge.place}")
    write, values = model.get_submodule(sender.point), source.inputs[sender.point]
    d = write(plain.patched(sender, values)) - write(plain.inputs[sender.point])
    at_ends = d if in_last_block(model, sender.point) else d[:, ends]  # (B, A, C)
    if reader is None:
        return model.norm(plain.inputs[points[-1]] + at_ends)
    i, last = int(reader.point.split(".")[1]), in_last_block(model, reader.point)
    block, made = model.blocks[i], {}
    with model.hooked(reader.point, partial(made.__setitem__, "reader")):
        if reader.point.endswith("attn.proj"):
            stream = block.norm_1(plain.before_attn[i] + d)
            block.attn(stream, plain.packed.mask, ends if last else None)
        else:
            block.mlp(block.norm_2(plain.before_mlp[i] + (at_ends if last else d)))
    return plain.finish(reader.point, plain.patched(reader, made["reader"]))
