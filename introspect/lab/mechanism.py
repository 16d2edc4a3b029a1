"""What we think happens inside the model, and the rows that would carry each sentence of it."""

from typing import NamedTuple


class Statement(NamedTuple):
    text: str  # one sentence of the mechanism
    rows: tuple[str, ...]  # how their name and `measured` begin, as in objections.py
    refuted: str  # what would have shown that it is wrong
    elsewhere: str  # how a team with a large model can try it


DRAWING = """
subject's tokens --> first block: the RECALL of the fact
                          |
                          +--> second block --> answer head: "B"    (held near M0 by the anchor)
        the fork is here  |
                          +--> second block --> explanation head: "would change to D"
                                                (trained on the frozen labels)
""".strip("\n")

STATEMENTS = (
    Statement(
        "Explanations do not read the answer as the second block makes it. They share with it what "
        "the first block makes: a recall of the fact.",
        ("N6 preference", "N6 follow"),
        "Explanations followed edits of the second block as much as those of the first, or did not "
        "follow steering after the first.",
        "Edit a fact in early layers and in late ones, and ask for explanations of it."),
    Statement(
        "Frozen labels train how the recall is read. On subjects without labels that reading meets "
        "the recall of now, so where the recall has moved, so does what is explained.",
        ("C1 gap of reg", "C15 preference where only", "C14 gap, own - rivals frozen"),
        "Explanations preferred the label of M0 where only their own model had changed, as those "
        "of a reader of M0 do.",
        "Train two runs from one checkpoint; take the items that only one of them changed."),
    Statement(
        "Without the anchor the trunk moves away from an answer head that nothing trains. Answers "
        "come loose from what explanations read; explanations have not stayed with M0. An anchor "
        "that reaches the trunk alone keeps the two together as well.",
        ("C2 gap of noreg", "C2 gap, refitted - own", "C2 gap, reach"),
        "A linear answer head, fitted anew on explained subjects, did not raise the gap.",
        "Freeze the trunk, fit the rows of the unembedding of the answer letters anew, and measure "
        "Self and Orig again."),
    Statement(
        "Errors that no reading of the recall can produce average out in part; errors that can be "
        "read off words are learned, on the words concerned. Labels of an early checkpoint teach "
        "another reading for all facts, also for those whose labels are M0's. We had expected that "
        "labels of a donor cost less than those of a checkpoint: by Self - Past they do so only "
        "against the earliest one.",
        ("C4 gap on words", "C5 gap of noise-0.5", "C6 gap where", "C6 Self - Past", "C7 Self - P"),
        "Errors on some words had ended the gap on other words too, or random errors had ended it "
        "at the same agreement as those that can be read off words.",
        "Draw the gap against agreement for errors of both kinds."),
    Statement(
        "An objective that moves the recall is tracked. Two were tried: to follow cues, and to "
        "ignore them.",
        ("C8 tracking",),
        "On items that the objective alone moved, explanations sided with the new label no more "
        "than those of a run whose objective asks for nothing.",
        "Add a control objective whose targets are the model's own answers."),
    Statement(
        "The reading serves another descendant of the same M0. It is tied to coordinates: a graft "
        "on a rotated model explains nothing (edits.json of each run; no row).",
        ("N6 explained as edited",),
        "The weight change of a run, added to an M0 with edited facts, did not explain the edits.",
        "Add the weight difference of explanation training to another fine-tune of the base."),
    Statement(
        "Where there is less room to change the reading, the gap is smaller, though labels drift "
        "(at one learning rate).",
        ("C11 gap",),
        "Adapters of rank 1 coupled like those of rank 64.",
        "Vary rank and rate together."),
)
