"""Studies made up for tests, and readers of the reports about them."""

import copy
from html import unescape
from html.parser import HTMLParser

from introspect.files import write_json, write_lines
from introspect.report.report import write_report
from introspect.report.summary import MEASURES, summarize

STEPS = (0, 10, 20)

SHOWN = MEASURES[:-2]  # a column each; the majority is a row

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


def result_of(arm, seed, gap):
    return {
        "task": "hint",
        "arm": arm,
        "seed": seed,
        **measured(gap, seed),
        "train": measured(gap / 3 - 0.05, seed, 0.123),
        "m0": {
            "known": 0.951 + 0.003 * seed,
            "changed": 0.402 + 0.021 * seed,
            "labels": {"would change to A": 0.37 - 0.01 * seed, "would stay": 0.63 + 0.01 * seed},
        },
    }


def metrics_of(result):
    """Its curve: from Self = Orig = 0.2 straight to what it ends with."""
    rows = []
    for step in STEPS:
        row = copy.deepcopy({k: result[k] for k in (*MEASURES, "train")})
        for part, start in ((row, 0.2), (row["train"], 0.25)):
            for key, first in (("self", start), ("orig", start), ("gap", 0.0), ("drift", 0.0)):
                share = step / STEPS[-1]
                part[key] = (1 - share) * (first + 0.01 * result["seed"]) + share * part[key]
        rows.append({"step": step, **row})
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


def write_study(out, gaps, failed=(), change=lambda result: None, prompts=("zorp blick hint:A",)):
    """A finished study in `out`: its result.json and the files of its runs. `gaps`: arm -> gaps."""
    results, lines = [], {}
    for arm, ends in gaps.items():
        for seed, gap in enumerate(ends):
            result = result_of(arm, seed, gap)
            change(result)
            results.append(result)
            lines[arm, seed] = metrics_of(result)
            folder = out / "runs" / f"{arm}-seed{seed}"
            folder.mkdir(parents=True)
            write_json(folder / "result.json", result)
            write_lines(folder / "metrics.jsonl", lines[arm, seed])
            shown = [example_of(f"{prompt} of seed {seed}") for prompt in prompts]
            write_json(folder / "examples.json", {"examples": shown})
    study = {
        "experiment": "anchor",
        "question": "Which model do explanations follow?",
        "task": "hint",
        "explained": ["hint"],
        "seeds": list(range(max(map(len, gaps.values())))),
        **summarize(sorted(results, key=lambda result: result["seed"]), lines),
        "failed": [{"arm": a, "seed": s, "error": e} for a, s, e in failed],
        "config": {"task": "hint", "n_layer": 3, "learning_rate": 0.0015, "draw_seed": None},
        "seconds": 116.5,
        "versions": {"python": "3.11.7", "torch": "2.13.0+cpu", "device": "cpu"},
    }
    write_json(out / "result.json", study)
    return study


def reports(out):
    write_report(out)
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


SHOWN_ORDER = ("self", "orig", "gap", "drift", "preference", "compatibility") + SHOWN[-2:]
