"""One thread, so that tests are fast beside each other and their numbers do not depend on cores.

Property tests try the same examples in every run, and take the time they take.
"""

import os
import sys
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

from tests.made_up import COUPLED, REVERSED, write_study
from tests.own import SOURCE
from tests.tried import TRIED

torch.set_num_threads(1)
settings.register_profile("introspect", derandomize=True, deadline=None)
settings.load_profile("introspect")


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A finished study, and a server that runs commands on spoiled copies of it."""
    from tests.spoiled import Place

    made = Place(tmp_path_factory.mktemp("hostile"))
    yield made
    made.watch.close()


@pytest.fixture
def without_matplotlib(monkeypatch):
    """Curves take most of a report's time; tests of what is around them do without."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        yield patch


@pytest.fixture
def with_matplotlib(without_matplotlib):
    without_matplotlib.undo()
    pytest.importorskip("matplotlib")


@pytest.fixture
def two_arms(tmp_path):
    return write_study(tmp_path, {"reg": COUPLED, "noreg": REVERSED})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, whose modules are forgotten again."""
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def own(folder):
    """A task of one's own, right."""
    (folder / "weather.py").write_text(SOURCE)
    return folder


@pytest.fixture(autouse=True)
def count_tried(request):
    """What a test counts is in its report, so that it is not lost between processes."""
    before = TRIED.copy()
    yield
    request.node.user_properties.extend(("tried", item) for item in (TRIED - before).items())


def pytest_terminal_summary(terminalreporter):
    """What faults did, as a table, and how many inputs were tried, where there were some."""
    reports = [r for each in terminalreporter.stats.values() for r in each]
    last = [r for r in reports if getattr(r, "when", "") == "teardown"]
    given = [given for r in last for given in r.user_properties]
    if rows := [row for name, row in given if name == "trials"]:
        from tests.suite import table

        terminalreporter.section("what faults did")
        terminalreporter.write_line("\n".join(table(sorted(rows))))
    tried = Counter()
    for kind, n in [item for name, item in given if name == "tried"]:
        tried[kind] += n
    for kind, n in sorted(tried.items()):
        terminalreporter.write_line(f"{kind}: {n:,} tried")
