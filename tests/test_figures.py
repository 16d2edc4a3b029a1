"""Curves against the statistics that they draw."""

import re

import numpy as np
import pytest

from introspect.report.figures import apart, curves, draw, series
from introspect.stats import interval, student_t
from tests.made_up import COUPLED, REVERSED, STEPS, Page, metrics_of, reports, result_of

pytestmark = pytest.mark.usefixtures("without_matplotlib")


def test_three_figures_with_ids_of_their_own(with_matplotlib, two_arms, tmp_path):
    text = reports(tmp_path)[1]
    ids = [value for _, name, value in Page(text).attributes if name == "id"]
    used = re.findall(r"(?:url\(|href=\")#([^)\"]+)", text)
    assert text.count("<svg") == text.count("<figure>") == 3
    first, second, third = (at.start() for at in re.finditer("<svg", text))
    assert text.index("<h2>Arms") < first < text.index("<h2>Curves")
    assert text.index("<h2>Curves") < text.index("Thin: single seeds.") < second < third
    assert text.rindex("<svg") < text.index("<h2>Numbers")
    assert len(set(ids)) == len(ids) and set(used) <= set(ids) and len(used) > 20


def test_other_numbers_give_other_curves(with_matplotlib):
    """Guards the test above, which would pass for a drawing that is always the same."""
    runs = [metrics_of(result_of("a", seed, gap)) for seed, gap in enumerate(COUPLED)]
    drawn = curves({"a": runs}, "held_out", 4)
    assert drawn == curves({"a": runs}, "held_out", 4)
    assert drawn != curves({"a": runs[:2]}, "held_out", 4)
    assert drawn != curves({"a": runs}, "train", 4)


@pytest.mark.parametrize("split", ["held_out", "train"])
def test_the_band_is_student_t_over_seeds_at_every_step(split):
    runs = [metrics_of(result_of("a", seed, gap)) for seed, gap in enumerate(COUPLED)]
    line = series(runs, "self", split)
    assert line.steps.tolist() == list(STEPS)
    for t in range(len(STEPS)):
        values = [(rows[t] if split == "held_out" else rows[t]["train"])["self"] for rows in runs]
        expected = student_t(values)
        assert line.singles[:, t].tolist() == values
        assert (line.mean[t], line.low[t], line.high[t]) == expected[:3]
    assert line.high[-1] - line.low[-1] > 0.05


def test_a_series_leaves_out_what_is_not_there():
    runs = [metrics_of(result_of("a", seed, gap)) for seed, gap in enumerate(COUPLED)]
    runs[2].pop()  # one run stops early
    runs[0][1]["preference"] = runs[1][1]["preference"] = runs[2][1]["preference"] = None
    line = series(runs, "preference", "held_out")
    ends = [rows[-1]["preference"] for rows in runs[:2]]
    assert line.mean[2] == interval(ends)["mean"] and np.isnan(line.singles[2, 2])
    assert np.isnan([line.mean[1], line.low[1], line.high[1]]).all()
    alone = series(runs[:1], "gap", "held_out")
    assert alone.mean.tolist() == [row["gap"] for row in runs[0]] and np.isnan(alone.low).all()


def test_curves_are_labeled_at_their_ends_and_share_their_scales(with_matplotlib):
    arms = {
        arm: [metrics_of(result_of(arm, seed, gap)) for seed, gap in enumerate(gaps)]
        for arm, gaps in (("first", COUPLED), ("second", REVERSED))
    }
    svg = curves(arms, "held_out", 4)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    for arm, runs in arms.items():
        for name, key in (("Self", "self"), ("Orig", "orig"), ("drift d", "drift")):
            assert f"{name} {np.mean([rows[-1][key] for rows in runs]):.3f}" in texts
        assert f"gap {np.mean([rows[-1]['gap'] for rows in runs]):+.3f}" in texts
    assert texts.count("majority 0.414") == texts.count("co-training step") == 2
    assert texts.index("first") < texts.index("second")
    assert texts.count("0.8") == 1  # upper panels; the second column has no scale of its own
    assert texts.count("0.0") == 2  # one in each row


@pytest.mark.parametrize("n_step", [1, 2])
def test_few_steps_of_one_seed_can_be_drawn(with_matplotlib, n_step, recwarn):
    svg = curves({"a": [metrics_of(result_of("a", 0, 0.2))[:n_step]]}, "held_out", 4)
    assert "Self 0.200" in svg if n_step == 1 else "Self 0.451" in svg
    assert [str(w.message) for w in recwarn] == []


class Panel:
    """Notes what is drawn on it."""

    def __init__(self):
        self.lines, self.bands = [], []

    def plot(self, steps, values, **look):
        self.lines.append((list(steps), list(values), look))

    def fill_between(self, steps, low, high, **look):
        self.bands.append((list(steps), list(low), list(high)))

    def margins(self, **_):
        pass

    locator_params = margins


@pytest.mark.parametrize("n_step", [1, 3])
def test_every_seed_the_mean_and_the_band_are_drawn(n_step):
    ends = [metrics_of(result_of("a", seed, gap))[:n_step] for seed, gap in enumerate(COUPLED)]
    panel, line = Panel(), series(ends, "gap", "held_out")
    name, height, color = draw(panel, line, "gap")
    steps = list(STEPS[:n_step])
    assert (name, height) == (f"gap {line.mean[-1]:+.3f}", line.mean[-1])
    assert panel.bands == [(steps, line.low.tolist(), line.high.tolist())]
    assert [values for _, values, _ in panel.lines] == [*line.singles.tolist(), line.mean.tolist()]
    looks = [look for _, _, look in panel.lines]
    assert all(look["color"] == color for look in looks)
    assert looks[-1]["linewidth"] > looks[0]["linewidth"]
    assert looks[-1]["marker"] == ("o" if n_step == 1 else None)


def test_scales_hold_what_can_be(with_matplotlib):
    """Gap and drift stay in -1..1 even where the band of two seeds does not; steps are whole."""
    runs = [metrics_of(result_of("a", seed, gap)) for seed, gap in enumerate((0.5, -0.5))]
    for rows in runs:
        for step, row in enumerate(rows):
            row["step"] = step
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", curves({"a": runs}, "held_out", 4))
    ticks = [float(x.replace("\u2212", "-")) for x in texts if x[-1].isdigit() and " " not in x]
    assert series(runs, "gap", "held_out").high[-1] > 5
    assert max(ticks) == 2 and min(ticks) == -1 and texts.count("0.5") == 1 and "1.5" not in texts


def test_labels_move_apart_as_little_as_they_can():
    assert apart([0.1, 0.5, 0.3], 0.1) == [0.1, 0.5, 0.3]
    assert apart([0.5, 0.5], 0.1) == [0.45, 0.55]
    rng = np.random.default_rng(0)
    for _ in range(200):
        heights = rng.random(4).tolist()
        moved = np.array(apart(heights, 0.2))
        order = np.argsort(heights)
        assert (np.diff(moved[order]) > 0.2 - 1e-9).all()
        assert moved.mean() == pytest.approx(np.mean(heights), abs=1e-9)
        spread = np.arange(4) * 0.2  # any other placing that keeps order and distance is farther
        other = np.empty(4)
        other[order] = spread + np.mean(heights) - spread.mean()
        assert np.sum((moved - heights) ** 2) <= np.sum((other - heights) ** 2) + 1e-9
