"""A folder of a stranger executes nothing, crashes nothing, hangs nothing and passes for no other.

Every case is one real command: it must refuse in one line with exit code 2 and leave every file as
it is, or end as if the folder were whole, where that is what the case says. Here: checkpoints.
"""

import json

import torch

from tests import plants
from tests.hostile import problems
from tests.spoiled import FIRST, LAST, Case, some_and_all


def checkpoint_cases(place, name, plant, measured=True, code=2, says=""):
    """The same plant in the only checkpoint of a run: it is measured, and it is gone on with.

    Args:
        plant: what is done with the folder of the checkpoint.
    """

    def at(tree):
        return tree / place.steps / LAST

    def measure(tree):
        place.leave_checkpoints(tree)
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
    expected = {"hangs": "hangs", "raises": "traceback", "remembers": "MB more"}
    for program, says in (expected | {"crashes": "SIGSEGV"}).items():
        outcome = place.watch.run(program, [], folder, seconds=2)
        assert says in str(problems(outcome, place.watch.usual)), program
    whole = place.watch.run("eval", place.measure, place.base)
    assert problems(whole, place.watch.usual, 0, "as in result.json") == []
    assert "exit code 0" in str(problems(whole, place.watch.usual))
    refused = place.watch.run("eval", ["run", "nowhere"], folder)
    assert problems(refused, place.watch.usual, says="nowhere: must be") == []
    assert "cursor" in str(problems(refused._replace(err="refused: \x1b[2J\n"), 10**6))
    assert "in one line" in str(problems(refused._replace(err="refused: a\nrefused: b\n"), 10**6))


@some_and_all
def test_archives_that_are_no_plain_tensors(place, every):
    cases = []
    for name, edit in plants.ARCHIVES.items():

        def plant(folder, edit=edit):
            plants.seal(folder, state=edit((folder / "state.pt").read_bytes()))

        code = 0 if name == "two in one" else 2  # the one that is checked is the one that is read
        cases += checkpoint_cases(place, name, plant, code=code)
    place.check(cases, every, 50)


@some_and_all
def test_tensors_that_are_not_those_of_the_model(place, every):
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
    place.check(cases, every, 90)


def test_other_tensors_with_the_same_numbers_do_no_harm(place):
    cases = []
    for name, edit in plants.SAME.items():

        def spoil(state, edit=edit):
            parts = (state["model"], *state["optimizers"][0]["state"].values())
            for part, key in [(part, key) for part in parts for key in part]:
                if part[key].dim() == 2:
                    part[key] = edit(part[key])

        cases += state_cases(place, name, spoil, code=0)

    def rates(state):
        state["optimizers"][0]["param_groups"] = [{"lr": 1e9, "params": [99]}]

    cases += state_cases(place, "param_groups", rates, code=0)
    place.check(cases, 1, 1)


def drop(key):
    def edit(state):
        del at(state, key)[key[-1]]

    return edit


def put(value, *key):
    def edit(state):
        at(state, key)[key[-1]] = value

    return edit


def at(state, key):
    for part in key[:-1]:
        state = state[part]
    return state


KEPT = ("optimizers", 0, "state", 1)
STRUCTURES = {  # of a state
    "list": lambda _: [1],
    "nothing": lambda _: {},
    "no optimizers": drop(("optimizers",)),
    "more": put(1, "more"),
    "model is a list": put([], "model"),
    "a weight is missing": drop(("model", "norm.weight")),
    "a weight more": put(torch.zeros(3), "model", "other.weight"),
    "names are numbers": put({1: torch.zeros(2)}, "model"),
    "no optimizer": put([], "optimizers"),
    "optimizers by name": put({0: {}}, "optimizers"),
    "an optimizer is null": put(None, "optimizers", 0),
    "no state": drop(("optimizers", 0, "state")),
    "state is a list": put([], "optimizers", 0, "state"),
    "a state of no weight": put({}, "optimizers", 0, "state", 99),
    "states by text": put({"0": {}}, "optimizers", 0, "state"),
    "a state is missing": drop(KEPT),
    "a state is a list": put([], *KEPT),
    "no moment": drop((*KEPT, "exp_avg")),
    "a moment more": put(torch.zeros(2), *KEPT, "max_exp_avg_sq"),
    "of another optimizer": put({"momentum_buffer": torch.zeros(2)}, *KEPT),
    "another step": put(torch.tensor(5.0), *KEPT, "step"),
    "step of two numbers": put(torch.ones(2) * 6, *KEPT, "step"),
    "step in double": put(torch.tensor(6.0).double(), *KEPT, "step"),
    "step is no number": put(torch.tensor(float("nan")), *KEPT, "step"),
    "step is whole": put(6, *KEPT, "step"),
}


