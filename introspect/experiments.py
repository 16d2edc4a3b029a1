"""Every experiment, declared: a question, arms that differ in what it asks about, paired seeds."""

from dataclasses import dataclass, field
from typing import Any

from introspect.config import Config, Refused, build


@dataclass(frozen=True)
class Experiment:
    question: str
    arms: dict[str, dict[str, Any]]  # arm -> the fields in which it differs from the base
    base: dict[str, Any] = field(default_factory=dict)  # fields that differ from the defaults
    n_seed: int = 6

    def config(
        self, arm: str, task: str, world_type: type, overrides: dict[str, Any], seed: int
    ) -> Config:
        """The run of one arm and seed, with the fields that the user set.

        Raises:
            Refused: a field that the arm itself sets to another value.
        """
        sets = self.arms[arm]
        for name in sets.keys() & overrides.keys():
            if overrides[name] != sets[name]:
                raise Refused(
                    f"--{name}={overrides[name]}: arm {arm} has {name}={sets[name]} by definition"
                )
        return build(task, world_type, {**self.base, **overrides, **sets, "seed": seed})


EXPERIMENTS = {
    "anchor": Experiment(
        question="Do explanations follow the model that is, rather than the model that gave the "
        "labels, and does that need the behavioral anchor?",
        arms={"reg": {}, "noreg": {"kl_weight": 0.0}},
    ),
}
