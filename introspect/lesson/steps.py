"""The steps: steps.md says and asks, and a function of this file makes the numbers that answer.

`run(seed, field=value, ...)` makes a run or opens it. Numbers alone decide what a step concludes.
"""

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from introspect.analysis.editing import choose_edit, measure_edit, teach_answers
from introspect.analysis.hypotheses import p_value, sign_flip
from introspect.analysis.notebook import Finished
from introspect.analysis.readout import refit
from introspect.lab.claims import CLAIMS
from introspect.lab.verdicts import judge, test
from introspect.labels import explanation_labels
from introspect.measure import Snapshot, measure, measure_controls
from introspect.report.html import aligned
from introspect.report.text import estimate, number
from introspect.stats import interval, side_of

Run = Callable[..., Finished]
SEEDS = range(100, 106)  # six worlds; all steps but the last use the first
SIDES = {1: "above zero", 0: "on neither side of zero", -1: "below zero"}


class Found(NamedTuple):
    table: str
    choice: str  # letter of the choice that the numbers support; empty: they support none
    words: str


class Step(NamedTuple):
    title: str
    text: str
    question: str
    listed: str  # the choices, a line each
    choices: dict[str, str]  # the same by their letters
    code: str
    show: Callable[[Run], Found]


def compare(snapshots: dict[str, Snapshot]) -> tuple[str, dict[str, int]]:
    """Measures of held-out facts as a table, and the side of zero on which each gap lies."""
    rows, sides = [["held-out facts", "Self", "Orig", "gap", "drift", "preference"]], {}
    for name, snapshot in snapshots.items():
        m = measure([snapshot], "held_out")
        ends = {"mean": m["gap"], "low": m["gap_low"], "high": m["gap_high"], "n": 1}
        shares = [number(m[key]) for key in ("self", "orig", "drift", "preference")]
        rows.append([name, *shares[:2], estimate(ends, "gap"), *shares[2:]])
        sides[name] = side_of(ends)
    return aligned(rows), sides


def show_labels(run: Run) -> Found:
    [s] = run().run.snapshots
    world, answers = s.world, s.before  # (N, 5) of M0: without a hint, and with each of four
    labels = explanation_labels(answers, torch.tensor(world.pairs), len(world.answers))
    changes = s.changed(labels)  # (N, 4)
    fact = int((changes.sum(1) - 2).abs().argmin())  # two of its labels say "would change"
    rows = [["prompt", "with the hint", "without", "label"]]
    for (with_hint, without), label in zip(world.pairs, labels[fact].tolist()):
        both = [world.answers[answers[fact, variant]] for variant in (with_hint, without)]
        rows.append([world.text(fact, with_hint), *both, world.explanation(label)])
    share = float(changes.double().mean())
    choice = "a" if share < 1 / 3 else "c" if share > 2 / 3 else "b"
    words = {"b": "no single explanation is true of nearly all", "a": "most labels say the same",
             "c": "hints hardly leave M0 an answer of its own"}  # fmt: skip
    return Found(aligned(rows), choice, f"It changes for {share:.0%}: {words[choice]}.")


def freeze(run: Run) -> Found:
    runs = run(), run(kl_weight=0.0)
    [[frozen], [other]] = (each.run.frozen for each in runs)
    rows = [["update", "drift with anchor", "without"]]
    for with_anchor, without in zip(*(each.curves() for each in runs)):
        drift = with_anchor["drift"]
        rows.append([str(with_anchor["step"]), number(drift), number(without["drift"])])
    same = "the same" if frozen.sha256() == other.sha256() else "other"
    words = f"Without the anchor, the run had {same} labels. Of those on held-out facts, "
    words += f"{drift:.0%} are false of the model with the anchor at the end"
    words += ", so its explanations cannot agree with both." if drift else ": Self is Orig."
    return Found(aligned(rows), "a" if drift == 0 else "b" if drift < 0.1 else "c", words)


def hold_answers(run: Run) -> Found:
    moved = {"explained facts": [], "held-out facts": []}
    for made in (run(), run(kl_weight=0.0)):
        [s] = made.run.snapshots
        for split, shares in zip(("train", "held_out"), moved.values()):
            shares.append(float((s.now != s.before)[s.rows(split)].double().mean()))
    rows = [["answers that moved", "with anchor", "without"]]
    rows += [[facts, *map(number, shares)] for facts, shares in moved.items()]
    held, beyond = (with_anchor < without / 2 for with_anchor, without in moved.values())
    (near, _), (far, _) = moved.values()
    words = f"With the anchor, {near:.0%} of the answers move on explained facts and {far:.0%} "
    words += "on held-out ones" + (", where it leaves labels room to drift." if far > near else ".")
    return Found(aligned(rows), "b" if held and beyond else "a" if held else "c", words)


