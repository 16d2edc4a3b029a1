"""Stage C: a copy of M0 is trained on frozen labels (terms.py), and measured on the way."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
from introspect.terms import Asked, ask, draw_batches, judge, supervise
from introspect.watch import Progress, check_finite, silent, weight_norm


def passes_of_update(c: CotrainConfig) -> int:
    """Passes over a subject in one update, a measure of its time."""
    return c.batch_size * (1 + bool(c.kl_weight) + bool(c.shift) + bool(c.objective))


class Trained(NamedTuple):
    """What co-training ends with."""

    rows: list[dict[str, Any]]  # one for each evaluation: the lines of metrics.jsonl
    snapshots: list[Snapshot]  # of each task, at the last evaluation


@dataclass(eq=False)
class Training:
    """One run in training; continues what is in out/checkpoints.

    While `evaluate` says that an update is due: ask what `draw` returns, judge it, put the gradient
    into the weights, and `update`. One run alone does so in `cotrain`, several in runs/stacked.py.
    """

    model: GPT  # a copy of M0, trained in place
    tasks: list[RunTask]
    frozen: list[Frozen]
    c: CotrainConfig
    seed: int
    out: Path
    title: str
    progress: Progress
    shifted: Mapping[str, World]
    refreshed: bool
    made_of: str

    def __post_init__(self):
        c, model = self.c, self.model
        self.trained = trainable(model.train(), c.channel, c.adapter_rank, self.seed)
        groups = [self.trained]
        if c.head_steps:
            head = set(explaining_head(model, c.channel).parameters())
            groups = [[p for p in self.trained if (p in head) == own] for own in (True, False)]
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group in groups],
            c.learning_rate,
            weight_decay=c.weight_decay,
            fused=True,
        )
        device = model.token.weight.device
        self.supervised = [supervise(*each, c, device) for each in zip(self.tasks, self.frozen)]
        named = [(s, s.task.name) for s in self.supervised]
        self.moved = [(s, self.shifted[name]) for s, name in named if name in self.shifted]
        self.step, self.rows, self.terms, self.snapshots, seconds = 0, [], {}, [], 0.0
        if saved := newest_of_run(self.out, model, c, self.made_of):
            self.step, state, meta = saved
            restore(state, model, [self.optimizer], self.step, f"{self.out}, step {self.step}")
            checkpoint.prune(self.out / "checkpoints", self.step)
            self.rows, seconds = meta["rows"], meta["seconds"]
            print(f"{self.out}: resumed from step {self.step}", file=sys.stderr)
        self.progress(self.title, -self.step * passes_of_update(c))
        self.started = time.monotonic() - seconds

    def take_snapshots(self) -> list[Snapshot]:
        return [Snapshot(self.model, *each) for each in zip(self.tasks, self.frozen)]

    def evaluate(self) -> bool:
        """Measure and save where that is due: at step 0 and after the last step too, never twice at
        one step. Returns whether an update is due."""
        c, step = self.c, self.step
        due = step % c.eval_interval == 0 or step == c.max_steps
        if due and not (self.rows and self.rows[-1]["step"] == step):
            self.snapshots = self.take_snapshots()
            losses = {f"loss/{name}": term.item() for name, term in self.terms.items()}
            row = {"step": step, **losses, **measure_all(self.snapshots)}
            self.rows.append(row | {"seconds": round(time.monotonic() - self.started, 3)})
            optimizers = [self.optimizer.state_dict()]
            state = {"model": self.model.state_dict(), "optimizers": optimizers}
            meta = {"rows": self.rows, "seconds": time.monotonic() - self.started}
            checkpoint.save_step(self.out / "checkpoints", step, state, meta, self.made_of)
            write_lines(self.out / "metrics.jsonl", self.rows)
        return step < c.max_steps

    def draw(self) -> list[Asked]:
        """What the next update asks."""
        seed = self.seed if self.c.draw_seed is None else self.c.draw_seed
        return draw_batches(self.step, self.supervised, self.moved, self.c, seed, self.refreshed)

    def update(self, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """One update by the gradient of `loss` that the weights have.

        Raises:
            Diverged: a number of it is not finite.
        """
        c, gradients = self.c, [p.grad for p in self.trained if p.grad is not None]
        average([*gradients, loss, *terms.values()])
        norm = torch.nn.utils.clip_grad_norm_(self.trained, c.grad_clip)
        check_finite(self.step, self.title, loss=loss, gradient=norm)
        factor = min(1.0, (self.step + 1) / max(1, c.warmup_steps))
        set_rates([self.optimizer], [c.learning_rate], factor)
        if self.step < c.head_steps:
            self.optimizer.param_groups[1]["lr"] = 0.0
        self.optimizer.step()
        self.step, self.terms = self.step + 1, terms
        check_finite(self.step, self.title, weights=weight_norm(self.model))
        self.progress(self.title, passes_of_update(c))

    def end(self) -> Trained:
        """What a run that needs no more updates ended with."""
        write_lines(self.out / "metrics.jsonl", self.rows)
        snapshots = self.snapshots or self.take_snapshots()  # a finished one is asked once more
        return Trained(self.rows, snapshots)


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
    kind: type[Training] = Training,
) -> Trained:
    """Train `model`, a copy of M0, in place; continues what is in out/checkpoints.

    Writes out/metrics.jsonl (a line an evaluation) and a checkpoint at every evaluation.

    Args:
        shifted: task -> the world whose answers a concurrent objective teaches.
        refreshed: no label is frozen, see `terms.Asked`.
        made_of: hash of what decides the run; checkpoints of another one are refused.
        kind: what a training does beside its updates, such as to keep all that it says.
    """
    given = seed, out, title, progress, shifted, refreshed, made_of
    training = kind(model, tasks, frozen, c, *given)
    while training.evaluate():
        batches = training.draw()  # judged by frozen labels and, for the anchor, by M0's answers
        loss, terms = judge(batches, [ask(model, batch) for batch in batches], c)
        training.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        training.update(loss, terms)
    return training.end()