@some_and_all
def test_states_of_another_structure(place, every):
    cases = []
    for name, edit in STRUCTURES.items():
        measured = name in list(STRUCTURES)[:8] and "optimizers" not in name and name != "more"
        cases += state_cases(place, name, edit, measured=measured)

    def negative(state):
        state["optimizers"][0]["state"][1]["exp_avg_sq"][0, 0] = -1e-9

    cases += state_cases(place, "negative square", negative, measured=False)
    place.check(cases, every, 30)


@some_and_all
def test_manifests_and_what_is_beside_the_tensors(place, every):
    """meta.json with a seal that holds, and manifest.json itself."""
    meta = place.read(place.steps / LAST / "meta.json")
    manifest = place.read(place.steps / LAST / "manifest.json")
    metas = dict(plants.NOT_JSON)
    for path in (("step",), ("rows",), ("seconds",), ("rows", 0), ("rows", 1, "self"),
                 ("rows", 1, "train"), ("rows", 1, "step"), ("rows", 3, "step")):  # fmt: skip
        for name, value in plants.VALUES.items():
            if not (path[-1] in ("seconds", "self") and name in ("negative", "fraction")):
                key = ".".join(map(str, path))
                metas[f"{key}: {name}"] = json.dumps(plants.changed(meta, path, value)).encode()
    metas["one row more"] = json.dumps(meta | {"rows": [*meta["rows"], meta["rows"][-1]]}).encode()
    metas["a row less"] = json.dumps(meta | {"rows": meta["rows"][1:]}).encode()
    metas["only the last"] = json.dumps(meta | {"rows": meta["rows"][-1:]}).encode()
    cases = []
    for name, data in metas.items():
        cases += checkpoint_cases(
            place, f"meta, {name}", lambda folder, data=data: plants.seal(folder, meta=data)
        )[:: 1 if name in plants.NOT_JSON else 2]
    manifests = dict(plants.NOT_JSON)
    for path in plants.leaves(manifest):
        for name, value in [*plants.VALUES.items(), ("not there", plants.leaves)]:
            key = ".".join(map(str, path))
            manifests[f"{key}: {name}"] = json.dumps(plants.changed(manifest, path, value)).encode()
    for name, data in manifests.items():
        cases += checkpoint_cases(
            place,
            f"manifest, {name}",
            lambda folder, data=data: (folder / "manifest.json").write_bytes(data),
        )[:1]
    place.check(cases, every, 150)


@some_and_all
def test_links_pipes_and_folders_in_the_place_of_files(place, every):
    cases = []
    for kind in plants.OTHER_FILES:
        for file in ("state.pt", "meta.json", "manifest.json"):

            def plant(folder, kind=kind, file=file):
                plants.other_file(folder / file, kind)

            cases += checkpoint_cases(place, f"{file} is {kind}", plant)
        m0, labels = place.m0 / "step-000012" / "state.pt", place.labels / "state.pt"
        for file in (m0, labels, place.labels):

            def cached(tree, kind=kind, file=file):
                place.begin_again(tree)
                plants.other_file(tree / file, kind)

            remade = file == place.labels and kind == "not there"
            cases.append(Case(f"{file} is {kind}", cached, place.go_on, 0 if remade else 2))
        for file in ("config.json", "result.json", "checkpoints"):

            def own(tree, kind=kind, file=file):
                plants.other_file(tree / place.run / file, kind)

            fine = file == "result.json" and kind in ("not there", "dangling link", "loop")
            cases.append(
                Case(f"{file} is {kind}", own, place.measure, 0 if fine else 2)
            )
        if kind not in ("folder", "not there", "link to a folder"):
            cases.append(
                Case(
                    f"checkpoint is {kind}",
                    lambda tree, kind=kind: (
                        place.begin_again(tree),
                        plants.other_file(tree / place.steps / LAST, kind),
                    ),
                    place.go_on,
                )
            )
    place.check(cases, every, 80)


def test_the_older_whole_checkpoint_is_gone_on_with_and_the_end_is_the_same(place):
    """With a warning in one line, where the last one is damaged and the one before it is not."""
    cases = []

    def spoil(plant):
        def both(tree):
            place.begin_again(tree, keep=(FIRST, LAST))
            plant(tree / place.steps / LAST)

        return both

    for name in ("payload", "escape", "a billion bytes", "bomb", "half", "nothing", "packed"):

        def plant(folder, edit=plants.ARCHIVES[name]):
            plants.seal(folder, state=edit((folder / "state.pt").read_bytes()))

        cases.append(Case(name, spoil(plant), place.go_on, 0, "trying the one before"))
    for kind in plants.OTHER_FILES:

        def plant(folder, kind=kind):
            plants.other_file(folder / "state.pt", kind)

        if kind != "folder":  # a folder in it is removed with it
            cases.append(Case(kind, spoil(plant), place.go_on, 0, "trying the one before"))
    place.check(cases, 1, 1)
