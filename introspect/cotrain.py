"""Stage C: M0 is trained on frozen labels, and measured on the way.

    L = CE(explanation, E(M0)) + kl_weight * KL(B(M0) || B(M)) [+ shift_weight * L_world of a shift]

The first term comes from subjects with explanation labels only. `run` is the whole of a run.
"""

import copy
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from introspect import checkpoint
from introspect.config import Config, shifted
from introspect.interview import Interview
from introspect.labels import Frozen, frozen_labels
from introspect.losses import behavior_kl, explanation_loss, world_loss
from introspect.measure import Snapshot, competence, examples
from introspect.model import GPT
from introspect.optim import set_rates
from introspect.pretrain import Progress, check_finite, check_weights
from introspect.record import read_json, versions, write_json, write_lines
from introspect.streams import rng
from introspect.tasks.world import World

N_EXAMPLE = 12  # held-out items that a finished run shows in words

Loss = Callable[[GPT, int], tuple[Tensor, dict[str, Tensor]]]  # (model, step) -> total, parts


def objective(cfg: Config, world: World, interview: Interview, frozen: Frozen, device: str) -> Loss:
    """The loss of update `step`: a function of the model and the step, with its own batches."""
    c = cfg.cotrain
    targets, reference = frozen.targets.to(device), frozen.reference.to(device)
    explained = world.subjects("train")
    everyone = range(world.n_subject)
    moved = shifted(cfg.world, c.shift).world(cfg.world_seed) if c.shift else None
    shown = torch.from_numpy(moved.shown).float().to(device) if moved else None

    def draw(stream: str, step: int, among: Sequence[int]) -> Tensor:
        batch = rng(cfg.seed, stream, step).choice(among, c.batch_size, replace=False)
        return torch.from_numpy(batch).to(device)

    def loss(model: GPT, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        subjects = draw("explain", step, explained)
        if c.kl_weight and c.anchor == "explained":  # one packed pass serves both terms
            held, (answers, explanations) = subjects, interview.both(model, subjects)
        else:
            explanations = interview.explanations(model, subjects)
        parts = {"explanation": explanation_loss(explanations, targets[subjects])}
        total = parts["explanation"]
        if c.kl_weight:
            if c.anchor == "all":
                held = draw("anchor", step, everyone)
                answers = interview.answers(model, held)
            parts["kl"] = behavior_kl(answers, reference[held])
            total = total + c.kl_weight * parts["kl"]
        if moved:
            others = draw("shift", step, everyone)
            truth = moved.draw(others.cpu().numpy(), rng(cfg.seed, "shift answers", step))
            answers = interview.answers(model, others)
            parts["shift"] = world_loss(answers, torch.from_numpy(truth).to(device), shown[others])
            total = total + c.shift_weight * parts["shift"]
        return total, {name: part.detach() for name, part in parts.items()}

    return loss


def passes_of(cfg: Config) -> int:
    """Passes over a subject in one update, a measure of its time."""
    c = cfg.cotrain
    return c.batch_size * (1 + bool(c.kl_weight) + bool(c.shift))


def finished(out: Path) -> dict[str, Any] | None:
    """The result of the run in `out`, if it is done."""
    path = out / "result.json"
    return read_json(path, {"arm", "seed", "gap", "train", "m0"}) if path.exists() else None


def run(
    cfg: Config, arm: str, out: Path, cache: Path, device: str, progress: Progress
) -> dict[str, Any]:
    """One run, complete: M0, frozen labels, co-training, measures. Continues what is in `out`.

    Writes out/metrics.jsonl (a line an evaluation), out/result.json, out/examples.json and the
    checkpoints; returns what is in result.json. A finished run is returned as it is.
    """
    if done := finished(out):
        return done
    c, world = cfg.cotrain, cfg.world.world(cfg.world_seed)
    interview = Interview(world, c.channel, device)
    m0, frozen = frozen_labels(cfg, world, interview, cache, device)
    loss_at = objective(cfg, world, interview, frozen, device)
    model = copy.deepcopy(m0).train()
    trained = (model.explain_head if c.channel == "probe" else model).requires_grad_(True)
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay, fused=True
    )
    step, rows, seconds = 0, [], 0.0
    if saved := checkpoint.newest(out / "checkpoints"):
        step, state, meta = saved
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        rows, seconds = meta["rows"], meta["seconds"]
        print(f"{out}: resumed from step {step}", file=sys.stderr)

    title = f"{arm} of seed {cfg.seed}"
    passes = passes_of(cfg)
    progress(title, -step * passes)
    started, parts = time.monotonic() - seconds, {}
    while True:
        # 1. evaluate and save: at step 0 and after the last step too, never twice at one step
        due = step % c.eval_interval == 0 or step == c.max_steps
        if due and not (rows and rows[-1]["step"] == step):
            check_weights(step, title, model)
            snapshot = Snapshot(model, interview, world, frozen)
            losses = {f"loss/{name}": part.item() for name, part in parts.items()}
            row = {"step": step, **losses, **snapshot.both()}
            rows.append(row | {"seconds": round(time.monotonic() - started, 3)})
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            meta = {"rows": rows, "seconds": time.monotonic() - started}
            checkpoint.save_step(out / "checkpoints", step, state, meta)
            write_lines(out / "metrics.jsonl", rows)
        if step >= c.max_steps:
            break

        # 2. one batch, its frozen labels and, for the anchor, both answers
        total, parts = loss_at(model, step)

        # 3. one update
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained.parameters(), c.grad_clip)
        check_finite(step, title, loss=total, gradient=norm)
        set_rates([optimizer], [c.learning_rate], min(1.0, (step + 1) / max(1, c.warmup_steps)))
        optimizer.step()
        step += 1
        progress(title, passes)

    snapshot = Snapshot(model, interview, world, frozen)
    write_json(out / "examples.json", {"examples": examples(snapshot, N_EXAMPLE)})
    write_lines(out / "metrics.jsonl", rows)
    final = {k: v for k, v in rows[-1].items() if k not in ("step", "seconds") and "/" not in k}
    result = {
        "task": cfg.task,
        "arm": arm,
        "seed": cfg.seed,
        **final,
        "m0": competence(world, frozen),
        "config_sha256": cfg.sha256(),
        "labels_sha256": frozen.sha256(),
        "seconds": round(time.monotonic() - started, 3),
        "versions": versions(device),
    }
    write_json(out / "result.json", result)
    return result
