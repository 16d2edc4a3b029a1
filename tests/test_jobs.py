"""How far all jobs are, said once a minute where stderr is no terminal."""

import re
from functools import partial
from itertools import count

import pytest

import eval as evaluation
import train
from introspect.lab import extras
from introspect.runs import study
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.jobs import Meter
from tests.scenarios import make_small
from tests.tiny import TINY


def test_a_meter_says_a_line_a_minute_where_stderr_is_no_terminal(capsys):
    now = [0.0]
    meter = Meter("anchor", 1000, clock=lambda: now[0])
    for second in (59, 60, 61, 119, 120):
        now[0] = second
        meter("reg of seed 0", 100)
    assert capsys.readouterr().err.splitlines() == [
        "anchor: 20% after 1 min, about 4 min to go; now reg of seed 0",
        "anchor: 50% after 2 min, about 2 min to go; now reg of seed 0",
    ]
    meter("reg of seed 0", -400)  # so many were on disk
    now[0] = 180
    meter("reg of seed 0", 0)
    assert "anchor: 83% after 3 min, about 1 min to go" in capsys.readouterr().err


def test_a_meter_does_not_guess_from_next_to_nothing(capsys):
    now = [0.0]
    meter = Meter("anchor", 10_000, clock=lambda: now[0])
    now[0] = 60
    meter("reg of seed 0", 9)
    assert capsys.readouterr().err == (
        "anchor: 0% after 1 min, how long it takes is not known yet; now reg of seed 0\n"
    )


@pytest.fixture
def impatient(monkeypatch):
    """Every call of a meter is a minute after the one before."""
    now = count(0, 60)
    for module in (study, extras):
        monkeypatch.setattr(module, "Meter", partial(Meter, clock=lambda: next(now)))


def said(text):
    """(what, share in percent, title) of every line that says how far all is."""
    line = r"(.+): (\d+)% after \d+ min, (?:about \d+ min to go|how long .* yet); now (.+)"
    return [found.groups() for found in re.finditer(f"^{line}$", text, flags=re.M)]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_study_says_how_far_it_is_also_where_workers_make_its_runs(
    jobs, impatient, tmp_path, capsys
):
    flags = [*TINY, "--seeds=1", f"--jobs={jobs}", f"--out_dir={tmp_path}"]
    assert train.main(flags) == 0
    lines = said(capsys.readouterr().err)
    assert {what for what, _, _ in lines} == {"anchor"}
    assert [int(share) for _, share, _ in lines][-1] == 100
    titles = [title for _, _, title in lines]
    assert {t: titles.count(t) for t in titles} == {  # a line before, and one an update
        "M0 of seed 0": 13, "reg of seed 0": 7, "noreg of seed 0": 7
    }


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_experiment_says_how_far_its_runs_and_its_extra_measurements_are(
    jobs, impatient, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(EXPERIMENTS, "knowledge", EXPERIMENTS["knowledge"])  # given back at the end
    make_small("knowledge")
    flags = ["--seeds=1", "--device=cpu", f"--jobs={jobs}", f"--out_dir={tmp_path}"]
    assert evaluation.main(["experiment", "knowledge", *flags]) == 0
    lines = said(capsys.readouterr().err)
    runs = [title for what, _, title in lines if what == "claims"]
    assert {t.split(" of ")[0] for t in runs} == {"M0", "pairs", "names", "shuffled"}
    rest = [(share, title) for what, share, title in lines if what == "extra measurements"]
    assert [share for share, _ in rest] == ["33", "67", "100"]
    assert all(title.startswith("probes of hint-") for _, title in rest)
