"""Every experiment, declared: a question, arms that differ in what it asks about, paired seeds."""

from dataclasses import dataclass, field
from typing import Any

from introspect.config import Config, build
from introspect.fields import Refused
from introspect.worlds import find_tasks


@dataclass(frozen=True)
class Experiment:
    question: str
    arms: dict[str, dict[str, Any]]  # arm -> the fields in which it differs from the base
    base: dict[str, Any] = field(default_factory=dict)  # fields that differ from the defaults
    n_seed: int = 6
    task: str = "hint"  # where the user names no other

    def config(self, arm: str, task: str, overrides: dict[str, Any], seed: int) -> Config:
        """The run of one arm and seed; the user's fields change the base, the arm has its own."""
        fields = {**self.base, **overrides, **self.arms[arm], "seed": seed}
        return build(find_tasks(task), fields)

    def check(self, arms: list[str], overrides: dict[str, Any]) -> None:
        """Refuse a field of the user that each of `arms` sets otherwise: it would do nothing."""
        for name, value in overrides.items():
            if all(name in self.arms[arm] and self.arms[arm][name] != value for arm in arms):
                sets = ", ".join(f"{name}={self.arms[arm][name]} in {arm}" for arm in arms)
                raise Refused(f"--{name}={value}: is part of the experiment, {sets}")


EXPERIMENTS = {
    "anchor": Experiment(
        question="Do explanations follow the model that is, rather than the model that gave the "
        "labels, and does that need the behavioral anchor?",
        arms={"reg": {}, "noreg": {"kl_weight": 0.0}},
    ),
    "jabberwocky": Experiment(
        question="Are explanations true of a behavior that was taught without any explanation "
        "labels, while labels of another task were trained on?",
        arms={
            "reg": {},
            "noreg": {"kl_weight": 0.0},
            "shuffled": {"label_order": "shuffled"},
            "nolabels": {"explain_weight": 0.0},
        },
        base={"anchor": "all"},
        task="hint+jabberwocky",
    ),
}
