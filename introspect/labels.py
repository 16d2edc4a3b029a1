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
    targets: Tensor  # (N, P) int64, what M is trained on: `original` plus noise, if any
    reference: Tensor  # (N, V, K) float, logits of M0: what the anchor holds on to

    def sha256(self) -> str:
        """Hash of the labels, not of the reference: it names what the supervision was."""
        arrays = (self.original.contiguous().numpy(), self.targets.contiguous().numpy())
        return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def freeze(labeled: Tensor, reference: Tensor, world: World, noise: float, seed: int) -> Frozen:
    """Labels of the model whose answer logits are `labeled` (N, V, K); `reference` are M0's."""
    pairs = torch.tensor(world.pairs)
    original = explanation_labels(labeled.argmax(-1), pairs, len(world.answers))
    targets = with_noise(original, noise, world.n_explanation, seed)
    return Frozen(original, targets, reference)


def frozen_labels(
    cfg: Config, world: World, interview: Interview, cache: Path, device: str
) -> tuple[GPT, Frozen]:
    """M0 and its frozen labels, from the cache or made.

    The labeled model is M0; `donor_seed` names another model of the same world and shape, and
    `label_progress` an earlier checkpoint of whichever it is.
    """
    m0 = pretrain(cfg, world, interview, cache, device)
    c = cfg.labels
    donor = cfg if c.donor_seed is None else cfg.with_m0_seed(c.donor_seed)
    until = round(c.label_progress * cfg.pretrain.pretrain_steps)
    noise_seed = cfg.seed if c.label_noise else None
    key = digest([m0_key(cfg, device), m0_key(donor, device), until, c.label_noise, noise_seed])
    folder = cache / f"labels-{key[:16]}"
    if folder.exists():
        state, meta = checkpoint.load(folder)
        frozen = Frozen(**state)
        if frozen.sha256() != meta["sha256"]:
            raise checkpoint.Corrupt(f"{folder}: labels do not have the hash they were frozen with")
        return m0, frozen
    reference, _ = interview.everything(m0)
    labeled = reference
    if donor != cfg or until != cfg.pretrain.pretrain_steps:
        model = pretrain(donor, world, interview, cache, device, until=until)
        labeled, _ = interview.everything(model)
    frozen = freeze(labeled, reference, world, c.label_noise, cfg.seed)
    checkpoint.save(folder, frozen._asdict(), {"sha256": frozen.sha256()})
    return m0, frozen
