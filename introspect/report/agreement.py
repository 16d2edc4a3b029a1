"""The picture of errors in labels: gaps against how many of the labels trained on are true."""

from collections.abc import Mapping
from typing import Any

from introspect.report.figures import explain, in_our_look, new_figure, svg_of
from introspect.report.text import cut

PANELS = {"gap": "gap = Self - Orig", "adjusted": "adjusted gap"}
MARKS = "os^vDPX<>*"
NAME = 30  # characters of the name of a study


@in_our_look
def draw_agreement(studies: Mapping[str, Mapping[str, Any]]) -> str | None:
    """An SVG file with a dot for every arm, in the color of its study: means over worlds, with the
    95 % interval of the gap.

        agreement = share of the labels trained on that are true of the model now

    Errors that can be read off words or weights are learned, on held-out items as well. Errors that
    cannot be learned average out. So dots of the first kind lie below those of the second at the
    same agreement. Arms whose labels are shuffled are left out.

    Args:
        studies: name -> study, as report/study.py describes it.
    """
    import matplotlib

    colors = matplotlib.colormaps["tab10"].colors
    figure, kinds = new_figure(4.4 + 0.2 * (len(studies) // 3)), []
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for i, (name, study) in enumerate(studies.items()):
        color, mark = colors[i % len(colors)], MARKS[i % len(MARKS)]
        kinds.append((mark, color, color, cut(name, NAME)))
        arms = [of for arm, of in study["arms"].items() if arm != "shuffled"]
        for panel, key in zip(panels, PANELS):
            for of in sorted(arms, key=lambda of: of["train"]["compatibility"]["mean"]):
                at, shown = of["train"]["compatibility"]["mean"], of[key]
                if shown["low"] is not None:
                    panel.plot([at, at], [shown["low"], shown["high"]], color=color, linewidth=1)
                panel.plot(at, shown["mean"], mark, color=color, markersize=5)
    for panel, title in zip(panels, PANELS.values()):
        panel.axhline(0, color="#999999", linewidth=0.8, zorder=0)
        panel.set_title(title, loc="left", fontsize=9)
        panel.set_xlabel("agreement of the labels trained on with the model now")
    explain(figure, kinds)
    return svg_of(figure)
