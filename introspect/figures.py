"""How a report looks: curves over co-training as inline SVG, and Markdown blocks as one HTML page.

matplotlib is optional, the `plot` extra; without it there are no curves.
"""

import io
import re
from html import escape
from typing import Any, NamedTuple

import numpy as np

from introspect.summary import interval

COLORS = {"self": "#0072b2", "orig": "#c44e00", "gap": "#1a1a1a", "drift": "#777777"}
NAMES = {"self": "Self", "orig": "Orig", "gap": "gap", "drift": "drift d"}
ROWS = ("self", "orig"), ("gap", "drift")  # what the upper and the lower panels show
APART = 0.085  # least distance of two labels, as a share of a panel's height
LOOK = {
    "axes.edgecolor": "#999999",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: it can be read, found, and is small
    "svg.hashsalt": "introspect",  # ids, and so the bytes, are those of every other drawing
    "text.parse_math": False,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}

Rows = list[dict[str, Any]]  # the lines of a metrics.jsonl


class Series(NamedTuple):
    """One measure of one arm over the steps. NaN: not there."""

    steps: np.ndarray  # (T,)
    singles: np.ndarray  # (n, T) a line a seed
    mean: np.ndarray  # (T,) over seeds
    low: np.ndarray  # (T,) 95 % Student-t interval of the mean; NaN for fewer than two seeds
    high: np.ndarray


def series(runs: list[Rows], key: str, split: str) -> Series:
    """The measure `key` on "held_out" or "train" items, from the metrics of an arm's runs."""
    parts = [{r["step"]: r["train"] if split == "train" else r for r in rows} for rows in runs]
    lines = [{step: part[key] for step, part in by_step.items()} for by_step in parts]
    steps = sorted(set().union(*lines))
    singles = [[line.get(step) for step in steps] for line in lines]
    band = [interval(list(values)) for values in zip(*singles)]
    over = ([at[name] for at in band] for name in ("mean", "low", "high"))
    return Series(np.array(steps), *(np.array(a, dtype=float) for a in (singles, *over)))


def apart(heights: list[float], distance: float) -> list[float]:
    """The heights, moved as little as their order allows until neighbors are `distance` apart.

    >>> apart([0.5, 0.4, 0.9], 0.2)
    [0.55, 0.35, 0.9]
    """
    order = np.argsort(heights, kind="stable")
    blocks: list[list[float]] = []  # [sum of (height - rank offset), size]: pooled neighbors
    for rank, i in enumerate(order):
        blocks.append([heights[i] - rank * distance, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, size = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + size]
    bases = [total / size for total, size in blocks for _ in range(size)]
    moved = {i: base + rank * distance for rank, (i, base) in enumerate(zip(order, bases))}
    return [round(float(moved[i]), 12) for i in range(len(heights))]


def curves(arms: dict[str, list[Rows]], split: str, height: float) -> str | None:
    """An SVG element with the curves of every arm, or None where matplotlib is not installed.

    Args:
        arms: arm -> metrics of its runs. height: of the figure, in inches.
    """
    try:
        import matplotlib.figure
        import matplotlib.style
    except ImportError:
        return None
    with matplotlib.style.context(["default", LOOK]):
        size = (0.5 + 4.2 * len(arms), height)
        figure = matplotlib.figure.Figure(size, layout="constrained", facecolor="none")
        panels = figure.subplots(2, len(arms), sharex="col", sharey="row", squeeze=False)
        ends: dict[Any, list[tuple]] = {}
        for column, (arm, runs) in enumerate(arms.items()):
            for keys, panel in zip(ROWS, panels[:, column]):
                ends[panel] = [draw(panel, series(runs, key, split), key) for key in keys]
            ends[panels[0, column]].append(majority(panels[0, column], runs, split))
            panels[0, column].set_title(arm, loc="left", fontweight="bold")
            panels[1, column].axhline(0, color="#999999", linewidth=0.8, zorder=0)
            panels[1, column].set_xlabel("co-training step")
        panels[0, 0].set(ylim=(0, 1), ylabel="agreement, share of items")
        low, high = panels[1, 0].get_ylim()
        panels[1, 0].set(ylim=(max(low, -1), min(high, 1)), ylabel="gap and drift")
        for panel, labels in ends.items():
            label(panel, labels)
        text = io.StringIO()
        undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=undated, transparent=True)
    return inline(text.getvalue(), split, len(arms))


