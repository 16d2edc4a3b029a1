"""Pictures as SVG. matplotlib is the optional `plot` extra; without it they are None."""

import io
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from introspect.report.text import number
from introspect.report.words import NAMES
from introspect.stats import interval

COLORS = {"self": "#0072b2", "orig": "#c44e00", "gap": "#1a1a1a", "drift": "#777777"}
VERDICTS = dict.fromkeys(("supported", "holds"), COLORS["self"]) | {"contradicted": COLORS["orig"]}
UNDECIDED = "#8a8a8a"
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
    lines = [{row["step"]: (row["train"] if split == "train" else row)[key] for row in rows}
             for rows in runs]
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


def in_our_look(draw: Callable[..., str]) -> Callable[..., str | None]:
    """What `draw` draws, in our look; None where matplotlib is not installed."""

    @wraps(draw)
    def drawn(*args: Any) -> str | None:
        try:
            import matplotlib.style
        except ImportError:
            return None
        with matplotlib.style.context(["default", LOOK]):
            return draw(*args)

    return drawn


def new_figure(height: float, width: float = 9) -> Any:
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained", facecolor="white")


@in_our_look
def curves(arms: dict[str, list[Rows]], split: str, height: float) -> str | None:
    """An SVG element with the curves of every arm.

    Args:
        arms: arm -> metrics of its runs. height: of the figure, in inches.
    """
    figure = new_figure(height, 0.5 + 4.2 * len(arms))
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
    items = {"train": "training", "held_out": "held-out"}[split]
    title = f"Self, Orig, gap and drift over co-training on {items} items, one column an arm"
    return inline(svg_of(figure), split, title, 260 * len(arms), 500 * len(arms) + 40)


@in_our_look
def dots(arms: dict[str, list[dict]], words: dict[str, str] = {}) -> str | None:
    """An SVG file with Self, Orig and gap, a row an arm: the mean over seeds with its 95 %
    interval, and every seed.

    Args:
        arms: arm -> results of its runs. words: arm -> what it is, shown beside its name.
    """
    figure = new_figure(1.4 + 0.32 * len(arms))
    sides, gaps = figure.subplots(1, 2, sharey=True)
    for row, results in enumerate(arms.values()):
        for panel, key, lift in (sides, "orig", 0.12), (sides, "self", -0.12), (gaps, "gap", 0.0):
            values, at = [result[key] for result in results], row + lift
            estimate, color = interval(values), COLORS[key]
            panel.plot(values, [at] * len(values), "o", color=color, markersize=3, alpha=0.35)
            if estimate["low"] is not None:
                panel.plot([estimate["low"], estimate["high"]], [at, at], color=color)
            panel.plot(estimate["mean"], at, "o", color=color, markersize=5.5)
        constant = interval([result["majority_now"] for result in results])["mean"]
        sides.plot(constant, row - 0.12, "|", color="#777777", markersize=9)
    names = [f"{words[arm]} ({arm})" if arm in words else arm for arm in arms]
    sides.set_xlim(0, 1)
    sides.set(yticks=range(len(arms)), yticklabels=names, ylim=(len(arms) - 0.5, -0.5))
    sides.set_title("share of explanations equal to a label", loc="left", fontsize=9)
    gaps.set_title("gap = Self - Orig", loc="left", fontsize=9)
    gaps.axvline(0, color="#999999", linewidth=0.8, zorder=0)
    for panel in (sides, gaps):
        panel.grid(axis="y", color="#eeeeee")
        panel.set_axisbelow(True)
    now, then, constant = COLORS["self"], COLORS["orig"], "#777777"
    kinds = [("o", now, now, "Self: labels of the model now (pale: single seeds)")]
    kinds += [("o", then, then, "Orig: frozen labels, before random noise")]
    explain(figure, [*kinds, ("|", constant, constant, "Self of the best constant")])
    return svg_of(figure)


def explain(figure: Any, kinds: list[tuple[str, str, str, str]]) -> None:
    """A legend below: (marker, color, fill, words) of each kind."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker=mark, markerfacecolor=fill, markersize=6, label=text)
        for mark, color, fill, text in kinds
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=8)


def look_of(verdict: str) -> tuple[str, str]:
    """(color, fill) of a verdict: hollow where it does not survive the correction."""
    color = VERDICTS.get(verdict.partition(" ")[0], UNDECIDED)
    return color, "white" if "only" in verdict else color


def draw_row(panel: Any, row: dict[str, Any], at: float, size: float) -> None:
    """The mean and interval of a claim's row, in the look of its verdict."""
    color, face = look_of(row["verdict"])
    if " to " in row["claimed"]:
        low, high = map(float, row["claimed"].split(" to "))
        panel.plot([low, high], [at, at], color="#e2e2e2", linewidth=9, solid_capstyle="butt")
    if row["low"] is not None:
        panel.plot([row["low"], row["high"]], [at, at], color=color, linewidth=1.5)
    panel.plot(row["mean"], at, "o", color=color, markerfacecolor=face, markersize=size)


