"""As test_hostile.py: what is in the files of runs and studies, and whose checkpoints they hold."""

import json
import shutil

import pytest

from tests import plants
from tests.spoiled import FIRST, LAST, Case, Place, some_and_all


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("hostile"))
    yield made
    made.watch.close()


def copy(tree, source, target):
    shutil.rmtree(tree / target, ignore_errors=True)
    shutil.copytree(tree / source, tree / target)


def test_what_is_of_another_run_is_not_taken_for_this_one(place):
    mine, theirs = place.steps, place.other / "checkpoints"

    def begin(*copies, keep=(LAST,)):
        def spoil(tree):
            for source, target in copies:
                copy(tree, source, target)
            place.begin_again(tree, keep=keep)

        return spoil

    def result(tree):
        shutil.copy(tree / place.other / "result.json", tree / place.run / "result.json")

    def sealed(tree):
        """Another M0 under the hash of this one, as one would forge it."""
        place.begin_again(tree, keep=())
        made_of = json.loads((tree / place.m0 / "step-000012/manifest.json").read_text())["made_of"]
        copy(tree, place.other_m0, place.m0)
        plants.seal(tree / place.m0 / "step-000012", made_of=made_of[::-1])

    def renamed(tree):
        place.begin_again(tree, keep=(FIRST,))
        (tree / place.steps / FIRST).rename(tree / place.steps / LAST)

    def later(tree):
        """A step that this run never reaches, with everything in it in keeping."""
        place.begin_again(tree)
        folder = tree / place.steps / LAST
        meta, state = json.loads((folder / "meta.json").read_text()), plants.state_of(folder)
        meta["step"] = meta["rows"][-1]["step"] = 8
        for kept in state["optimizers"][0]["state"].values():
            kept["step"] += 2
        plants.seal(folder, state=plants.zipped(state), meta=json.dumps(meta).encode())
        folder.rename(folder.with_name("step-000008"))

    def extra(tree):
        """A step between two evaluations."""
        place.begin_again(tree, keep=(FIRST,))
        folder = tree / place.steps / FIRST
        meta, state = json.loads((folder / "meta.json").read_text()), plants.state_of(folder)
        meta["step"] = meta["rows"][-1]["step"] = 5
        for kept in state["optimizers"][0]["state"].values():
            kept["step"] += 1
        plants.seal(folder, state=plants.zipped(state), meta=json.dumps(meta).encode())
        folder.rename(folder.with_name("step-000005"))

    def config(tree):
        shutil.copy(tree / place.other / "config.json", tree / place.run / "config.json")

    cases = [
        Case("checkpoints", begin((theirs, mine)), place.go_on, says="must be of this config"),
        Case("checkpoints", begin((theirs, mine)), place.measure, says="must be of this config"),
        Case("M0", begin((place.other_m0, place.m0), keep=()), place.go_on, says="must be of this"),
        Case("forged M0", sealed, place.go_on, says="must be of this configuration"),
        Case("labels", begin((place.other_labels, place.labels)), place.go_on, says="must be of"),
        Case("labels", begin((place.other_labels, place.labels)), place.measure, says="must be of"),
        Case("M0 as a run", begin((place.m0 / "step-000012", mine / LAST)), place.go_on),
        Case("labels as a run", begin((place.labels, mine / LAST)), place.go_on),
        Case("a run as M0", begin((mine / LAST, place.m0 / "step-000012"), keep=()), place.go_on),
        Case("a run as labels", begin((mine / LAST, place.labels)), place.go_on),
        Case("result", result, place.go_on, says="is the result of another configuration"),
        Case("result", result, place.measure, says="is the result of another configuration"),
        Case("another name", renamed, place.go_on, says="holds step 4"),
        Case("a later step", later, place.go_on, says="must have the evaluations of this run"),
        Case("a later step", later, place.measure, says="must have the evaluations of this run"),
        Case("a step between", extra, place.go_on, says="must have the evaluations of this run"),
        Case("configuration", config, place.measure, says="must be of this configuration"),
        Case("configuration", config, place.go_on, says="holds another run"),
    ]  # fmt: skip
    place.check(cases, 1, 1)


def cached_cases(place, name, folder, edit):
    """A plant in the state of a cached folder, which a run needs that begins from it."""

    def spoil(tree):
        place.begin_again(tree, keep=(FIRST,) if folder == place.labels else ())
        target = tree / folder
        state = plants.state_of(target)
        other = edit(state)
        plants.seal(target, state=plants.zipped(state if other is None else other))

    return Case(name, spoil, place.go_on)


@some_and_all
def test_m0_and_labels_of_strangers(place, every):
    cases, m0 = [], place.m0 / "step-000012"
    for name, edit in plants.TENSORS.items():

        def muon(state, edit=edit):
            kept = state["optimizers"][0]["state"][0]
            kept["momentum_buffer"] = edit(kept["momentum_buffer"])

        def adamw(state, edit=edit):
            kept = state["optimizers"][1]["state"][1]
            kept["exp_avg_sq"] = edit(kept["exp_avg_sq"])

        def weight(state, edit=edit):
            state["model"]["token.weight"] = edit(state["model"]["token.weight"])

        def reference(state, edit=edit):
            state["reference"] = edit(state["reference"])

        def original(state, edit=edit):
            state["original"] = state["original"] if edit is whole else edit(state["original"])
            if edit is whole:
                state["original"] += 99

        whole = plants.TENSORS["whole numbers"]
        for where, what in ((m0, muon), (m0, adamw), (m0, weight)):
            cases.append(cached_cases(place, f"{what.__name__}: {name}", where, what))
        for what in (reference, original):
            cases.append(cached_cases(place, f"{what.__name__}: {name}", place.labels, what))
    for name, value in (("negative", -1), ("too large", 5), ("moved", None)):

        def spoil(state, value=value):
            state["targets"] = state["targets"].clone()
            state["targets"][0, 0] = (state["targets"][0, 0] + 1) % 4 if value is None else value

        cases.append(cached_cases(place, f"label {name}", place.labels, spoil))
    for name in ("payload", "a billion bytes", "bomb", "overlapping", "half", "old format"):
        for where in (m0, place.labels):

            def archive(tree, where=where, edit=plants.ARCHIVES[name]):
                place.begin_again(tree, keep=(FIRST,) if where == place.labels else ())
                data = (tree / where / "state.pt").read_bytes()
                plants.seal(tree / where, state=edit(data))

            cases.append(Case(f"{where}: {name}", archive, place.go_on))
    place.check(cases, every, 100)
