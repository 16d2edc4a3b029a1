"""Stage C: a copy of M0 is trained on frozen labels (terms.py), and measured on the way."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from introspect import checkpoint
from introspect.adapters import explaining_head, trainable
from introspect.config import CotrainConfig
from introspect.files import write_lines
from introspect.interview import RunTask
from introspect.labels import Frozen
from introspect.measure import Snapshot, measure_all
from introspect.model import GPT
from introspect.optim import set_rates
from introspect.parallel import average
from introspect.restore import newest_of_run, restore
from introspect.tasks.world import World
from introspect.terms import ask, draw_batches, judge, supervise
from introspect.watch import Progress, check_finite, silent, weight_norm


def passes_of_update(c: CotrainConfig) -> int:
    """Passes over a subject in one update, a measure of its time."""
    return c.batch_size * (1 + bool(c.kl_weight) + bool(c.shift) + bool(c.objective))


class Trained(NamedTuple):
    """What co-training ends with."""

    rows: list[dict[str, Any]]  # one for each evaluation: the lines of metrics.jsonl
    snapshots: list[Snapshot]  # of each task, at the last evaluation


def cotrain(
    model: GPT,
    tasks: list[RunTask],
    frozen: list[Frozen],
    c: CotrainConfig,
    seed: int,
    out: Path,
    title: str,
    progress: Progress = silent,
    shifted: Mapping[str, World] = {},
    refreshed: bool = False,
    made_of: str = "",
) -> Trained:
    """Train `model`, a copy of M0, in place; continues what is in out/checkpoints.

    Writes out/metrics.jsonl (a line an evaluation) and a checkpoint at every evaluation.

    Args:
        shifted: task -> the world whose answers a concurrent objective teaches.
        refreshed: no label is frozen, see `terms.Asked`.
        made_of: hash of what decides the run; checkpoints of another one are refused.
    """
    trained = trainable(model.train(), c.channel, c.adapter_rank, seed)
    device, batch_seed = model.token.weight.device, seed if c.draw_seed is None else c.draw_seed
    supervised = [supervise(*each, c, device) for each in zip(tasks, frozen)]
    moved = [(s, shifted[s.task.name]) for s in supervised if s.task.name in shifted]
    groups = [{"params": trained}]
    if c.head_steps:
        head = set(explaining_head(model, c.channel).parameters())
        groups = [{"params": [p for p in trained if (p in head) == own]} for own in (True, False)]
    optimizer = torch.optim.AdamW(groups, c.learning_rate, weight_decay=c.weight_decay, fused=True)
    step, rows, seconds = 0, [], 0.0
    if saved := newest_of_run(out, model, c, made_of):
        step, state, meta = saved
        restore(state, model, [optimizer], step, f"{out}, step {step}")
        checkpoint.prune(out / "checkpoints", step)
        rows, seconds = meta["rows"], meta["seconds"]
        print(f"{out}: resumed from step {step}", file=sys.stderr)

    def take_snapshots() -> list[Snapshot]:
        return [Snapshot(model, *each) for each in zip(tasks, frozen)]

    passes = passes_of_update(c)
    progress(title, -step * passes)
    started, terms, snapshots = time.monotonic() - seconds, {}, []
    while True:
        # 1. evaluate and save: at step 0 and after the last step too, never twice at one step
        due = step % c.eval_interval == 0 or step == c.max_steps
        if due and not (rows and rows[-1]["step"] == step):
            snapshots = take_snapshots()
            losses = {f"loss/{name}": term.item() for name, term in terms.items()}
            row = {"step": step, **losses, **measure_all(snapshots)}
            rows.append(row | {"seconds": round(time.monotonic() - started, 3)})
            state = {"model": model.state_dict(), "optimizers": [optimizer.state_dict()]}
            meta = {"rows": rows, "seconds": time.monotonic() - started}
            checkpoint.save_step(out / "checkpoints", step, state, meta, made_of)
            write_lines(out / "metrics.jsonl", rows)
        if step >= c.max_steps:
            break

        # 2. one batch, judged by frozen labels and, for the anchor, by M0's answers
        batches = draw_batches(step, supervised, moved, c, batch_seed, refreshed)
        loss, terms = judge(batches, [ask(model, batch) for batch in batches], c)

        # 3. one update
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average([p.grad for p in trained if p.grad is not None] + [loss, *terms.values()])
        norm = torch.nn.utils.clip_grad_norm_(trained, c.grad_clip)
        check_finite(step, title, loss=loss, gradient=norm)
        set_rates([optimizer], [c.learning_rate], min(1.0, (step + 1) / max(1, c.warmup_steps)))
        if step < c.head_steps:
            optimizer.param_groups[1]["lr"] = 0.0
        optimizer.step()
        step += 1
        check_finite(step, title, weights=weight_norm(model))
        progress(title, passes)
    write_lines(out / "metrics.jsonl", rows)
    return Trained(rows, snapshots or take_snapshots())  # a finished one is asked once more
