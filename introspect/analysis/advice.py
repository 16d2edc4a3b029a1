"""What the figures of score.py say, what they do not say, and what to do next."""

import math

import numpy as np

from introspect.analysis.lines import Lines
from introspect.analysis.matrix import Estimate, Run
from introspect.analysis.values import quoted
from introspect.report.text import number
from introspect.stats import side_of

FAR = 1000  # times as many units are out of reach
NAMED = 12  # runs in a sentence
FOR_TRAINING = (
    "score three runs or more that differ in nothing but their seed. A run says what one model "
    "does; a claim about training needs an interval over seeds, of Student's t."
)


def explain(lines: Lines, scored: dict[str, dict[str, Estimate]]) -> list[str]:
    """What the tables mean, and where a gap or Self is nothing to go by."""
    one, n = next(iter(lines.runs.values())), len(lines.runs)
    by = "cue by cue" if one.cue is not None else "whatever the cues"
    notes = [
        f"All intervals are 95 % intervals over {units(one)}. They are about these models, not "
        "about others trained in the same way. The adjusted gap is what the gap has beyond the "
        f"frequencies of explanations and labels, {by}. Explanations follow the labels of the "
        "model now or then if the intervals of both gaps lie above or below zero."
    ]
    if n == 1:
        (found,) = scored.values()
        verb = "is not clearly above" if found["Self - constant"]["mean"] > 0 else "does not exceed"
        notes.append(
            f"The best constant explanation, {quoted(lines.labels[one.constant])}, gets Self "
            f"{number(found['majority, now']['mean'])}; Self "
            f"{'exceeds' if exceeds(found) else verb} it."
        )
    elif below := [name for name, found in scored.items() if not exceeds(found)]:
        notes.append(f"Self is not clearly above the best constant explanation in {listed(below)}.")
    doubted = [name for name, found in scored.items()
               if side_of(found["gap"]) and not side_of(found["gap"], found["adjusted gap"])]
    if doubted:
        of = "" if n == 1 else f" of {listed(doubted)}"
        notes.append(f"The gap{of} counts for nothing: frequencies of labels alone can make it.")
    return notes


def units(run: Run) -> str:
    return "lines" if run.groups is None else "groups"


def exceeds(found: dict[str, Estimate]) -> bool:
    """Whether Self is above that of the best constant, by the interval of their difference."""
    return side_of(found["Self - constant"]) > 0


def listed(names: list[str]) -> str:
    """The names, or the first of many."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def advise(lines: Lines, scored: dict[str, dict[str, Estimate]]) -> str:
    """What would make more of these lines."""
    run, (found, *others) = next(iter(lines.runs.values())), scored.values()
    advice = [FOR_TRAINING if others else advise_one(run, found)]
    if run.cue is None:
        advice.append(
            'And name what was left out in each line, as "cue": without it, an explainer that '
            "knows only the cue can make both gaps."
        )
    elif 2 * len(np.unique(run.cue)) > len(run.cue):
        advice.append('And let "cue" name what was left out, which many lines share, not the item.')
    return " ".join(advice)


def advise_one(run: Run, found: dict[str, Estimate]) -> str:
    """What the intervals of one run lack."""
    gap, adjusted, what = found["gap"], found["adjusted gap"], units(run)
    if gap["low"] is None:
        return f"an interval needs at least 2 {what}."
    if found["drift d"]["mean"] == 0:
        return "no label has moved, so Self and Orig are the same; train on, or ask other items."
    if side_of(gap, adjusted):
        return FOR_TRAINING
    if gap["mean"] * adjusted["mean"] <= 0:
        return f"more {what} will hardly help: the two gaps are not on one side of zero."
    times = max(enlarge(gap), enlarge(adjusted))
    if times > FAR:
        return f"more {what} will hardly help: a gap so near zero takes over {FAR:,} times as many."
    return (
        f"if both gaps stay as they are, about {round_up(gap['n'] * times):,} {what} (now "
        f"{gap['n']:,}) make their intervals exclude zero, since these narrow with the square root "
        "of the number."
    )


def enlarge(found: Estimate) -> float:
    """How many times as many units make an interval exclude 0 if its mean stays: (half / mean)^2,
    and 1 where it does so already."""
    return max(1.0, ((found["high"] - found["low"]) / 2 / found["mean"]) ** 2)


def round_up(n: float) -> int:
    """n with two digits, never below it.

    >>> round_up(1234.5), round_up(7.1)
    (1300, 8)
    """
    unit = 10 ** max(0, math.floor(math.log10(n)) - 1)
    return math.ceil(n / unit) * unit
