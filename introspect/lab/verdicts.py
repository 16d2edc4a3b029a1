"""From the runs of settings to a verdict on every claim about them."""

import math
from contextlib import suppress
from typing import Any, NamedTuple

from introspect.lab.claim import Claim
from introspect.lab.claims import CLAIMS
from introspect.lab.own_claims import list_own_claims
from introspect.lab.quantities import Statistic
from introspect.runs.study import Gathered, Missing, Runs, Setting
from introspect.stats import holm, interval, p_value, side_of

ALPHA = 0.05  # the chance of even one false row in the whole table, after Holm's correction


class Row(NamedTuple):
    """A claim and what the runs say about it."""

    claim: Claim
    setting: Setting
    values: dict[int, float]  # seed -> the claim's number
    interval: dict[str, Any]  # mean, low, high, n
    also: dict[str, Any] | None  # the interval of the second number, such as the adjusted gap
    beside: dict[str, Any] | None  # the interval of Self - Past, which is shown and not tested
    p: float | None  # two-sided, against 0, the larger of both numbers; None: not tested
    adjusted: float | None  # p after Holm's correction over the whole table; None: not corrected
    verdict: str


def rows_of(gathered: dict[Setting, Gathered], corrected: bool) -> list[Row]:
    """Every claim about these settings, in the order of CLAIMS, then those of the user's own.

    A seed counts where all runs that the claim is about are there. `corrected` applies Holm's
    method to all rows together; it is for calls with every experiment, because a part of the table
    would be a smaller family than the published one.
    """
    judged = []
    for claim in [*CLAIMS, *list_own_claims(gathered)]:
        setting = Setting(claim.experiment, claim.task)
        if setting not in gathered:
            continue
        runs = gathered[setting].runs
        values = numbers(claim.value, runs)
        also, beside = (
            statistic and numbers(statistic, runs) for statistic in (claim.also, claim.beside)
        )
        ps = [p_value(list(v.values())) for v in (values, also) if v and len(v) > 2]
        p = max(ps) if ps and not claim.within else None
        also, beside = (
            None if each is None else interval(list(each.values())) for each in (also, beside)
        )
        judged.append((claim, setting, values, also, beside, p))
    tested = iter(holm([p for *_, p in judged if p is not None]) if corrected else ())
    rows = []
    for claim, setting, values, also, beside, p in judged:
        estimate = interval(list(values.values()))
        adjusted = None if p is None else next(tested, None)
        verdict = judge(claim, estimate, also, adjusted)
        rows.append(Row(claim, setting, values, estimate, also, beside, p, adjusted, verdict))
    return rows


def numbers(statistic: Statistic, runs: dict[int, Runs]) -> dict[int, float]:
    """Seed -> the statistic; seeds for which it cannot be computed are left out."""
    values = {}
    for seed, by_arm in runs.items():
        with suppress(Missing):
            values[seed] = statistic(by_arm)
    return {seed: value for seed, value in values.items() if not math.isnan(value)}


def judge(claim: Claim, estimate: dict, also: dict | None, adjusted: float | None) -> str:
    """A claim about a side of zero is *supported* if the 95 % interval over seeds lies wholly on
    that side, *contradicted* if it lies wholly on the other side, and *undecided* if it includes
    zero or if there are fewer than three seeds. Label frequencies alone can make a gap, so for most
    gaps the interval of the adjusted gap must lie on the same side as well; otherwise the claim is
    undecided. *(not after correction)* marks a row whose interval excludes zero but which does not
    survive Holm's correction over all tested rows of the table; with so few seeds that can simply
    mean too few seeds. A claim about a range (C4) is supported if our whole interval lies in the
    range, *overlaps* if part of it does, and is contradicted otherwise. Claims that the paper never
    made (C14, C15, N1-N5, and all rows marked "not in the paper") *hold* instead of being
    supported.
    """
    agrees = "supported" if claim.by_paper else "holds"
    both = [estimate] if also is None else [estimate, also]
    n = min(each["n"] for each in both)
    if n < 3:  # two seeds can agree by luck
        return f"undecided (n = {n})"
    if claim.within:
        low, high = claim.within
        if low <= estimate["low"] and estimate["high"] <= high:
            return agrees
        overlaps = estimate["low"] <= high and estimate["high"] >= low
        return "overlaps" if overlaps else "contradicted"
    side = side_of(*both)
    if not side:
        why = f"{claim.also_name} disagrees" if side_of(estimate) else "interval includes 0"
        return f"undecided ({why})"
    word = agrees if side == claim.sign else "contradicted"
    return word if adjusted is None or adjusted < ALPHA else f"{word} (not after correction)"
