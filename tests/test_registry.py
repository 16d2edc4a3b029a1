"""From the name of a task to its world, and a task of one's own in a file, right and wrong."""

import subprocess
import sys

import numpy as np
import pytest

from introspect.runs.build import build, worlds_of
from introspect.runs.cli import parse
from introspect.tasks import TASKS
from introspect.tasks.hint import Hint
from introspect.tasks.registry import find_tasks, joint_answers, prompt_texts
from introspect.tokenizer import names
from tests.own import OWN, ROOT, SOURCE, edited, refusal_of

# --- names ---


def test_built_in_tasks_are_found_in_the_order_of_their_names():
    assert list(find_tasks("refusal+hint").items()) == [
        ("refusal", TASKS["refusal"]),
        ("hint", TASKS["hint"]),
    ]
    assert find_tasks("hint") == {"hint": Hint}


@pytest.mark.parametrize(
    "spec, says",
    [
        (
            "hnit",
            "--task=hnit: must be of hint, verdict, refusal, rules, jabberwocky, or FILE.py:CLASS"
            " (did you mean hint?)",
        ),
        ("hint+refusl", "(did you mean refusal?)"),
        ("hint+hint", "--task=hint+hint: names a task twice"),
        ("hint+rules+hint", "names a task twice"),
        ("", "--task=: must be of"),
        ("hint+", "--task=: must be of"),
        ("+", "names a task twice"),
        ("weather.py", "--task=weather.py: must be of"),
        ("Hint", "(did you mean hint?)"),
    ],
)
def test_a_name_of_no_task_is_refused(own, spec, says):
    refusal_of(lambda: find_tasks(spec), says)


def test_a_name_like_no_other_gets_no_suggestion():
    assert "did you mean" not in refusal_of(lambda: find_tasks("qqq"))


# --- a task in a file ---


def test_a_task_in_a_file_is_found_and_its_world_built(own):
    ((name, task),) = find_tasks(OWN).items()
    assert name == OWN and (task.__module__, task.__name__) == ("weather", "Weather")
    ((name, world),) = worlds_of(build({OWN: task}, {"n_place": 5, "world_seed": 3})).items()
    assert name == OWN and world.n_subject == 5
    texts = [names()[4] + cue for cue in ("", " wet", " dry")]
    assert [world.text(4, v) for v in range(3)] == texts
    assert world.ideal[:, 0, 1].tolist() == np.random.default_rng(3).random(5).tolist()


def test_a_file_is_found_by_any_path_to_it_and_beside_other_tasks(own):
    (own / "deep:er").mkdir()
    (own / "deep:er" / "other.py").write_text(SOURCE)
    spec = f"{own / 'weather.py'}:Weather+hint+deep:er/other.py:Weather"
    first, hint, second = find_tasks(spec).values()
    assert hint is Hint and (first.__module__, second.__module__) == ("weather", "other")


# --- a file that is wrong ---

FILE_WRONG = [  # what is replaced in the file, by what, and what the line has to say
    ("(self, seed):", "(self, seed)", "weather.py, line {line}: SyntaxError: "),
    (
        "import numpy as np",
        "import nunpy as np",
        "weather.py, line {line}: ModuleNotFoundError: No module named 'nunpy'",
    ),
    ("\n@dataclass", "\n1 / 0\n@dataclass", "weather.py, line {line}: ZeroDivisionError: division"),
    ("\n@dataclass", "\nraise OSError('a\\n b')\n@dataclass", "line {line}: OSError: a b"),
    ("class Weather", "class Whether", "must have a dataclass Weather; it has Whether"),
    (
        "class Weather:",
        "class Whether:\n    pass\n\n\nWeather = 3\n\n\nclass Other:",
        "must have a dataclass Weather",
    ),
    ("@dataclass(frozen=True)\n", "", "must have a dataclass Weather"),
    ("(frozen=True)", "", "must be frozen, @dataclass(frozen=True)"),
    ("def world", "def word", "must have a method world(self, seed)"),
    ("    def world(", "    world = 3\n\n    def other(", "must have a method world(self, seed)"),
    (
        'int = option(12, "places, one name each", 2)',
        "int",
        "n_place must have a default, as in option(",
    ),
    (
        'option(0.5, "how much a word tells", 0, 1)',
        "0.5",
        "strength must be made by option(default, 'meaning')",
    ),
    ("strength: float", "strength: list", "strength must be an int, float, str or bool"),
    ("strength: float", "strength: 'float'", "strength must be an int, float, str or bool"),
    (
        "from dataclasses",
        "from __future__ import annotations\nfrom dataclasses",
        "n_place must be an int, float, str or bool, written as a type (no annotations from "
        "__future__), got 'int'",
    ),
]


