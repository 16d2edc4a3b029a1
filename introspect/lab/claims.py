"""Every claim, the paper's C1-C15 and ours N1-N5: what is measured, and in which direction.

A claim is one number a seed, from the runs of an experiment on one task. The interval over seeds
decides (lab.judge): "reproduced" in the claimed direction, "reversed" against it, else "not seen".
That a gap leans to a side takes the adjusted gap as well: frequencies of labels alone can make one
(frequency.py, calibration.py). The experiments are in experiments.py, numbers in quantities.py.
Rows that were added when the runs had been seen say so (`after`).
"""

from introspect.lab.claim import Claim, dialed, difference, side, wider
from introspect.lab.quantities import (
    Statistic,
    above_most_frequent,
    advantage,
    crossing,
    early,
    extra,
    follows_drift_of,
    gap,
    gap_of_true_words,
    minus,
    of,
    prediction,
    preference,
    privileged,
    siding,
)
from introspect.runs.experiments import EXPERIMENTS

UNKNOWN, NONE, SURVIVES = "number unknown", "not in the paper", "survives, number unknown"
CORE = {"hint": "+11.1 points", "verdict": "+7.0 points", "refusal": "+9.5 points"}


def core(task: str) -> list[Claim]:
    """C1 and C2 on one task."""
    with_it = "With the anchor, explanations follow the model that is."
    larger = "The gap is larger with the anchor than without it."
    return [
        Claim("C1", with_it, CORE[task], "anchor", task=task, **side("reg")),
        Claim("C2", larger, "gone without", "anchor", task=task, **wider("reg", "noreg")),
    ]


def shift(task: str, experiment: str) -> list[Claim]:
    """C8 on one task."""
    seen, arms = "seen, " + UNKNOWN, ("up", "down")
    survives = "Coupling survives another objective that moves the behavior."
    follow = "What that objective moved, and moves without explanations too, is explained as moved."
    twins = [f"{arm}-twin" for arm in arms]
    return [
        *(Claim("C8", survives, seen, experiment, task=task, **side(arm)) for arm in arms),
        Claim(
            "C8", "Explanations report how much more often the cue counts.", seen, experiment,
            '"would change" said, up - down', difference(*arms, "controls", "said_change"), task,
        ),
        Claim(
            "C8", "The objective moves answers without explanation training too.", NONE, experiment,
            "answers the cue changes, up-twin - down-twin",
            difference(*twins, "controls", "change"), task,
        ),
        *(
            Claim(
                "C8", follow, seen, experiment, f"siding with the move, {arm}", siding(arm, twin),
                task, after=True,
            )
            for arm, twin in zip(arms, twins)
        ),
    ]


def own(experiment: str, arm: str, after: bool) -> Claim:
    """Labels of another model or time: Self against agreement with what M0 itself would say."""
    name = {"foreign": "C7", "progress": "C6"}[experiment]
    return Claim(
        name, "With them, explanations follow the model now and not its own past.", NONE,
        experiment, f"Self - agreement with M0's own labels, {arm}",
        minus(of(arm, "self"), of(arm, "controls", "own")), after=after,
    )


def patched(arm: str, key: str = "follow_shared") -> Statistic:
    return extra(arm, "circuits", "blocks.1.attn.proj query", key)  # heads of the last block


def foretold(says: str, measured: str, by_experiment: bool, without: str = "") -> Claim:
    arms = list(EXPERIMENTS["prediction"].arms)
    value = prediction(by_experiment, arms, without)
    return Claim("N4", says, NONE, "prediction", measured, value, after=bool(without))


