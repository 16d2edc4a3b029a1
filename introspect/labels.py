"""Stage B: the frozen labels E(M0), made once from a model's answers, hashed, never refreshed."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from introspect import checkpoint
from introspect.config import Config, LabelConfig, digest
from introspect.counterfactual import explanation_labels, turned, with_noise
from introspect.model import GPT
from introspect.parts import Part, parts_of
from introspect.pretrain import m0_key, pretrain
from introspect.runs.build import donor_of
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
    c: LabelConfig,
    seed: int,
) -> Frozen:
    """Labels of the model whose answer logits are `labeled` (N, V, K); `reference` are M0's.

    In this order: a share of the subjects keeps M0's own labels; those of some first words are
    turned; labels are dealt out anew among the explained subjects, cue by cue, so that each class
    stays as frequent as it was for each cue; some become noise.
    """
    pairs, answers = torch.tensor(world.pairs), labeled.argmax(-1)
    own = chosen(world.n_subject, 1 - c.donor_share, seed, "own labels")
    answers[own] = reference.argmax(-1)[own]
    original = explanation_labels(answers, pairs, len(world.answers))
    if c.turned_share:
        words, word_of = np.unique(world.slots[:, 0], return_inverse=True)
        among = chosen(len(words), c.turned_share, seed, "turned words")
        original = turned(original, torch.from_numpy(np.isin(word_of, among)), world.n_explanation)
    with_cue = answers[:, pairs[:, 0]]
    train = torch.from_numpy(world.subjects("train"))
    shuffled = c.label_order == "shuffled"
    source = rng(seed, "label order").permutation(train.numpy()) if shuffled else train
    targets, target_answers = original.clone(), with_cue.clone()
    targets[train] = with_noise(original[source], c.label_noise, world.n_explanation, seed)
    target_answers[train] = with_cue[source]
    return Frozen(original, targets, with_cue, target_answers, reference)


def chosen(n: int, share: float, seed: int, stream: str) -> np.ndarray:
    """round(n * share) numbers below n; those of a smaller share are among those of a larger."""
    return rng(seed, stream).permutation(n)[: round(n * share)]


def all_sha256(frozen: list[Frozen]) -> str:
    """Hash of the labels of a run: of its only task, or of all."""
    hashes = [labels.sha256() for labels in frozen]
    return hashes[0] if len(hashes) == 1 else digest(hashes)


def labels_folder(cfg: Config, name: str, cache: Path, device: str) -> Path:
    """Where the labels of a task are cached: a name made of everything that decides them."""
    c, models = cfg.labels, [m0_key(cfg, device), m0_key(donor_of(cfg), device)]
    drawn = c.label_noise or c.turned_share or c.donor_share < 1 or c.label_order == "shuffled"
    seed = cfg.seed if drawn else None  # runs of other seeds share what is not drawn
    return cache / f"labels-{digest([*models, name, asdict(c), seed])[:16]}"


def labeled_step(cfg: Config) -> int:
    """The update of the labeled model's pretraining after which it gives the labels."""
    return round(cfg.labels.label_progress * donor_of(cfg).pretrain.pretrain_steps)


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
        own = donor is cfg and until == cfg.pretrain.pretrain_steps
        asked = parts_of(cfg, device)  # the same way whatever the channel
        learned = asked if donor is cfg else parts_of(donor, device)  # the donor's own worlds
        labeled = m0 if own else pretrain(donor, learned, cache, device, until=until)
        for (_, world, interview, *_), folder in zip(asked, folders):
            reference, _ = interview.everything(m0)
            given = reference if labeled is m0 else interview.everything(labeled)[0]
            frozen = freeze(given, reference, world, cfg.labels, cfg.seed)
            if not folder.exists():
                checkpoint.save(folder, frozen._asdict(), {"sha256": frozen.sha256()})
    return m0, [load_labels(folder) for folder in folders]
