"""What a claim is, and the forms in which most rows come."""

from dataclasses import dataclass
from typing import Any

from introspect.lab.quantities import Statistic, adjusted_gap, extra, gap, minus, self_minus_past

NOT_IN_PAPER = "not in the paper"
SMALLEST = 0.03  # the smallest gap, or difference of gaps, that we would care about
FAMILIES = {  # number -> which claims are judged together, in this order
    1: "C1 and C2",
    2: "C3 to C13",
    3: "C14, C15 and N1 to N6",
}


@dataclass(frozen=True)
class Claim:
    """One row of the table: a number of every world, and where the claim puts it."""

    name: str  # C1-C15, N1-N6 or one of the user's own; several rows share one
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
    explores: bool = False  # shown with its interval, not judged, in no family

    @property
    def by_paper(self) -> bool:
        """Whether the paper makes this claim: C14, C15 and N1-N6 are ours."""
        return self.family_of_name < 3 and self.paper != NOT_IN_PAPER

    @property
    def family(self) -> int:
        """A key of FAMILIES, 0 where the row only explores."""
        return 0 if self.explores else self.family_of_name

    @property
    def family_of_name(self) -> int:
        if self.name in ("C1", "C2"):
            return 1
        return 3 if self.name in ("C14", "C15") or self.name.startswith("N") else 2

    @property
    def is_gap(self) -> bool:
        """Whether SMALLEST is a size of its number: of a gap, or a difference of gaps."""
        return self.also is not None and self.also_name == "adjusted gap"


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


def small_gap_claim(name: str, says: str, experiment: str, arm: str, **more: Any) -> Claim:
    """That the gap of an arm is smaller than SMALLEST."""
    bounds = -SMALLEST, SMALLEST
    return Claim(name, says, experiment, f"gap of {arm}", gap(arm), within=bounds, **more)


def own_label_claim(name: str, says: str, experiment: str, arm: str, **more: Any) -> Claim:
    """Self - Past of an arm whose labels another model gave, or M0 at an earlier time."""
    measured = f"Self - Past, {arm}"
    return Claim(name, says, experiment, measured, self_minus_past(arm), **more)


def readout_claim(
    name: str, says: str, arm: str, one: tuple[str, ...], other: tuple[str, ...], **more: Any
) -> Claim:
    """The gap of one explainer, or with one answer head, minus that of another, from readout.json;
    the difference of adjusted gaps must agree."""
    number, also = (
        minus(*(extra(arm, "readout", *keys, key) for keys in (one, other)))
        for key in ("gap", "adjusted")
    )
    measured = f"gap, {' '.join(one)} - {' '.join(other)}, {arm}"
    return Claim(name, says, "anchor", measured, number, also=also, **more)