TURNED = ["reg", *(f"turned-{share}" for share in (0.1, 0.2, 0.3, 0.4))]
EARLIER = ["at-0.95", "at-0.85", "at-0.6"]
CLAIMS = [
    *core("hint"),
    Claim(
        "C2", "Without the anchor, explanations stay with the model that was.",
        "gone or negative", "anchor", sign=-1, **side("noreg"),
    ),
    *core("verdict"),
    *core("refusal"),
    Claim(
        "C3", "Coupling grows in the course of training.", "curves, " + UNKNOWN, "anchor",
        "gap of reg, last step - first evaluation", minus(gap("reg"), early("reg", "gap")),
    ),
    Claim(
        "C4", "Where the labels of 40 % of the words are turned, explanations stay with them.",
        "gone below about 0.6", "disagreement", sign=-1, **side("turned-0.4"),
    ),
    Claim(
        "C4", "The gap is 0 where this share of the training labels agrees with the behavior.",
        "about 0.7, 0.6 at least", "disagreement", "agreement at which the gap is 0",
        crossing(TURNED, ("train", "compatibility"), ("gap",)), within=(0.6, 0.7),
    ),
    Claim(
        "C4", "Coupling is then lost on words whose labels are true, too.", UNKNOWN, "disagreement",
        "gap on words that are not turned, turned-0.4", gap_of_true_words("turned-0.4", "reg"),
        sign=-1, after=True,
    ),
    *dialed(
        "C5", "Coupling survives labels that are wrong at random.", SURVIVES, "noise",
        ["noise-0.3", "noise-0.5", "noise-0.7"],
    ),
    *dialed(
        "C6", "Coupling survives labels of an earlier checkpoint.", SURVIVES, "progress", EARLIER
    ),
    *(own("progress", arm, after=True) for arm in EARLIER),
    Claim(
        "C7", "Coupling survives labels of another family.", "Self > Orig at 100 %", "foreign",
        **side("share-1.0"),
    ),
    own("foreign", "share-1.0", after=False),
    Claim(
        "C7", "Such labels cost accuracy.", "-19 %", "foreign", "Self, share-1.0 - share-0.0",
        difference("share-1.0", "share-0.0", "self"), sign=-1,
    ),
    *dialed(
        "C7", "Coupling survives labels of a model that differs in one thing.", NONE, "donors",
        ["seed", "order", "width", "depth", "length"],
    ),
    *shift("hint", "shift"),
    *shift("refusal", "shift-refusal"),
    Claim(
        "C9", "A behavior that was never explained is explained better than by a constant.",
        "79.8 %", "jabberwocky", "Self - best constant on jabberwocky, reg",
        above_most_frequent("reg", "tasks", "jabberwocky"), "hint+jabberwocky",
    ),
    Claim(
        "C9", "That takes true labels of another task.", NONE, "jabberwocky",
        "Self on jabberwocky, reg - shuffled",
        difference("reg", "shuffled", "tasks", "jabberwocky", "self"), "hint+jabberwocky",
    ),
    Claim(
        "C10", "Explanations go where a patch of the heads of the last block sends answers.",
        "seen, " + UNKNOWN, "circuits", "following a patch, above another head's, reg",
        patched("reg"), also=patched("reg", "right_shared"),
    ),
    Claim(
        "C10", "More so with the anchor.", UNKNOWN, "circuits",
        "following a patch, above another head's, reg - noreg",
        minus(patched("reg"), patched("noreg")),
        also=minus(patched("reg", "right_shared"), patched("noreg", "right_shared")),
    ),
    Claim(
        "C10", "More so than with shuffled labels.", NONE, "circuits",
        "following a patch, above another head's, reg - shuffled",
        minus(patched("reg"), patched("shuffled")), after=True,
    ),
    Claim(
        "C11", "With enough room there is coupling.", "from rank 96 on", "capacity",
        **side("rank-64"),
    ),
    Claim(
        "C11", "With little room explanations stay with the model that was.",
        "slightly negative at rank 32", "capacity", sign=-1, **side("rank-1"),
    ),
    Claim(
        "C11", "Room widens the gap.", "rises from rank 32 to 256", "capacity",
        **wider("rank-64", "rank-1"),
    ),
    Claim(
        "C12", "A higher learning rate widens the gap.", "widens, " + UNKNOWN, "rate",
        **wider("rate-0.002", "rate-0.00025"),
    ),
    Claim(
        "C13", "Where labels hardly vary, the most frequent one is said too often.",
        "collapse, " + UNKNOWN, "constant", "most frequent explanation, said - true, rare",
        minus(of("rare", "controls", "said_most"), of("rare", "majority_now")),
    ),
    Claim(
        "C13", "More so than where they vary.", UNKNOWN, "constant",
        "most frequent explanation, said - true, rare - reg",
        minus(
            difference("rare", "reg", "controls", "said_most"),
            difference("rare", "reg", "majority_now"),
        ),
        after=True,
    ),
    Claim(
        "C13", "Classes count the same: explanations are true less often.", UNKNOWN, "constant",
        "Self by class, reg - rare", difference("reg", "rare", "controls", "balanced"),
    ),
    Claim(
        "C14", "Explanations are truer than the best constant one.", NONE, "controls",
        "Self - best constant, reg", above_most_frequent("reg"),
    ),
    Claim(
        "C14", "They are truer than those of a head that is not trained.",
        "8.9 untrained, 83.4 trained (2511.08579)", "controls", "Self, reg - untrained",
        minus(of("reg", "self"), early("reg", "self", 0)),
    ),
    Claim(
        "C14", "They are truer than after few steps.", NONE, "controls", "Self, reg - few",
        difference("reg", "few", "self"),
    ),
    Claim(
        "C14", "They are truer than with shuffled labels.", NONE, "controls",
        "Self, reg - shuffled", difference("reg", "shuffled", "self"),
    ),
    Claim(
        "C14", "The gap is larger than with shuffled labels.", NONE, "controls",
        **wider("reg", "shuffled"),
    ),
    Claim(
        "C14", "The gap is larger than if the same explanations were dealt out anew.", NONE,
        "controls", "adjusted gap of reg", of("reg", "controls", "adjusted"),
    ),
    Claim(
        "C14", "Who knows the world, and not the model, stays with the model that was.", NONE,
        "controls", "gap of ideal answers about reg",
        minus(*(of("reg", "controls", f"ideal_{side}") for side in ("self", "orig"))),
        sign=-1, after=True,
    ),
    Claim(
        "C14", "What a model is, another model explains less well than itself.",
        "83.4 against 58.1 (2511.08579)", "controls", "Self of reg - what other says of reg",
        privileged("reg", "other"),
    ),
    Claim(
        "C14", "What M0 was, another model explains less well, from the same labels.",
        "83.4 against 58.1 (2511.08579)", "controls", "Orig, reg - other",
        difference("reg", "other", "orig"), after=True,
    ),
    Claim(
        "C15", "A run matches its own answers better than those of a run that drifted beside it.",
        NONE, "matrix", "agreement with own labels - with the other's", advantage("reg", "again"),
    ),
    Claim(
        "C15", "Where the labels of two runs differ, explanations side with their own.", NONE,
        "matrix", "preference for itself - 0.5", preference("reg", "again"),
    ),
    Claim(
        "C15", "Explanations of shuffled labels do not side with the drift of another run.", NONE,
        "matrix", "preference of shuffled for reg now - 0.5", follows_drift_of("shuffled", "reg"),
        sign=-1, after=True,
    ),
    Claim(
        "N1", "Facts that are computed of a pair couple more than facts in one embedding.", NONE,
        "knowledge", **wider("pairs", "names"),
    ),
    Claim("N1", "They couple at all.", NONE, "knowledge", after=True, **side("pairs")),
    Claim(
        "N1", "A single name's embedding shows its fact; those of a pair do not.", NONE,
        "knowledge", "probe of the embeddings above the best constant, names - pairs",
        minus(*(extra(arm, "probes", "embed subject") for arm in ("names", "pairs"))),
    ),
    *dialed("N2", "Every channel couples.", NONE, "channels", ["tied", "same", "verbal"]),
    Claim(
        "N3", "Frozen labels make truer explanations than refreshed ones.", NONE, "refreshing",
        "Self, frozen - refreshed", difference("frozen", "refreshed", "self"),
    ),
    Claim(
        "N3", "Also where behavior is held on all subjects.", NONE, "refreshing",
        "Self, frozen-held - refreshed-held", difference("frozen-held", "refreshed-held", "self"),
        after=True,
    ),
    Claim(
        "N3", "Refreshed labels move the behavior more.", NONE, "refreshing",
        "labels that moved, refreshed - frozen", difference("refreshed", "frozen", "drift"),
    ),
    foretold(
        "Drift and agreement describe the gap of other conditions.",
        "R2, every second arm fitted, the others predicted", by_experiment=False,
    ),
    foretold(
        "They describe that of other experiments.",
        "R2, every second experiment fitted, the others predicted", by_experiment=True,
    ),
    foretold(
        "Even if noreg is not among those that are fitted.",
        "the same without noreg", by_experiment=True, without="circuits noreg",
    ),
    Claim("N5", "A wider model couples more.", NONE, "scale", **wider("width-96", "width-32")),
    Claim("N5", "More facts couple more.", NONE, "scale", **wider("facts-64", "facts-32")),
    Claim(
        "N5", "A longer trained M0 couples more.", NONE, "scale",
        **wider("length-2000", "length-500"),
    ),
]
