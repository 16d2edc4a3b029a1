"""Every number that a run depends on, in frozen dataclasses that check themselves.

There are four groups, and the constants of each task (introspect/tasks/). Every field is a flag of
the command line; no two have the same name. This file does not import torch, so `--help` is quick.
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
    """The trunk. By default it has 2 layers of width 64 and 164,672 parameters; with its heads, the
    model of task hint has 230,793."""

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
    pretrain_batch_size: int = option(128, "subjects per update, each with all its prompts", 1)
    muon_learning_rate: float = option(5e-3, "peak rate of Muon (RMS-matched to AdamW)", 0)
    adamw_learning_rate: float = option(3e-3, "peak rate of AdamW on embeddings and heads", 0)
    pretrain_weight_decay: float = option(0.1, "weight decay of the matrices that Muon trains", 0)
    pretrain_warmup: float = option(0.05, "share of the updates over which rates rise", 0, 1)
    pretrain_cooldown: float = option(0.4, "share of the updates over which rates fall to 0", 0, 1)
    order_seed: int | None = option(None, "seed of M0's batches; default: m0_seed", 0, LAST_SEED)
    begun_from: str = option(
        "", "hash of the configuration of the finished run whose model is M0; --from=RUN sets it"
    )

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class LabelConfig:
    """Which model the frozen labels describe, and which errors they have. By default they describe
    M0 and are all true."""

    label_progress: float = option(
        1.0, "share of its pretraining after which the labeled model is asked for its labels", 0, 1
    )
    donor: str = option(
        "",
        "another model to label: M0 with other fields (m0_seed, order_seed, its size, its "
        "pretraining, rates of its world), as field=value[,field=value]; default: M0 itself",
    )
    donor_share: float = option(
        1.0, "share of subjects with labels of the donor; all others have labels of M0", 0, 1
    )
    turned_share: float = option(
        0.0,
        "share of first words for which every label, held-out ones included, is shifted to the "
        "next class: a systematic error, which can be learned",
        0,
        1,
    )
    label_noise: float = option(0.0, "share of training labels that are made wrong", 0, 1)
    kept_changes: float = option(
        1.0, "share of those training labels that say \"would change\" which are trained on", 0, 1
    )
    label_order: str = option(
        "true",
        "true: each subject has its own labels; shuffled: those of another explained subject",
        choices=("true", "shuffled"),
    )
    refreshed: bool = option(
        False, "do not freeze labels: ask the model in training for new ones in every batch"
    )

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class CotrainConfig:
    """Explanation training: explain_weight * CE(explanation, label) + kl_weight * KL(M0 || M)."""

    max_steps: int = option(800, "co-training updates; 0 measures M0 as it is", 0)
    batch_size: int = option(32, "subjects per update, each with all its cues", 1)
    learning_rate: float = option(1e-3, "learning rate of AdamW, constant after warmup_steps", 0)
    warmup_steps: int = option(30, "updates over which the learning rate rises", 0)
    head_steps: int = option(
        0, "first updates, in which only the head that says the explanation is trained", 0
    )
    weight_decay: float = option(0.01, "weight decay of AdamW", 0)
    grad_clip: float = option(1.0, "largest norm of the gradient", 1e-12)
    eval_interval: int = option(80, "updates between two evaluations; each saves a checkpoint", 1)
    explain_weight: float = option(1.0, "weight of the explanation term", 0)
    kl_weight: float = option(1.0, "weight of the behavioral anchor KL(M0 || M); 0: no anchor", 0)
    anchor: str = option(
        "explained",
        "subjects on which the anchor holds behavior: those with explanation labels, or all",
        choices=("explained", "all"),
    )
    channel: str = option(
        "head",
        "how explanations are read: head (its own), tied (the task head), same (at the answer "
        "token), probe (only the head is trained), verbal (a sentence in words)",
        choices=("head", "tied", "same", "probe", "verbal"),
    )
    adapter_rank: int | None = option(
        None,
        "freeze the trunk and train low-rank additions to its matrices, of this rank; default: "
        "train all weights",
        1,
    )
    draw_seed: int | None = option(None, "seed of its batches; default: seed", 0, LAST_SEED)
    teach_steps: int = option(
        400, "updates in which M0 learns later tasks, before explanations are trained", 0
    )
    unexplained: str = option("", "tasks without explanation labels, as TASK[+TASK]")
    shift: str = option(
        "", "concurrent objective: a world with other rates, as rate=value[,rate=value]"
    )
    shift_weight: float = option(1.0, "weight of the concurrent objective, if shift is set", 0)
    anchor_reach: str = option(
        "all",
        "weights that the anchor's gradient reaches: all, the answer head only, or the trunk only",
        choices=("all", "head", "trunk"),
    )
    objective: str = option(
        "",
        "what else is trained, on half of the held-out subjects: follow the cue, ignore it, or an "
        "answer of the task to give always; the other half is measured",
    )
    objective_strength: float = option(
        1.0, "share of the objective in its target; the rest is M0's own answer", 0, 1
    )
    objective_weight: float = option(1.0, "weight of the objective, if there is one", 0)

    def __post_init__(self):
        check_fields(self)
        if self.anchor_reach != "all" and self.channel == "tied":
            raise Refused(
                f"--anchor_reach={self.anchor_reach}: with channel tied must be all, since "
                "explanations are read from the answer head too"
            )


# fields that count in the hash only where they are set, so that runs made before them stay valid
LATER = (
    "begun_from", "kept_changes", "head_steps", "anchor_reach", "objective", "objective_strength",
    "objective_weight",
)  # fmt: skip
GROUPS = dict(gpt=GPTConfig, pretrain=PretrainConfig, labels=LabelConfig, cotrain=CotrainConfig)


@dataclass(frozen=True)
class Config:
    """One run. These fields, the source code and the packages decide every number of it."""

    task: str  # name of the task, or several names joined by +
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
        """The tasks that M0 learns: all but those that are taught later."""
        return [name for name, world in self.tasks.items() if not is_taught(world)]

    @property
    def explained(self) -> list[str]:
        """The tasks with explanation labels: all that M0 learns but the unexplained ones."""
        without = self.cotrain.unexplained.split("+")
        return [name for name in self.learned if name not in without]

    def shares_of_batches(self) -> dict[str, int]:
        """The subjects of one task in a batch, by the flag of the batch's size."""
        p, c = self.pretrain.pretrain_batch_size, self.cotrain.batch_size
        return {
            "pretrain_batch_size": p // len(self.learned),
            "batch_size": c // len(self.explained),
        }

    def flat(self) -> dict[str, Any]:
        """Every field by the name of its flag."""
        flat = {k: getattr(self, k) for k in ("task", "seed", "m0_seed", "world_seed")}
        for name, world in self.tasks.items():
            flat |= {name_flag(name, k, self.tasks): v for k, v in asdict(world).items()}
        for group in (self.gpt, self.pretrain, self.labels, self.cotrain):
            flat |= asdict(group)
        return flat

    def sha256(self) -> str:
        return digest(without_unset(self.flat()))

    def m0_fields(self) -> list[Any]:
        """The fields that decide the weights of M0."""
        return [self.m0_seed, self.world_seed, self.tasks, self.gpt, self.pretrain]


def without_unset(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields but those of LATER that ask for nothing."""
    unset = unset_fields()
    return {k: v for k, v in fields.items() if unset.get(k, ...) != v}


def unset_fields() -> dict[str, Any]:
    """The values of LATER that ask for nothing."""
    usual = asdict(PretrainConfig()) | asdict(LabelConfig()) | asdict(CotrainConfig())
    return {k: v for k, v in usual.items() if k in LATER}


def is_taught(task: Any) -> bool:
    """Whether a task is learned only after M0, which has then never seen it."""
    return getattr(task, "taught", False)


def name_flag(task: str, field: str, tasks: Mapping[str, Any]) -> str:
    """The flag of a field of a task; if there are several tasks, it begins with the task's name."""
    return field if len(tasks) == 1 else f"{task}.{field}"


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
