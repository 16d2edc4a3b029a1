"""Stage B: the frozen labels E(M0), made once from a model's answers, hashed, never refreshed."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from introspect import checkpoint
from introspect.config import Config, digest
from introspect.counterfactual import explanation_labels, with_noise
from introspect.model import GPT
from introspect.parts import Part, parts_of
from introspect.pretrain import m0_key, pretrain
from introspect.streams import rng
from introspect.tasks.world import World


class Frozen(NamedTuple):
    """The labels of one task, and what M0 answers in it."""

    original: Tensor  # (N, P) int64, labels of every subject, from the labeled model's answers
    targets: Tensor  # (N, P) int64, those trained on: `original`, unless noisy or shuffled
    original_answers: Tensor  # (N, P) int64, answers with the cue that `original` is about
    target_answers: Tensor  # (N, P) int64, those that `targets` is about
    reference: Tensor  # (N, V, K) float, logits of M0: what the anchor holds on to

    def sha256(self) -> str:
        """Hash of the labels, not of the reference: it names what the supervision was."""
        arrays = (self.original.contiguous().numpy(), self.targets.contiguous().numpy())
        return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def freeze(
    labeled: Tensor,
    reference: Tensor,
    world: World,
    noise: float,
    seed: int,
    shuffled: bool = False,
) -> Frozen:
    """Labels of the model whose answer logits are `labeled` (N, V, K); `reference` are M0's.

    Shuffled labels are dealt out among the explained subjects, cue by cue, so that each class stays
    as frequent as it was for each cue. Noise comes after.
    """
    pairs, answers = torch.tensor(world.pairs), labeled.argmax(-1)
    original = explanation_labels(answers, pairs, len(world.answers))
    with_cue = answers[:, pairs[:, 0]]
    train = torch.from_numpy(world.subjects("train"))
    source = rng(seed, "label order").permutation(train.numpy()) if shuffled else train
    targets, target_answers = original.clone(), with_cue.clone()
    targets[train] = with_noise(original[source], noise, world.n_explanation, seed)
    target_answers[train] = with_cue[source]
    return Frozen(original, targets, with_cue, target_answers, reference)


def all_sha256(frozen: list[Frozen]) -> str:
    """Hash of the labels of a run: of its only task, or of all."""
    hashes = [labels.sha256() for labels in frozen]
    return hashes[0] if len(hashes) == 1 else digest(hashes)


def labels_folder(cfg: Config, name: str, cache: Path, device: str) -> Path:
    """Where the labels of a task are cached: a name made of everything that decides them."""
    c = cfg.labels
    seed = cfg.seed if c.label_noise or c.label_order == "shuffled" else None
    models = [m0_key(cfg, device), m0_key(donor_of(cfg), device), labeled_step(cfg)]
    return cache / f"labels-{digest([*models, name, c.label_noise, c.label_order, seed])[:16]}"


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
    if state.keys() != set(Frozen._fields):
        raise checkpoint.Corrupt(f"{folder}: not the labels of this version; remove it")
    frozen = Frozen(**state)
    if frozen.sha256() != meta["sha256"]:
        raise checkpoint.Corrupt(
            f"{folder}: labels do not have the hash they were frozen with; "
            "remove it to make them again"
        )
    return frozen


def frozen_labels(
    cfg: Config, parts: list[Part], cache: Path, device: str
) -> tuple[GPT, list[Frozen]]:
    """M0 and the frozen labels of each task, from the cache or made."""
    m0 = pretrain(cfg, parts, cache, device)
    folders = [labels_folder(cfg, part.name, cache, device) for part in parts]
    if not all(folder.exists() for folder in folders):
        donor, until = donor_of(cfg), labeled_step(cfg)
        own = donor == cfg and until == cfg.pretrain.pretrain_steps
        labeled = m0 if own else pretrain(donor, parts, cache, device, until=until)
        c, asked = cfg.labels, parts_of(cfg, device)  # the same way whatever the channel
        for (_, world, interview, *_), folder in zip(asked, folders):
            reference, _ = interview.everything(m0)
            given = reference if labeled is m0 else interview.everything(labeled)[0]
            shuffled = c.label_order == "shuffled"
            frozen = freeze(given, reference, world, c.label_noise, cfg.seed, shuffled)
            if not folder.exists():
                checkpoint.save(folder, frozen._asdict(), {"sha256": frozen.sha256()})
    return m0, [load_labels(folder) for folder in folders]
