"""Every number a run depends on, as frozen dataclasses that check themselves; flags come from them.

Four groups with disjoint field names, in the order in which a run uses them, plus the constants of
the chosen task's world (introspect/tasks/). No torch here, so that `--help` is quick.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args


LAST_SEED = 2**32 - 1


class Refused(ValueError):
    """Bad input. One line that names what was given and what is allowed; exit code 2."""


def option(default: Any, help: str, low=None, high=None, choices=None) -> Any:
    """A dataclass field with its meaning and its allowed values: low <= value <= high."""
    return field(
        default=default, metadata={"help": help, "low": low, "high": high, "choices": choices}
    )


def base_type(annotation: Any) -> type:
    """`int` for `int` and for `int | None`."""
    return next(iter([t for t in get_args(annotation) if t is not type(None)]), annotation)


def allowed(f: Any) -> str:
    """The values a field takes, in words.

    >>> allowed(next(f for f in fields(CotrainConfig) if f.name == "kl_weight"))
    'a number >= 0'
    """
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if choices:
        return "one of " + ", ".join(choices)
    kind = base_type(f.type)
    text = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
    if low is not None and high is not None:
        return f"{text} from {low} to {high}"
    bounds = [f" {sign} {b}" for sign, b in ((">=", low), ("<=", high)) if b is not None]
    return text + "".join(bounds)


def check_fields(config: Any) -> None:
    """Refuse a dataclass whose value has the wrong type or lies outside its allowed values."""
    for f in fields(config):
        value, kind = getattr(config, f.name), base_type(f.type)
        if value is None and type(None) in get_args(f.type):
            continue
        right = isinstance(value, (int, float) if kind is float else kind)
        right = right and (kind is bool or not isinstance(value, bool))
        if right and kind in (int, float):
            low, high = f.metadata["low"], f.metadata["high"]
            right = math.isfinite(value)
            right = right and (low is None or value >= low) and (high is None or value <= high)
        if right and f.metadata["choices"]:
            right = value in f.metadata["choices"]
        if not right:
            raise Refused(f"--{f.name}={value}: must be {allowed(f)}")


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

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class LabelConfig:
    """Whose behavior the frozen labels describe. By default M0's own, all of them true."""

    label_progress: float = option(
        1.0, "labels of the checkpoint at this share of the labeled model's pretraining", 0, 1
    )
    donor_seed: int | None = option(
        None, "labels of the model that this m0_seed gives; default: of M0 itself", 0, LAST_SEED
    )
    label_noise: float = option(0.0, "share of training labels replaced by a wrong class", 0, 1)

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class CotrainConfig:
    """Explanation training: CE(explanation, frozen label) + kl_weight * KL(B(M0) || B(M))."""

    max_steps: int = option(800, "co-training updates; 0 measures M0 as it is", 0)
    batch_size: int = option(32, "subjects per update, each with all its cues", 1)
    learning_rate: float = option(1e-3, "rate of AdamW, constant after warmup_steps", 0)
    warmup_steps: int = option(30, "updates over which the rate rises", 0)
    weight_decay: float = option(0.01, "of AdamW", 0)
    grad_clip: float = option(1.0, "largest norm of the gradient", 1e-12)
    eval_interval: int = option(80, "updates between two evaluations, which are checkpoints", 1)
    kl_weight: float = option(1.0, "weight of the behavioral anchor; 0 turns it off", 0)
    anchor: str = option(
        "explained",
        "subjects whose behavior is anchored: those with explanation labels, or all",
        choices=("explained", "all"),
    )
    channel: str = option(
        "head",
        "how explanations are read: head, tied (through the task head), same (on the answer "
        "position), probe (nothing but that head is trained)",
        choices=("head", "tied", "same", "probe"),
    )
    shift: str = option(
        "", "concurrent objective: the world with other constants, as field=value[,field=value]"
    )
    shift_weight: float = option(1.0, "weight of the concurrent objective, where shift is set", 0)

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class Config:
    """One run, complete: these fields and the packages' versions decide every number of it."""

    task: str
    seed: int  # of co-training: batches and label noise
    m0_seed: int  # of M0: initial weights and batches
    world_seed: int  # of the facts and of the split
    world: Any  # the constants of the task: a dataclass of introspect/tasks/
    gpt: GPTConfig
    pretrain: PretrainConfig
    labels: LabelConfig
    cotrain: CotrainConfig

    def __post_init__(self):
        shifted(self.world, self.cotrain.shift)

    def flat(self) -> dict[str, Any]:
        """Every field by its flag's name."""
        groups = (self.world, self.gpt, self.pretrain, self.labels, self.cotrain)
        own = {k: getattr(self, k) for k in ("task", "seed", "m0_seed", "world_seed")}
        return own | {k: v for group in groups for k, v in asdict(group).items()}

    def sha256(self) -> str:
        return digest(self.flat())

    def with_m0_seed(self, m0_seed: int) -> "Config":
        """The same world seen by a model of other initial weights and batches."""
        return replace(self, m0_seed=m0_seed)


GROUPS = {
    "gpt": GPTConfig,
    "pretrain": PretrainConfig,
    "labels": LabelConfig,
    "cotrain": CotrainConfig,
}


def build(task: str, world_type: type, overrides: dict[str, Any]) -> Config:
    """The defaults with `overrides` (field name -> value), checked.

    Raises:
        Refused: a value out of range, an impossible combination, or no such field.
    """
    left = dict(overrides)
    seed = left.pop("seed", 0)
    m0_seed = left.pop("m0_seed", None)
    world_seed = left.pop("world_seed", None)
    m0_seed = seed if m0_seed is None else m0_seed
    world_seed = m0_seed if world_seed is None else world_seed
    groups = {}
    for key, group in (("world", world_type), *GROUPS.items()):
        names = {f.name for f in fields(group)}
        groups[key] = group(**{k: left.pop(k) for k in sorted(names & left.keys())})
    if left:
        raise Refused(f"--{next(iter(left))}: task {task} has no such field")
    for name, value in (("seed", seed), ("m0_seed", m0_seed), ("world_seed", world_seed)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LAST_SEED:
            raise Refused(f"--{name}={value}: must be a whole number from 0 to {LAST_SEED}")
    return Config(task, seed, m0_seed, world_seed, **groups)


def shifted(world: Any, shift: str) -> Any:
    """The constants of a world with some rates changed, as "field=value[,field=value]" says.

    Raises:
        Refused: not of that form, no such rate, or a value it does not take.
    """
    floats = [f.name for f in fields(world) if base_type(f.type) is float]
    rates = [name for name in floats if name != "explained_share"]  # the split is not of the world
    changes = {}
    for part in shift.split(",") if shift else ():
        name, _, value = part.partition("=")
        try:
            changes[name] = float(value)
        except ValueError:
            changes[name] = None
        if name not in rates or changes[name] is None:
            raise Refused(f"--shift={shift}: must be rate=number, of the rates {', '.join(rates)}")
    try:
        return replace(world, **changes)
    except Refused as e:
        raise Refused(f"--shift={shift}: {e}") from None


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