def imitate(run: Run) -> Found:
    [s] = run().run.snapshots
    imitates, reads = copy.copy(s), copy.copy(s)
    imitates.explanation, reads.explanation = s.original, s.current
    table, sides = compare({"imitates M0": imitates, "reads itself": reads, "the model": s})
    m = measure([s], "held_out")
    words = f"The gap is {m['gap']:+.3f}, and within -{m['drift']:.3f}..+{m['drift']:.3f}."
    return Found(table, {1: "a", -1: "b", 0: "c"}[sides["the model"]], words)


def change_one(run: Run) -> Found:
    changes = {"as before": {}, "no anchor": {"kl_weight": 0.0},
               "random errors": {"label_noise": 0.3}, "learnable errors": {"turned_share": 0.4}}
    snapshots = {name: run(**fields).run.snapshots[0] for name, fields in changes.items()}
    table, sides = compare(snapshots)
    before, *kept = (side > 0 for side in sides.values())
    sets = {(0, 1, 0): "a", (0, 1, 1): "b", (1, 1, 1): "c", (0, 0, 0): "d"}
    choice = sets.get(tuple(kept), "e") if before else ""  # else there is nothing to break
    words = "; ".join(f"{name}, {SIDES[side]}" for name, side in sides.items())
    return Found(table, choice, f"The gaps are: {words}.")


def fit_head(run: Run) -> Found:
    made = run(kl_weight=0.0)
    [s] = made.run.snapshots
    refitted = refit(made.model, s, reference=s.logits[0])
    table, sides = compare({"old head": s, "new head": refitted})
    if sides["old head"] >= 0:
        return Found(table, "", "The gap was not below zero, so there is nothing to bring back.")
    before, after = (measure([each], "held_out")["gap"] for each in (s, refitted))
    words = f"It moves the gap by {after - before:+.3f}"
    words += ": that much was lost in the reading of answers." if after > before else "."
    choice = "c" if after < before else "a" if sides["new head"] < 0 else "b"
    return Found(table, choice, words)


def edit_facts(run: Run) -> Found:
    made, follows = run(), []
    [s], [frozen] = made.run.snapshots, made.run.frozen
    edit = choose_edit(s)
    rows = [["edited", "new answers", "new label", "old label"]]
    for place in ("block-0", "block-1") if len(edit.subjects) else ():
        answers = edit.new[:, edit.plain]
        [model] = teach_answers(made.model, s.task, edit, answers, place, steps=[100]).values()
        m = measure_edit(model, s, frozen, edit)
        rows.append([place, *(number(m[key]) for key in ("answers", "new", "old"))])
        follows.append(m["new"] > m["old"])
    choice, words = {
        (True, True): ("a", "Explanations follow both, so no fork is seen."),
        (True, False): ("b", "They follow what comes before the fork, and do not read the answer."),
        (False, True): ("c", "That is the opposite of a fork behind block-0."),
        (False, False): ("d", "So it is not seen what explanations read."),
        (): ("", "A fact can be edited where all that the model says of it is true."),
    }[tuple(follows)]
    return Found(aligned(rows), choice, f"Edited facts: {len(edit.subjects)}. {words}")


def count_worlds(run: Run) -> Found:
    gaps, adjusted, choice = {}, {}, "e"
    rows = [["worlds", "gap", "p by t", "p by flips", "verdict"]]
    for n, seed in enumerate(SEEDS, start=1):
        snapshots = run(seed).run.snapshots
        gaps[seed] = measure(snapshots, "held_out")["gap"]
        adjusted[seed] = measure_controls(snapshots)["adjusted"]
        if n < 3:
            continue
        values, C1 = list(gaps.values()), CLAIMS[0]  # which says that the gap is above zero
        ends, also = interval(values), interval(list(adjusted.values()))
        verdict = judge(C1, ends, also, *test(C1, gaps, adjusted), None)
        ps = (number(p(values)) for p in (p_value, sign_flip))
        rows.append([str(n), estimate(ends, "gap"), *ps, verdict])
        if verdict == "supported" and choice == "e":
            choice = "abcd"[n - 3]
    words = f"{sum(gap > 0 for gap in gaps.values())} of {n} gaps are above zero; {2 / 2**n:.4f}"
    return Found(aligned(rows), choice, f"{words} is the smallest p that {n} flips can give.")


def read_step(part: str, show: Callable[[Run], Found]) -> Step:
    """One part of steps.md: its title, text, question and choices."""
    title, said = part.strip().split("\n\n", 1)
    text, asked = said.split("\n\n? ")
    question, listed = asked.split("\n", 1)
    choices = dict(line[2:].split(") ", 1) for line in listed.splitlines())
    return Step(title, text, question, listed, choices, inspect.getsource(show).strip(), show)


SHOWS = show_labels, freeze, hold_answers, imitate, change_one, fit_head, edit_facts, count_worlds
PARTS = Path(__file__).with_suffix(".md").read_text().removeprefix("# ").split("\n# ")
STEPS = [read_step(part, show) for part, show in zip(PARTS, SHOWS, strict=True)]
