"""Claims are about what is run, measure what their words say, and are all there."""

import json
import random
import re
from functools import cache

import numpy as np
import pytest

from introspect.config import LabelConfig
from introspect.files import write_json, write_lines
from introspect.lab.claims import CLAIMS
from introspect.lab.extras import EXTRAS
from introspect.lab.headlines import HEADLINES, OVERVIEW
from introspect.lab.objections import OBJECTIONS
from introspect.lab.quantities import value
from introspect.labels import freeze
from introspect.measure import Snapshot, measure_all, measure_controls
from introspect.runs.build import build
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.items import list_items
from introspect.runs.stages import make_tasks, new_model
from introspect.runs.study import Missing, Run, Runs
from introspect.tasks.registry import find_tasks

SIZES = {
    "hint": dict(n_entity=4, n_attribute=5),
    "verdict": dict(n_actor=5, n_act=4, n_story=14),
    "refusal": dict(n_action=4, n_object=4),
    "jabberwocky": dict(n_creature=4, n_habit=4),
}
NAMES = [f"C{i}" for i in range(1, 16)] + [f"N{i}" for i in range(1, 6)]
ids = [f"{i} {c.name} {c.measured}" for i, c in enumerate(CLAIMS)]
every_claim = pytest.mark.parametrize("claim", CLAIMS, ids=ids)


@cache
def measured(task):
    """What is measured of a model of two blocks: a result, items, and what is measured extra."""
    names = task.split("+")
    sizes = {k if len(names) == 1 else f"{t}.{k}": v for t in names for k, v in SIZES[t].items()}
    cfg = build(find_tasks(task), sizes | dict(n_layer=2, n_head=2, n_embd=16))
    parts = make_tasks(cfg, "cpu")
    model = new_model(cfg, parts)
    frozen = []
    for part in parts:
        reference = part.interview.ask_all(model)[0]
        frozen.append(freeze(reference, reference, part.world, LabelConfig(), 0))
    snapshots = [Snapshot(model, *of) for of in zip(parts, frozen)]
    result = {**measure_all(snapshots), "controls": measure_controls(snapshots)}
    extra = {} if len(names) > 1 else {name: f(model, parts[0]) for name, f in EXTRAS.items()}
    return result, list_items(snapshots), extra


def scattered(value, draw):
    """The same keys with other numbers."""
    if isinstance(value, dict):
        return {k: scattered(v, draw) for k, v in value.items()}
    return draw.random()


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory):
    """(experiment, task) -> made-up runs of exactly its arms, with the keys of real ones."""
    folder, found = tmp_path_factory.mktemp("runs"), {}

    def make(experiment, task):
        runs, draw = Runs(), random.Random(f"{experiment} {task}")
        result, rows, extra = measured(task)
        words = [row["current"] for row in rows] + ["would change to A", "would change to B"]
        for number, arm in enumerate(EXPERIMENTS[experiment].arms):
            out = folder / f"{experiment}-{task}-{number}"
            out.mkdir()
            said = [{key: draw.choice(words) for key in ("explanation", "current", "original")}
                    for _ in rows]
            for row, new in zip(rows, said):  # words whose labels are the same in all arms
                if row["item"].split()[0] in {row["item"].split()[0] for row in rows[:9]}:
                    new["original"] = words[0]
            write_lines(out / "items.jsonl", [row | new for row, new in zip(rows, said)])
            logs = [{"step": s, **scattered(result, draw)} for s in (0, 200, 400)]
            write_lines(out / "metrics.jsonl", logs)
            if EXPERIMENTS[experiment].extra:
                name = EXPERIMENTS[experiment].extra
                write_json(out / f"{name}.json", scattered(extra[name], draw))
            runs[arm] = Run(scattered(result, draw), out)
        return runs

    def of(experiment, task):
        if (experiment, task) not in found:
            found[experiment, task] = make(experiment, task)
        return found[experiment, task]

    return of


def test_all_claims_of_the_paper_and_ours_are_there_in_this_order():
    assert list(dict.fromkeys(claim.name for claim in CLAIMS)) == NAMES
    assert len({(c.name, c.measured, c.task) for c in CLAIMS}) == len(CLAIMS)


@every_claim
def test_a_claim_is_about_an_experiment_and_a_task_on_which_it_is_run(claim):
    experiment = EXPERIMENTS[claim.experiment]
    assert claim.task in (experiment.task, *experiment.more_tasks)
    assert claim.sign in (1, -1)
    assert claim.within is None or claim.within[0] < claim.within[1] and claim.sign == 1
    assert claim.says and claim.paper and claim.measured


def test_every_experiment_on_every_task_has_a_claim():
    run = {(name, task) for name, e in EXPERIMENTS.items() for task in (e.task, *e.more_tasks)}
    without = {("single", "hint"), ("anchor", "rules")}  # shown, with nothing claimed
    assert run - without == {(claim.experiment, claim.task) for claim in CLAIMS}
    assert without <= run


@every_claim
def test_a_claim_can_be_computed_from_the_arms_of_its_experiment_alone(claim, runs_of):
    number = claim.value(runs_of(claim.experiment, claim.task))
    assert isinstance(number, float)
    assert number == number or claim.within  # a dial may not cross