def draw(panel: Any, line: Series, key: str) -> tuple[str, float, str]:
    """The mean with its band and the single seeds; returns the label for the line's end."""
    color, dot = COLORS[key], "o" if len(line.steps) == 1 else None
    for single in line.singles:
        panel.plot(line.steps, single, color=color, linewidth=0.6, alpha=0.4)
    panel.fill_between(line.steps, line.low, line.high, color=color, alpha=0.16, linewidth=0)
    panel.plot(line.steps, line.mean, color=color, linewidth=2, marker=dot)
    panel.margins(x=0)
    panel.locator_params(axis="x", integer=True, nbins=5)
    return f"{NAMES[key]} {number(line.mean[-1], key)}", float(line.mean[-1]), color


def majority(panel: Any, runs: list[Rows], split: str) -> tuple[str, float, str]:
    """The height that a constant explanation reaches in Orig, as a dotted line."""
    share = float(series(runs, "majority", split).mean[-1])
    panel.axhline(share, color="#777777", linewidth=1, linestyle=":", zorder=0)
    return f"majority {number(share)}", share, "#666666"


def label(panel: Any, labels: list[tuple[str, float, str]]) -> None:
    """Names at the ends of the lines, moved apart where lines end close together."""
    low, high = panel.get_ylim()
    heights = apart([height for _, height, _ in labels], APART * (high - low))
    for (text, _, color), height in zip(labels, heights):
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        panel.annotate(text, (1, height), (5, 0), **place, color=color, va="center")


def inline(svg: str, split: str, n: int) -> str:
    """The <svg> element alone, with ids of its own so that several fit into one page."""
    element = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{split}-", svg[svg.index("<svg") :])
    items = {"train": "training", "held_out": "held-out"}[split]
    title = f"Self, Orig, gap and drift over co-training on {items} items, one column an arm"
    width = f"min-width: {300 * n}px; max-width: {500 * n + 40}px"  # legible, whatever n is
    says = f'<svg role="img" aria-label="{title}" style="{width}"'
    return element.replace("<svg", says, 1).strip()


def number(x: float | None, key: str = "") -> str:
    """Three decimals, with a sign where `key` is a difference.

    >>> number(0.2), number(0.2, "gap"), number(None)
    ('0.200', '+0.200', 'n/a')
    """
    return "n/a" if x is None else f"{x:{'+' if key == 'gap' else ''}.3f}"


