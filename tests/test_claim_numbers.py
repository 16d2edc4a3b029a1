"""The number of every claim is what its words say, of made-up runs of its arms alone."""

import json
import re
from functools import cache

import numpy as np
import pytest

from introspect.lab.claims import CLAIMS
from introspect.lab.quantities import value
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.study import Missing, Run, Runs
from tests.cases import each
from tests.made_runs import make_runs


def named(claim):
    return f"{claim.name} {claim.measured} on {claim.task}"


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory):
    """(experiment, task) -> its made-up runs."""
    folder = tmp_path_factory.mktemp("runs")
    return cache(lambda experiment, task: make_runs(experiment, task, folder))


@each("claim", CLAIMS, named)
def test_a_claim_can_be_computed_from_the_arms_of_its_experiment_alone(claim, runs_of):
    number = claim.value(runs_of(claim.experiment, claim.task))
    assert isinstance(number, float)
    assert number == number or claim.within  # a dial may not cross


def test_a_wrong_arm_or_key_would_be_seen(runs_of):
    """Guards the test above."""
    with pytest.raises(Missing):
        value("rge", "gap")(runs_of("anchor", "hint"))
    with pytest.raises(KeyError):
        value("reg", "gpa")(runs_of("anchor", "hint"))


def own(runs, arm, *keys):
    found = runs[arm].result
    for key in keys:
        found = found[key]
    return found


def early(runs, arm, key, evaluation):
    lines = (runs[arm].folder / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[evaluation])[key]


def extra(runs, arm, name, *keys):
    found = json.loads((runs[arm].folder / f"{name}.json").read_text())
    for key in keys:
        found = found[key]
    return found


def pairwise(runs, kind):
    """Own against the other's labels, of reg and of again, by loops."""
    a, b = ([json.loads(line) for line in (runs[x].folder / "items.jsonl").open()]
            for x in ("reg", "again"))
    found = []
    for mine, others in ((a, b), (b, a)):
        both = [(p["explanation"] == p["current"], p["explanation"] == q["current"])
                for p, q in zip(mine, others)]
        decided = [x for x, y in both if x != y]
        found.append(sum(x - y for x, y in both) / len(both) if kind == "advantage"
                     else sum(decided) / len(decided) - 0.5)
    return sum(found) / 2


def followed(runs, arm):
    return extra(runs, arm, "circuits", "blocks.1.attn.proj query", "follow_shared")


def items_of(runs, *arms):
    found = [[json.loads(line) for line in (runs[a].folder / "items.jsonl").open()] for a in arms]
    return list(zip(*found))


def told_to_move(runs, arm):
    """Where arm and its twin moved to one label: of the arm's explanations, now minus then."""
    moved = [x for x, twin in items_of(runs, arm, f"{arm}-twin")
             if x["current"] == twin["current"] != x["original"]]
    return np.mean([(x["explanation"] == x["current"]) - (x["explanation"] == x["original"])
                    for x in moved])


def untouched(runs):
    """The gap of turned-0.4 on first words of which no original label is other than in reg."""
    pairs = items_of(runs, "turned-0.4", "reg")
    turned = {x["item"].split()[0] for x, y in pairs if x["original"] != y["original"]}
    sides = [(x["explanation"] == x["current"]) - (x["explanation"] == x["original"])
             for x, _ in pairs if x["item"].split()[0] not in turned]
    return np.mean(sides) if sides else float("nan")


def shuffled_sides(runs):
    decided = [s["explanation"] == r["current"] for s, r in items_of(runs, "shuffled", "reg")
               if r["current"] != r["original"]
               and s["explanation"] in (r["current"], r["original"])]
    return np.mean(decided) - 0.5


def said_too_often(runs, arm):
    return own(runs, arm, "controls", "said_most") - own(runs, arm, "majority_now")


def about(runs, arm, other):
    """What another's explanations get of the labels of an arm now."""
    pairs = items_of(runs, arm, other)
    return np.mean([y["explanation"] == x["current"] for x, y in pairs])


