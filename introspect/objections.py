"""What readers of the paper say against it or ask for, and which claims speak to that."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Objection:
    """What readers of the paper say against it, or ask for."""

    text: str
    claims: tuple[str, ...]  # whose rows speak to it
    rest: str = ""  # what is not answered


OBJECTIONS = (
    Objection(
        "Shared drift, not self-reading: labels of a model that drifted alike match as well",
        ("C15", "C14"),
        "whether explanations read the answer or both read one recall; runs of more recipes",
    ),
    Objection(
        "A statistical by-product of correlation, not reflection",
        ("C14", "C10"),
        "awareness, of which nothing here speaks",
    ),
    Objection(
        "Following one's behavior is nothing special, it appears whatever the objective",
        ("C2", "C14", "N3"),
        "whether the wish to predict oneself would add to it",
    ),
    Objection("No numbers, no code; how much noise is tolerated?", ("C5",), "noise at 8B"),
    Objection(
        "Labels of another family are the strongest evidence, but tasks are structured and their "
        "perturbations clean",
        ("C7",),
        "unstructured tasks: these are cleaner than the paper's",
    ),
    Objection("Where does it fail?", ("C4", "C11", "C12", "C13", "N1", "N5")),
    Objection(
        "Which explanation data should be chosen?", ("C4", "C5", "C6", "C7"), "choosing items"
    ),
    Objection("Multi-step reasoning", (), "all of it: an answer is one token here"),
    Objection("Larger models", ("N5",), "anything above half a million weights"),
    Objection(
        "Use as an alarm for drifting behavior, without new labels",
        ("C8",),
        "an alarm with a threshold and its error rates",
    ),
    Objection("Reuse of labels across similar models", ("C6", "C7")),
)
