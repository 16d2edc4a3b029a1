"""The number of every claim is what its words say, of made-up runs of its arms alone."""

from functools import cache

import numpy as np
import pytest

from introspect.lab.claims import CLAIMS
from introspect.lab.quantities import value
from introspect.runs.study import Missing, Run, Runs
from tests.cases import each
from tests.made_runs import make_runs
from tests.told import WORDS, own, second, told


def named(claim):
    return f"{claim.name} {claim.measured} on {claim.task}"


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory):
    """(experiment, task) -> its made-up runs."""
    folder = tmp_path_factory.mktemp("runs")
    return cache(lambda experiment, task: make_runs(experiment, task, folder))


@each("claim", CLAIMS, named)
def test_a_claim_can_be_computed_from_the_arms_of_its_experiment_alone(claim, runs_of):
    number = claim.value(runs_of(claim.experiment, claim.task))
    assert isinstance(number, float)
    assert number == number or claim.within or "tracking" in claim.measured  # may have no item


def test_a_wrong_arm_or_key_would_be_seen(runs_of):
    """Guards the test above."""
    with pytest.raises(Missing):
        value("rge", "gap")(runs_of("anchor", "hint"))
    with pytest.raises(KeyError):
        value("reg", "gpa")(runs_of("anchor", "hint"))


@each("claim", [c for c in CLAIMS if "agreement at which" not in c.measured], named)
def test_the_number_of_a_claim_is_what_its_words_say(claim, runs_of):
    runs = runs_of(claim.experiment, claim.task)
    mine = pytest.approx(told(claim.measured)(runs), abs=1e-7, nan_ok=True)
    assert claim.value(runs) == mine


@each("claim", [c for c in CLAIMS if c.also], named)
def test_what_has_to_lean_to_the_same_side_is_adjusted_for_frequencies_or_for_truth(claim, runs_of):
    runs = runs_of(claim.experiment, claim.task)
    assert claim.also(runs) == pytest.approx(second(claim)(runs))


def test_all_words_written_here_are_those_of_a_claim():
    assert WORDS.keys() <= {claim.measured for claim in CLAIMS}


@each("last_above", range(4))
def test_the_agreement_that_is_needed_is_read_along_the_dial_of_turned_labels(last_above, runs_of):
    """The gap is 0.3 until an arm, and then -0.1: zero at three quarters of the way to the next."""
    (claim,) = [c for c in CLAIMS if c.measured == "agreement at which the gap is 0"]
    runs = Runs(runs_of("disagreement", "hint"))
    arms, agreement = ["reg", *(f"turned-0.{i}" for i in range(1, 5))], [0.95, 0.9, 0.8, 0.6, 0.5]
    for number, (arm, at) in enumerate(zip(arms, agreement)):
        result = {"gap": 0.3 if number <= last_above else -0.1, "train": {"compatibility": at}}
        runs[arm] = Run(result, None)
    here, after = agreement[last_above : last_above + 2]
    assert claim.value(runs) == pytest.approx(here + 0.75 * (after - here))
    nowhere = {arm: Run(run.result | {"gap": 0.1}, None) for arm, run in runs.items()}
    assert np.isnan(claim.value(nowhere))
    upwards = {arm: Run(run.result | {"gap": -run.result["gap"]}, None) for arm, run in runs.items()
               if arm != "shuffled"}
    assert np.isnan(claim.value(upwards))


def test_past_stands_beside_every_gap_with_labels_of_others_and_beside_no_other(runs_of):
    rows = [claim for claim in CLAIMS if claim.beside]
    about = [c for c in CLAIMS if c.name in ("C6", "C7")]
    gaps = {c.measured for c in about if c.measured.startswith("gap of")}
    assert {claim.measured for claim in rows} == gaps and len(rows) == 7
    for claim in rows:
        runs, arm = runs_of(claim.experiment, claim.task), claim.measured.removeprefix("gap of ")
        expected = own(runs, arm, "self") - own(runs, arm, "controls", "own")
        assert claim.beside(runs) == expected != claim.value(runs)
