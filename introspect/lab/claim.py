"""What a claim is, and the three forms in which most rows come."""

from dataclasses import dataclass
from typing import Any

from introspect.lab.quantities import Statistic, adjusted_gap, gap, minus, self_minus_past

NOT_IN_PAPER = "not in the paper"


@dataclass(frozen=True)
class Claim:
    """One row of the table: a number of every seed, and where the claim puts it."""

    name: str  # C1-C15, N1-N5 or one of the user's own; several rows share one
    says: str  # the row in words: unique within its claim, short enough for a figure
    experiment: str
    measured: str  # the same row by the names of its arms
    value: Statistic
    paper: str = NOT_IN_PAPER  # the paper's number, as far as it is known
    task: str = "hint"
    sign: int = 1  # the claimed side of 0: 1 above, -1 below
    within: tuple[float, float] | None = None  # the claimed range, instead of a side of 0
    also: Statistic | None = None  # a second number, which must lie on the same side of 0
    also_name: str = "adjusted gap"
    beside: Statistic | None = None  # Self - Past: shown beside a gap, not tested
    after: bool = False  # True: added after we had seen the results

    @property
    def by_paper(self) -> bool:
        """Whether the paper makes this claim: C14, C15 and N1-N5 are ours."""
        ours = self.name in ("C14", "C15") or self.name.startswith("N")
        return not ours and self.paper != NOT_IN_PAPER


def gap_claim(name: str, says: str, experiment: str, arm: str, **more: Any) -> Claim:
    """The gap of an arm. Frequencies of labels alone can make one, so the adjusted gap must agree
    (frequency.py, calibration.py)."""
    also = adjusted_gap(arm)
    return Claim(name, says, experiment, f"gap of {arm}", gap(arm), also=also, **more)


def donor_gap_claim(name: str, says: str, experiment: str, arm: str, **more: Any) -> Claim:
    """The gap of an arm whose labels another model gave, or M0 at an earlier time."""
    return gap_claim(name, says, experiment, arm, beside=self_minus_past(arm), **more)


def gap_difference_claim(
    name: str, says: str, experiment: str, arm: str, other: str, **more: Any
) -> Claim:
    """The gap of one arm minus that of another; the difference of adjusted gaps must agree."""
    number, also = minus(gap(arm), gap(other)), minus(adjusted_gap(arm), adjusted_gap(other))
    return Claim(name, says, experiment, f"gap, {arm} - {other}", number, also=also, **more)


def own_label_claim(name: str, says: str, experiment: str, arm: str, **more: Any) -> Claim:
    """Self - Past of an arm whose labels another model gave, or M0 at an earlier time."""
    measured = f"Self - Past, {arm}"
    return Claim(name, says, experiment, measured, self_minus_past(arm), **more)
