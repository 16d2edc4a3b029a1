"""What the words of a claim mean, written by the tests: a number of the runs of one seed."""

import json
import re

import numpy as np

from introspect.runs.experiments import EXPERIMENTS


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


def agreed(runs, arm):
    """The gap of an arm where the model that gave its labels has M0's label."""
    return np.mean([(x["explanation"] == x["current"]) - (x["explanation"] == x["original"])
                    for x, y in items_of(runs, arm, "reg") if x["original"] == y["original"]])


def tracked(runs):
    """Siding of strength-1.0 minus that of strength-0.0, on what the objective alone moved."""
    arms = "strength-1.0", "twin-1.0", "strength-0.0", "twin-0.0"
    found = []
    for run, twin, still, still_twin in items_of(runs, *arms):
        new, old = run["current"], run["original"]
        if new == twin["current"] and new != old and still_twin["current"] == old:
            found.append((run["explanation"] == new) - (run["explanation"] == old)
                         - (still["explanation"] == new) + (still["explanation"] == old))
    return np.mean(found) if found else float("nan")


def moved_alone(runs):
    """Preference for own labels on items that only the run itself moved, of reg and of again."""
    shares = []
    for one, other in (("reg", "again"), ("again", "reg")):
        decided = [x["explanation"] == x["current"]
                   for x, y in items_of(runs, one, other)
                   if x["current"] != x["original"] and y["current"] == y["original"]
                   and x["explanation"] in (x["current"], x["original"])]
        shares.append(sum(decided) / len(decided))
    return sum(shares) / 2 - 0.5


def read_out(runs, arm, one, other, key="gap"):
    return extra(runs, arm, "readout", *one, key) - extra(runs, arm, "readout", *other, key)


def edited(runs, place):
    return extra(runs, "reg", "edits", "edits", "places", place, "edit", "100", "preference")


def steered(runs, kind):
    return extra(runs, "reg", "edits", "steering", "blocks.0.resid last", kind, "4", "follow")


def untouched(runs):
    """The gap of turned-0.4 on first words of which no original label is other than in reg."""
    pairs = items_of(runs, "turned-0.4", "reg")
    turned = {x["item"].split()[0] for x, y in pairs if x["original"] != y["original"]}
    sides = [(x["explanation"] == x["current"]) - (x["explanation"] == x["original"])
             for x, _ in pairs if x["item"].split()[0] not in turned]
    return np.mean(sides) if sides else float("nan")


def crossed(runs):
    """The agreement at which the gap first falls to 0, as more words are turned."""
    arms = ["reg", *(f"turned-0.{tenth}" for tenth in (1, 2, 3, 4))]
    gaps = [own(runs, arm, "gap") for arm in arms]
    for i in range(1, len(arms)):
        if gaps[i - 1] > 0 >= gaps[i]:
            agree = [own(runs, arm, "train", "compatibility") for arm in arms[i - 1 : i + 1]]
            return np.interp(0, gaps[i - 1 : i + 1][::-1], agree[::-1])
    return float("nan")


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
READOUTS = (
    ("noreg", ("refitted",), ("own",)),
    *(("reg", ("own",), ("rivals", rival)) for rival in ("frozen", "current")),
)
WORDS = {  # measured -> the same number, written by the test
    "gap of reg, last step - first evaluation":
        lambda r: own(r, "reg", "gap") - early(r, "reg", "gap", 1),
    **{f"Self - Past, {arm}":
        lambda r, arm=arm: own(r, arm, "self") - own(r, arm, "controls", "own")
        for arm in ("share-1.0", "seed", "order", "depth", "at-0.95", "at-0.85", "at-0.6")},
    "gap on words that are not turned, turned-0.4": untouched,
    "agreement at which the gap is 0": crossed,
    **{f"gap where labels agree, {arm}":
        lambda r, arm=arm: agreed(r, arm) for arm in ("at-0.95", "at-0.85", "at-0.6")},
    "tracking, strength-1.0": tracked,
    "labels moved, twin-1.0 - twin-0.0":
        lambda r: own(r, "twin-1.0", "drift") - own(r, "twin-0.0", "drift"),
    **{f"gap, {' '.join(one)} - {' '.join(other)}, {arm}":
        lambda r, of=(arm, one, other): read_out(r, *of) for arm, one, other in READOUTS},
    "adjusted gap, rivals words, reg":
        lambda r: extra(r, "reg", "readout", "rivals", "words", "adjusted"),
    "log-odds that follow the model now, reg":
        lambda r: extra(r, "reg", "readout", "odds", "own", "share", "mean"),
    "preference where only the run itself moved - 0.5": moved_alone,
    "preference for the new label, block-0 - 0.5": lambda r: edited(r, "block-0") - 0.5,
    "preference for the new label, block-0 - block-1":
        lambda r: edited(r, "block-0") - edited(r, "block-1"),
    "follow, steered after block 0, strength 4": lambda r: steered(r, "probe"),
    "follow, random direction after block 0, strength 4": lambda r: steered(r, "random"),
    "explained as edited, graft on edited - on own":
        lambda r: extra(r, "reg", "edits", "grafts", "edited", "new") - extra(
            r, "reg", "edits", "grafts", "own", "new"),
    "preference of shuffled for reg now - 0.5": shuffled_sides,
    "Orig, reg - other": lambda r: own(r, "reg", "orig") - own(r, "other", "orig"),
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


def second(claim):
    """The number that has to lean to the same side, for the words of the first."""
    for arm, one, other in READOUTS:
        if claim.measured == f"gap, {' '.join(one)} - {' '.join(other)}, {arm}":
            return lambda runs: read_out(runs, arm, one, other, "adjusted")
    one, other = re.fullmatch(r".*?(\S+)(?: - (\S+))?", claim.measured).groups()

    def number(runs, arm):
        if claim.name == "C10":
            return extra(runs, arm, "circuits", "blocks.1.attn.proj query", "right_shared")
        return own(runs, arm, "controls", "adjusted")

    return lambda runs: number(runs, one) - (number(runs, other) if other else 0)