def described(runs, by_experiment, without=None):
    """R2 by the normal equations, arm by arm."""
    arms = [a for a in EXPERIMENTS["prediction"].arms if a != without]
    units = [a.split()[0] if by_experiment else a for a in arms]
    held = set(list(dict.fromkeys(units))[1::2])
    rows = {}
    for arm in arms:
        d, c = own(runs, arm, "drift"), own(runs, arm, "train", "compatibility")
        rows[arm] = ([1, d, c, d * c], own(runs, arm, "gap"))
    fit = [rows[a] for a, u in zip(arms, units) if u not in held]
    test = [rows[a] for a, u in zip(arms, units) if u in held]
    x, y = (np.array(of) for of in zip(*fit))
    w = np.linalg.solve(x.T @ x, x.T @ y)
    wrong = sum((gap - np.dot(f, w)) ** 2 for f, gap in test)
    return 1 - wrong / sum((gap - y.mean()) ** 2 for _, gap in test)


NEW = "tasks", "jabberwocky"
WORDS = {  # measured -> the same number, written by the test
    "gap of reg, last step - first evaluation":
        lambda r: own(r, "reg", "gap") - early(r, "reg", "gap", 1),
    **{f"Self - Past, {arm}":
        lambda r, arm=arm: own(r, arm, "self") - own(r, arm, "controls", "own")
        for arm in ("share-1.0", "at-0.95", "at-0.85", "at-0.6")},
    "gap on words that are not turned, turned-0.4": untouched,
    "gap where up and up-twin changed alike": lambda r: told_to_move(r, "up"),
    "gap where down and down-twin changed alike": lambda r: told_to_move(r, "down"),
    "preference of shuffled for reg now - 0.5": shuffled_sides,
    "Orig, reg - other": lambda r: own(r, "reg", "orig") - own(r, "other", "orig"),
    '"would change" said, up - down':
        lambda r: own(r, "up", "controls", "said_change") - own(
            r, "down", "controls", "said_change"),
    "answers the cue changes, up-twin - down-twin":
        lambda r: own(r, "up-twin", "controls", "change") - own(
            r, "down-twin", "controls", "change"),
    "Self - best constant on jabberwocky, reg":
        lambda r: own(r, "reg", *NEW, "self") - own(r, "reg", *NEW, "majority_now"),
    "Self on jabberwocky, reg - shuffled":
        lambda r: own(r, "reg", *NEW, "self") - own(r, "shuffled", *NEW, "self"),
    "following a patch, above another source's, reg": lambda r: followed(r, "reg"),
    **{f"following a patch, above another source's, reg - {arm}":
        lambda r, arm=arm: followed(r, "reg") - followed(r, arm) for arm in ("noreg", "shuffled")},
    "most frequent explanation, said - true, rare": lambda r: said_too_often(r, "rare"),
    "most frequent explanation, said - true, rare - reg":
        lambda r: said_too_often(r, "rare") - said_too_often(r, "reg"),
    "Self by class, reg - rare":
        lambda r: own(r, "reg", "controls", "balanced") - own(r, "rare", "controls", "balanced"),
    "Self - best constant, reg":
        lambda r: own(r, "reg", "self") - own(r, "reg", "majority_now"),
    "Self, reg - untrained": lambda r: own(r, "reg", "self") - early(r, "reg", "self", 0),
    "adjusted gap of reg": lambda r: own(r, "reg", "controls", "adjusted"),
    "gap of ideal answers about reg":
        lambda r: own(r, "reg", "controls", "ideal_self") - own(r, "reg", "controls", "ideal_orig"),
    "Self of reg - what other says of reg":
        lambda r: about(r, "reg", "reg") - about(r, "reg", "other"),
    "agreement with own labels - with the other's": lambda r: pairwise(r, "advantage"),
    "preference for itself - 0.5": lambda r: pairwise(r, "preference"),
    "probe of the embeddings above the best constant, names - pairs":
        lambda r: extra(r, "names", "probes", "embed subject") - extra(
            r, "pairs", "probes", "embed subject"),
    "labels that moved, refreshed - frozen":
        lambda r: own(r, "refreshed", "drift") - own(r, "frozen", "drift"),
    "R2, every second arm fitted, the others predicted": lambda r: described(r, False),
    "R2, every second experiment fitted, the others predicted": lambda r: described(r, True),
    "the same without noreg": lambda r: described(r, True, "circuits noreg"),
}
NUMBERS = {"gap": "gap", "Self": "self"}


