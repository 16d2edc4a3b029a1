"""From the runs of settings to a verdict on every claim about them."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from introspect.analysis.hypotheses import FEWEST, differs, keep_gates, within
from introspect.lab.claim import FAMILIES, SMALLEST, Claim
from introspect.lab.claims import CLAIMS
from introspect.lab.own_claims import list_own_claims
from introspect.lab.quantities import Statistic
from introspect.runs.experiment import world_of
from introspect.runs.study import Gathered, Missing, Runs, Setting
from introspect.stats import interval, side_of

ALPHA = 0.05  # the chance of even one false row in all families together


class Row(NamedTuple):
    """A claim and what the runs say about it."""

    claim: Claim
    setting: Setting
    values: dict[int, float]  # world -> the claim's number, the mean of its draws
    interval: dict[str, Any]  # mean, low, high, n
    also: dict[str, Any] | None  # the interval of the second number, such as the adjusted gap
    beside: dict[str, Any] | None  # the interval of Self - Past, which is shown and not tested
    p: float | None  # of the claim; None: too few worlds, or it only explores
    small: float | None  # p of a gap that is not smaller than SMALLEST
    adjusted: float | None  # p after all families; None: not corrected
    verdict: str


def rows_of(gathered: dict[Setting, Gathered], families: int) -> list[Row]:
    """Every claim about these settings, in the order of CLAIMS, then those of the user's own.

    A world counts where all runs of a draw that the claim is about are there.

    Args:
        families: judge the claims of the first so many, with all of their experiments, and correct
            for them; what comes later changes nothing of what is judged before. 0: all claims, not
            corrected, because a part of the table would be smaller families than the published.
    """
    measured = []
    for claim in [*CLAIMS, *list_own_claims(gathered)]:
        setting = Setting(claim.experiment, claim.task)
        if setting in gathered and claim.family_of_name <= (families or len(FAMILIES)):
            runs = gathered[setting].runs
            number, also, beside = (
                statistic and average(numbers(statistic, runs))
                for statistic in (claim.value, claim.also, claim.beside)
            )
            measured.append((claim, setting, number, also, beside, *test(claim, number, also)))
    adjusted = correct([(claim, p) for claim, *_, p, _ in measured]) if families else {}
    rows = []
    for claim, setting, number, also, beside, p, small in measured:
        estimate, second, third = (
            None if each is None else interval(list(each.values()))
            for each in (number, also, beside)
        )
        after = adjusted.get(claim)
        verdict = judge(claim, estimate, second, p, small, after)
        rows.append(
            Row(claim, setting, number, estimate, second, third, p, small, after, verdict)
        )
    return rows


def numbers(statistic: Statistic, runs: dict[int, Runs]) -> dict[int, float]:
    """Seed -> the statistic; seeds for which it cannot be computed are left out."""
    values = {}
    for seed, by_arm in runs.items():
        with suppress(Missing):
            values[seed] = statistic(by_arm)
    return {seed: value for seed, value in values.items() if not math.isnan(value)}


def average(values: dict[int, float]) -> dict[int, float]:
    """World -> the mean over its draws of what each seed has."""
    worlds = dict.fromkeys(map(world_of, values))
    return {
        world: float(np.mean([value for seed, value in values.items() if world_of(seed) == world]))
        for world in worlds
    }


def test(
    claim: Claim, number: dict[int, float], also: dict[int, float] | None
) -> tuple[float | None, float | None]:
    """p of the claim, and p of a gap that is not smaller than SMALLEST; None where there is none,
    and of fewer than three worlds."""
    both = [list(values.values()) for values in (number, also) if values is not None]
    if claim.explores or min(map(len, both)) < 3:  # two worlds can agree by luck
        return None, None
    small = within(both[0], -SMALLEST, SMALLEST) if claim.is_gap else None
    return (within(both[0], *claim.within) if claim.within else max(map(differs, both))), small


def correct(tested: Iterable[tuple[Claim, float | None]]) -> dict[Claim, float]:
    """p of each claim that has one, adjusted for all families together."""
    tested = [(claim, p) for claim, p in tested if p is not None]
    families = [[pair for pair in tested if pair[0].family == family] for family in FAMILIES]
    adjusted = keep_gates([[p for _, p in family] for family in families])
    return {claim: p for family, ps in zip(families, adjusted)
            for (claim, _), p in zip(family, ps)}  # fmt: skip


def judge(
    claim: Claim,
    estimate: dict,
    also: dict | None,
    p: float | None,
    small: float | None,
    adjusted: float | None,
) -> str:
    """A claim about a side of zero is *supported* where Student's t and the exact sign-flip test
    over worlds both put its number on that side (p below 0.05, two-sided), and *contradicted* where
    both put it on the other. Label frequencies alone can make a gap, so for most gaps both tests
    must say so of the adjusted gap as well. A claim about a range is supported where both tests put
    the mean inside (two one-sided tests), and contradicted where the interval lies outside. *At 5 %
    only* marks a row that does not survive the correction for all families. A gap that is on no
    side is *smaller than 0.03* where both tests put its mean within ±0.03; else the row is
    *undecided*. Fewer than six worlds decide nothing: all of their signs can agree by chance.
    Claims that the paper never made *hold* instead of being supported. Rows that *explore* have an
    interval and no verdict.
    """
    if claim.explores:
        return "explores"
    both = [estimate] if also is None else [estimate, also]
    n = min(each["n"] for each in both)
    if p is None or n < FEWEST:
        return f"undecided ({n} worlds are too few)"
    agrees = "supported" if claim.by_paper else "holds"
    if claim.within:
        low, high = claim.within
        if estimate["high"] < low or estimate["low"] > high:
            return "contradicted at 5 % only"
        word = agrees if p < ALPHA else "undecided (interval reaches out of the range)"
    elif p < ALPHA and (side := side_of(*both)):
        word = agrees if side == claim.sign else "contradicted"
    elif small is not None and small < ALPHA:
        return f"smaller than {SMALLEST:g}"
    else:
        why = "sign flips disagree" if side_of(*both) else f"{claim.also_name} disagrees"
        return f"undecided ({why if side_of(estimate) else 'interval includes 0'})"
    return word if adjusted is None or adjusted <= ALPHA or "(" in word else f"{word} at 5 % only"


def claimed(claim: Claim) -> str:
    """Where the claim puts its number."""
    if claim.within:
        return "{:g} to {:g}".format(*claim.within)
    return "> 0" if claim.sign > 0 else "< 0"


def numbers_of_families(rows: Sequence[Row]) -> dict[str, int]:
    """Family, as text -> how many of its rows were tested; empty where no row was corrected."""
    if all(row.adjusted is None for row in rows):
        return {}
    return {str(family): sum(row.claim.family == family and row.p is not None for row in rows)
            for family in FAMILIES}  # fmt: skip
