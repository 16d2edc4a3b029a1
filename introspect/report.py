"""What a run and a study found, in the terminal, as report.md and as report.html.

A report is a list of blocks (kind, content), which `markdown` and `html_page` put into words. Every
number comes from result.json and the files of the runs; the same files give the same bytes.
"""

import re
import shlex
import textwrap
from html import escape
from pathlib import Path
from typing import Any

from introspect import figures
from introspect.record import read_json, read_lines, write_text
from introspect.summary import interval

WIDTH = 100  # columns of a terminal
NAMES = {
    "self": "Self",
    "orig": "Orig",
    "gap": "gap",
    "drift": "drift d",
    "preference": "preference",
    "compatibility": "compatibility",
    "behavior_drift": "behavior drift, with cue",
    "behavior_drift_without_cue": "behavior drift, without cue",
}
EXAMPLE = {
    "prompt": "prompt",
    "m0_with_cue": "M0 with cue",
    "m0_without_cue": "M0 without cue",
    "now_with_cue": "now with cue",
    "now_without_cue": "now without cue",
    "says": "it says, without the cue the answer",
    "side": "true of",
}
GLOSSARY = {
    "M0": "the model before explanation training; it gives the frozen labels and never changes.",
    "cue": "the part of a prompt that can be left out. An item is one prompt with one cue.",
    "label": "E(M), how the answer of a model M changes when the cue is left out, read off its "
    "answers with and without it. E(M0) is frozen before training and never refreshed.",
    "Self": "share of explanations equal to E(M), the label of the model as it is now.",
    "Orig": "share of explanations equal to E(M0), the label of the model as it was.",
    "gap": "Self - Orig. Above zero: coupling, explanations follow the model that is. Below zero: "
    "reversed, they stay with the model that was.",
    "drift d": "share of items whose label moved, E(M) different from E(M0). |gap| <= d.",
    "preference": "of the explanations that are true of one side only, the share that is true of "
    "the model as it is now; 0.5 is indifference, n/a where there are none.",
    "compatibility": "share of items on which the behavior now still gives the label: on training "
    "items the label trained on, on held-out items E(M0).",
    "behavior drift": "share of prompts, with or without their cue, that M answers unlike M0.",
    "majority": "Orig of a constant explanation: the share of the most frequent label.",
    "untrained": "Self and Orig before the first update, when M is still M0.",
    "held-out, training": "training items have labels that are trained on; held-out items are of "
    "other subjects. Labels of training items can be memorized, so the verdict is on held-out ones.",
    "interval": "[low, high]: 95 %, Student's t over seeds. A verdict needs one that excludes zero.",
}
READING = (
    "Each row is one held-out prompt: what M0 and the trained model answer with the cue and without "
    "it, and what the trained model says would happen without the cue. That is true of the model as "
    "it is (now), of M0 (then), of both, or of neither. Items whose label moved come first, so "
    "this is no random sample."
)
NO_FIGURES = (
    "No curves here: matplotlib is not installed. Install the plot extra, "
    'pip install ".[plot]", and write the report again.'
)

Block = tuple[Any, ...]  # (kind, content...); the kinds are those of `markdown` and `html_of`


def number(x: float | None, sign: str = "") -> str:
    return "n/a" if x is None else f"{x:{sign}.3f}"


def estimate(of: dict[str, Any], sign: str = "", n: int | None = None) -> str:
    """A mean and its interval, with the number of seeds where it is not `n`.

    >>> estimate({"mean": 0.2, "low": 0.1, "high": 0.3, "n": 4}, "+", 5)
    '+0.200 [+0.100, +0.300] (n = 4)'
    """
    text = number(of["mean"], sign)
    if of["low"] is not None:
        text += f" [{number(of['low'], sign)}, {number(of['high'], sign)}]"
    return text if n in (None, of["n"]) else f"{text} (n = {of['n']})"


def sign_of(key: str) -> str:
    return "+" if key == "gap" else ""


def seeds(n: int) -> str:
    return f"{n} seed" + "s" * (n != 1)


def excludes_zero(of: dict[str, Any]) -> bool:
    return of["low"] is not None and (of["low"] > 0 or of["high"] < 0)


def columns(rows: list[list[str]]) -> str:
    """Rows of text, aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def show_run(result: dict[str, Any]) -> str:
    """One run for the terminal: its measures on held-out and on training items, and their meaning."""
    parts = result, result["train"]
    rows = [["", "held-out items", "training items"]]
    for key, name in (NAMES | {"majority": "majority"}).items():
        rows.append([name, *(number(part[key], sign_of(key)) for part in parts)])
        if key == "gap":
            within = ({"mean": p["gap"], "low": p["gap_low"], "high": p["gap_high"]} for p in parts)
            rows[-1][1:] = [estimate(of, "+") for of in within]
    rows.append(["items", *(str(part["n_items"]) for part in parts)])
    m0, low, high = result["m0"], result["gap_low"], result["gap_high"]
    if result["drift"] == 0:
        meaning = "no held-out label has moved, so Self and Orig are one number"
    elif low is None or low <= 0 <= high:
        meaning = "held-out explanations side neither with the model that is nor with the one that was"
    else:
        side = "follow the model that is" if low > 0 else "stay with the model that was"
        meaning = f"held-out explanations {side}"
    sentence = (
        f"In this run {meaning}; the interval is over the subjects of this one model, and what "
        "another seed would give takes a study."
    )
    return "\n".join(
        [
            f"{result['task']}, arm {result['arm']}, seed {result['seed']}",
            columns(rows),
            f"M0 knows {number(m0['known'])} of what it should; the cue changes "
            f"{number(m0['changed'])} of its answers.",
            textwrap.fill(sentence, WIDTH),
        ]
    )


def show_study(study: dict[str, Any]) -> str:
    """A study for the terminal: a line an arm, what no training gives, and paired differences."""
    arms, paired = study["arms"], study["differences"]
    rows = [["arm", "n", "Self", "Orig", "gap [95 % interval]", "drift", "pref.", "verdict"]]
    for arm, of in arms.items():
        mean = {key: number(of[key]["mean"]) for key in ("self", "orig", "drift", "preference")}
        verdict = of["verdict"].partition(":")[0].partition(" at n")[0]
        self_orig = [mean["self"], mean["orig"]]
        rows.append([arm, str(of["gap"]["n"]), *self_orig, estimate(of["gap"], "+")])
        rows[-1] += [mean["drift"], mean["preference"], verdict]
    for name, self_match, orig_match in references(arms, "held_out"):
        short = (text.partition(" ")[0] for text in (self_match, orig_match))
        rows.append([name, "", *short, "", "", "", ""])
    lines = [
        textwrap.fill(f"{study['experiment']} on {study['task']}: {study['question']}", WIDTH),
        columns(rows),
    ]
    if paired:
        head = ["difference", "n", "Self", "Orig", "gap [95 % interval]"]
        means = ([str(d["gap"]["n"])] + [number(d[k]["mean"], "+") for k in ("self", "orig")]
                 for d in paired.values())
        gaps = (estimate(d["gap"], "+") for d in paired.values())
        lines += [columns([head, *([a, *m, g] for a, m, g in zip(paired, means, gaps))])]
    lines += [f"diverged: {f['arm']} of seed {f['seed']}: {f['error']}" for f in study["failed"]]
    meanings = {of["verdict"].replace(":", " means:", 1): 0 for of in arms.values() if ":" in of["verdict"]}
    return "\n".join(lines + list(meanings))