LOOKS = [  # of dots, explained in the pictures
    ("o", COLORS["self"], COLORS["self"], "as claimed, survives correction for all rows"),
    ("o", COLORS["self"], "white", "as claimed, but at 5 % only"),
    ("o", UNDECIDED, UNDECIDED, "undecided, smaller than 0.03, or not judged"),
    ("o", COLORS["orig"], COLORS["orig"], "against the claim"),
    ("o", COLORS["orig"], "white", "against the claim, but at 5 % only"),
]


@in_our_look
def forest(groups: dict[str, list[dict[str, Any]]]) -> str | None:
    """An SVG file with the rows of every claim below its words: mean and 95 % interval beside zero,
    in the look of the verdict.

    Args:
        groups: claim in words -> its rows as claims.json has them.
    """
    lines: list[tuple[str, dict[str, Any] | None]] = []
    for says, rows in groups.items():
        lines.append((says, None))
        lines += [(row["says"], row) for row in rows if row["n"]]
    figure = new_figure(1.4 + 0.19 * len(lines))
    panel = figure.subplots()
    for at, (_, row) in enumerate(lines):
        if row:
            draw_row(panel, row, at, 4.5)
        else:
            panel.axhspan(at - 0.5, at + 0.5, color="#f3f4f6", linewidth=0, zorder=0)
    panel.axvline(0, color="#999999", linewidth=0.8, zorder=0)
    panel.set(yticks=range(len(lines)), yticklabels=[text for text, _ in lines])
    panel.set_ylim(len(lines) - 0.3, -0.7)
    panel.tick_params(axis="y", labelsize=7.5, length=0)
    for tick, (_, row) in zip(panel.get_yticklabels(), lines):
        tick.set_fontweight("normal" if row else "bold")
    title = "difference of shares of items (N4: R2; a range: a share), 95 % interval"
    panel.set_xlabel(title, fontsize=8, loc="right")
    note = "grey bar: claimed range"
    explain(figure, [*LOOKS, ("", "none", "none", note)])
    return svg_of(figure)


@in_our_look
def overview(rows: list[tuple[str, str, dict[str, Any]]]) -> str | None:
    """An SVG file with a line for each row: the claim in words, what the number is, the number and
    its interval beside zero.

    Args:
        rows: (claim in words, number in words, row as claims.json has it).
    """
    figure = new_figure(1.3 + 0.42 * len(rows))
    words, panel = figure.subplots(1, 2, sharey=True, width_ratios=(1.35, 1))
    for at, (says, measured, row) in enumerate(rows):
        words.text(0, at - 0.16, says, fontsize=9, va="center")
        words.text(0.035, at + 0.22, measured, fontsize=7.5, va="center", color="#666666")
        draw_row(panel, row, at, 7)
        text, color = number(row["mean"], "gap"), look_of(row["verdict"])[0]
        place = panel.get_yaxis_transform()  # x: share of the panel's width
        panel.text(1.01, at, text, transform=place, va="center", color=color)
    words.set_axis_off()
    panel.axvline(0, color="#999999", linewidth=1, zorder=0)
    panel.set(yticks=[], ylim=(len(rows) - 0.4, -0.6))
    panel.spines["left"].set_visible(False)
    panel.set_xlabel("gap = Self - Orig, or the difference named, with 95 % interval", fontsize=8)
    seen = {look_of(row["verdict"]) for _, _, row in rows}
    explain(figure, [look for look in LOOKS if look[1:3] in seen])
    return svg_of(figure)


def svg_of(figure: Any) -> str:
    """The figure as a file that is the same for the same figure."""
    text, undated = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", metadata=undated)
    return text.getvalue()


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


def inline(svg: str, name: str, title: str, low: int = 640, high: int = 1000) -> str:
    """The <svg> element alone, between `low` and `high` pixels wide, with ids that begin with
    `name`, so that several fit into one page."""
    element = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg[svg.index("<svg") :])
    style = f"min-width: {low}px; max-width: {high}px"
    start = f'<svg role="img" aria-label="{title}" style="{style}"'
    return element.replace("<svg", start, 1).strip()
