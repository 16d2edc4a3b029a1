"""Every claim, the paper's C1-C15 and ours N1-N5: what is measured, and in which direction.

A claim is one number a seed, from the runs of an experiment on one task. The interval over seeds
decides (lab.judge): "reproduced" in the claimed direction, "reversed" against it, else "not seen".
That a gap leans to a side takes the adjusted gap as well: frequencies of labels alone can make one
(frequency.py, calibration.py). The experiments are in experiments.py, numbers in quantities.py.
"""

from dataclasses import dataclass
from typing import Any

from introspect.quantities import (
    Statistic,
    above_most_frequent,
    advantage,
    besides,
    crossing,
    early,
    gap,
    minus,
    of,
    preference,
    prediction,
    privileged,
)

HINT, AITA, REFUSAL = "+11.1 points", "+7.0 points", "+9.5 points"
UNKNOWN, NONE = "number unknown", "not in the paper"
CORE = {"hint": HINT, "verdict": AITA, "refusal": REFUSAL}


@dataclass(frozen=True)
class Claim:
    name: str  # several rows may share one
    says: str
    paper: str  # its number, where one could be recovered
    experiment: str
    measured: str  # in words
    of: Statistic
    task: str = "hint"
    sign: int = 1  # of the claimed direction
    within: tuple[float, float] | None = None  # instead of a direction: where the paper has it
    also: Statistic | None = None  # has to lean to the same side


def side(arm: str) -> dict[str, Any]:
    """What is asked of an arm that is claimed to lean to one side."""
    adjusted = of(arm, "controls", "adjusted")
    return {"measured": f"gap of {arm}", "of": gap(arm), "also": adjusted}


def core(task: str) -> list[Claim]:
    """C1 and C2 on one task."""
    return [
        Claim(
            "C1", "with the anchor, explanations follow the model that is", CORE[task], "anchor",
            task=task, **side("reg"),
        ),
        Claim(
            "C2", "without the anchor this is gone", "gone or negative", "anchor",
            "gap of reg - noreg", minus(gap("reg"), gap("noreg")), task,
        ),
    ]


def shift(task: str, experiment: str) -> list[Claim]:
    """C8 on one task."""

    def moved(key: str, twin: str = "") -> Statistic:
        return minus(*(of(arm + twin, "controls", key) for arm in ("up", "down")))

    said, seen = "another objective moves the behavior, explanations follow", "seen, " + UNKNOWN
    return [
        *(
            Claim("C8", f"{said} ({arm})", seen, experiment, task=task, **side(arm))
            for arm in ("up", "down")
        ),
        Claim(
            "C8", "they report the move itself", seen, experiment,
            '"would change" said, up - down', moved("said_change"), task,
        ),
        Claim(
            "C8", "it moves without explanation training too", NONE, experiment,
            "answers the cue changes, up-twin - down-twin", moved("change", "-twin"), task,
        ),
    ]


def dialed(name: str, says: str, paper: str, experiment: str, arms: list[str]) -> list[Claim]:
    """The gap of each of these arms."""
    return [Claim(name, says, paper, experiment, **side(arm)) for arm in arms]


