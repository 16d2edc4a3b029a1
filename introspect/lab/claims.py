"""The rows of the table of claims: C1-C13 are the paper's; C14, C15 and N1-N5 are ours.

A row is one number of every seed, from the runs of one experiment on one task (quantities.py),
and the side of zero, or the range, where the claim puts it. verdicts.py judges it; headlines.py
says every claim in one sentence and what its rows do not show.
"""

from introspect.lab.claim import (
    Claim,
    donor_gap_claim,
    gap_claim,
    gap_difference_claim,
    own_label_claim,
)
from introspect.lab.our_claims import OUR_CLAIMS
from introspect.lab.quantities import (
    Statistic,
    above_constant,
    at_evaluation,
    extra,
    gap,
    gap_on_true_words,
    gap_where_both_changed,
    minus,
    value,
    value_difference,
    zero_crossing,
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
    here = {"name": "C8", "experiment": experiment, "task": task}
    return [
        *(
            gap_claim(arm=arm, says=f"{task}, {says}: the gap", paper=SEEN, **here)
            for arm, says in arms.items()
        ),
        Claim(
            says=f'{task}: explanations that say "would change", up minus down',
            measured='"would change" said, up - down',
            value=value_difference("up", "down", "controls", "said_change"),
            paper=SEEN,
            **here,
        ),
        Claim(
            says=f"{task}: answers that the cue changes, without explanations",
            measured="answers the cue changes, up-twin - down-twin",
            value=value_difference("up-twin", "down-twin", "controls", "change"),
            **here,
        ),
        *(
            Claim(
                says=f"{task}, {says}: gap where twins agree",
                measured=f"gap where {arm} and {arm}-twin changed alike",
                value=gap_where_both_changed(arm, f"{arm}-twin"),
                after=True,
                **here,
            )
            for arm, says in arms.items()
        ),
    ]


def patch_score(arm: str, key: str = "follow_shared") -> Statistic:
    """How far explanations go where answers go when one head of the last block is patched in both,
    minus the same when explanations are patched at another head."""
    return extra(arm, "circuits", "blocks.1.attn.proj query", key)


def overuse(arm: str) -> Statistic:
    """Share of the most frequent explanation minus the share of the most frequent true label."""
    return minus(value(arm, "controls", "said_most"), value(arm, "majority_now"))


CLAIMS = [
    *(
        gap_claim(
            name="C1", says=f"{task}: gap with the anchor", arm="reg",
            experiment="anchor", task=task, paper=points,
        )
        for task, points in ANCHORED.items()
    ),
    *(
        gap_difference_claim(
            name="C2", says=f"{task}: gap with the anchor minus without it", arm="reg",
            other="noreg", experiment="anchor", task=task, paper="gone without",
        )
        for task in ANCHORED
    ),
    gap_claim(
        name="C2", says="hint: gap without the anchor (Self falls below Orig)", arm="noreg",
        experiment="anchor", paper="gone or negative", sign=-1,
    ),
    Claim(
        name="C3", says="gap at the end minus gap at the first evaluation", experiment="anchor",
        measured="gap of reg, last step - first evaluation",
        value=minus(gap("reg"), at_evaluation("reg", "gap", 1)), paper=f"curves, {UNKNOWN}",
    ),
    gap_claim(
        name="C4", says="labels of 40 % of the words shifted to the next class", arm="turned-0.4",
        experiment="disagreement", paper="gone below about 0.6", sign=-1,
    ),
    Claim(
        name="C4", says="share of training labels true of behavior where the gap is 0",
        experiment="disagreement", measured="agreement at which the gap is 0",
        value=zero_crossing(FALSIFIED, ("train", "compatibility"), ("gap",)), within=(0.6, 0.7),
        paper="about 0.7, 0.6 at least",
    ),
    Claim(
        name="C4", says="the same 40 %: gap on the words whose labels are true",
        experiment="disagreement", measured="gap on words that are not turned, turned-0.4",
        value=gap_on_true_words("turned-0.4", "reg"), paper=UNKNOWN, sign=-1, after=True,
    ),
    *(
        gap_claim(
            name="C5", says=f"{tenths}0 % of the labels wrong at random", arm=f"noise-0.{tenths}",
            experiment="noise", paper=SURVIVES,
        )
        for tenths in (3, 5, 7)
    ),
    *(
        donor_gap_claim(
            name="C6", says=f"labels of M0 at {share} of its training", arm=arm,
            experiment="progress", paper=SURVIVES,
        )
        for arm, share in EARLIER.items()
    ),
    *(
        own_label_claim(
            name="C6", says=f"Self - Past, labels of M0 at {share} of its training", arm=arm,
            experiment="progress", after=True,
        )
        for arm, share in EARLIER.items()
    ),
    donor_gap_claim(
        name="C7", says="a deeper, wider, less trained model", arm="share-1.0",
        experiment="foreign", paper="Self > Orig at 100 %",
    ),
    own_label_claim(
        name="C7", says="Self - Past, a deeper, wider, less trained model", arm="share-1.0",
        experiment="foreign",
    ),
    Claim(
        name="C7", says="Self with labels of that model minus Self with M0's own",
        experiment="foreign", measured="Self, share-1.0 - share-0.0",
        value=value_difference("share-1.0", "share-0.0", "self"), paper="-19 %", sign=-1,
    ),
    *(
        donor_gap_claim(name="C7", says=says, arm=arm, experiment="donors")
        for arm, says in DONORS.items()
    ),
    *shift_claims(
        "hint", "shift", up="towards trusting hints more", down="towards trusting hints less"
    ),
    *shift_claims(
        "refusal", "shift-refusal", up="towards heeding cues more", down="towards heeding cues less"
    ),
    Claim(
        name="C9", says="Self on the unexplained task minus the best constant",
        experiment="jabberwocky", task="hint+jabberwocky",
        measured="Self - best constant on jabberwocky, reg",
        value=above_constant("reg", "tasks", "jabberwocky"), paper="79.8 %",
    ),
    Claim(
        name="C9", says="Self there, true minus shuffled labels of the other task",
        experiment="jabberwocky", task="hint+jabberwocky",
        measured="Self on jabberwocky, reg - shuffled",
        value=value_difference("reg", "shuffled", "tasks", "jabberwocky", "self"),
    ),
    Claim(
        name="C10", says="score of a joint patch of one head, with the anchor",
        experiment="circuits", measured="following a patch, above another head's, reg",
        value=patch_score("reg"), paper=SEEN, also=patch_score("reg", "right_shared"),
        also_name="score among true explanations",
    ),
    Claim(
        name="C10", says="that score, with the anchor minus without it",
        experiment="circuits", measured="following a patch, above another head's, reg - noreg",
        value=minus(patch_score("reg"), patch_score("noreg")), paper=UNKNOWN,
        also=minus(patch_score("reg", "right_shared"), patch_score("noreg", "right_shared")),
        also_name="score among true explanations",
    ),
    Claim(
        name="C10", says="that score, true minus shuffled labels",
        experiment="circuits", measured="following a patch, above another head's, reg - shuffled",
        value=minus(patch_score("reg"), patch_score("shuffled")), after=True,
    ),
    gap_claim(
        name="C11", says="adapters of rank 64", arm="rank-64", experiment="capacity",
        paper="from rank 96 on",
    ),
    gap_claim(
        name="C11", says="adapters of rank 1: a gap below zero", arm="rank-1",
        experiment="capacity", paper="slightly negative at rank 32", sign=-1,
    ),
    gap_difference_claim(
        name="C11", says="rank 64 minus rank 1", arm="rank-64", other="rank-1",
        experiment="capacity", paper="rises from rank 32 to 256",
    ),
    gap_difference_claim(
        name="C12", says="learning rate 0.002 minus 0.00025", arm="rate-0.002",
        other="rate-0.00025", experiment="rate", paper=f"widens, {UNKNOWN}",
    ),
    Claim(
        name="C13", says="overuse of the most frequent explanation",
        experiment="constant", measured="most frequent explanation, said - true, rare",
        value=overuse("rare"), paper=f"collapse, {UNKNOWN}",
    ),
    Claim(
        name="C13", says="that overuse minus the overuse with ordinary labels",
        experiment="constant", measured="most frequent explanation, said - true, rare - reg",
        value=minus(overuse("rare"), overuse("reg")), paper=UNKNOWN, after=True,
    ),
    Claim(
        name="C13", says="Self by class, ordinary labels minus these",
        experiment="constant", measured="Self by class, reg - rare",
        value=value_difference("reg", "rare", "controls", "balanced"), paper=UNKNOWN,
    ),
    *OUR_CLAIMS,
]