@pytest.mark.parametrize("old, new, says", FILE_WRONG, ids=[case[2] for case in FILE_WRONG])
def test_a_file_that_is_no_task_is_refused_in_one_line(folder, old, new, says):
    wrong = SOURCE.replace(old, new, 1)
    line = 1 + [a == b for a, b in zip(SOURCE.split("\n"), wrong.split("\n"))].index(False)
    (folder / "weather.py").write_text(wrong)
    refusal_of(lambda: find_tasks(OWN), f"--task={OWN}: ", says.format(line=line))


@pytest.mark.parametrize(
    "annotation, default",
    [("int", "3"), ("float", "0.5"), ("str", "'a'"), ("bool", "False"), ("int | None", "None")],
)
def test_fields_of_every_allowed_type_are_not_refused(folder, annotation, default):
    field = f'strange: {annotation} = option({default}, "what")\n    strength'
    (folder / "weather.py").write_text(SOURCE.replace("strength", field, 1))
    assert "strange" in find_tasks(OWN)[OWN].__dataclass_fields__


@pytest.mark.parametrize(
    "spec, says",
    [
        ("wether.py:Weather", "--task=wether.py:Weather: wether.py must be a Python file that is"),
        ("weather.txt:Weather", "weather.txt must be a Python file"),
        ("folder.py:Weather", "folder.py must be a Python file"),
        (":Weather", "must be a Python file"),
        ("weather.py:", "must have a dataclass"),
        ("random.py:Weather", "there is another module random; rename the file"),
        ("folder.py/weather.py:Weather", "there is another module weather; rename the file"),
    ],
)
def test_a_file_that_is_not_there_or_whose_name_is_taken_is_refused(own, spec, says):
    (own / "folder.py").mkdir()
    for name in ("weather.txt", "random.py", "folder.py/weather.py"):
        (own / name).write_text(SOURCE)
    find_tasks(OWN)
    refusal_of(lambda: find_tasks(spec), says)


def test_a_refused_task_ends_the_script_with_2_and_one_line_and_nothing_written(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "weather.py").write_text(SOURCE.replace("(frozen=True)", ""))
    command = [sys.executable, str(ROOT / "train.py"), "--task=../weather.py:Weather"]
    done = subprocess.run(command, cwd=tmp_path / "here", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "refused: --task=../weather.py:Weather: must be frozen, @dataclass(frozen=True)\n"
    )
    assert list((tmp_path / "here").iterdir()) == []


# --- several tasks ---


def test_the_prompts_of_a_world_are_the_texts_of_all_its_variants():
    world = Hint(n_entity=3, n_attribute=2, n_answer=3).world(0)
    texts = {world.text(s, v) for s in range(6) for v in range(4)}
    assert prompt_texts(world) == texts and len(texts) == 6 * 4


def test_answers_of_several_worlds_are_each_there_once_in_their_order():
    tasks = find_tasks("verdict+hint+jabberwocky+refusal")
    worlds = worlds_of(build(tasks, {"hint.n_answer": 2, "jabberwocky.n_answer": 3}))
    expected = "right wrong shared A B C comply refuse"
    assert " ".join(joint_answers(worlds)) == expected


@pytest.mark.parametrize("annotation", ["list[int]", "dict[str, int]", "tuple[float, ...]"])
def test_a_field_is_one_value_and_not_several(own, annotation):
    edited(own, "strength: float", f"strength: {annotation}")
    refusal_of(lambda: find_tasks(OWN), "strength must be an int, float, str or bool")


def test_a_file_that_exits_or_cannot_be_imported_by_its_name_is_refused(own):
    (own / "bye.py").write_text("import sys\nsys.exit('bye')\n")
    refusal_of(lambda: find_tasks("bye.py:Weather"), "bye.py, line 2: SystemExit: bye")
    (own / "my.task.py").write_text(SOURCE)
    refusal_of(lambda: find_tasks("my.task.py:Weather"), "must be named so that Python can import")


def test_a_world_without_a_seed_says_so(own):
    edited(own, "def world(self, seed):", "def world(self):")
    line = refusal_of(lambda: parse([f"--task={OWN}"]), "takes 1 positional argument")
    assert "line ?" not in line