@pytest.mark.parametrize("arm, key", [("rge", "gap"), ("reg", "gpa")])
def test_a_wrong_arm_or_key_would_be_seen(arm, key, runs_of):
    """Guards the test above."""
    with pytest.raises(Missing if arm == "rge" else KeyError):
        value(arm, key)(runs_of("anchor", "hint"))


# --- the words of a claim, and its number ---


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
    "following a patch, above another head's, reg": lambda r: followed(r, "reg"),
    **{f"following a patch, above another head's, reg - {arm}":
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


@pytest.mark.parametrize(
    "claim", [c for c in CLAIMS if not c.within], ids=[i for i, c in zip(ids, CLAIMS)
                                                       if not c.within])
def test_the_number_of_a_claim_is_what_its_words_say(claim, runs_of):
    runs = runs_of(claim.experiment, claim.task)
    mine = pytest.approx(told(claim.measured)(runs), abs=1e-7, nan_ok=True)
    assert claim.value(runs) == mine


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.also], ids=lambda c: c.measured)
def test_what_has_to_lean_to_the_same_side_is_adjusted_for_frequencies_or_for_truth(claim, runs_of):
    runs = runs_of(claim.experiment, claim.task)
    arms = re.fullmatch(r".*?(\S+)(?: - (\S+))?", claim.measured).groups()

    def number(arm):
        if claim.name == "C10":
            return extra(runs, arm, "circuits", "blocks.1.attn.proj query", "right_shared")
        return own(runs, arm, "controls", "adjusted")

    expected = number(arms[0]) - (number(arms[1]) if arms[1] else 0)
    assert claim.also(runs) == pytest.approx(expected)


def test_every_gap_that_is_claimed_to_lean_is_held_against_the_adjusted_one():
    without = [c.measured for c in CLAIMS if c.measured.startswith("gap") and not c.also]
    changed = [f"gap where {arm} and {arm}-twin changed alike" for arm in ("up", "down")]
    assert without == [
        "gap of reg, last step - first evaluation", "gap on words that are not turned, turned-0.4",
        *changed, *changed, "gap of ideal answers about reg"]


def test_all_words_written_here_are_those_of_a_claim():
    assert WORDS.keys() <= {claim.measured for claim in CLAIMS}


@pytest.mark.parametrize("last_above", range(4))
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


def test_no_gap_is_claimed_in_two_directions_on_the_same_arms():
    found = {}
    for claim in CLAIMS:
        found.setdefault((claim.experiment, claim.task, claim.measured), set()).add(claim.sign)
    assert all(len(signs) == 1 for signs in found.values())


def test_what_is_claimed_to_be_below_zero_is_what_is_said_to_be_lost():
    assert [(c.name, c.measured) for c in CLAIMS if c.sign == -1] == [
        ("C2", "gap of noreg"), ("C4", "gap of turned-0.4"),
        ("C4", "gap on words that are not turned, turned-0.4"),
        ("C7", "Self, share-1.0 - share-0.0"), ("C11", "gap of rank-1"),
        ("C14", "gap of ideal answers about reg"),
        ("C15", "preference of shuffled for reg now - 0.5")]


def test_every_claim_has_a_sentence_and_every_row_words_of_its_own():
    assert list(HEADLINES) == NAMES and set(OVERVIEW) <= set(NAMES) and len(OVERVIEW) <= 12
    assert len({(claim.name, claim.says) for claim in CLAIMS}) == len(CLAIMS)
    assert max(len(claim.says) for claim in CLAIMS) <= 66  # they are labels of a figure
    for name, headline in HEADLINES.items():
        rows = [claim for claim in CLAIMS if claim.name == name]
        assert any(claim.measured.startswith(headline.main) for claim in rows)
        assert bool(headline.main) == bool(headline.why)  # another row than the first has a reason
        assert headline.says[-1] != "." and len(headline.says) <= 70 and headline.paper


def test_past_stands_beside_every_gap_with_labels_of_others_and_beside_no_other(runs_of):
    rows = [claim for claim in CLAIMS if claim.beside]
    gaps = {c.measured for c in CLAIMS if c.name in ("C6", "C7") and c.measured.startswith("gap")}
    assert {claim.measured for claim in rows} == gaps and len(rows) == 9
    for claim in rows:
        runs, arm = runs_of(claim.experiment, claim.task), claim.measured.removeprefix("gap of ")
        expected = own(runs, arm, "self") - own(runs, arm, "controls", "own")
        assert claim.beside(runs) == expected != claim.value(runs)


def test_claims_that_the_paper_never_made_are_known_as_such():
    ours = {claim.name for claim in CLAIMS if not claim.by_paper}
    assert {"C14", "C15", "N1", "N2", "N3", "N4", "N5"} <= ours
    assert not any(claim.by_paper for claim in CLAIMS if claim.name[0] == "N")
    assert all(claim.by_paper for claim in CLAIMS if claim.name in ("C1", "C2", "C3", "C5", "C12"))


# --- objections ---


@pytest.mark.parametrize("objection", OBJECTIONS, ids=lambda o: o.text[:40])
def test_an_objection_names_rows_that_there_are_or_says_what_is_left(objection):
    rows = [f"{claim.name} {claim.measured}" for claim in CLAIMS]
    assert all(any(row.startswith(named) for row in rows) for named in objection.rows)
    assert len(set(objection.rows)) == len(objection.rows)
    assert objection.rows or objection.rest
    assert objection.text
