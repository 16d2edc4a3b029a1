"""The rows of the table of claims: C1-C13 are the paper's; C14, C15 and N1-N5 are ours.

A row is one number of every seed, from the runs of one experiment on one task (quantities.py),
and the side of zero, or the range, where the claim puts it. verdicts.py judges it; headlines.py
says every claim in one sentence and what its rows do not show.
"""

from introspect.lab.claim import (
    Claim, donor_gap_claim, gap_claim, gap_difference_claim, own_label_claim,
)
from introspect.lab.our_claims import OUR_CLAIMS
from introspect.lab.quantities import (
    Statistic, above_constant, at_evaluation, extra, gap, gap_on_true_words, gap_where_both_changed,
    minus, value, value_difference, zero_crossing,
)

UNKNOWN = "number unknown"
SURVIVES, SEEN = f"survives, {UNKNOWN}", f"seen, {UNKNOWN}"
ANCHORED = {"hint": "+11.1 points", "verdict": "+7.0 points", "refusal": "+9.5 points"}
FALSIFIED = ["reg", *(f"turned-{share}" for share in (0.1, 0.2, 0.3, 0.4))]
EARLIER = {"at-0.95": "95 %", "at-0.85": "85 %", "at-0.6": "60 %"}
DONORS = {
    "seed": "initial weights from another seed",
    "order": "another order of batches",
    "width": "another width, so other initial weights too",
    "depth": "another depth",
    "length": "shorter training, so another schedule too",
}


def shift_claims(task: str, experiment: str, **arms: str) -> list[Claim]:
    """C8 on one task. arms: the shifted arms, "up" and "down", and what each is trained towards."""
    gaps = [gap_claim("C8", f"{task}, {says}: the gap", experiment, arm, paper=SEEN, task=task)
            for arm, says in arms.items()]
    said = value_difference("up", "down", "controls", "said_change")
    changed = value_difference("up-twin", "down-twin", "controls", "change")
    where_alike = [Claim("C8", f"{task}, {says}: gap where twins agree", experiment,
                         f"gap where {arm} and {arm}-twin changed alike",
                         gap_where_both_changed(arm, f"{arm}-twin"), task=task, after=True)
                   for arm, says in arms.items()]
    return [
        *gaps,
        Claim("C8", f'{task}: explanations that say "would change", up minus down', experiment,
              '"would change" said, up - down', said, paper=SEEN, task=task),
        Claim("C8", f"{task}: answers that the cue changes, without explanations", experiment,
              "answers the cue changes, up-twin - down-twin", changed, task=task),
        *where_alike,
    ]


def patch_score(arm: str, key: str = "follow_shared") -> Statistic:
    """How far explanations go where answers go when one head of the last block is patched in both,
    minus the same when explanations get the activation of another source there."""
    return extra(arm, "circuits", "blocks.1.attn.proj query", key)


def overuse(arm: str) -> Statistic:
    """Share of the most frequent explanation minus the share of the most frequent true label."""
    return minus(value(arm, "controls", "said_most"), value(arm, "majority_now"))


