"""The picture of gaps against how many labels are true."""

import pytest

import eval as evaluation
import train
from introspect.report import agreement
from introspect.report.agreement import draw_agreement
from tests.made_up import Page
from tests.own import refusal_of
from tests.tiny import TINY, run_folder

pytest.importorskip("matplotlib")


def study_of(shares, gaps):
    """arm -> a mean gap with an interval, at this agreement on training items."""
    arms = {
        arm: {
            "train": {"compatibility": {"mean": at}},
            "gap": {"mean": gap, "low": gap - 0.05, "high": gap + 0.05},
            "adjusted": {"mean": gap + 0.01, "low": gap, "high": None if arm == "one" else gap},
        }
        for (arm, at), gap in zip(shares.items(), gaps)
    }
    arms["one"]["adjusted"]["low"] = None  # of a single world
    return {"arms": arms}


STUDIES = {
    "noise": study_of({"one": 0.9, "noise-0.5": 0.4, "shuffled": 0.2}, (0.2, 0.1, -0.1)),
    "turned": study_of({"one": 0.9, "turned-0.4": 0.55}, (0.2, -0.1)),
}


def test_a_dot_is_the_mean_of_an_arm_at_its_agreement_and_a_bar_its_interval(monkeypatch):
    monkeypatch.setattr(agreement, "svg_of", lambda figure: figure)
    figure = draw_agreement(STUDIES)
    for panel, more, n_bar in zip(figure.axes, (0.0, 0.01), (4, 2)):
        lines = [line.get_xydata().tolist() for line in panel.lines]
        dots = [line[0] for line in lines if len(line) == 1]
        flat = [x for dot in ([0.4, 0.1 + more], [0.9, 0.2 + more], [0.55, -0.1 + more],
                              [0.9, 0.2 + more]) for x in dot]
        assert [x for dot in dots for x in dot] == pytest.approx(flat)  # nothing of shuffled
        bars = [line for line in lines if len(line) == 2 and line[0][0] == line[1][0] > 0]
        assert len(bars) == n_bar
    assert list(figure.axes[0].lines[0].get_ydata()) == pytest.approx([0.05, 0.15])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == list(STUDIES)


def test_the_picture_is_words_and_the_same_for_the_same_numbers():
    drawn = draw_agreement(STUDIES)
    assert drawn == draw_agreement(STUDIES) != draw_agreement({"noise": STUDIES["noise"]})
    assert "agreement of the labels trained on with the model now" in Page(drawn).text


def test_the_command_draws_studies_and_refuses_anything_else(tmp_path, capsys):
    folders, out = [f"data/results/{name}" for name in ("anchor", "reach")], tmp_path / "all.svg"
    assert evaluation.main(["run", *folders, f"--picture={out}"]) == 0
    assert "anchor" in capsys.readouterr().out and out.read_text().count("<svg") == 1
    wrong = ["run", *folders, str(tmp_path), f"--picture={out}"]
    refusal_of(lambda: evaluation.main(wrong), "draws studies", "is none")
    wrong = ["run", *folders, f"--picture={tmp_path / 'all.png'}"]
    refusal_of(lambda: evaluation.main(wrong), "must end in .svg")


def test_a_run_is_no_study(tmp_path):
    train.main(["anchor/reg", *TINY, f"--out_dir={tmp_path}"])
    run = str(run_folder(tmp_path))
    wrong = ["run", run, f"--picture={tmp_path / 'all.svg'}"]
    refusal_of(lambda: evaluation.main(wrong), "draws studies", run)
