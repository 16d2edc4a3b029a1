"""As test_hostile.py: the texts of a folder, files of score, tasks that are files, and names."""

import json
import os
import py_compile
import shutil

from tests import plants
from tests.hostile import CANARY
from tests.own import SMALL, SOURCE
from tests.spoiled import Case, some_and_all

EVIL = SOURCE + f"\nopen({CANARY!r}, 'w').close()\n"


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
    place.check(cases, 2 * every, 400)
    place.check(text_cases(place, path, place.go_on, None), 4 * every, 400)


@some_and_all
def test_the_result_of_a_run(place, every):
    """A forged number in it is pointed out, where the run is measured again."""
    path = place.run / "result.json"
    place.check(text_cases(place, path, place.measure, None), 4 * every, 400)
    place.check(text_cases(place, path, place.study_again, None), 4 * every, 400)


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


def test_a_file_that_a_folder_names_as_its_task_is_not_run(place):
    """Also where its hash is right; and the canary sings where the user names the file."""
    cases = []

    def named(spec, source=True):
        def spoil(tree):
            from introspect.runs.build import sources

            (tree / "evil.py").write_text(EVIL)
            (tree / "torch.py").write_text(EVIL)
            path = tree / place.run / "config.json"
            config = json.loads(path.read_text())
            config["config"]["task"] = spec
            if source:
                full = spec.replace("evil.py", str(tree / "evil.py"))
                config["source"] = sources(full).replace(str(tree / "evil.py"), "evil.py")
            path.write_text(json.dumps(config))
            lines = [json.loads(line) for line in (tree / place.study / "runs.jsonl").open()]
            text = [json.dumps(line | {"task": spec}) for line in lines]
            (tree / place.study / "runs.jsonl").write_text("\n".join(text))

        return spoil

    for spec in ("evil.py:Weather", "hint+evil.py:Weather", "evil.py:Weather+hint", "./evil.py:W"):
        for command in (place.measure, place.tabulate, place.compare):
            cases.append(Case(spec, named(spec, spec != "./evil.py:W"), command, says="name it"))
        other = [*place.measure, "--task=other.py:Weather"]
        cases.append(Case(spec, named(spec, spec != "./evil.py:W"), other, says="name it"))
    for spec in ("evil", ":", "", "evil.py", "os:system", "a\0b.py:C", "\x1b[2J.py:C", "/:x"):
        for command in (place.measure, place.tabulate):
            cases.append(Case(repr(spec), named(spec, False), command))
    assert place.failures(cases) == []
    sung = Case("", named("evil.py:Weather"), [*place.measure, "--task=evil.py:Weather"])
    assert "executes what was planted" in str(place.failures([sung]))


def test_beside_a_file_that_the_user_names_nothing_else_is_run(place):
    """A folder or a compiled file of its name could be imported in its place."""

    def plant(kind):
        def spoil(tree):
            (tree / "evil.py").write_text(SOURCE)
            evil = tree / "evil" / "__init__.py"
            evil.parent.mkdir()
            evil.write_text(EVIL)
            if kind == "compiled":
                source = tree / "evil.py"
                source.write_text(EVIL)
                py_compile.compile(str(source))
                stat = source.stat()
                source.write_text(SOURCE + "#" * (len(EVIL) - len(SOURCE)))
                os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
                shutil.rmtree(evil.parent)

        return spoil

    named = ["single/run", "--task=evil.py:Weather", *SMALL, "--n_place=1"]
    cases = [
        Case("a folder", plant("folder"), named, says="there is another module evil"),
        Case("compiled", plant("compiled"), named, says="--n_place=1: must be"),
    ]
    failed = place.failures(cases)
    assert [line for line in failed if "changes the folder" not in line] == []


def test_names_of_folders_cannot_speak_to_the_terminal(place):
    def moved(name):
        return lambda tree: (tree / place.run).rename(tree / "runs" / name)

    cases = []
    for name in ("\x1b[2J", "a\nrefused: b", "a\rb", "\u202egnp", "-rf", "\udcff"):
        broken = ["run", f"runs/{name}/checkpoints"]
        cases += [Case(repr(name), moved(name), ["run", f"runs/{name}"], 0, "as in result.json")]
        cases += [Case(repr(name), moved(name), broken)]
    for name in ("a" * 300, "\x1b[2J", "a\nb", "", "a" * 5000, "/dev/null", "/dev/zero/x"):
        cases.append(Case(repr(name)[:20], lambda tree: None, ["run", name]))
        cases.append(Case(repr(name)[:20], lambda tree: None, ["score", name]))
    assert place.failures(cases) == []


LINE = b'{"explanation": "a", "current": "a", "original": "b"}\n'
SCORES = {
    "sparse": "ten gigabytes",
    "zeros": "zeros without end",
    "pipe": "pipe",
    "folder": "folder",
    "loop": "loop",
    "dangling": "dangling link",
    "long line": LINE[:-3] + b"b" * 2**21 + b'"}\n',
    "not UTF-8": LINE + LINE.replace(b"b", b"\xff"),
    "UTF-16": LINE.decode().encode("utf-16"),
    "list": LINE + b"[1]\n",
    "deep": LINE + b"[" * 10**5 + b"\n",
    "deep value": LINE.replace(b'"b"', b"[" * 10**5),
    "NaN": LINE.replace(b'"b"', b"NaN"),
    "infinite": LINE.replace(b'"b"', b"1e999"),
    "many digits": LINE.replace(b'"b"', b"9" * 5000),
    "null": LINE.replace(b'"b"', b"null"),
    "an object": LINE.replace(b'"b"', b"{}"),
    "mixed": LINE + LINE.replace(b"}", b', "group": 1}'),
    "items twice": LINE.replace(b"}", b', "item": "\x1b[2J"}') * 2,
    "escape": LINE.replace(b"}", b', "\\u001b[2J": 1}'),
    "runs": b"".join(LINE.replace(b"}", b', "run": %d}' % i) for i in range(1200)),
    "empty": b"",
    "blank": b"\n\n",
    "zero bytes": bytes(2**21),
    "key twice": LINE.replace(b"}", b', "current": 1}'),
    "half a character": LINE.replace(b'"b"', b'"\\ud800"').replace(b"}", b', "group": "\\ud800["}')
    + LINE,
}


def test_files_of_score(place):
    cases = []
    for name, content in SCORES.items():

        def spoil(tree, content=content):
            if isinstance(content, bytes):
                (tree / "lines").write_bytes(content)
            else:
                plants.other_file(tree / "lines", content)

        cases.append(Case(name, spoil, ["score", "lines"]))
    for name in ("\\u001b[2J", "\\ud800", "\\n\\r", "a" * 10**5):
        run = LINE.decode().replace("}", f', "run": "{name}"}}') * 30

        def spoil(tree, run=run):
            (tree / "lines").write_text(run + run.replace(name, "other"))

        cases.append(Case(f"run {name[:9]}", spoil, ["score", "lines"], 0))
    assert place.failures(cases) == []