HEADS = "blocks.1.attn.proj query"  # of the last block, where answers and explanations are read
TURNED = ["reg", *(f"turned-{share}" for share in (0.1, 0.2, 0.3, 0.4))]
CLAIMS = [
    *core("hint"),
    Claim(
        "C2", "without the anchor explanations stay with the model that was", "gone or negative",
        "anchor", sign=-1, **side("noreg"),
    ),
    *core("verdict"),
    *core("refusal"),
    Claim(
        "C3", "coupling grows while training moves the behavior", "curves, " + UNKNOWN, "anchor",
        "gap of reg, last step - first evaluation", minus(gap("reg"), early("reg", "gap")),
    ),
    Claim(
        "C4", "labels that disagree too much with the behavior end it", "gone below about 0.6",
        "disagreement", sign=-1, **side("turned-0.4"),
    ),
    Claim(
        "C4", "the agreement that is needed", "about 0.7, 0.6 at least", "disagreement",
        "agreement on training items at which the gap is 0",
        crossing(TURNED, ("train", "compatibility"), ("gap",)), within=(0.6, 0.7),
    ),
    *dialed(
        "C5", "coupling survives random noise in the labels", "survives, " + UNKNOWN, "noise",
        ["noise-0.3", "noise-0.5", "noise-0.7"],
    ),
    *dialed(
        "C6", "labels of an earlier checkpoint do", "survives, " + UNKNOWN, "progress",
        ["at-0.95", "at-0.85", "at-0.6"],
    ),
    Claim(
        "C7", "labels of another family do", "Self > Orig at 100 %", "foreign",
        **side("share-1.0"),
    ),
    Claim(
        "C7", "with them, explanations follow the model now and not its own past", NONE, "foreign",
        "Self - agreement with M0's own labels, share-1.0",
        minus(of("share-1.0", "self"), of("share-1.0", "controls", "own")),
    ),
    Claim(
        "C7", "at a price in accuracy", "-19 %", "foreign", "Self, share-1.0 - share-0.0",
        minus(of("share-1.0", "self"), of("share-0.0", "self")), sign=-1,
    ),
    *dialed(
        "C7", "labels of a model that differs in one thing do", NONE, "donors",
        ["seed", "order", "width", "depth", "length"],
    ),
    *shift("hint", "shift"),
    *shift("refusal", "shift-refusal"),
    Claim(
        "C9", "a behavior that was never explained is explained", "79.8 %", "jabberwocky",
        "Self - best constant on jabberwocky, reg",
        above_most_frequent("reg", "tasks", "jabberwocky"), "hint+jabberwocky",
    ),
    Claim(
        "C9", "because of true labels of another task", NONE, "jabberwocky",
        "Self on jabberwocky, reg - shuffled",
        minus(*(of(arm, "tasks", "jabberwocky", "self") for arm in ("reg", "shuffled"))),
        "hint+jabberwocky",
    ),
    Claim(
        "C10", "answers and explanations rest on shared circuits", "seen, " + UNKNOWN, "circuits",
        "explanations that follow a patch, above patches elsewhere, reg",
        besides("reg", "circuits", HEADS, "follow_shared"),
    ),
    Claim(
        "C10", "more so with the anchor", UNKNOWN, "circuits", "the same, reg - noreg",
        minus(*(besides(arm, "circuits", HEADS, "follow_shared") for arm in ("reg", "noreg"))),
    ),
    Claim(
        "C11", "with enough room there is coupling", "from rank 96 on", "capacity",
        **side("rank-64"),
    ),
    Claim(
        "C11", "with little room there is none", "slightly negative at rank 32", "capacity",
        sign=-1, **side("rank-1"),
    ),
    Claim(
        "C11", "room widens the gap", "rises from rank 32 to 256", "capacity",
        "gap, rank-64 - rank-1", minus(gap("rank-64"), gap("rank-1")),
    ),
    Claim(
        "C12", "a higher learning rate widens the gap", "widens, " + UNKNOWN, "rate",
        "gap, rate-0.002 - rate-0.00025", minus(gap("rate-0.002"), gap("rate-0.00025")),
    ),
    Claim(
        "C13", "labels that hardly vary collapse to the most frequent one", "seen, " + UNKNOWN,
        "constant", "most frequent explanation, said - true, rare",
        minus(of("rare", "controls", "said_most"), of("rare", "majority_now")),
    ),
    Claim(
        "C13", "so that other explanations are lost", UNKNOWN, "constant",
        "Self by class, reg - rare",
        minus(*(of(arm, "controls", "balanced") for arm in ("reg", "rare"))),
    ),
    Claim(
        "C14", "explanations are truer than the best constant one", NONE, "controls",
        "Self - best constant, reg", above_most_frequent("reg"),
    ),
    Claim(
        "C14", "than those of a head that is not trained",
        "8.9 untrained, 83.4 trained (2511.08579)", "controls", "Self, reg - untrained",
        minus(of("reg", "self"), early("reg", "self", 0)),
    ),
    Claim(
        "C14", "than those of few steps", NONE, "controls", "Self, reg - few",
        minus(of("reg", "self"), of("few", "self")),
    ),
    Claim(
        "C14", "than those of shuffled labels", NONE, "controls", "Self, reg - shuffled",
        minus(of("reg", "self"), of("shuffled", "self")),
    ),
    Claim(
        "C14", "with shuffled labels there is no coupling", NONE, "controls", "gap, reg - shuffled",
        minus(gap("reg"), gap("shuffled")),
    ),
    Claim(
        "C14", "coupling is more than frequencies that move", NONE, "controls",
        "gap of reg above that of the same explanations dealt out anew",
        of("reg", "controls", "adjusted"),
    ),
    Claim(
        "C14", "and more than knowing the world", NONE, "controls",
        "gap of reg - gap of ideal answers",
        minus(gap("reg"), minus(*(of("reg", "controls", f"ideal_{k}") for k in ("self", "orig")))),
    ),
    Claim(
        "C14", "a model explains itself better than another model explains it",
        "83.4 against 58.1 (2511.08579)", "controls", "Self of reg - what other says of reg",
        privileged("reg", "other"),
    ),
    Claim(
        "C15", "a run matches its own answers, not those of a run that drifted beside it", NONE,
        "matrix", "agreement with own labels - with the other's", advantage("reg", "again"),
    ),
    Claim(
        "C15", "where the two differ, it sides with itself", NONE, "matrix",
        "preference for itself - 0.5", preference("reg", "again"),
    ),
    Claim(
        "N1", "coupling needs knowledge that is computed, not looked up", NONE, "knowledge",
        "gap, pairs - names", minus(gap("pairs"), gap("names")),
    ),
    Claim(
        "N1", "a single name's embedding holds its fact, a pair's do not", NONE, "knowledge",
        "probe of the embeddings above the best constant, names - pairs",
        minus(*(besides(arm, "probes", "embed subject") for arm in ("names", "pairs"))),
    ),
    *dialed("N2", "every channel couples", NONE, "channels", ["tied", "same", "verbal"]),
    Claim(
        "N3", "frozen labels make truer explanations than refreshed ones", NONE, "refreshing",
        "Self, frozen - refreshed", minus(of("frozen", "self"), of("refreshed", "self")),
    ),
    Claim(
        "N3", "since refreshed ones drag the behavior along", NONE, "refreshing",
        "labels that moved, refreshed - frozen",
        minus(of("refreshed", "drift"), of("frozen", "drift")),
    ),
    Claim(
        "N4", "drift and agreement predict the gap of other conditions", NONE, "prediction",
        "R2, every second arm fitted, the others predicted", prediction(by_experiment=False),
    ),
    Claim(
        "N4", "and of experiments of another kind", NONE, "prediction",
        "R2, every second experiment fitted, the others predicted", prediction(by_experiment=True),
    ),
    Claim(
        "N5", "a wider model couples more", NONE, "scale", "gap, width-96 - width-32",
        minus(gap("width-96"), gap("width-32")),
    ),
    Claim(
        "N5", "more facts couple more", NONE, "scale", "gap, facts-64 - facts-32",
        minus(gap("facts-64"), gap("facts-32")),
    ),
    Claim(
        "N5", "a longer trained M0 couples more", NONE, "scale", "gap, length-2000 - length-500",
        minus(gap("length-2000"), gap("length-500")),
    ),
]
