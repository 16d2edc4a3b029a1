"""Every number a run depends on, as frozen dataclasses that check themselves; flags come from them.

Four groups with disjoint names, and the constants of the world of each task (introspect/tasks/). No
torch here, so that `--help` is quick.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from introspect.fields import Refused, check_fields, option

LAST_SEED = 2**32 - 1


@dataclass(frozen=True)
class GPTConfig:
    """The trunk. Defaults: 2 layers of width 64, 0.15 M parameters."""

    n_layer: int = option(2, "transformer blocks", 1, 96)
    n_head: int = option(4, "attention heads; must divide n_embd", 1, 512)
    n_embd: int = option(64, "width of the residual stream", 1, 16384)
    block_size: int = option(8, "tokens of the longest prompt", 1, 8192)

    def __post_init__(self):
        check_fields(self)
        if self.n_embd % self.n_head:
            fits = [str(h) for h in range(1, self.n_embd + 1) if self.n_embd % h == 0]
            raise Refused(
                f"--n_head={self.n_head}: must divide n_embd={self.n_embd}, so one of "
                + ", ".join(fits)
            )


@dataclass(frozen=True)
class PretrainConfig:
    """How M0 learns the world: Muon on the matrices of the blocks, AdamW on the rest."""

    pretrain_steps: int = option(1000, "updates", 1)
    pretrain_batch_size: int = option(128, "subjects per update, each with all its cues", 1)
    muon_learning_rate: float = option(5e-3, "peak rate of Muon (RMS-matched to AdamW)", 0)
    adamw_learning_rate: float = option(3e-3, "peak rate of AdamW on embeddings and heads", 0)
    pretrain_weight_decay: float = option(0.1, "decay of the Muon matrices", 0)
    pretrain_warmup: float = option(0.05, "share of the updates over which rates rise", 0, 1)
    pretrain_cooldown: float = option(0.4, "share of the updates over which rates fall to 0", 0, 1)
    order_seed: int | None = option(None, "of M0's batches; default: m0_seed", 0, LAST_SEED)

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class LabelConfig:
    """Whose behavior the frozen labels describe. By default M0's own, all of them true."""

    label_progress: float = option(
        1.0, "labels of the checkpoint at this share of the labeled model's pretraining", 0, 1
    )
    donor: str = option(
        "",
        "labels of another model: M0 with other fields (m0_seed, order_seed, its size, its "
        "pretraining, rates of its world), as field=value[,field=value]; default: of M0 itself",
    )
    donor_share: float = option(
        1.0, "share of the subjects whose labels are the donor's; those of others are M0's", 0, 1
    )
    turned_share: float = option(
        0.0,
        "share of first words with whose subjects every label, held out too, is turned to the next "
        "class: a disagreement that can be learned",
        0,
        1,
    )
    label_noise: float = option(0.0, "share of training labels replaced by a wrong class", 0, 1)
    label_order: str = option(
        "true",
        "whose label a subject gets: its own, or, shuffled, that of another explained subject",
        choices=("true", "shuffled"),
    )
    refreshed: bool = option(
        False, "not frozen at all: labels of the model in training, made anew for every batch"
    )

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class CotrainConfig:
    """Explanation training: explain_weight * CE(explanation, label) + kl_weight * KL(M0 || M)."""

    max_steps: int = option(800, "co-training updates; 0 measures M0 as it is", 0)
    batch_size: int = option(32, "subjects per update, each with all its cues", 1)
    learning_rate: float = option(1e-3, "rate of AdamW, constant after warmup_steps", 0)
    warmup_steps: int = option(30, "updates over which the rate rises", 0)
    weight_decay: float = option(0.01, "of AdamW", 0)
    grad_clip: float = option(1.0, "largest norm of the gradient", 1e-12)
    eval_interval: int = option(80, "updates between two evaluations, which are checkpoints", 1)
    explain_weight: float = option(1.0, "weight of the labels; 0 trains no explanation", 0)
    kl_weight: float = option(1.0, "weight of the behavioral anchor; 0 turns it off", 0)
    anchor: str = option(
        "explained",
        "subjects whose behavior is anchored: those with explanation labels, or all",
        choices=("explained", "all"),
    )
    channel: str = option(
        "head",
        "how explanations are read: head, tied (through the task head), same (on the answer "
        "position), probe (nothing but that head is trained), verbal (a sentence, in words)",
        choices=("head", "tied", "same", "probe", "verbal"),
    )
    adapter_rank: int | None = option(
        None,
        "train nothing of the trunk but low-rank additions to its matrices, of this rank; default: "
        "all weights",
        1,
    )
    draw_seed: int | None = option(None, "of co-training's batches; default: seed", 0, LAST_SEED)
    teach_steps: int = option(
        400, "updates in which M0 is taught the tasks that come after it, before explanations", 0
    )
    unexplained: str = option("", "tasks without explanation labels, as TASK[+TASK]")
    shift: str = option(
        "", "concurrent objective: the world with other constants, as field=value[,field=value]"
    )
    shift_weight: float = option(1.0, "weight of the concurrent objective, where shift is set", 0)

    def __post_init__(self):
        check_fields(self)


GROUPS = {
    "gpt": GPTConfig,
    "pretrain": PretrainConfig,
    "labels": LabelConfig,
    "cotrain": CotrainConfig,
}


@dataclass(frozen=True)
class Config:
    """One run, complete: these fields and the packages' versions decide every number of it."""

    task: str  # its name, or several joined by +
    seed: int  # of co-training: batches and label noise
    m0_seed: int  # of M0: initial weights and batches
    world_seed: int  # of the facts and of the split
    worlds: tuple[Any, ...]  # the constants of each task: a dataclass of introspect/tasks/
    gpt: GPTConfig
    pretrain: PretrainConfig
    labels: LabelConfig
    cotrain: CotrainConfig

    @property
    def tasks(self) -> dict[str, Any]:
        """The constants of each task by its name."""
        return dict(zip(self.task.split("+"), self.worlds))

    @property
    def learned(self) -> list[str]:
        """The tasks that M0 learns: all but those taught after it."""
        return [name for name, world in self.tasks.items() if not is_taught(world)]

    @property
    def explained(self) -> list[str]:
        """The tasks with explanation labels: all that M0 learns but the unexplained ones."""
        without = self.cotrain.unexplained.split("+")
        return [name for name in self.learned if name not in without]

    def flat(self) -> dict[str, Any]:
        """Every field by its flag's name."""
        groups = (self.gpt, self.pretrain, self.labels, self.cotrain)
        own = {k: getattr(self, k) for k in ("task", "seed", "m0_seed", "world_seed")}
        of_worlds = {
            flag_of(name, field, self.tasks): value
            for name, world in self.tasks.items()
            for field, value in asdict(world).items()
        }
        return own | of_worlds | {k: v for group in groups for k, v in asdict(group).items()}

    def sha256(self) -> str:
        return digest(self.flat())

    def of_m0(self) -> list[Any]:
        """The fields that decide what M0 is."""
        return [self.m0_seed, self.world_seed, self.tasks, self.gpt, self.pretrain]


def is_taught(task: Any) -> bool:
    """Whether a task is learned during co-training only: M0 has never seen it."""
    return getattr(task, "taught", False)


def flag_of(task: str, field: str, tasks: Mapping[str, Any]) -> str:
    """The flag of a field of a task: beside other tasks, with its task's name in front."""
    return field if len(tasks) == 1 else f"{task}.{field}"


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
