"""The forms of the files that runs and studies leave, as far as anything relies on them.

They are written as reading.misfit takes them.
"""

from introspect.reading import NUMBER

MEASURES = {  # what is measured of a split at every evaluation (measure.py)
    **dict.fromkeys(("self", "orig", "gap", "drift", "compatibility"), NUMBER),
    "preference": NUMBER | None,
    **dict.fromkeys(("behavior_drift", "behavior_drift_without_cue"), NUMBER),
    **dict.fromkeys(("majority", "majority_now"), NUMBER),
}
SPLIT = {**MEASURES, **dict.fromkeys(("gap_low", "gap_high"), NUMBER | None), "n_items": int}
ROW = {**SPLIT, "train": SPLIT, "step": int, "seconds": NUMBER}  # of metrics.jsonl
UNTRAINED = {"self": NUMBER, "orig": NUMBER}
M0 = {"known": NUMBER, "changed": NUMBER, "labels": {str: NUMBER}}

DESCRIPTION = {  # config.json of a run
    "device": str,
    "source": str,
    "cache": str,
    "stacked?": bool,
    "config": {"task": str, str: int | float | str | bool | None},
}
RESULT = {  # result.json of a run
    **SPLIT,
    "task": str,
    "arm": str,
    "seed": int,
    "train": SPLIT,
    "controls": {"adjusted": NUMBER | None, str: NUMBER | None},
    "tasks?": {str: SPLIT | {"known": NUMBER, "changed": NUMBER}},
    "m0": M0 | {"tasks?": {str: M0}},
    "config_sha256": str,
    "labels_sha256": str,
    "versions": {str: str},
}
EXAMPLES = {"examples": [{str: str}]}  # examples.json of a run
WEIGHED = {"answers?": [str], "probabilities?": [NUMBER], "margins?": [NUMBER]}  # of each model
ITEM = {str: str, **WEIGHED}  # of items.jsonl
STUDY_ROW = {  # of runs.jsonl of a study
    **RESULT,
    "experiment": str,
    "folder": str,
    "fields": dict,
    "untrained": UNTRAINED,
}