def told(words):
    """The number that the words of a claim mean: those above, "gap of A", "gap of A - B", or "gap,
    A - B", where an arm is a word."""
    if words in WORDS:
        return WORDS[words]
    found = re.fullmatch(r"(gap|Self)(?: of|,) (\S+)(?: - (\S+))?", words)
    key, arm, other = NUMBERS[found[1]], found[2], found[3]
    return lambda runs: own(runs, arm, key) - (own(runs, other, key) if other else 0)


@each("claim", [c for c in CLAIMS if not c.within], named)
def test_the_number_of_a_claim_is_what_its_words_say(claim, runs_of):
    runs = runs_of(claim.experiment, claim.task)
    mine = pytest.approx(told(claim.measured)(runs), abs=1e-7, nan_ok=True)
    assert claim.value(runs) == mine


@each("claim", [c for c in CLAIMS if c.also], named)
def test_what_has_to_lean_to_the_same_side_is_adjusted_for_frequencies_or_for_truth(claim, runs_of):
    runs = runs_of(claim.experiment, claim.task)
    arms = re.fullmatch(r".*?(\S+)(?: - (\S+))?", claim.measured).groups()

    def number(arm):
        if claim.name == "C10":
            return extra(runs, arm, "circuits", "blocks.1.attn.proj query", "right_shared")
        return own(runs, arm, "controls", "adjusted")

    expected = number(arms[0]) - (number(arms[1]) if arms[1] else 0)
    assert claim.also(runs) == pytest.approx(expected)


def test_all_words_written_here_are_those_of_a_claim():
    assert WORDS.keys() <= {claim.measured for claim in CLAIMS}


@each("last_above", range(4))
def test_the_agreement_that_is_needed_is_read_along_the_dial_of_turned_labels(last_above, runs_of):
    """The gap is 0.3 until an arm, and then -0.1: zero at three quarters of the way to the next."""
    (claim,) = [c for c in CLAIMS if c.within]
    runs = Runs(runs_of("disagreement", "hint"))
    arms, agreement = ["reg", *(f"turned-0.{i}" for i in range(1, 5))], [0.95, 0.9, 0.8, 0.6, 0.5]
    for number, (arm, at) in enumerate(zip(arms, agreement)):
        result = {"gap": 0.3 if number <= last_above else -0.1, "train": {"compatibility": at}}
        runs[arm] = Run(result, None)
    here, after = agreement[last_above : last_above + 2]
    assert claim.value(runs) == pytest.approx(here + 0.75 * (after - here))
    nowhere = {arm: Run(run.result | {"gap": 0.1}, None) for arm, run in runs.items()}
    assert np.isnan(claim.value(nowhere))
    upwards = {arm: Run(run.result | {"gap": -run.result["gap"]}, None) for arm, run in runs.items()
               if arm != "shuffled"}
    assert np.isnan(claim.value(upwards))


def test_past_stands_beside_every_gap_with_labels_of_others_and_beside_no_other(runs_of):
    rows = [claim for claim in CLAIMS if claim.beside]
    gaps = {c.measured for c in CLAIMS if c.name in ("C6", "C7") and c.measured.startswith("gap")}
    assert {claim.measured for claim in rows} == gaps and len(rows) == 9
    for claim in rows:
        runs, arm = runs_of(claim.experiment, claim.task), claim.measured.removeprefix("gap of ")
        expected = own(runs, arm, "self") - own(runs, arm, "controls", "own")
        assert claim.beside(runs) == expected != claim.value(runs)
