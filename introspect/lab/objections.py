"""What readers of the paper object to or ask for, and which rows of the claims speak to it."""

from typing import NamedTuple


class Objection(NamedTuple):
    text: str
    rows: tuple[str, ...] = ()  # how their name and `measured` begin: "C14 gap of ideal"
    rest: str = ""  # what stays open


OBJECTIONS = (
    Objection("Shared drift, not self-reading: labels of a model that drifted alike match as well.",
              ("C15",),
              "whether it is more than drift that both runs share, item by item; whether they read "
              "the answer or both read one recall; runs of other recipes"),
    Objection("A statistical by-product of correlation, not reflection.",
              ("C14 gap, reg - shuffled", "C14 adjusted gap", "C14 gap of ideal", "C10 following"),
              "awareness, of which nothing here speaks"),
    Objection("Following one's behavior is nothing special; it appears whatever the objective.",
              ("C2 gap of noreg", "C14 gap, reg - shuffled"),
              "whether the answer head of the arm without the anchor merely comes loose (C2); "
              "whether an objective to predict oneself would add to it"),
    Objection("No numbers, no code: how much noise is tolerated?", ("C5",),
              "noise at 8B; at 0.5 explanations are hardly truer than the best constant one"),
    Objection("Labels of another family are the strongest evidence, but tasks are structured and "
              "their perturbations clean.",
              ("C7 gap of share-1.0", "C7 Self - Past"),
              "unstructured tasks: these are cleaner than the paper's"),
    Objection("Where does it fail?", ("C4 gap", "C5 gap of noise-0.7", "C6 gap of",
                                      "C11 gap of rank-1", "C13 Self", "N1 gap")),
    Objection("Which explanation data should be chosen?", ("C6 gap of", "C13 Self"),
              "a choice of items; only whose labels, and how varied"),
    Objection("Multi-step reasoning.", rest="all of it: an answer is one token here"),
    Objection("Larger models.", ("N5 gap, width",),
              "anything above half a million weights; depth alone"),
    Objection("Use as an alarm for drifting behavior, without new labels.",
              ('C8 "would change"', "C8 gap where"),
              "whether explanations track a shift at all (C8 has no control for further training); "
              "an alarm with a threshold and its error rates"),
    Objection("Reuse of labels across similar models.", ("C6 gap of", "C7 gap of", "C7 Self, ")),
)
