"""The committed registration is what the code runs and judges, row by row."""

import re
from pathlib import Path

from introspect.lab.claims import CLAIMS
from introspect.lab.registration import DRAWS, NAME, WORLDS, hash_registration, state
from introspect.runs.experiments import CLAIMED, EXPERIMENTS

RESULTS = Path(__file__).parents[1] / "data" / "results"
TEXT = (RESULTS / NAME).read_text()


def cells(line):
    return [re.sub("&gt;", ">", cell).replace("&lt;", "<") for cell in line[2:-2].split(" | ")]


ROWS = [cells(line) for line in TEXT.split("## Arms")[0].splitlines() if re.match(r"\| \d", line)]


def test_the_committed_registration_is_that_of_the_code():
    assert TEXT == state()


def test_every_row_that_is_judged_is_registered_in_its_order_and_wording():
    assert [(name, task, says, measured, experiment) for _, name, task, says, measured, experiment,
            *_ in ROWS] == [(c.name, c.task, c.says, c.measured, c.experiment) for c in CLAIMS]
    for (family, *_, claimed, also), claim in zip(ROWS, CLAIMS, strict=True):
        assert int(family) == claim.family
        assert also.strip() == (claim.also_name if claim.also else "")
        if claim.within:
            assert [float(end) for end in claimed.split(" to ")] == list(claim.within)
        else:
            assert claimed == ("> 0" if claim.sign > 0 else "< 0")


def test_every_arm_of_every_experiment_is_registered():
    arms = TEXT.split("## Arms")[1]
    for name in CLAIMED:
        part = arms.split(f"\n| {name} | ")[1]
        told = re.findall(r"^\|  \|  \|  \| (.+?) \|", part.split("(all)")[1], flags=re.M)
        n = len(EXPERIMENTS[name].arms)
        assert told[:n] == list(EXPERIMENTS[name].arms)


def test_the_worlds_are_those_that_are_published_and_were_never_development_seeds():
    assert WORLDS == [*range(10, 22)] and DRAWS == 2
    assert not {*WORLDS} & {*range(100, 108)} and not {*WORLDS} & {*range(10)}
    assert "python eval.py claims --seed=10 --seeds=12 --draws=2" in TEXT


def test_the_log_has_the_hash_of_the_registration():
    assert hash_registration(RESULTS) in (RESULTS / "LOG.md").read_text()
