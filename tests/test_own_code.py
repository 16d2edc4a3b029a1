"""A run is bound to what the code of its task says, and a world to its seed."""

import ast
import hashlib
import sys
import warnings

import pytest

import eval as evaluation
import train
from introspect.runs.build import build, check_sizes, sources
from introspect.runs.stages import m0_key
from introspect.tasks import TASKS
from introspect.tasks.own import check_seed, hash_code, outline
from introspect.tasks.registry import find_tasks
from tests.cases import each
from tests.own import OWN, SMALL, SOURCE, edited, refusal_of
from tests.tiny import run_folder

SAME = [  # what is replaced in the file, by what, without a change of what it says
    ("import numpy as np\n", "import numpy as np  # arrays\n"),
    ("import numpy as np\n", "\n\n# arrays\nimport numpy as np\n\n"),
    ("a dry one less so.", "a dry one as well."),
    ('    """Whether it rains; a wet place makes it likelier, a dry one less so."""\n', ""),
    ("from dataclasses", '"""The weather."""\nfrom dataclasses'),
    ("n, s = self.n_place, self.strength", "(n, s) = (self.n_place,\n            self.strength)"),
    ('"wet", "dry"', "'wet', 'dr' 'y'"),
]
OTHER = [
    ("0.5", "0.6"), ("1 / 3", "1 // 3"), ('"wet"', '"Wet"'), ("(1 - s) * rain]", "(1 + s) * rain]"),
    ("rain], axis=1", "rain,], axis=-1"), ("% 2 == 0", "% 2 == 1"), ("np.stack", "np.array"),
    ("import numpy as np\n", "import numpy as np\nimport os\n"), ("12", "12.0"), ('"no"', 'b"no"'),
    ("frozen=True", "frozen=1"), ("n_place: int", "n_place: float"),
]  # fmt: skip


@each("old, new", SAME)
def test_comments_docstrings_and_layout_do_not_change_the_hash(own, old, new):
    before = hash_code(OWN)
    assert old in SOURCE and (own / "weather.py").write_text(SOURCE.replace(old, new, 1))
    assert hash_code(OWN) == before


@each("old, new", OTHER)
def test_whatever_else_is_edited_does(own, old, new):
    before = hash_code(OWN)
    assert old in SOURCE and (own / "weather.py").write_text(SOURCE.replace(old, new, 1))
    assert hash_code(OWN) != before


def test_the_outline_has_no_places_and_nothing_that_a_version_of_python_adds():
    name = ["Name", ("id", "x"), ("ctx", ["Store"])]
    assign = ["Assign", ("targets", [name]), ("value", ["Constant", ("value", 1)])]
    assert outline(ast.parse("'text'\nx = 1  # one")) == ["Module", ("body", [assign])]
    tree = ast.parse("def f(): pass")
    tree.body[0].later = []
    tree.body[0]._fields = (*tree.body[0]._fields, "later")
    assert outline(tree) == outline(ast.parse("def f(): pass"))


def test_what_cannot_be_parsed_is_hashed_by_its_bytes(own):
    for text in (b"def (", b"x = '\0'", b"\xff", b"(" * 5000):
        (own / "weather.py").write_bytes(text)
        assert hash_code(OWN) == hashlib.sha256(text).hexdigest()


def test_a_hash_gives_no_warning_and_tasks_of_the_package_have_none(own):
    edited(own, '"yes"', '"\\\\d"[1:]')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hash_code(OWN)
    assert {hash_code(name) for name in TASKS} == {None} and sources("hint+rules") == ""


def test_a_run_goes_on_and_is_measured_after_an_edited_comment_and_not_after_more(own, capsys):
    command = ["anchor/reg", f"--task={OWN}", *SMALL, "--n_place=9", "--out_dir=run"]
    assert train.main(command) == 0
    config = build(find_tasks(OWN), {})
    key = m0_key(config, "cpu")
    edited(own, "        n, s =", "\n        # as in the almanac\n        n, s =")
    assert m0_key(config, "cpu") == key and train.main(command) == 0
    measure = ["run", str(run_folder(own / "run")), f"--task={OWN}"]
    capsys.readouterr()
    assert evaluation.main(measure) == 0 and "as in result.json" in capsys.readouterr().out
    edited(own, "(1 - s) * rain], axis", "(1 - s) * rain * 1], axis")
    assert m0_key(config, "cpu") != key
    refusal_of(lambda: train.main(command), "holds another run, with source=weather.py:Weather=")
    refusal_of(lambda: evaluation.main(measure), "its file must be as it was")


def test_what_the_code_reads_or_imports_is_in_the_hash_of_its_world(own):
    """A list of words in a file, and a number of another module; numbers up to six decimals."""
    (own / "words.py").write_text("AT = [0]\n")
    text = SOURCE.replace("names()[:n]", "open('words.txt').read().split()[:n]")
    text = text.replace("import numpy as np\n", "import numpy as np\nfrom words import AT\n")
    (own / "weather.py").write_text(text.replace("random((n, 1))", "random((n, 1)) + AT[0]"))
    words = [f"town-{i}" for i in range(12)]

    def key(words, at):
        (own / "words.txt").write_text(" ".join(words))
        config = build(find_tasks(OWN), {})
        sys.modules["words"].AT[0] = at
        return m0_key(config, "cpu")

    before = key(words, 0)
    assert key(words, 0) == key(words, 1e-12) == before
    assert key([*words[:-1], "city"], 0) != before and key(words, -1e-4) != before


# --- the seed ---

RNG = "np.random.default_rng(seed)"


@each("draw, says", [
    ("np.random.default_rng(3)", "world(seed) ignores its seed; must be another world for another"),
    ("np.random.default_rng(seed * 0)", "world(seed) ignores its seed"),
    ("np.random.default_rng()", "must be the same every time; draw from its seed"),
    ("np.random", "must be the same every time"),
])
def test_a_world_that_is_no_function_of_its_seed_is_refused_before_anything_is_written(
    own, draw, says
):
    edited(own, RNG, draw)
    sys.modules.pop("weather", None)
    line = refusal_of(lambda: train.main([f"--task={OWN}", *SMALL]), f"task {OWN}: ", says)
    assert line.startswith("task ")
    assert {p.name for p in own.iterdir()} <= {"weather.py", "__pycache__"}


@each("old, new", [
    (RNG, RNG),
    (f"rain = {RNG}.random((n, 1))", "rain = np.linspace(0, 1, n)[:, None]"),
])
def test_a_world_whose_facts_or_whose_split_alone_depend_on_the_seed_is_not(own, old, new):
    edited(own, old, new)
    sys.modules.pop("weather", None)
    if new != RNG:
        text = (own / "weather.py").read_text()
        split = "np.random.default_rng(seed).permutation(n) % 2 == 0)"
        (own / "weather.py").write_text(text.replace("np.arange(n) % 2 == 0)", split))
    config = build(find_tasks(OWN), {"batch_size": 4, "pretrain_batch_size": 4})
    check_sizes(config)


def test_a_seed_at_the_end_of_the_range_is_tried_against_seeds_within_it():
    seen = []

    class Task:
        def world(self, seed):
            seen.append(seed)
            raise ValueError("stop")

    with pytest.raises(ValueError):
        check_seed(OWN, Task(), 2**32 - 1)
    assert all(0 <= (2**32 - 1) ^ k <= 2**32 - 1 for k in (1, 2, 3)) and seen == [2**32 - 1]


def test_worlds_of_the_package_are_not_made_again_for_it(monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("introspect.tasks.own.make_world", fail)
    check_seed("hint", TASKS["hint"](), 0)
