"""Stage C: a copy of M0 is trained on frozen labels, and measured on the way.

    L = explain_weight * CE(explanation, E(M0)) + kl_weight * KL(B(M0) || B(M))
        [+ shift_weight * L_world of a shift]

The first term comes from subjects with explanation labels only. `run` is the whole of a run.
"""

import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from introspect import checkpoint
from introspect.adapters import trainable
from introspect.channels import labels_of
from introspect.config import Config
from introspect.controls import controls
from introspect.files import read_json, versions, write_json, write_lines
from introspect.labels import Frozen, all_sha256, frozen_labels
from introspect.losses import behavior_kl, explanation_loss
from introspect.measure import Snapshot, examples, items, m0_of, measure_all
from introspect.model import GPT
from introspect.optim import set_rates
from introspect.parts import Part, parts_of
from introspect.pretrain import (
    Progress,
    check_finite,
    check_weights,
    loss_of_world,
    teach,
)
from introspect.runs.build import make_shifted, shifted
from introspect.streams import rng

N_EXAMPLE = 12  # held-out items that a finished run shows in words

Loss = Callable[[GPT, int], tuple[Tensor, dict[str, Tensor]]]  # (model, step) -> total, parts


def objective(cfg: Config, parts: list[Part], frozen: list[Frozen], device: str) -> Loss:
    """The loss of update `step`: a function of the model and the step, with its own batches.

    Tasks share each batch equally; each term is a mean over its tasks.
    """
    c, refreshed = cfg.cotrain, cfg.labels.refreshed
    seed = cfg.seed if c.draw_seed is None else c.draw_seed
    held = [(p, of.reference.to(device)) for p, of in zip(parts, frozen)]  # what an anchor holds
    classes = [p.interview.channel.classes for p in parts]
    targets = [f(of.targets, of.target_answers).to(device) for f, of in zip(classes, frozen)]
    explained = [
        (p, p.subjects("train"), reference, target)
        for (p, reference), target in zip(held, targets)
        if p.explained
    ]
    learned = [(p, reference) for p, reference in held if not p.taught]
    shifts = shifted(cfg.tasks, c.shift)
    moved = [(p, make_shifted(cfg, p.name, p.world)) for p in parts if p.name in shifts]

    def share(among: list) -> int:
        return c.batch_size // len(among)

    def supervised(model: GPT, step: int) -> dict[str, list[Tensor]]:
        """Explanations of subjects with labels and, for the anchor, answers of the same pass."""
        draw = rng(seed, "explain", step)
        terms: dict[str, list[Tensor]] = {"explanation": [], "kl": []}
        for part, labeled, reference, target in explained:
            batch = draw.choice(labeled, share(explained), replace=False)
            subjects = torch.from_numpy(batch).to(device)
            anchored_here = c.kl_weight and c.anchor == "explained"
            if anchored_here or refreshed:  # one packed pass serves both
                answers, said = part.interview.both(model, subjects)
            else:
                said = part.interview.explanations(model, subjects)
            if anchored_here:
                terms["kl"].append(behavior_kl(answers, reference[subjects]))
            labels = target[subjects]
            if refreshed:
                labels = labels_of(part.interview.channel, answers.argmax(-1))
            terms["explanation"].append(explanation_loss(said, labels))
        return terms

    def anchored(model: GPT, step: int) -> list[Tensor]:
        """The anchor on subjects of all tasks that M0 knows, with labels or without."""
        draw, terms = rng(seed, "anchor", step), []
        for part, reference in learned:
            batch = draw.choice(part.world.n_subject, share(learned), replace=False)
            subjects = torch.from_numpy(batch).to(device)
            answers = part.interview.answers(model, subjects)
            terms.append(behavior_kl(answers, reference[subjects]))
        return terms

    def shift(model: GPT, step: int) -> list[Tensor]:
        """The concurrent objective: to answer as the shifted worlds do."""
        draw = rng(seed, "shift", step)
        return [loss_of_world(model, p.interview, w, share(moved), draw) for p, w in moved]

    def loss(model: GPT, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        terms = supervised(model, step)
        if c.kl_weight and c.anchor == "all":
            terms["kl"] = anchored(model, step)
        if moved:
            terms["shift"] = shift(model, step)
        weights = {"explanation": c.explain_weight, "kl": c.kl_weight, "shift": c.shift_weight}
        means = {name: sum(of) / len(of) for name, of in terms.items() if of}
        total = sum(weights[name] * mean for name, mean in means.items())
        return total, {name: mean.detach() for name, mean in means.items()}

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

    Writes out/metrics.jsonl (a line an evaluation), out/result.json, out/examples.json,
    out/items.jsonl (a line a held-out item) and the checkpoints; returns what is in result.json. A
    finished run is returned as it is.
    """
    if done := finished(out):
        return done
    c, parts = cfg.cotrain, parts_of(cfg, device, cfg.cotrain.channel)
    m0, frozen = frozen_labels(cfg, parts, cache, device)
    loss_at = objective(cfg, parts, frozen, device)
    model = copy.deepcopy(teach(cfg, m0, parts, cache, device)).train()
    trained = trainable(model, cfg)
    optimizer = torch.optim.AdamW(
        trained, lr=c.learning_rate, weight_decay=c.weight_decay, fused=True
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
    started, terms = time.monotonic() - seconds, {}
    while True:
        # 1. evaluate and save: at step 0 and after the last step too, never twice at one step
        due = step % c.eval_interval == 0 or step == c.max_steps
        if due and not (rows and rows[-1]["step"] == step):
            check_weights(step, title, model)
            snapshots = [Snapshot(model, *of) for of in zip(parts, frozen)]
            losses = {f"loss/{name}": term.item() for name, term in terms.items()}
            row = {"step": step, **losses, **measure_all(snapshots)}
            rows.append(row | {"seconds": round(time.monotonic() - started, 3)})
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            meta = {"rows": rows, "seconds": time.monotonic() - started}
            checkpoint.save_step(out / "checkpoints", step, state, meta)
            write_lines(out / "metrics.jsonl", rows)
        if step >= c.max_steps:
            break

        # 2. one batch, its frozen labels and, for the anchor, both answers
        total, terms = loss_at(model, step)

        # 3. one update
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, c.grad_clip)
        check_finite(step, title, loss=total, gradient=norm)
        set_rates([optimizer], [c.learning_rate], min(1.0, (step + 1) / max(1, c.warmup_steps)))
        optimizer.step()
        step += 1
        progress(title, passes)

    snapshots = [Snapshot(model, *of) for of in zip(parts, frozen)]
    write_json(out / "examples.json", {"examples": examples(snapshots, N_EXAMPLE)})
    write_lines(out / "items.jsonl", items(snapshots))
    write_lines(out / "metrics.jsonl", rows)
    final = {k: v for k, v in rows[-1].items() if k not in ("step", "seconds") and "/" not in k}
    result = {
        "task": cfg.task,
        "arm": arm,
        "seed": cfg.seed,
        **final,
        "controls": controls(snapshots),
        "m0": m0_of(parts, frozen),
        "config_sha256": cfg.sha256(),
        "labels_sha256": all_sha256(frozen),
        "seconds": round(time.monotonic() - started, 3),
        "versions": versions(device),
    }
    write_json(out / "result.json", result)
    return result
