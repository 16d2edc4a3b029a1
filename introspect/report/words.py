"""What the measures are called, and what the words of a report mean."""

NAMES = {  # measure -> how it is called; GLOSSARY says what it is
    "self": "Self",
    "orig": "Orig",
    "gap": "gap",
    "drift": "drift d",
    "preference": "preference",
    "compatibility": "agreement",
    "behavior_drift": "behavior drift, with cue",
    "behavior_drift_without_cue": "behavior drift, without cue",
}
GLOSSARY = {
    "M0": "the model before explanation training; with --from, that of the run named there. It "
    "never changes.",
    "cue": "the part of a prompt that can be left out. An item is one prompt with its cue.",
    "label": "E(M): how the answer of a model M changes when the cue is left out, read off its "
    "answers with and without it. E(M0) is frozen before training and never refreshed. Settings "
    "can have another model give the labels; E(M0) and \"then\" mean that one.",
    "Self": "share of explanations equal to E(M), the label of the model as it is now.",
    "Orig": "share of explanations equal to E(M0), the label of the model as it was then, whatever "
    "noise or order the labels had that were trained on.",
    "gap": "Self - Orig. Above zero is coupling: explanations follow the model as it is now. Below "
    "zero is reversed: they match the frozen labels better.",
    "adjusted gap": "the gap beyond what the frequencies of labels and explanations alone would "
    "give. A verdict needs both gaps on one side of zero.",
    "drift d": "share of items whose label changed, E(M) unlike E(M0). The gap lies in -d..d.",
    "preference": "of the explanations of such items that are true now or were then, the share "
    "that is true now. 0.5 is indifference; n/a where there is none.",
    "agreement": "share of the training labels, noise included, that are true of the model now. On "
    "held-out items it would be 1 - d.",
    "behavior drift": "share of items that M answers unlike M0, with the cue or without it.",
    "majority": "what a constant explanation can get: the share of the most frequent E(M) as Self, "
    "of the most frequent E(M0) as Orig.",
    "untrained": "Self and Orig before the first update of this run, when M is still M0.",
    "clear answers": "those to prompts without a cue of which an ideal model is fairly sure.",
    "held out": "items of subjects without labels in training. Labels of training items can be "
    "memorized, so verdicts are on held-out ones.",
    "interval": "[low, high], 95 % by Student's t over seeds. A verdict needs one without zero.",
}
