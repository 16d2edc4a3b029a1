"""A folder of a stranger executes nothing, crashes nothing, hangs nothing and passes for no other.

Every case is one real command: it must refuse in one line with exit code 2 and leave every file as
it is, or end as if the folder were whole, where that is what the case says. Here: checkpoints.
"""

import json
import shutil

import pytest
import torch

from tests import plants
from tests.hostile import problems
from tests.spoiled import FIRST, LAST, Case, Place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("hostile"))
    yield made
    made.watch.close()


def checkpoint_cases(place, name, plant, measured=True, code=2, says=""):
    """The same plant in the only checkpoint of a run: it is measured, and it is gone on with.

    Args:
        plant: what is done with the folder of the checkpoint.
    """

    def at(tree):
        return tree / place.steps / LAST

    def measure(tree):
        place.finished_at(tree)
        plant(at(tree))

    def go_on(tree):
        place.begin_again(tree)
        plant(at(tree))

    cases = [Case(name, go_on, place.go_on, code, says)]
    says = says if code == 2 else "as in result.json"
    return cases + ([Case(name, measure, place.measure, code, says)] if measured else [])


def state_cases(place, name, edit, **more):
    """As `checkpoint_cases`, of a state that `edit` changes, or for which it returns another."""

    def plant(folder):
        state = plants.state_of(folder)
        other = edit(state)
        plants.seal(folder, state=plants.zipped(state if other is None else other))

    return checkpoint_cases(place, name, plant, **more)


def test_the_watch_notices_what_it_is_for(place):
    """Guards all tests below: a hang, a crash, a traceback, memory, and a wrong exit code."""
    folder = place.root / "empty"
    expected = {"hangs": "hangs", "raises": "traceback", "remembers": "MB more", "crashes": "SIGSEGV"}
    for program, says in expected.items():
        outcome = place.watch.run(program, [], folder, seconds=2)
        assert says in str(problems(outcome, place.watch.usual)), program
    whole = place.watch.run("eval", place.measure, place.base)
    assert problems(whole, place.watch.usual, 0, "as in result.json") == []
    assert "exit code 0" in str(problems(whole, place.watch.usual))
    refused = place.watch.run("eval", ["run", "nowhere"], folder)
    assert problems(refused, place.watch.usual, says="nowhere: must be") == []
    assert "cursor" in str(problems(refused._replace(err="refused: \x1b[2J\n"), 10**6))
    assert "in one line" in str(problems(refused._replace(err="refused: a\nrefused: b\n"), 10**6))


def test_archives_that_are_no_plain_tensors(place):
    cases = []
    for name, edit in plants.ARCHIVES.items():

        def plant(folder, edit=edit):
            plants.seal(folder, state=edit((folder / "state.pt").read_bytes()))

        code = 0 if name == "two in one" else 2  # the one that is checked is the one that is read
        cases += checkpoint_cases(place, name, plant, code=code)
    assert place.failures(cases) == [] and len(cases) > 50


def test_tensors_that_are_not_those_of_the_model(place):
    cases = []
    for name, edit in plants.TENSORS.items():

        def weight(state, edit=edit):
            state["model"]["position.weight"] = edit(state["model"]["position.weight"])

        def moment(key):
            def spoil(state, edit=edit):
                kept = state["optimizers"][0]["state"][1]
                kept[key] = edit(kept[key])

            return spoil

        cases += state_cases(place, f"weight: {name}", weight)
        for key in ("exp_avg", "exp_avg_sq"):
            more = dict(measured=False)
            cases += state_cases(place, f"{key}: {name}", moment(key), **more)
    assert place.failures(cases) == [] and len(cases) > 90


def test_other_tensors_with_the_same_numbers_do_no_harm(place):
    cases = []
    for name, edit in plants.SAME.items():

        def spoil(state, edit=edit):
            state["model"] = {k: edit(w) if w.dim() == 2 else w for k, w in state["model"].items()}
            for kept in state["optimizers"][0]["state"].values():
                kept["exp_avg"] = edit(kept["exp_avg"]) if kept["exp_avg"].dim() == 2 else kept["exp_avg"]

        cases += state_cases(place, name, spoil, code=0)

    def rates(state):
        state["optimizers"][0]["param_groups"] = [{"lr": 1e9, "params": [99]}]

    cases += state_cases(place, "param_groups", rates, code=0)
    assert place.failures(cases) == []
