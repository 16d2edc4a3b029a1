"""Do the explanation loss and the anchor pull against each other, when, and in which weights?

    g = gradient of CE(explanation, E(M0))     a = gradient of KL(B(M0) || B(M))

    cosine = g . a / (|g| |a|)     of the weights of one part of a model; -1..1

Below 0, a small step down one loss is a step up the other. The gradients are those of the losses
(losses.py) over all explained subjects, not multiplied by explain_weight and kl_weight, whatever a
run trains and its anchor reaches. A part is the embeddings, a block, the last norm, or a head; only
parts that both losses reach have a cosine.

At M0 the KL is 0, its minimum, so a = 0 and there is no cosine: the anchor has nothing to hold
until answers have moved. So the losses are compared after the first updates of a run, made again,
and at its end. A gradient that is shorter than 1e-6 of the other is taken for rounding.

`batch` is the mean of the cosines of single batches of the run's size. It is nearer to 0 than the
cosine of all subjects where batches say different things.
"""

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from introspect.cotrain import cotrain
from introspect.losses import behavior_kl, explanation_loss
from introspect.model import GPT
from introspect.reading import NUMBER
from introspect.report.text import tabulate
from introspect.runs.load import Loaded
from introspect.streams import rng
from introspect.terms import Supervised, supervise

EARLY = (10, 40)  # updates of a run after which it is looked at, beside its end
SMALL = 1e-6
KEYS = "cosine", "batch", "explanation", "anchor"
FORM = {str: {str: dict.fromkeys(KEYS, NUMBER | None)}}  # of conflict.json: by part, then time


def name_part(weight: str) -> str:
    """The part of a model that a weight of this name belongs to.

    >>> name_part("blocks.1.attn.qkv.weight"), name_part("token.weight"), name_part("norm.weight")
    ('block-1', 'embeddings', 'norm')
    """
    first, second, *_ = weight.split(".")
    return {"blocks": f"block-{second}", "token": "embeddings", "position": "embeddings"}.get(
        first, first
    )


def find_gradients(model: GPT, supervised: Supervised, batch: Tensor) -> dict[str, Tensor]:
    """(2, n) the gradients g and a of each part that both losses reach, in float64, and of these
    parts together under "all"; of the subjects in `batch`."""
    task, subjects = supervised.task, batch.to(model.token.weight.device)
    names, weights = zip(*model.named_parameters())
    answers, said = task.interview.both(model, subjects)
    losses = (
        explanation_loss(said, supervised.labels[subjects]),
        behavior_kl(answers, supervised.reference[subjects]),
    )
    rows: list[dict[str, list[Tensor]]] = []  # of each loss: the gradients of each part
    for loss in losses:
        rows.append({})
        found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        for name, gradient in zip(names, found):
            if gradient is not None:
                rows[-1].setdefault(name_part(name), []).append(gradient.flatten().double())
    one, other = rows
    parts = {part: torch.stack([torch.cat(row[part]) for row in rows])
             for part in one if part in other}  # fmt: skip
    return parts | ({"all": torch.cat(list(parts.values()), dim=1)} if parts else {})


def cosine(pair: Tensor) -> float | None:
    """Of two gradients (2, n); None where one is shorter than SMALL of the other."""
    short, long = pair.norm(dim=1).sort().values.tolist()
    return None if short <= SMALL * long else float(pair[0] @ pair[1]) / (short * long)


def measure_conflict(
    model: GPT, supervised: Supervised, batch_size: int, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """Of each part that both losses reach, and of "all": `cosine`, `batch`, and the norms of g,
    `explanation`, and of a, `anchor`.

    Args:
        batch_size: explained subjects in a batch; the last one may have fewer. seed: deals them.
    """
    model = copy.deepcopy(model).requires_grad_(True)
    dealt = torch.from_numpy(rng(seed, "conflict").permutation(supervised.explained))
    means: dict[str, Tensor] = {}
    cosines: dict[str, list[float]] = {}
    for batch in dealt.split(batch_size):
        for part, pair in find_gradients(model, supervised, batch).items():
            means[part] = means.get(part, 0) + pair * len(batch) / len(dealt)
            found = cosine(pair)
            cosines.setdefault(part, []).extend([] if found is None else [found])
    return {
        part: {
            "cosine": cosine(pair),
            "batch": sum(cosines[part]) / len(cosines[part]) if cosines[part] else None,
            "explanation": float(pair[0].norm()),
            "anchor": float(pair[1].norm()),
        }
        for part, pair in means.items()
    }


def compare_conflicts(run: Loaded, start: GPT, steps: Sequence[int] = EARLY) -> dict[str, Any]:
    """`measure_conflict` of the first explained task by part, then by time: the number of updates
    as text, of those that the run has, and "end".

    The first updates are those of the run, of a copy of `start`, which is M0. A shift, which is
    another objective, is left out.
    """
    config, c, tasks = run.config, run.config.cotrain, [s.task for s in run.snapshots]
    device = run.model.token.weight.device
    [supervised, *_] = [supervise(task, labels, c, device)
                        for task, labels in zip(tasks, run.frozen) if task.explained]  # fmt: skip
    looked_at = {"end": run.model}
    for step in (n for n in steps if n < c.max_steps):
        looked_at[str(step)] = copy.deepcopy(start)
        short = replace(c, max_steps=step, eval_interval=step)
        given = looked_at[str(step)], tasks, run.frozen, short, config.seed
        with tempfile.TemporaryDirectory() as folder:
            refreshed = config.labels.refreshed
            cotrain(*given, Path(folder), "the first updates", refreshed=refreshed)
    found: dict[str, Any] = {}
    for time, model in looked_at.items():
        for part, each in measure_conflict(model, supervised, c.batch_size).items():
            found.setdefault(part, {})[time] = each
    return found


def show_conflicts(runs_of: dict[str, list[dict[str, Any]]]) -> str:
    """What the files conflict.json of each arm have, as text; means over its runs."""
    first = next(iter(runs_of.values()))[0]
    places = {part: (part,) for part in first}
    times = {f"after {n} updates": str(n) for n in EARLY} | {"at the end": "end"}
    tables = {
        "cosine": {words: (n, "cosine") for words, n in times.items()},
        "norms at the end": {key: ("end", key) for key in KEYS[2:]},
    }
    return "\n".join(tabulate(what, places, each, runs_of) for what, each in tables.items())
