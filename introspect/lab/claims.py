"""The rows of the table of claims: C1-C13 are the paper's; C14, C15 and N1-N6 are ours.

A row is one number of every world, from the runs of one experiment on one task (quantities.py),
and the side of zero, or the range, where the claim puts it. verdicts.py judges it; headlines.py
says every claim in one sentence and what its rows do not show.
"""

from introspect.lab.claim import (
    Claim, donor_gap_claim, gap_claim, gap_difference_claim, own_label_claim, readout_claim,
    small_gap_claim,
)
from introspect.lab.our_claims import OUR_CLAIMS
from introspect.lab.quantities import (
    Statistic, above_constant, at_evaluation, extra, gap, gap_on_true_words, gap_where_labels_agree,
    minus, tracking, value, value_difference, zero_crossing,
)
from introspect.runs.experiments import CLAIMED

UNKNOWN = "number unknown"
SURVIVES, SEEN = f"survives, {UNKNOWN}", f"seen, {UNKNOWN}"
ANCHORED = {"hint": "+11.1 points", "verdict": "+7.0 points", "refusal": "+9.5 points"}
FALSIFIED = ["reg", *(f"turned-{share}" for share in (0.1, 0.2, 0.3, 0.4))]
EARLIER = {"at-0.95": "95 %", "at-0.85": "85 %", "at-0.6": "60 %"}
DONORS = {
    "seed": "initial weights from another seed",
    "order": "another order of batches",
    "depth": "another depth",
}
OBJECTIVES = (("follow", "hint"), ("follow", "verdict"), ("ignore", "refusal"))
PATCHED = "following a patch, above another source's"


def refit_claim(task: str, explores: bool = False) -> Claim:
    """C2: whether a refitted answer head brings the gap back."""
    return readout_claim("C2", f"{task}: gap without it, answer head refitted minus as it is",
                         "noreg", ("refitted",), ("own",), task=task, explores=explores)


def objective_claims(experiment: str, task: str) -> list[Claim]:
    """C8 in one setting: coupling survives the objective, explanations track it, and how far the
    objective alone moves labels."""
    return [
        gap_claim("C8", f"{task}, an objective to {experiment} the cue: the gap", experiment,
                  "strength-1.0", paper=SEEN, task=task),
        Claim("C8", f"{task}, {experiment}: explanations go with what it moved", experiment,
              "tracking, strength-1.0", tracking(1.0), task=task),
        Claim("C8", f"{task}, {experiment}: labels it moves without explanations", experiment,
              "labels moved, twin-1.0 - twin-0.0",
              value_difference("twin-1.0", "twin-0.0", "drift"), task=task, explores=True),
    ]


def patch_score(arm: str, key: str = "follow_shared") -> Statistic:
    """How far explanations go where answers go when one head of the last block is patched in both,
    minus the same when explanations get the activation of another source there."""
    return extra(arm, "circuits", "blocks.1.attn.proj query", key)


def patch_claim(says: str, *arms: str, **more: object) -> Claim:
    """C10: the score of an arm, or of one minus that of another."""
    scores = [
        minus(*parts) if len(parts := [patch_score(arm, key) for arm in arms]) > 1 else parts[0]
        for key in ("follow_shared", "right_shared")
    ]
    return Claim("C10", says, "circuits", f"{PATCHED}, {' - '.join(arms)}", scores[0],
                 also=scores[1], also_name="score among true explanations", **more)


def overuse(arm: str) -> Statistic:
    """Share of the most frequent explanation minus the share of the most frequent true label."""
    return minus(value(arm, "controls", "said_most"), value(arm, "majority_now"))


