"""Every claim in one sentence: for the README, its picture, and above the rows in CLAIMS.md."""

from typing import NamedTuple


class Headline(NamedTuple):
    """A claim in plain words, and which of its rows stands for it.

    The main row is the first one, unless `main` names another (how its `measured` begins) and
    `why` says for what reason. Main rows were chosen by what they measure, not by their results.
    """

    says: str  # one sentence
    paper: str  # what the paper has, in few words
    note: str = ""  # what the rows do not show
    unit: str = "gap"  # what the number of the main row is
    main: str = ""
    why: str = ""


OURS = "-"
HEADLINES = {
    "C1": Headline(
        "With an anchor, explanations follow the current model", "+11.1 points"),
    "C2": Headline(
        "Without the anchor the gap is lost: the answer head comes loose", "gone without",
        "Without the anchor, Self falls below Orig, which looks as if explanations stayed with the "
        "model that was. But nothing then trains the answer head while the rest of the model "
        "changes. The rows about a refitted answer head ask whether the gap comes back when only "
        "this linear head is fitted anew, on explained subjects, to M0's answers.",
        unit="gap, with - without"),
    "C3": Headline(
        "Coupling grows during training", "curves",
        "The gap is 0 before the first update by definition, so this row says little that C1 does "
        "not say.",
        unit="gap, end - start"),
    "C4": Headline(
        "Labels wrong in a learnable way are learned: the gap turns", "gone below 0.6",
        "The shifted labels are those of held-out words too, and Orig is agreement with them. The "
        "gap therefore mixes words on which explanations repeat the shifted labels with words on "
        "which they still follow the model; it is 0 where the two kinds cancel, so where that is "
        "decides nothing."),
    "C5": Headline(
        "Coupling survives labels that are wrong at random", "survives",
        "The row about 70 % asks whether the gap is smaller than 0.03, not whether it is 0.",
        unit="gap at 30 %"),
    "C6": Headline(
        "Coupling survives labels of a nearly trained checkpoint", "survives",
        "Orig is agreement with the labels of the checkpoint, which differ from M0's before any "
        "training. Past is agreement with M0's own labels. Where the checkpoint had M0's label, "
        "Orig and Past are the same. How early the paper's checkpoint was is unknown to us: labels "
        "of one at 60 % of M0's training end the gap, and reverse it even where they are M0's.",
        unit="gap at 95 %"),
    "C7": Headline(
        "Coupling survives labels of another model", "at 100 %",
        "Orig is agreement with the donor's labels, which differ from M0's before any training, so "
        "Self - Past is the number to read. The first donor is what the paper calls another "
        "family, on our scale: more layers and width, less training, but the same architecture, "
        "vocabulary, optimizer and world.", unit="Self - Past"),
    "C8": Headline(
        "Explanations track another objective that moves the model", "seen",
        "A gap above 0 shows that coupling survives the objective. That explanations track it is "
        "judged on held-out items that the objective alone moved, against a run that was trained "
        "as long on an objective that asks for nothing. Further training moves items as well, near "
        "ties, and explanations follow those best. The last rows say how far the objective moves "
        "labels; where it is less than 0.15 there is little to track.",
        unit="new - old label, gained", main="tracking, strength-1.0",
        why="the gap shows only that coupling survives"),
    "C9": Headline(
        "A never explained behavior is explained better than by a constant", "79.8 %",
        unit="Self - constant"),
    "C10": Headline(
        "One head patched in both passes moves both alike", "seen",
        "One attention head of the last block is patched with another subject's activation, in the "
        "pass that answers and in the pass that explains. The score subtracts what happens when "
        "the explanation gets the activation of a third subject there, so that it changes as much, "
        "but cannot go where the answer goes. The rows speak of single sites, not of circuits. The "
        "patched labels of the arm without the anchor are read through an answer head that has "
        "come loose (C2), so that row only explores.",
        unit="score"),
    "C11": Headline(
        "Adapters of high rank couple more than those of rank 1", "from rank 96",
        "Labels drift at rank 1 nearly as much as at rank 16, so want of drift does not explain "
        "the small gap there. All ranks have one learning rate; at a higher one rank 1 had a gap "
        "on two development worlds (experiment room, LOG.md)."),
    "C12": Headline("A higher learning rate widens the gap", "widens", unit="gap, high - low"),
    "C13": Headline(
        "Where labels hardly vary, explanations are worse", "collapse (not tested)",
        "All classes but the most frequent one still make up about a fifth of the labels, so this "
        "does not test the paper's collapse to a constant. The arm also has another world, in "
        "which hints of reliability 0.1 leave almost nothing to explain. In the usual world, with "
        "few of the labels kept that say \"would change\", explanations do collapse to \"would "
        "stay\" (experiment oneside; development worlds, LOG.md).",
        unit="Self by class, lost"),
    "C14": Headline(
        "Explanations beat constants, chance and other models", OURS,
        unit="Self - constant"),
    "C15": Headline(
        "A run's explanations fit that run better than a parallel one", OURS,
        "Two runs of one M0 may drift alike. The third row counts only items whose label one run "
        "changed and the other kept: explanations that followed a common drift would not prefer "
        "the new label there.",
        unit="own - other"),
    "N1": Headline(
        "Facts about pairs couple more than facts about names", OURS, unit="gap, pairs - names"),
    "N2": Headline("Other ways of reading explanations couple too", OURS),
    "N3": Headline(
        "Frozen labels make truer explanations than refreshed ones", OURS,
        "Refreshed labels are those of another model at every step, and the number of updates is "
        "the same in both arms.",
        unit="Self, frozen - refreshed"),
    "N4": Headline(
        "Drift and label agreement predict other gaps in part", OURS,
        "They describe conditions similar to the fitted ones, after the fact: drift and agreement "
        "are measured with the gap. What they predict is mostly that one arm has no anchor: "
        "without it they predict worse than the mean does. These rows explore.",
        unit="R2"),
    "N5": Headline(
        "More facts couple more; wider and longer trained models do not", OURS,
        "The number of updates is fixed, so an M0 with more facts has learned each of them less, "
        "and width and length change how much it knows as well. How much M0 has to guess may "
        "explain all three rows, so they only explore.",
        unit="gap, wide - narrow"),
    "N6": Headline(
        "Explanations follow edits of the first block, not of the second", OURS,
        "After explanation training, answers of held-out subjects are edited in the weights of one "
        "block. In two blocks, what answers and explanations share ends early in the second one. "
        "Only subjects that follow their cues and are explained rightly are edited.",
        unit="preference - 0.5"),
}
OVERVIEW = ("C1", "C2", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "C15", "N6")
