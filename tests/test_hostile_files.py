"""As test_hostile.py: what is in the files of runs and studies, and whose checkpoints they hold."""

import json
import shutil

from introspect.runs.load import read_config
from introspect.runs.stages import labels_folder, labels_key, run_key
from tests import plants
from tests.spoiled import FIRST, LAST, Case, some_and_all


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


def test_a_line_of_text_cannot_ask_for_any_amount_of_memory(place):
    """Sizes in config.json are held against what is there before anything of that size is made."""
    cases = []
    for fields in ({"n_layer": 96, "n_embd": 16384}, {"n_embd": 8192}, {"adapter_rank": 10**7},
                   {"block_size": 8192, "n_embd": 16384}, {"max_steps": 10**15}):  # fmt: skip

        def spoil(tree, fields=fields):
            path = tree / place.run / "config.json"
            description = json.loads(path.read_text())
            description["config"] |= fields
            path.write_text(json.dumps(description))
            config = read_config(tree / place.run, "")[1]
            labels = labels_folder(config, "hint", tree / "cache", "cpu")
            if not labels.exists():
                shutil.copytree(tree / place.labels, labels)
            plants.seal(labels, made_of=labels_key(config, "hint", "cpu"))
            for step in (FIRST, LAST):
                plants.seal(tree / place.steps / step, made_of=run_key(config, "cpu"))

        cases.append(Case(str(fields), spoil, place.measure))
    assert place.failures(cases) == []


def test_runs_of_a_study_that_are_not_alike_are_no_study(place):
    cases = []
    for key, value in (("labels", {}), ("labels", {"other": 1}), ("tasks", {}), ("tasks", None)):
        for at in (0, -1):

            def spoil(tree, key=key, value=value, at=at):
                path = tree / place.study / "runs.jsonl"
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                m0 = rows[at]["m0"]
                if key == "tasks":
                    part = {k: rows[at][k] for k in rows[at]} | {"known": 1, "changed": 1}
                    rows[at]["tasks"] = {"hint": part}
                    m0["tasks"] = {"other": dict(m0)} if value is None else {}
                else:
                    m0[key] = value
                path.write_text("\n".join(map(json.dumps, rows)))

            for command in (place.tabulate, place.compare):
                says = "must have the same tasks and the same labels"
                cases.append(Case(f"{key} at {at}", spoil, command, says=says))
    assert place.failures(cases) == []


def test_words_of_a_stranger_are_no_markup_in_a_report(place):
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>[a](javascript:alert(1))"

    def spoil(tree):
        for name, key in (("examples.json", "examples"), ("result.json", "versions")):
            for path in tree.glob(f"runs/*/{name}"):
                value = json.loads(path.read_text())
                part = value[key][0] if key == "examples" else value[key]
                part |= dict.fromkeys(part, evil)
                path.write_text(json.dumps(value))

    def look(tree):
        page = (tree / place.study / "report.html").read_text()
        assert "alert(1)" in page
        markup = "<script>alert", "<img src=x", 'href="javascript:'
        return [word for word in markup if word in page]

    assert place.failures([Case("markup", spoil, place.study_again, 0, look=look)]) == []