CLAIMS = [
    *(gap_claim("C1", f"{task}: gap with the anchor", "anchor", "reg", task=task, paper=points)
      for task, points in ANCHORED.items()),
    gap_claim("C1", "rules: gap with the anchor", "anchor", "reg", task="rules"),
    *(gap_difference_claim("C2", f"{task}: gap with the anchor minus without it", "anchor", "reg",
                           "noreg", task=task, paper="gone without")
      for task in ANCHORED),
    gap_claim("C2", "hint: gap without the anchor (Self falls below Orig)", "anchor", "noreg",
              paper="gone or negative", sign=-1),
    *(refit_claim(task) for task in ANCHORED),
    refit_claim("rules", explores=True),
    gap_difference_claim("C2", "gap, anchor on the answer head alone minus none", "reach",
                         "reach-head", "noreg"),
    gap_difference_claim("C2", "gap, anchor on the trunk alone minus none", "reach", "reach-trunk",
                         "noreg", explores=True),
    Claim("C3", "gap at the end minus gap at the first evaluation", "anchor",
          "gap of reg, last step - first evaluation",
          minus(gap("reg"), at_evaluation("reg", "gap", 1)), paper=f"curves, {UNKNOWN}"),
    gap_claim("C4", "labels of 40 % of the words shifted to the next class", "disagreement",
              "turned-0.4", paper="gone below about 0.6", sign=-1),
    Claim("C4", "the same 40 %: gap on the words whose labels are true", "disagreement",
          "gap on words that are not turned, turned-0.4", gap_on_true_words("turned-0.4", "reg")),
    Claim("C4", "share of training labels true of behavior where the gap is 0", "disagreement",
          "agreement at which the gap is 0",
          zero_crossing(FALSIFIED, ("train", "compatibility"), ("gap",)),
          paper="about 0.7, 0.6 at least", within=(0.6, 0.7), explores=True),
    *(gap_claim("C5", f"{tenths}0 % of the labels wrong at random", "noise", f"noise-0.{tenths}",
                paper=SURVIVES)
      for tenths in (3, 5)),
    small_gap_claim("C5", "70 % wrong at random: no gap of 0.03", "noise", "noise-0.7"),
    *(donor_gap_claim("C6", f"labels of M0 at {share} of its training", "progress", arm,
                      paper=SURVIVES, explores=arm != "at-0.95")
      for arm, share in EARLIER.items()),
    *(Claim("C6", f"gap where M0 at {share} had M0's label", "progress",
            f"gap where labels agree, {arm}", gap_where_labels_agree(arm, "reg"))
      for arm, share in EARLIER.items()),
    *(own_label_claim("C6", f"Self - Past, labels of M0 at {share} of its training", "progress",
                      arm, explores=arm != "at-0.6")
      for arm, share in EARLIER.items()),
    own_label_claim("C7", "Self - Past, a deeper, wider, less trained model", "foreign",
                    "share-1.0"),
    donor_gap_claim("C7", "a deeper, wider, less trained model", "foreign", "share-1.0",
                    paper="Self > Orig at 100 %"),
    Claim("C7", "Self with labels of that model minus Self with M0's own", "foreign",
          "Self, share-1.0 - share-0.0", value_difference("share-1.0", "share-0.0", "self"),
          paper="-19 %", sign=-1),
    *(own_label_claim("C7", f"Self - Past, {says}", "donors", arm) for arm, says in DONORS.items()),
    *(donor_gap_claim("C7", says, "donors", arm, explores=True) for arm, says in DONORS.items()),
    *(row for setting in OBJECTIVES for row in objective_claims(*setting)),
    Claim("C9", "Self on the unexplained task minus the best constant", "jabberwocky",
          "Self - best constant on jabberwocky, reg",
          above_constant("reg", "tasks", "jabberwocky"), paper="79.8 %", task="hint+jabberwocky"),
    Claim("C9", "Self there, true minus shuffled labels of the other task", "jabberwocky",
          "Self on jabberwocky, reg - shuffled",
          value_difference("reg", "shuffled", "tasks", "jabberwocky", "self"),
          task="hint+jabberwocky"),
    patch_claim("score of a joint patch of one head, with the anchor", "reg", paper=SEEN),
    patch_claim("that score, true minus shuffled labels", "reg", "shuffled"),
    patch_claim("that score, with the anchor minus without it", "reg", "noreg", explores=True),
    gap_claim("C11", "adapters of rank 64", "capacity", "rank-64", paper="from rank 96 on"),
    gap_difference_claim("C11", "rank 64 minus rank 1", "capacity", "rank-64", "rank-1",
                         paper="rises from rank 32 to 256"),
    small_gap_claim("C11", "adapters of rank 1: no gap of 0.03", "capacity", "rank-1"),
    gap_difference_claim("C12", "learning rate 0.002 minus 0.00025", "rate", "rate-0.002",
                         "rate-0.00025", paper=f"widens, {UNKNOWN}"),
    Claim("C13", "Self by class, ordinary labels minus labels that hardly vary", "constant",
          "Self by class, reg - rare", value_difference("reg", "rare", "controls", "balanced"),
          paper=f"collapse, {UNKNOWN}"),
    Claim("C13", "overuse of the most frequent explanation", "constant",
          "most frequent explanation, said - true, rare", overuse("rare"), explores=True),
    Claim("C13", "that overuse minus the overuse with ordinary labels", "constant",
          "most frequent explanation, said - true, rare - reg",
          minus(overuse("rare"), overuse("reg")), explores=True),
    *OUR_CLAIMS,
]


def list_experiments(families: int) -> list[str]:
    """The experiments that the claims of the first so many families rest on."""
    return [name for name in CLAIMED
            if any(c.experiment == name and c.family_of_name <= families for c in CLAIMS)]
