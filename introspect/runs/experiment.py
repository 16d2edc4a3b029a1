"""What an experiment is: a question, and arms that differ in what it asks about."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from introspect.config import Config
from introspect.fields import Refused
from introspect.runs.build import build
from introspect.tasks.registry import find_tasks

Fields = dict[str, Any]  # field -> its value, or a function from the seed to its value
DRAW = 10**9  # between the seeds of two draws of one world
SPARSE = {"eval_interval": 200}  # few evaluations, which do not move training, save time
# arm, or its name without the last part -> what it is; fields of the arm can be named
WORDS = {
    "run": "one run",
    "reg": "with the KL anchor, which holds the answers near M0's",
    "noreg": "without the KL anchor",
    "shuffled": "control: labels dealt out anew to the items",
    "nolabels": "control: no explanation labels",
    "turned": "labels of {turned_share:.0%} of the first words shifted to the next class",
    "noise": "{label_noise:.0%} of the training labels replaced by a wrong class",
    "at": "labels of the M0 of {label_progress:.0%} of the pretraining",
    "share": "{donor_share:.0%} of the labels from another model",
    "seed": "labels of a model with other weights and batches",
    "order": "labels of a model with another order of batches",
    "depth": "labels of a model with three blocks",
    "layers": "{n_layer} blocks",
    "labels": "explanation labels of {explained_share:.0%} of the facts",
    "length": "another number of pretraining updates",
    "width": "another width of the residual stream",
    "strength": "an objective of strength {objective_strength:g}",
    "twin": "the same of strength {objective_strength:g}, without explanations",
    "reach": "an anchor whose gradient reaches the {anchor_reach} only",
    "kl": "an anchor of weight {kl_weight:g}",
    "room": "adapters of rank {adapter_rank} at learning rate {learning_rate:g}",
    "ready": "the explanation head alone is trained for the first {head_steps} updates",
    "rank": "low-rank adapters of rank {adapter_rank} trained instead of all weights",
    "rate": "learning rate {learning_rate:g}",
    "kept": "{kept_changes:.0%} of the training labels that say that the answer would change",
    "rare": "a world in which the cue rarely counts",
    "few": "{max_steps} updates only",
    "other": "another M0 learns to explain this one",
    "again": "as reg, with other batches",
    "pairs": "facts about pairs of names",
    "names": "facts about single names",
    "head": "explanations from a head of their own",
    "tied": "explanations from the head of the answers",
    "same": "explanations asked where the answer is asked",
    "verbal": "explanations written as sentences",
    "probe": "a linear probe; the model itself is not trained",
    "frozen": "frozen labels, the default",
    "refreshed": "labels made anew from the model in training",
    "refreshed-held": "refreshed labels, with the anchor on all subjects",
    "frozen-held": "frozen labels, with the anchor on all subjects",
    "facts": "{n_entity} names on either side of a pair",
}


@dataclass(frozen=True)
class Experiment:
    """A question, and the arms that answer it over paired seeds.

    >>> anchor = Experiment("Does the anchor matter?", {"reg": {}, "noreg": {"kl_weight": 0.0}})
    >>> [anchor.config(arm, "hint", {}, 3).cotrain.kl_weight for arm in anchor.arms]
    [1.0, 0.0]
    """

    question: str
    arms: dict[str, Fields]  # arm -> the fields in which it differs from the base
    base: Fields = field(default_factory=SPARSE.copy)  # fields that differ from the defaults
    n_seed: int = 5
    n_draw: int = 2  # draws of co-training of each world that are worth their time, at most
    task: str = "hint"  # where the user names no other
    more_tasks: tuple[str, ...] = ()  # further tasks on which the claims are judged
    extra: str = ""  # name of a further measurement of its finished runs (lab/extras.py)
    items: bool = False  # whether the items of its first seed are published
    open: str = ""  # what it does not control, beyond what none does
    words: dict[str, str] = field(default_factory=dict)  # arm -> what it is, where not as in WORDS
    dials: tuple[str, ...] = ()  # of a grid: the fields whose values its arms combine
    axis: str = ""  # the field whose values are the horizontal axis of its figure

    def sets(self, arm: str, seed: int) -> dict[str, Any]:
        """The fields of an arm, with their values for the world of a seed."""
        return settle(self.arms[arm], seed)

    def fields(self, arm: str, seed: int, overrides: Fields = {}) -> dict[str, Any]:
        """The declared fields of a run; the user's change the base, the arm has its own."""
        again = {} if world_of(seed) == seed else {"m0_seed": world_of(seed)}
        base = settle(self.base, seed)
        return {**again, **base, **overrides, **self.sets(arm, seed), "seed": seed}

    def config(self, arm: str, task: str, overrides: Fields, seed: int) -> Config:
        return build(find_tasks(task), self.fields(arm, seed, overrides))

    def say(self, arm: str) -> str:
        """What an arm is, in words."""
        if arm in self.words:
            return self.words[arm]
        name = arm.split()[-1]
        while name and name not in WORDS:
            name = name.rpartition("-")[0]
        return WORDS[name].format(**self.sets(arm, 0))

    def along(self, arm: str, task: str) -> dict[str, Any]:
        """The value of the axis in an arm, and the other fields that the arm sets."""
        sets = self.sets(arm, 0)
        return {self.axis: self.config(arm, task, {}, 0).flat()[self.axis]} | sets

    def check(self, name: str, overrides: Fields) -> None:
        """Refuse a field of the user that an arm of this experiment sets."""
        for key, value in overrides.items():
            if key in self.dials:
                raise Refused(f"--{key}={value}: {key} is dialed; give it once")
            for arm in self.arms:
                if key in self.arms[arm]:
                    raise Refused(
                        f"--{key}={value}: {name} is about {key}, {self.sets(arm, 0)[key]} in arm "
                        f"{arm}; one run with it: train.py single/run --{key}={value}"
                    )


def settle(fields: Fields, seed: int) -> dict[str, Any]:
    """The fields, with their values for the world of a seed."""
    return {k: v(world_of(seed)) if callable(v) else v for k, v in fields.items()}


def draws_of(worlds: Iterable[int], n: int) -> list[int]:
    """The seeds of n draws of each of these worlds. All draws of a world share its facts, split and
    M0; their batches and label noise differ. The seed of the first is that of the world.

    >>> draws_of([10, 11], 2)
    [10, 11, 1000000010, 1000000011]
    """
    worlds = list(worlds)
    return [DRAW * draw + world for draw in range(n) for world in worlds]


def world_of(seed: int) -> int:
    """The seed of the world of which this is the seed of a draw."""
    return seed % DRAW


def show_fields(fields: Fields) -> str:
    """Fields in one line, "the defaults" where there is none."""
    return ", ".join(f"{k}={v}" for k, v in fields.items()) or "the defaults"


def describe_arm(words: str, fields: str) -> str:
    """An arm in words, and by its fields where these are not its words.

    >>> describe_arm("slow", "learning_rate=0.0001"), describe_arm("the defaults", "the defaults")
    ('slow (learning_rate=0.0001)', 'the defaults')
    """
    return words if words == fields else f"{words} ({fields})"
