"""Rows that the paper does not have: controls (C14, C15) and our own questions (N1-N6)."""

from introspect.lab.claim import (
    SMALLEST, Claim, gap_claim, gap_difference_claim, readout_claim,
)
from introspect.lab.quantities import (
    Statistic, above_constant, above_other_model, adjusted_gap, among_movers, at_evaluation, extra,
    minus, own_advantage, own_preference, prediction, preference_for_other, value, value_difference,
)
from introspect.runs.experiments import EXPERIMENTS

OTHER_PAPER = "83.4 against 58.1 (2511.08579)"


def minus_half(share: Statistic) -> Statistic:
    """A share of 0..1 against indifference."""
    return lambda runs: share(runs) - 0.5


def edited(place: str) -> Statistic:
    """Preference of explanations for the new label of subjects edited in these weights."""
    return extra("reg", "edits", "edits", "places", place, "edit", "100", "preference")


def prediction_claim(says: str, measured: str, by_experiment: bool, without: str = "") -> Claim:
    """N4: R2 of the gap in conditions that were not fitted."""
    measure = prediction(by_experiment, list(EXPERIMENTS["prediction"].arms), without)
    return Claim("N4", says, "prediction", measured, measure, explores=True)


CONTROLS = [
    Claim("C14", "Self minus the best constant", "controls", "Self - best constant, reg",
          above_constant("reg")),
    Claim("C14", "Self minus Self before training", "controls", "Self, reg - untrained",
          minus(value("reg", "self"), at_evaluation("reg", "self", 0)),
          paper="8.9 untrained, 83.4 trained (2511.08579)"),
    Claim("C14", "Self minus Self after 40 updates", "controls", "Self, reg - few",
          value_difference("reg", "few", "self")),
    Claim("C14", "Self, true minus shuffled labels", "controls", "Self, reg - shuffled",
          value_difference("reg", "shuffled", "self")),
    gap_difference_claim("C14", "gap, true minus shuffled labels", "controls", "reg", "shuffled"),
    Claim("C14", "gap beyond what label frequencies give (adjusted gap)", "controls",
          "adjusted gap of reg", adjusted_gap("reg")),
    Claim("C14", "gap of an explainer that knows the world, not the model", "controls",
          "gap of ideal answers about reg",
          minus(*(value("reg", "controls", f"ideal_{key}") for key in ("self", "orig"))),
          sign=-1),
    readout_claim("C14", "gap, explanations minus a linear reader of M0's activations", "reg",
                  ("own",), ("rivals", "frozen")),
    readout_claim("C14", "gap, explanations minus a linear reader of its own activations", "reg",
                  ("own",), ("rivals", "current"), explores=True),
    Claim("C14", "adjusted gap of a reader of words alone: none of 0.03", "anchor",
          "adjusted gap, rivals words, reg", extra("reg", "readout", "rivals", "words", "adjusted"),
          within=(-SMALLEST, SMALLEST)),
    Claim("C14", "share of explanation log-odds that moves with the answers", "anchor",
          "log-odds that follow the model now, reg",
          extra("reg", "readout", "odds", "own", "share", "mean"), explores=True),
    Claim("C14", "Self minus what another model says about the same model", "controls",
          "Self of reg - what other says of reg", above_other_model("reg", "other"),
          paper=OTHER_PAPER),
    Claim("C14", "Orig minus Orig of another model with the same labels", "controls",
          "Orig, reg - other", value_difference("reg", "other", "orig"), paper=OTHER_PAPER),
    Claim("C15", "agreement with own labels minus with the other run's", "matrix",
          "agreement with own labels - with the other's", own_advantage("reg", "again")),
    Claim("C15", "preference for own labels where the two differ, minus 0.5", "matrix",
          "preference for itself - 0.5", own_preference("reg", "again")),
    Claim("C15", "preference for labels that it alone changed, minus 0.5", "matrix",
          "preference where only the run itself moved - 0.5",
          minus_half(among_movers("reg", "again", "own", "preference", "mean"))),
    Claim("C15", "trained on shuffled labels: preference for reg's changes", "matrix",
          "preference of shuffled for reg now - 0.5", preference_for_other("shuffled", "reg"),
          sign=-1),
]
QUESTIONS = [
    gap_difference_claim("N1", "gap, facts about pairs minus facts about single names",
                         "knowledge", "pairs", "names"),
    gap_claim("N1", "gap, facts about pairs", "knowledge", "pairs"),
    Claim("N1", "probe of embeddings for the fact, single names minus pairs", "knowledge",
          "probe of the embeddings above the best constant, names - pairs",
          minus(*(extra(arm, "probes", "embed subject") for arm in ("names", "pairs")))),
    gap_claim("N2", "explained through the answer head", "channels", "tied"),
    gap_claim("N2", "explained at the position of the answer", "channels", "same"),
    gap_claim("N2", "explained in a sentence", "channels", "verbal"),
    Claim("N3", "Self, frozen minus refreshed labels", "refreshing", "Self, frozen - refreshed",
          value_difference("frozen", "refreshed", "self")),
    Claim("N3", "the same, behavior anchored on all subjects", "refreshing",
          "Self, frozen-held - refreshed-held",
          value_difference("frozen-held", "refreshed-held", "self")),
    Claim("N3", "drift of labels, refreshed minus frozen", "refreshing",
          "labels that moved, refreshed - frozen",
          value_difference("refreshed", "frozen", "drift")),
    prediction_claim("R2, every second condition predicted from the others",
                     "R2, every second arm fitted, the others predicted", by_experiment=False),
    prediction_claim("R2, every second experiment predicted from the others",
                     "R2, every second experiment fitted, the others predicted",
                     by_experiment=True),
    prediction_claim("the same R2 without the arm that has no anchor", "the same without noreg",
                     by_experiment=True, without="circuits noreg"),
    gap_difference_claim("N5", "gap, width 96 minus width 32", "scale", "width-96", "width-32",
                         explores=True),
    gap_difference_claim("N5", "gap, 64 x 64 facts minus 32 x 32 facts", "scale", "facts-64",
                         "facts-32", explores=True),
    gap_difference_claim("N5", "gap, M0 trained for 2000 updates minus 500", "scale",
                         "length-2000", "length-500", explores=True),
    Claim("N6", "preference for an edit made in the first block, minus 0.5", "edits",
          "preference for the new label, block-0 - 0.5", minus_half(edited("block-0"))),
    Claim("N6", "that preference, first block minus second block", "edits",
          "preference for the new label, block-0 - block-1",
          minus(edited("block-0"), edited("block-1"))),
    Claim("N6", "explanations follow steering after the first block", "edits",
          "follow, steered after block 0, strength 4",
          extra("reg", "edits", "steering", "blocks.0.resid last", "probe", "4", "follow")),
    Claim("N6", "the same in a random direction of equal size", "edits",
          "follow, random direction after block 0, strength 4",
          extra("reg", "edits", "steering", "blocks.0.resid last", "random", "4", "follow"),
          explores=True),
    Claim("N6", "graft on an edited M0: edits that are explained, above unedited", "edits",
          "explained as edited, graft on edited - on own",
          minus(*(extra("reg", "edits", "grafts", name, "new") for name in ("edited", "own")))),
]
OUR_CLAIMS = CONTROLS + QUESTIONS
