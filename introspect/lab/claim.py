"""What a claim is, and the forms in which most of them come."""

from dataclasses import dataclass
from typing import Any

from introspect.lab.quantities import Statistic, gap, minus, of


@dataclass(frozen=True)
class Claim:
    name: str  # several rows may share one
    says: str
    paper: str  # its number, where one could be recovered
    experiment: str
    measured: str  # in words
    of: Statistic
    task: str = "hint"
    sign: int = 1  # of the claimed direction
    within: tuple[float, float] | None = None  # instead of a direction: where the paper has it
    also: Statistic | None = None  # has to lean to the same side
    after: bool = False  # whether it was added when the runs had been seen


def side(arm: str) -> dict[str, Any]:
    """What is asked of an arm whose explanations are claimed to lean to one side."""
    adjusted = of(arm, "controls", "adjusted")
    return {"measured": f"gap of {arm}", "of": gap(arm), "also": adjusted}


def wider(arm: str, other: str) -> dict[str, Any]:
    """What is asked of two arms of which one is claimed to have the larger gap."""
    both = (of(a, "controls", "adjusted") for a in (arm, other))
    difference = minus(gap(arm), gap(other))
    return {"measured": f"gap, {arm} - {other}", "of": difference, "also": minus(*both)}


def difference(arm: str, other: str, *keys: str) -> Statistic:
    return minus(of(arm, *keys), of(other, *keys))


def dialed(name: str, says: str, paper: str, experiment: str, arms: list[str]) -> list[Claim]:
    """The gap of each of these arms."""
    return [Claim(name, says, paper, experiment, **side(arm)) for arm in arms]
