"""From the runs of settings to a verdict on every claim about them."""

import math
from contextlib import suppress
from typing import Any, NamedTuple

from introspect.lab.claim import Claim
from introspect.lab.claims import CLAIMS
from introspect.lab.quantities import Statistic
from introspect.runs.study import Gathered, Missing, Runs, Setting
from introspect.stats import holm, interval, p_value, side_of

ALPHA = 0.05  # of the whole table, after Holm


class Row(NamedTuple):
    """A claim with what the runs say of it."""

    claim: Claim
    setting: Setting
    values: dict[int, float]  # seed -> what was measured
    interval: dict[str, Any]  # mean, low, high, n
    also: dict[str, Any] | None  # that of what has to lean to the same side
    p: float | None  # two-sided, against 0, the larger of both; None where it is no direction
    adjusted: float | None  # after Holm, over all rows of the table; None: not corrected
    verdict: str


def rows_of(found: dict[Setting, Gathered], corrected: bool) -> list[Row]:
    """Every claim about these studies, in the order of the claims.

    A seed counts where the runs that a claim is about are there. Corrected: judged together, by
    Holm's method; a part of the claims cannot be, for the rest would count as well.
    """
    judged = []
    for claim in CLAIMS:
        setting = Setting(claim.experiment, claim.task)
        if setting not in found:
            continue
        runs = found[setting].runs
        values, also = numbers(claim.of, runs), claim.also and numbers(claim.also, runs)
        ps = [p_value(list(v.values())) for v in (values, also) if v and len(v) > 2]
        p = max(ps) if ps and not claim.within else None
        judged.append((claim, setting, values, also and interval(list(also.values())), p))
    tested = iter(holm([p for *_, p in judged if p is not None]) if corrected else ())
    rows = []
    for claim, setting, values, also, p in judged:
        of, adjusted = interval(list(values.values())), None if p is None else next(tested, None)
        verdict = judge(claim, of, also, adjusted)
        rows.append(Row(claim, setting, values, of, also, p, adjusted, verdict))
    return rows


def numbers(of: Statistic, runs: dict[int, Runs]) -> dict[int, float]:
    """Seed -> what was measured; a seed for which there is no such number is left out."""
    found = {}
    for seed, by_arm in runs.items():
        with suppress(Missing):
            found[seed] = of(by_arm)
    return {seed: value for seed, value in found.items() if not math.isnan(value)}


def judge(
    claim: Claim, of: dict[str, Any], also: dict[str, Any] | None, adjusted: float | None
) -> str:
    """What the 95 % interval of a claim's number says of it.

    A direction is reproduced, or reversed, where the interval excludes 0, and that of what has to
    lean to the same side as well; "uncorrected" says that it does not after Holm's correction. A
    place is reproduced where it holds the whole interval.
    """
    both = [of] if also is None else [of, also]
    n = min(each["n"] for each in both)
    if n < 3:  # two seeds can agree by luck
        return f"no verdict at n = {n}"
    if claim.within:
        low, high = claim.within
        if low <= of["low"] and of["high"] <= high:
            return "reproduced"
        return "overlaps" if of["low"] <= high and of["high"] >= low else "elsewhere"
    side = side_of(*both)
    if not side:
        return f"{'not told from frequencies' if side_of(of) else 'not seen'} at n = {n}"
    word = "reproduced" if side == claim.sign else "reversed"
    return word if adjusted is None or adjusted < ALPHA else f"{word}, uncorrected"
