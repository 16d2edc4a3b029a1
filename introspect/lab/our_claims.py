"""Rows that the paper does not have: controls (C14, C15) and our own questions (N1-N5)."""

from introspect.lab.claim import Claim, gap_claim, gap_difference_claim
from introspect.lab.quantities import (
    above_constant,
    above_other_model,
    adjusted_gap,
    at_evaluation,
    extra,
    minus,
    own_advantage,
    own_preference,
    prediction,
    preference_for_other,
    value,
    value_difference,
)
from introspect.runs.experiments import EXPERIMENTS

OTHER_PAPER = "83.4 against 58.1 (2511.08579)"


def prediction_claim(*, says: str, measured: str, by_experiment: bool, without: str = "") -> Claim:
    """N4: R2 of the gap in conditions that were not fitted."""
    measure = prediction(by_experiment, list(EXPERIMENTS["prediction"].arms), without)
    return Claim("N4", says, "prediction", measured, measure, after=bool(without))


CONTROLS = [
    Claim(
        name="C14", says="Self minus the best constant", experiment="controls",
        measured="Self - best constant, reg", value=above_constant("reg"),
    ),
    Claim(
        name="C14", says="Self minus Self before training", experiment="controls",
        measured="Self, reg - untrained",
        value=minus(value("reg", "self"), at_evaluation("reg", "self", 0)),
        paper="8.9 untrained, 83.4 trained (2511.08579)",
    ),
    Claim(
        name="C14", says="Self minus Self after 40 updates", experiment="controls",
        measured="Self, reg - few", value=value_difference("reg", "few", "self"),
    ),
    Claim(
        name="C14", says="Self, true minus shuffled labels", experiment="controls",
        measured="Self, reg - shuffled", value=value_difference("reg", "shuffled", "self"),
    ),
    gap_difference_claim(
        name="C14", says="gap, true minus shuffled labels", arm="reg", other="shuffled",
        experiment="controls",
    ),
    Claim(
        name="C14", says="gap beyond what label frequencies give (adjusted gap)",
        experiment="controls", measured="adjusted gap of reg", value=adjusted_gap("reg"),
    ),
    Claim(
        name="C14", says="gap of an explainer that knows the world, not the model",
        experiment="controls", measured="gap of ideal answers about reg",
        value=minus(*(value("reg", "controls", f"ideal_{key}") for key in ("self", "orig"))),
        sign=-1, after=True,
    ),
    Claim(
        name="C14", says="Self minus what another model says about the same model",
        experiment="controls", measured="Self of reg - what other says of reg",
        value=above_other_model("reg", "other"), paper=OTHER_PAPER,
    ),
    Claim(
        name="C14", says="Orig minus Orig of another model with the same labels",
        experiment="controls", measured="Orig, reg - other",
        value=value_difference("reg", "other", "orig"), paper=OTHER_PAPER, after=True,
    ),
    Claim(
        name="C15", says="agreement with own labels minus with the other run's",
        experiment="matrix", measured="agreement with own labels - with the other's",
        value=own_advantage("reg", "again"),
    ),
    Claim(
        name="C15", says="preference for own labels where the two differ, minus 0.5",
        experiment="matrix", measured="preference for itself - 0.5",
        value=own_preference("reg", "again"),
    ),
    Claim(
        name="C15", says="trained on shuffled labels: preference for reg's changes",
        experiment="matrix", measured="preference of shuffled for reg now - 0.5",
        value=preference_for_other("shuffled", "reg"), sign=-1, after=True,
    ),
]
QUESTIONS = [
    gap_difference_claim(
        name="N1", says="gap, facts about pairs minus facts about single names", arm="pairs",
        other="names", experiment="knowledge",
    ),
    gap_claim(
        name="N1", says="gap, facts about pairs", arm="pairs", experiment="knowledge", after=True
    ),
    Claim(
        name="N1", says="probe of embeddings for the fact, single names minus pairs",
        experiment="knowledge",
        measured="probe of the embeddings above the best constant, names - pairs",
        value=minus(*(extra(arm, "probes", "embed subject") for arm in ("names", "pairs"))),
    ),
    *(
        gap_claim(name="N2", says=says, arm=arm, experiment="channels")
        for arm, says in {
            "tied": "explained through the answer head",
            "same": "explained at the position of the answer",
            "verbal": "explained in a sentence",
        }.items()
    ),
    Claim(
        name="N3", says="Self, frozen minus refreshed labels", experiment="refreshing",
        measured="Self, frozen - refreshed", value=value_difference("frozen", "refreshed", "self"),
    ),
    Claim(
        name="N3", says="the same, behavior anchored on all subjects", experiment="refreshing",
        measured="Self, frozen-held - refreshed-held",
        value=value_difference("frozen-held", "refreshed-held", "self"), after=True,
    ),
    Claim(
        name="N3", says="drift of labels, refreshed minus frozen", experiment="refreshing",
        measured="labels that moved, refreshed - frozen",
        value=value_difference("refreshed", "frozen", "drift"),
    ),
    prediction_claim(
        says="R2, every second condition predicted from the others",
        measured="R2, every second arm fitted, the others predicted", by_experiment=False,
    ),
    prediction_claim(
        says="R2, every second experiment predicted from the others",
        measured="R2, every second experiment fitted, the others predicted", by_experiment=True,
    ),
    prediction_claim(
        says="the same R2 without the arm that has no anchor",
        measured="the same without noreg", by_experiment=True, without="circuits noreg",
    ),
    gap_difference_claim(
        name="N5", says="gap, width 96 minus width 32", arm="width-96", other="width-32",
        experiment="scale",
    ),
    gap_difference_claim(
        name="N5", says="gap, 64 x 64 facts minus 32 x 32 facts", arm="facts-64",
        other="facts-32", experiment="scale",
    ),
    gap_difference_claim(
        name="N5", says="gap, M0 trained for 2000 updates minus 500", arm="length-2000",
        other="length-500", experiment="scale",
    ),
]
OUR_CLAIMS = CONTROLS + QUESTIONS
