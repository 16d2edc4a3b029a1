"""The picture of a grid: how gap, adjusted gap and drift move along its first dial."""

from typing import Any

import numpy as np

from introspect.report.figures import explain, in_our_look, new_figure, svg_of
from introspect.report.text import cut

PANELS = {"gap": "gap = Self - Orig", "adjusted": "adjusted gap", "drift": "drift d"}
SPREAD = 0.3  # the width over which lines stand beside each other, in steps of the axis
ROOM = 30  # characters below a panel


@in_our_look
def draw_dials(study: dict[str, Any], dialed: dict[str, dict[str, Any]]) -> str | None:
    """An SVG file with three measures against the values of the first dial: means over seeds with
    their 95 % intervals, a line for each combination of values of the other dials.

    The values stand side by side in the order in which they were given, not to scale: many dials
    have a 0 and powers of ten, or words.

    Args:
        study: as report/study.py describes it. dialed: arm -> its values of all dials.
    """
    import matplotlib

    first = next(iter(next(iter(dialed.values()))))
    ticks = list(dict.fromkeys(values[first] for values in dialed.values()))
    words = [cut(str(value), ROOM) for value in ticks]
    lines: dict[str, dict[int, str]] = {}  # what a line is -> place on the axis -> arm
    for arm, values in dialed.items():
        others = ", ".join(f"{k}={v}" for k, v in values.items() if k != first)
        lines.setdefault(others, {})[ticks.index(values[first])] = arm
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(lines)))
    figure = new_figure(3.6 + 0.2 * -(-len(lines) // 3), 11)
    left, middle, right = figure.subplots(1, 3)
    middle.sharey(left)
    for panel, (key, title) in zip((left, middle, right), PANELS.items()):
        for i, (arms, color) in enumerate(zip(lines.values(), colors)):
            shown = [study["arms"][arm][key] for arm in arms.values()]
            mean, low, high = (
                np.array([each[end] for each in shown], float) for end in ("mean", "low", "high")
            )
            at = np.array(list(arms)) + SPREAD * ((i + 0.5) / len(lines) - 0.5)
            panel.plot(at, mean, "o-", color=color, markersize=4.5, linewidth=1)
            panel.vlines(at, low, high, color=color, linewidth=1.5)
        panel.axhline(0, color="#999999", linewidth=0.8, zorder=0)
        panel.set(xticks=range(len(ticks)), xticklabels=words, xlabel=first)
        panel.tick_params("x", rotation=90 if len(" ".join(words)) > ROOM else 0)
        panel.set_title(title, loc="left", fontsize=9)
        bottom, top = panel.get_ylim()
        panel.set_ylim(max(bottom, -1), min(top, 1))  # an interval of two seeds may be wider
    kinds = [("o", color, color, others) for others, color in zip(lines, colors) if others]
    note = f"bars: 95 % intervals over seeds; values of {first} as given, not to scale"
    explain(figure, [*kinds, ("", "none", "none", note)])
    return svg_of(figure)
