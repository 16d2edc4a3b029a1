"""The smallest run that still has all its parts, for tests."""

import json
from pathlib import Path

import torch

from introspect import checkpoint

WORLD = ["--n_entity=6", "--n_attribute=6"]
SIZE = ["--n_layer=1", "--n_head=2", "--n_embd=16"]
STEPS = ["--pretrain_steps=12", "--pretrain_batch_size=8", "--max_steps=6", "--batch_size=4"]
TINY = [*WORLD, *SIZE, *STEPS, "--eval_interval=2", "--device=cpu"]


def run_folder(root: Path) -> Path:
    """The folder of the only run below ROOT/runs."""
    [folder] = (root / "runs").iterdir()
    return folder


def folder_of(root: Path, arm: str, seed: int) -> Path:
    """The folder of the run below ROOT/runs whose result names this arm and seed."""
    paths = root.glob("runs/*/result.json")
    results = {path.parent: json.loads(path.read_text()) for path in paths}
    [folder] = [f for f, r in results.items() if (r["arm"], r["seed"]) == (arm, seed)]
    return folder


def weights(out: Path) -> torch.Tensor:
    """Every weight of the last checkpoint of a run, in one vector."""
    _, state, _ = checkpoint.newest(out / "checkpoints")
    return torch.cat([p.flatten() for p in state["model"].values()])


def without_time(value):
    """A result without its time fields."""
    if isinstance(value, dict):
        return {k: without_time(v) for k, v in value.items() if k != "seconds"}
    return [without_time(v) for v in value] if isinstance(value, list) else value
