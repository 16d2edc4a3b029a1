"""What `import introspect` offers to a notebook."""

import ast
import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import introspect
from introspect.analysis.notebook import SMALL, Text
from introspect.fields import Refused
from introspect.report.text import show_run
from introspect.reading import read_json, read_lines

SOURCE = Path(introspect.__file__)
NAMES = [  # stay as they are: notebooks rely on them
    "Experiment", "adjusted_gap", "ask", "build", "coupling", "explanation_labels", "find_tasks",
    "interchange", "load", "refit", "run", "student_t",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("names")
    return introspect.run("anchor/reg", out_dir=out, keep_checkpoints=True, **SMALL)


def test_the_names_are_these_and_each_shows_how_it_is_used():
    assert sorted(introspect.__all__) == NAMES and set(NAMES) <= set(dir(introspect))
    for name in NAMES:
        offered = getattr(introspect, name)
        assert offered.__name__ == name and offered.__module__.startswith("introspect.")
        assert doctest.DocTestParser().get_examples(offered.__doc__)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        introspect.runn


def test_type_checkers_see_what_python_sees():
    assert (SOURCE.parent / "py.typed").exists()
    [checked] = [n for n in ast.parse(SOURCE.read_text()).body if isinstance(n, ast.If)]
    assert ast.unparse(checked.test) == "TYPE_CHECKING"
    imported = {a.name: line.module for line in checked.body for a in line.names}
    assert sorted(imported) == NAMES
    for name, module in imported.items():
        assert getattr(import_module(module), name) is getattr(introspect, name)


def test_the_import_alone_loads_neither_torch_nor_numpy():
    probe = "import sys, introspect; assert not {'torch', 'numpy'} & set(sys.modules)"
    probe += "; introspect.student_t; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", probe], check=True, cwd=SOURCE.parents[1])


def test_a_run_is_made_once_and_opened_again_with_the_same_answers(made):
    text = made.run.snapshots[0].world.text(5, 2)
    again = introspect.run("anchor/reg", out_dir=made.folder.parents[1], **SMALL)
    assert again.folder == made.folder
    opened = introspect.load(str(made.folder))
    assert made.ask(text) == opened.ask(text) == introspect.ask(made.folder, text)
    assert repr(made.ask(text)) == made.ask(text) and type(made.ask(text)) is Text
    assert introspect.ask(made.folder, text, at=0) == introspect.load(made.folder, at=0).ask(text)
    followed = made.ask(text, curve=True)  # title, head, M0 and three steps
    assert followed.count("\n") == 5 + 2 * ("near tie" in followed)
    with pytest.raises(Refused, match="is in no prompt"):
        made.ask("xyz")


def test_it_shows_the_table_and_the_curves_of_its_files(made, with_matplotlib):
    assert made.table() == show_run(read_json(made.folder / "result.json", {}))
    assert made.curves() == read_lines(made.folder / "metrics.jsonl", {})
    html = made._repr_html_()
    assert html.startswith("<pre>hint: arm reg, seed 0\n") and html.count("<svg") == 1
    assert made.model is made.run.model and made.run.step == 4


def test_without_matplotlib_it_is_the_table_alone(made, without_matplotlib):
    assert made._repr_html_().endswith("</pre>")


def test_what_is_no_single_run_is_refused(tmp_path):
    with pytest.raises(Refused, match="anchor: must be one run, EXPERIMENT/ARM"):
        introspect.run("anchor", out_dir=tmp_path, **SMALL)
    with pytest.raises(Refused, match="--n_layr=3: no such flag"):
        introspect.run(n_layr=3)
    with pytest.raises(Refused, match="'yes' given, must be true or false"):
        introspect.run(keep_checkpoints="yes")
