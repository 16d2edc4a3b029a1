"""Studies made up for tests, and readers of the reports about them."""

import copy
from html import unescape
from html.parser import HTMLParser

from introspect.files import write_json, write_lines
from introspect.forms import MEASURES, SPLIT
from introspect.reading import read_json
from introspect.report.study import write_report
from introspect.report.summary import summarize
from introspect.runs.study import Run

STEPS = (0, 10, 20)
VERSIONS = {"python": "3.11.7", "torch": "2.13.0+cpu", "device": "cpu"}
COUPLED, REVERSED, UNDECIDED = (0.21, 0.17, 0.2), (-0.16, -0.2, -0.28), (0.1, -0.15, 0.04)


def measured(gap, seed, shift=0.0):
    """Measures that fit together, all of them different from each other."""
    original = 0.501 + 0.013 * seed + shift
    return {
        "self": original + gap,
        "orig": original,
        "gap": gap,
        "gap_low": gap - 0.031,
        "gap_high": gap + 0.029,
        "drift": abs(gap) + 0.107 + shift,
        "compatibility": 0.893 - abs(gap) - shift,
        "preference": 0.5 + gap / 2 + 0.017 * seed,
        "behavior_drift": 0.063 + 0.011 * seed + shift,
        "behavior_drift_without_cue": 0.152 + 0.007 * seed + shift,
        "majority": 0.405 + 0.009 * seed + shift,
        "majority_now": 0.305 + 0.007 * seed + shift,
        "n_items": 4600 + seed,
    }


def result_of(arm, seed, gap, adjusted=None):
    """The result.json of a run. `adjusted`: its adjusted gap, where that is not the gap."""
    return {
        "config_sha256": f"{seed:064x}",
        "task": "hint",
        "arm": arm,
        "seed": seed,
        **measured(gap, seed),
        "train": measured(gap / 3 - 0.05, seed, 0.123),
        "controls": {"adjusted": gap if adjusted is None else adjusted},
        "m0": {
            "known": 0.951 + 0.003 * seed,
            "changed": 0.402 + 0.021 * seed,
            "labels": {"would change to A": 0.37 - 0.01 * seed, "would stay": 0.63 + 0.01 * seed},
        },
        "labels_sha256": f"{seed + 1:064x}",
        "versions": dict(VERSIONS),
        "seconds": 116.5,
    }


def metrics_of(result):
    """Its curve: from Self = Orig = 0.2 straight to what it ends with."""
    rows = []
    for step in STEPS:
        row = copy.deepcopy({k: result[k] for k in (*SPLIT, "train")})
        for part, start in ((row, 0.2), (row["train"], 0.25)):
            for key, first in (("self", start), ("orig", start), ("gap", 0.0), ("drift", 0.0)):
                share = step / STEPS[-1]
                part[key] = (1 - share) * (first + 0.01 * result["seed"]) + share * part[key]
        rows.append({"step": step, **row, "seconds": float(step)})
    return rows


def example_of(prompt, side="now"):
    return {
        "prompt": prompt,
        "without": prompt.rpartition(" ")[0],
        "m0_with_cue": "A",
        "m0_without_cue": "B",
        "now_with_cue": "C",
        "now_without_cue": "D",
        "says": "would change to D",
        "side": side,
    }


def write_study(
    out,
    gaps,
    adjusted=None,
    failed=(),
    change=lambda result: None,
    prompts=("zorp blick hint:A",),
):
    """A finished study in `out`: its result.json and the files of its runs.

    Args:
        gaps: arm -> gaps, one a seed. adjusted: arm -> adjusted gaps, where they are not the gaps.
        change: of a result, before anything is made from it.
    """
    rows = []
    for arm, ends in gaps.items():
        for seed, (gap, beyond) in enumerate(zip(ends, (adjusted or gaps)[arm], strict=True)):
            result = result_of(arm, seed, gap, beyond)
            change(result)
            lines = metrics_of(result)
            folder = out / "runs" / f"{arm}-seed{seed}"
            folder.mkdir(parents=True)
            write_json(folder / "result.json", result)
            write_lines(folder / "metrics.jsonl", lines)
            shown = [example_of(f"{prompt} of seed {seed}") for prompt in prompts]
            write_json(folder / "examples.json", {"examples": shown})
            untrained = {key: lines[0][key] for key in ("self", "orig")}
            rows.append(result | {"untrained": untrained, "folder": folder.name})
    rows.sort(key=lambda row: row["seed"])
    listed = "arm", "seed", "self", "orig", "gap", "drift", "preference", "n_items", "folder"
    versions = dict.fromkeys(tuple(row["versions"].items()) for row in rows)
    study = {
        "experiment": "anchor",
        "task": "hint",
        "question": "Which model do explanations follow?",
        "open": "the phase of the moon.",
        "explained": ["hint"],
        "seeds": list(range(max(map(len, gaps.values())))),
        "draws": 1,
        "shared": "n_layer=3",
        "words": {arm: f"the arm in words {i}" for i, arm in enumerate(gaps)},
        "fields": {arm: f"kl_weight={i}.5" for i, arm in enumerate(gaps)},
        "dialed": {},
        "along": {},
        **summarize(rows),
        "runs": [{key: row[key] for key in listed} for row in rows],
        "failed": list(failed),
        "versions": [dict(each) for each in versions],
        "overrides": {},
    }
    write_json(out / "result.json", study)
    return study


def reports(out, claims=()):
    """report.md and report.html of the study in `out`, written anew from its files."""
    study, by_arm = read_json(out / "result.json", {}), {}
    for run in study["runs"]:
        folder = out / "runs" / f"{run['arm']}-seed{run['seed']}"
        result = read_json(folder / "result.json", {})
        by_arm.setdefault(run["arm"], []).append(Run(result, folder))
    write_report(out, study, by_arm, claims)
    return (out / "report.md").read_text("utf-8"), (out / "report.html").read_text("utf-8")


class Page(HTMLParser):
    """Checks that every element is closed in its order; keeps tables, attributes and text."""

    VOID = {"meta", "br", "link", "img", "hr", "input"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.tables, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


def markdown_tables(text):
    tables, inside = [], False
    for line in text.split("\n"):
        row = line.startswith("| ")
        if row and not inside:
            tables.append([])
        if row:
            tables[-1].append([unescape(cell) for cell in line[2:-2].split(" | ")])
        inside = row or line.startswith("|---")
    return tables


def by_name(rows, n_name=1):
    """name -> column -> cell."""
    head, *rest = rows
    return {tuple(row[:n_name]): dict(zip(head, row)) for row in rest}


def shown(of, sign=""):
    """An interval, written by the test itself."""
    mean, low, high = of["mean"], of["low"], of["high"]
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


HELD_OUT = ("self", "orig", "gap", "drift", "preference") + tuple(MEASURES)[6:8]  # a column each
TRAINING = (*HELD_OUT[:5], "compatibility", *HELD_OUT[5:])