def aligned(rows: list[list[str]]) -> str:
    """Rows as columns of a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def clean(text: Any) -> str:
    """Text that is harmless in Markdown, in a cell of a table, and in HTML."""
    return escape(" ".join(str(text).split()), quote=False).replace("|", "&#124;")


def table(rows: list[list[str]]) -> str:
    """Rows, the first of them the head, in Markdown."""
    lines = ["| " + " | ".join(map(clean, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def items(pairs: list[tuple[str, str]]) -> str:
    """A Markdown list of things and what there is to say of them."""
    return "\n".join(f"- **{clean(name)}** {clean(text)}" for name, text in pairs)


STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5c6470; --rule: #e3e6ea; --card: #f5f6f8;
  --page: #fff; --now: #0072b2; --then: #c44e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --soft: #a2a9b4; --rule: #31363f;
  --card: #1f232a; --page: #15181d; --now: #6cb8e6; --then: #f0965a; } }
body { margin: 0; background: var(--page); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 56px 24px 80px; }
h1 { font-size: 2.1rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 .5em; }
h2 { font-size: 1.35rem; margin: 0 0 .7em; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 1.8em 0 .6em; }
p, li { max-width: 46rem; }
h1 + p { font-size: 1.25rem; line-height: 1.5; margin: 0; }
h1 + p + p, small { color: var(--soft); font-size: .88em; }
small { white-space: nowrap; }
section { margin-top: 3.2rem; padding-top: 2rem; border-top: 1px solid var(--rule); }
ul { padding: 0; margin: 1em 0; list-style: none; }
li { margin: .6em 0; }
li, td { font-variant-numeric: tabular-nums; }
.wide, figure, pre { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.35; }
th, td { text-align: left; vertical-align: top; padding: .5em 1.3em .5em 0; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 500; white-space: normal; vertical-align: bottom; }
figure { margin: 1rem 0; padding: 16px; background: #fff; border: 1px solid var(--rule);
  border-radius: 12px; }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { font-family: inherit !important; }
pre { background: var(--card); border-radius: 12px; padding: 16px; font-size: .82rem; }
.now { color: var(--now); font-weight: 600; }
.then { color: var(--then); font-weight: 600; }
#key-figures ul { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); }
#key-figures li { background: var(--card); border-radius: 12px; padding: 20px; margin: 0; }
#key-figures strong { display: block; font-size: 2.3rem; line-height: 1.2; letter-spacing: -.02em; }
#key-figures small, td small { display: block; }
#glossary li, #not-controlled li { display: grid; grid-template-columns: 10rem 1fr;
  max-width: 56rem; }
@media (max-width: 640px) { main { padding: 32px 16px; }
  #glossary li, #not-controlled li { display: block; } }
""".strip()


def page(title: str, blocks: list[str]) -> str:
    """Markdown blocks, and <svg> elements among them, as one HTML file that needs no other."""
    body, section = [], False
    for block in blocks:
        if block.startswith("## "):
            name = block[3:].lower().replace(" ", "-")
            body.append("</section>\n" * section + f'<section id="{name}">')
            section = True
        body.append(html_of(block))
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>",
            *body,
            "</section>\n" * section + "</main>\n</body>\n</html>\n",
        ]
    )


def html_of(block: str) -> str:
    """One block. Its text is escaped already, but for code."""
    if block.startswith("<svg"):
        return f"<figure>{block}</figure>"
    if block.startswith("```"):
        return f"<pre>{escape(block.strip('`').strip())}</pre>"
    if block.startswith("- "):
        pairs = re.findall(r"(?m)^- \*\*(.*?)\*\* (.*)$", block)
        named = ((f"<strong>{toned(a)}</strong>", f"<span>{toned(b)}</span>") for a, b in pairs)
        rows = (f"<li>{name} {text}</li>" for name, text in named)
        return "<ul>\n" + "\n".join(rows) + "\n</ul>"
    if block.startswith("| "):
        head, _, *rows = (line[2:-2].split(" | ") for line in block.split("\n"))
        top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
        body = "\n".join(f"<tr>{''.join(map(cell_of, row))}</tr>" for row in rows)
        table = f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        return f'<div class="wide">{table}</div>'
    level = len(block) - len(block.lstrip("#"))
    return f"<h{level}>{block[level:].strip()}</h{level}>" if level else f"<p>{block}</p>"


def cell_of(text: str) -> str:
    """A cell; "now" and "then" have the colors of Self and of Orig."""
    tone = f' class="{text}"' if text in ("now", "then") else ""
    return f"<td{tone}>{toned(text)}</td>"


def toned(text: str) -> str:
    """The text with its intervals set small and its verdicts in color."""
    small = re.sub(r"(\[[-+.\d]+, [-+.\d]+\](?: \(n = \d+\))?)", r"<small>\1</small>", text)
    return re.sub(
        r"(?<=: )(coupling|reversed)\b",
        lambda word: f'<span class="{"now" if word[1] == "coupling" else "then"}">{word[1]}</span>',
        small,
    )