CLAIMS = [
    *(gap_claim("C1", f"{task}: gap with the anchor", "anchor", "reg", task=task, paper=points)
      for task, points in ANCHORED.items()),
    *(gap_difference_claim("C2", f"{task}: gap with the anchor minus without it", "anchor", "reg",
                           "noreg", task=task, paper="gone without")
      for task in ANCHORED),
    gap_claim("C2", "hint: gap without the anchor (Self falls below Orig)", "anchor", "noreg",
              paper="gone or negative", sign=-1),
    Claim("C3", "gap at the end minus gap at the first evaluation", "anchor",
          "gap of reg, last step - first evaluation",
          minus(gap("reg"), at_evaluation("reg", "gap", 1)), paper=f"curves, {UNKNOWN}"),
    gap_claim("C4", "labels of 40 % of the words shifted to the next class", "disagreement",
              "turned-0.4", paper="gone below about 0.6", sign=-1),
    Claim("C4", "share of training labels true of behavior where the gap is 0", "disagreement",
          "agreement at which the gap is 0",
          zero_crossing(FALSIFIED, ("train", "compatibility"), ("gap",)),
          paper="about 0.7, 0.6 at least", within=(0.6, 0.7)),
    Claim("C4", "the same 40 %: gap on the words whose labels are true", "disagreement",
          "gap on words that are not turned, turned-0.4", gap_on_true_words("turned-0.4", "reg"),
          paper=UNKNOWN, sign=-1, after=True),
    *(gap_claim("C5", f"{tenths}0 % of the labels wrong at random", "noise", f"noise-0.{tenths}",
                paper=SURVIVES)
      for tenths in (3, 5, 7)),
    *(donor_gap_claim("C6", f"labels of M0 at {share} of its training", "progress", arm,
                      paper=SURVIVES)
      for arm, share in EARLIER.items()),
    *(own_label_claim("C6", f"Self - Past, labels of M0 at {share} of its training", "progress",
                      arm, after=True)
      for arm, share in EARLIER.items()),
    donor_gap_claim("C7", "a deeper, wider, less trained model", "foreign", "share-1.0",
                    paper="Self > Orig at 100 %"),
    own_label_claim("C7", "Self - Past, a deeper, wider, less trained model", "foreign",
                    "share-1.0"),
    Claim("C7", "Self with labels of that model minus Self with M0's own", "foreign",
          "Self, share-1.0 - share-0.0", value_difference("share-1.0", "share-0.0", "self"),
          paper="-19 %", sign=-1),
    *(donor_gap_claim("C7", says, "donors", arm) for arm, says in DONORS.items()),
    *shift_claims("hint", "shift", up="towards trusting hints more",
                  down="towards trusting hints less"),
    *shift_claims("refusal", "shift-refusal", up="towards heeding cues more",
                  down="towards heeding cues less"),
    Claim("C9", "Self on the unexplained task minus the best constant", "jabberwocky",
          "Self - best constant on jabberwocky, reg",
          above_constant("reg", "tasks", "jabberwocky"), paper="79.8 %", task="hint+jabberwocky"),
    Claim("C9", "Self there, true minus shuffled labels of the other task", "jabberwocky",
          "Self on jabberwocky, reg - shuffled",
          value_difference("reg", "shuffled", "tasks", "jabberwocky", "self"),
          task="hint+jabberwocky"),
    Claim("C10", "score of a joint patch of one head, with the anchor", "circuits",
          "following a patch, above another source's, reg", patch_score("reg"), paper=SEEN,
          also=patch_score("reg", "right_shared"), also_name="score among true explanations"),
    Claim("C10", "that score, with the anchor minus without it", "circuits",
          "following a patch, above another source's, reg - noreg",
          minus(patch_score("reg"), patch_score("noreg")), paper=UNKNOWN,
          also=minus(patch_score("reg", "right_shared"), patch_score("noreg", "right_shared")),
          also_name="score among true explanations"),
    Claim("C10", "that score, true minus shuffled labels", "circuits",
          "following a patch, above another source's, reg - shuffled",
          minus(patch_score("reg"), patch_score("shuffled")), after=True),
    gap_claim("C11", "adapters of rank 64", "capacity", "rank-64", paper="from rank 96 on"),
    gap_claim("C11", "adapters of rank 1: a gap below zero", "capacity", "rank-1",
              paper="slightly negative at rank 32", sign=-1),
    gap_difference_claim("C11", "rank 64 minus rank 1", "capacity", "rank-64", "rank-1",
                         paper="rises from rank 32 to 256"),
    gap_difference_claim("C12", "learning rate 0.002 minus 0.00025", "rate", "rate-0.002",
                         "rate-0.00025", paper=f"widens, {UNKNOWN}"),
    Claim("C13", "overuse of the most frequent explanation", "constant",
          "most frequent explanation, said - true, rare", overuse("rare"),
          paper=f"collapse, {UNKNOWN}"),
    Claim("C13", "that overuse minus the overuse with ordinary labels", "constant",
          "most frequent explanation, said - true, rare - reg",
          minus(overuse("rare"), overuse("reg")), paper=UNKNOWN, after=True),
    Claim("C13", "Self by class, ordinary labels minus these", "constant",
          "Self by class, reg - rare", value_difference("reg", "rare", "controls", "balanced"),
          paper=UNKNOWN),
    *OUR_CLAIMS,
]
