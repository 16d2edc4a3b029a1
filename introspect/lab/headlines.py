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
        "With an anchor to old behavior, explanations follow the current model", "+11.1 points"),
    "C2": Headline(
        "Without the anchor the gap is lost", "gone without",
        "Without the anchor, Self falls below Orig. Nothing then trains the answer head while the "
        "rest of the model changes, and behavior changes on the explained subjects as well. "
        "Whether the answer head merely comes loose from what explanations still read is being "
        "tested; no row is about it yet.",
        unit="gap, with - without"),
    "C3": Headline(
        "Coupling grows during training", "curves",
        "The gap is 0 before the first update by definition, so this row says little that C1 does "
        "not say.",
        unit="gap, end - start"),
    "C4": Headline(
        "Labels that contradict behavior in a learnable way end coupling", "gone below 0.6",
        "The shifted labels are those of held-out words too, and Orig is agreement with them. The "
        "gap therefore mixes words on which explanations repeat the shifted labels with words on "
        "which they still follow the model; it is 0 where the two kinds cancel."),
    "C5": Headline("Coupling survives labels that are wrong at random", "survives"),
    "C6": Headline(
        "Coupling survives labels of an earlier checkpoint", "survives",
        "Orig is agreement with the labels of the checkpoint, which differ from M0's before any "
        "training. Past is agreement with M0's own labels."),
    "C7": Headline(
        "Coupling survives labels of another model", "at 100 %",
        "Orig is agreement with the donor's labels, which differ from M0's before any training, so "
        "Self - Past is the number to read. The first donor is what the paper calls another "
        "family, on our scale: more layers and width, less training, but the same architecture, "
        "vocabulary, optimizer and world. All five worlds share one other seed of initial "
        "weights. A donor of another width has other initial weights too, and one with shorter "
        "training another schedule."),
    "C8": Headline(
        "Coupling survives another training objective", "seen",
        "These rows do not show that explanations track the shift. The objective is trained on all "
        "subjects, so it is mostly further training: the share of answers that the cue changes is "
        "no higher with the upward shift than with plain co-training. An objective that asks for "
        "no shift was not run as a control. The gap where arm and twin changed alike can therefore "
        "come from further training rather than from the shift."),
    "C9": Headline(
        "A never explained behavior is explained better than by a constant", "79.8 %",
        unit="Self - constant"),
    "C10": Headline(
        "Explanations follow answers when both are patched at one head", "seen",
        "One attention head of the last block is patched with another subject's activation, in the "
        "pass that answers and in the pass that explains. The score subtracts what happens when "
        "the explanation gets the activation of a third subject there, so that it changes as much, "
        "but cannot go where the answer goes. The rows speak of single sites, not of circuits. The "
        "patched labels of the arm without the anchor are read through an answer head that is not "
        "trained (see C2).",
        unit="score"),
    "C11": Headline(
        "Coupling needs room: high-rank adapters have it", "from rank 96",
        "Labels drift at rank 1 nearly as much as at rank 16 (0.20 and 0.23 of the items), so "
        "want of drift does not explain the small gap there."),
    "C12": Headline("A higher learning rate widens the gap", "widens", unit="gap, high - low"),
    "C13": Headline(
        "Labels that hardly vary make explanations collapse", "collapse",
        "All classes but the most frequent one still make up 21.5 % of the labels: explanations "
        "do not collapse to a constant. The arm also has another world, in which hints of "
        "reliability 0.1 leave almost nothing to explain.",
        unit="extra overuse", main="most frequent explanation, said - true, rare - reg",
        why="explanations overuse the most frequent class with ordinary labels too, so only the "
        "difference speaks about labels that hardly vary"),
    "C14": Headline(
        "Explanations beat constants, chance, world knowledge and others", OURS,
        unit="Self - constant"),
    "C15": Headline(
        "A run's explanations fit itself better than a parallel run", OURS,
        "The rows show that coupling is not only drift that the two runs share. They do not show "
        "how much of it is: items that both runs changed to the same new label count in neither "
        "direction.",
        unit="own - other"),
    "N1": Headline(
        "Facts about pairs couple more than facts about names", OURS, unit="gap, pairs - names"),
    "N2": Headline("Every way of reading explanations couples", OURS),
    "N3": Headline(
        "Frozen labels make truer explanations than refreshed ones", OURS,
        "Refreshed labels are those of another model at every step, and the number of updates is "
        "the same in both arms.",
        unit="Self, frozen - refreshed"),
    "N4": Headline(
        "Drift and label agreement predict the gap of other conditions", OURS,
        "They predict the gap of conditions similar to the fitted ones. Without the "
        "one arm that has no anchor they do not predict those of other experiments (third row).",
        unit="R2"),
    "N5": Headline(
        "Wider models, more facts and longer training couple more", OURS,
        "The number of updates is fixed, so an M0 with more facts has learned each of them less, "
        "and width and length change how much it knows as well. How much M0 has to guess may "
        "explain all three rows.",
        unit="gap, wide - narrow"),
}
OVERVIEW = ("C1", "C2", "C4", "C5", "C6", "C7", "C9", "C11", "C12", "C14", "C15")
