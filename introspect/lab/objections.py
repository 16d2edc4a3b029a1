"""What readers of the paper object to or ask for, and which rows of the claims speak to it."""

from typing import NamedTuple


class Objection(NamedTuple):
    text: str
    rows: tuple[str, ...] = ()  # how their name and `measured` begin: "C14 gap of ideal"
    rest: str = ""  # what stays open


OBJECTIONS = (
    Objection("Shared drift, not self-reading: labels of a model that drifted alike match as well.",
              ("C15",),
              "what exactly explanations and answers share; other recipes"),
    Objection("A reader of equal cost, with the same access and labels, does as well.",
              ("C14 gap, own",), "readers that are not linear"),
    Objection("It is response bias: one class has become frequent.",
              ("C14 adjusted gap", "C14 gap, reg - shuffled")),
    Objection("The text alone predicts it.", ("C14 adjusted gap, rivals words", "C14 gap of ideal"),
              "readers of words that are not linear"),
    Objection("It reads because coordinates match, not because it is itself.",
              ("N6 explained as edited",),
              "a graft on a rotated model explains nothing (edits.json of each run; no row)"),
    Objection("The state is there, only the channel has collapsed (shuffled labels).",
              rest="in a row; on development worlds it was so (eval.py experiment labels)"),
    Objection("A question that never mentions the model does better.",
              rest="a second query with another model's labels, which no arm has"),
    Objection("A statistical by-product of correlation, not reflection.",
              ("C14 gap, reg - shuffled", "C14 gap of ideal", "C10 following"),
              "awareness, of which nothing here speaks"),
    Objection("Following one's behavior is nothing special; it appears whatever the objective.",
              ("C2 gap of noreg", "C2 gap, refitted", "C14 gap, reg - shuffled"),
              "whether an objective to predict oneself would add to it"),
    Objection("No numbers, no code: how much noise is tolerated?", ("C5",),
              "noise at 8B; at 0.5 Self is little above that of the best constant explanation"),
    Objection("Labels of another family are the strongest evidence, but tasks are structured and "
              "their perturbations clean.",
              ("C7 gap of share-1.0", "C7 Self - Past, share-1.0"),
              "unstructured tasks: these are cleaner than the paper's"),
    Objection("Where does it fail?", ("C4 gap", "C5 gap of noise-0.7", "C6 gap of",
                                      "C11 gap of rank-1", "C13 Self", "N1 gap")),
    Objection("Which explanation data should be chosen?", ("C6 gap of", "C13 Self"),
              "a choice of items; only whose labels, and how varied"),
    Objection("Multi-step reasoning.", rest="all of it: an answer is one token here"),
    Objection("Larger models.", ("N5 gap, width",),
              "anything above half a million weights; depth alone"),
    Objection("Use as an alarm for drifting behavior, without new labels.",
              ("C8 tracking", "N6 preference"),
              "an alarm in a row: on development worlds it was weak (eval.py experiment alarm)"),
    Objection("Reuse of labels across similar models.", ("C6 gap of", "C7 gap of", "C7 Self, ")),
)
