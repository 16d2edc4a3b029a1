"""As test_hostile.py: the texts of a folder, files of score, tasks that are files, and names."""

import json

import pytest

from tests import plants
from tests.hostile import CANARY
from tests.own import SOURCE
from tests.spoiled import Case, Place, some_and_all

EVIL = SOURCE + f"\nopen({CANARY!r}, 'w').close()\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("hostile"))
    yield made
    made.watch.close()


def texts_of(value):
    """(name, text) of everything that is no such JSON value, and of it with each key changed."""
    yield from plants.NOT_JSON.items()
    for path in plants.leaves(value):
        for name, new in [*plants.VALUES.items(), ("not there", plants.leaves)]:
            text = json.dumps(plants.changed(value, path, new))
            yield f"{'.'.join(map(str, path))}: {name}", text.encode()


def text_cases(place, path, command, code=2, lines=False):
    """Each of these texts in the place of a file, or of the first of its lines."""
    cases = []
    for name, text in texts_of(place.read(path)):

        def spoil(tree, text=text):
            rest = (tree / path).read_bytes().splitlines()[1:] if lines else []
            (tree / path).write_bytes(b"\n".join([text, *rest]))

        cases.append(Case(f"{path.name}, {name}", spoil, command, code))
    return cases


@some_and_all
def test_the_configuration_of_a_run(place, every):
    path = place.run / "config.json"
    cases = text_cases(place, path, place.measure, None)
    place.check(cases, every, 400)
    place.check(text_cases(place, path, place.go_on, None), 2 * every, 400)


@some_and_all
def test_the_result_of_a_run(place, every):
    """A forged number in it is pointed out, where the run is measured again."""
    path = place.run / "result.json"
    place.check(text_cases(place, path, place.measure, None), 2 * every, 400)
    place.check(text_cases(place, path, place.study_again, None), 2 * every, 400)


@some_and_all
def test_the_lines_of_a_study(place, every):
    path = place.study / "runs.jsonl"
    place.check(text_cases(place, path, place.tabulate, None, lines=True), every, 400)
    place.check(text_cases(place, path, place.compare, None, lines=True), 4 * every, 400)


@some_and_all
def test_what_a_report_is_made_of(place, every):
    cases = []
    for name in ("metrics.jsonl", "examples.json"):
        path = place.run / name
        cases += text_cases(place, path, place.study_again, None, lines=name == "metrics.jsonl")
    place.check(cases, 3 * every, 400)
