"""Stage B: the frozen labels E(M0), made once from a model's answers, hashed, never refreshed."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from introspect import checkpoint
from introspect.config import Config, digest
from introspect.counterfactual import explanation_labels, with_noise
from introspect.interview import Interview
from introspect.model import GPT
from introspect.pretrain import m0_key, pretrain
from introspect.tasks.world import World


class Frozen(NamedTuple):
    original: Tensor  # (N, P) int64, labels of every subject, from the labeled model's answers
    targets: Tensor  # (N, P) int64, `original`, with noise on training subjects if there is any
    reference: Tensor  # (N, V, K) float, logits of M0: what the anchor holds on to

    def sha256(self) -> str:
        """Hash of the labels, not of the reference: it names what the supervision was."""
        arrays = (self.original.contiguous().numpy(), self.targets.contiguous().numpy())
        return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def freeze(labeled: Tensor, reference: Tensor, world: World, noise: float, seed: int) -> Frozen:
    """Labels of the model whose answer logits are `labeled` (N, V, K); `reference` are M0's."""
    pairs = torch.tensor(world.pairs)
    original = explanation_labels(labeled.argmax(-1), pairs, len(world.answers))
    targets, train = original.clone(), torch.from_numpy(world.subjects("train"))
    targets[train] = with_noise(original[train], noise, world.n_explanation, seed)
    return Frozen(original, targets, reference)


def labels_folder(cfg: Config, cache: Path, device: str) -> Path:
    """Where the labels of a run are cached: a name made of everything that decides them."""
    c = cfg.labels
    noise_seed = cfg.seed if c.label_noise else None
    models = [m0_key(cfg, device), m0_key(donor_of(cfg), device), labeled_step(cfg)]
    return cache / f"labels-{digest([*models, c.label_noise, noise_seed])[:16]}"


def donor_of(cfg: Config) -> Config:
    """Whose labels: those of M0, or of another model of the same world and shape."""
    donor = cfg.labels.donor_seed
    return cfg if donor is None else cfg.with_m0_seed(donor)


def labeled_step(cfg: Config) -> int:
    """The update of the labeled model's pretraining after which it gives the labels."""
    return round(cfg.labels.label_progress * cfg.pretrain.pretrain_steps)


def load_labels(folder: Path) -> Frozen:
    """Cached labels.

    Raises:
        Corrupt: they do not have the hash that they were frozen with.
    """
    state, meta = checkpoint.load(folder)
    frozen = Frozen(**state)
    if frozen.sha256() != meta["sha256"]:
        raise checkpoint.Corrupt(
            f"{folder}: labels do not have the hash they were frozen with; "
            "remove it to make them again"
        )
    return frozen


def frozen_labels(
    cfg: Config, world: World, interview: Interview, cache: Path, device: str
) -> tuple[GPT, Frozen]:
    """M0 and its frozen labels, from the cache or made."""
    m0 = pretrain(cfg, world, interview, cache, device)
    folder, donor, until = labels_folder(cfg, cache, device), donor_of(cfg), labeled_step(cfg)
    if folder.exists():
        return m0, load_labels(folder)
    asked = Interview(world, device=device)  # the same way whatever the channel, to the last bit
    reference, _ = asked.everything(m0)
    labeled = reference
    if donor != cfg or until != cfg.pretrain.pretrain_steps:
        model = pretrain(donor, world, interview, cache, device, until=until)
        labeled, _ = asked.everything(model)
    frozen = freeze(labeled, reference, world, cfg.labels.label_noise, cfg.seed)
    checkpoint.save(folder, frozen._asdict(), {"sha256": frozen.sha256()})
    return m0, frozen
