"""A killed command loses nothing: the same command ends as if nothing had happened.

    python -m pytest -m reliability            every event of every scenario, a table at the end
    python -m pytest -m reliability -k run     of one scenario

A few trials run with all other tests. How a fault is made: tests/faults.py; which commands:
tests/scenarios.py; what is asked of them: tests/suite.py.
"""

import os
from pathlib import Path

import pytest

from tests.faults import EVERY, KILLS, Fault
from tests.scenarios import SCENARIOS
from tests.suite import (
    Suite,
    check_clear,
    check_landed,
    check_nothing_left,
    check_nothing_lost,
    count,
)
from tests.trials import Trial, compare, contents

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not Path("/proc/self/fd").is_dir(), reason="needs fork and /proc"
)
# A kill before an event finds on disk what a kill after the event before it left, so that only the
# sample has both. Of errors every event has one: before a write, or after half of it.
GROUPS = {  # group -> faults, and at which events: all, or one of so many in turn
    "kill": (("after", "torn"), 1),
    "SIGTERM": (("SIGTERM",), 7),
    "no space": (("ENOSPC", "short"), 3),
    "disk error": (("EIO", "EROFS"), 8),
}
N_PAIR = 15
by_scenario = pytest.mark.parametrize("name", SCENARIOS)


@pytest.fixture(scope="session")
def suite(tmp_path_factory):
    suite = Suite(tmp_path_factory.mktemp("trials"))
    yield suite
    suite.close()


@pytest.mark.reliability
@by_scenario
@pytest.mark.parametrize("group", GROUPS)
def test_every_fault_lands_and_the_same_command_ends_with_the_same_bytes(
    suite, name, group, record_property
):
    """And nothing temporary is left; an error is said in one line that names a file."""
    hows, every = GROUPS[group]
    outcomes = suite.try_all(name, suite.plan(name, hows, every))
    record_property("trials", (f"{name}, {group}", count(outcomes)))
    check_landed(outcomes)
    check_nothing_lost(outcomes)
    check_nothing_left(outcomes)
    if group in ("no space", "disk error"):
        check_clear(outcomes)


@pytest.mark.reliability
@pytest.mark.parametrize("share", ["folder", "cache"])
@pytest.mark.parametrize("numbers", ["same number", "other number"])
def test_two_processes_at_once_end_as_one_does(suite, share, numbers, record_property):
    outcomes = [suite.try_pair("run", share, numbers == "same number") for _ in range(N_PAIR)]
    record_property("trials", (f"pairs on one {share}, {numbers}", count(outcomes)))
    check_nothing_lost(outcomes)
    check_nothing_left(outcomes)


@by_scenario
@pytest.mark.reliability
def test_a_folder_that_cannot_be_written_is_refused_in_one_line(suite, name):
    folder = suite.begin(name, suite.refer(name).folder)
    before = contents(folder / "out")
    [ended] = suite.run(Trial(name, str(folder), Fault("EROFS", EVERY)))
    lines = ended.stderr.splitlines()
    assert ended.landed and ended.code in (1, 2), ended.stderr
    assert lines[-1].startswith(("refused: ", "stopped: ")) and "out" in lines[-1]
    assert contents(folder / "out") == before


def test_a_sample_of_kills_over_all_stages_loses_nothing(suite):
    events = suite.refer("taught").events
    spread = [Fault(KILLS[i % 2], i * len(events) // 12) for i in range(12)]
    torn = [Fault("torn", event.number) for event in events if event.kind == "write"]
    opened = [Fault("before", event.number) for event in events if event.kind == "open"]
    outcomes = suite.try_all("taught", [*spread, *torn[-5:], *opened[-5:]])
    check_landed(outcomes)
    check_nothing_lost(outcomes)
    check_nothing_left(outcomes)


def test_a_fault_that_does_not_land_is_seen(suite):
    outcome = suite.try_fault("run", Fault("none", 5))
    assert not (outcome.lost or outcome.wrong or outcome.left)
    with pytest.raises(AssertionError, match="no fault landed in 1"):
        check_landed([outcome])
    with pytest.raises(AssertionError, match="no fault landed"):
        check_landed([])


def test_what_is_missing_other_or_too_much_is_seen(tmp_path):
    (tmp_path / "result.json").write_text('{"gap": 1, "seconds": 2}')
    (tmp_path / "report.md").write_text("a")
    right = contents(tmp_path)
    (tmp_path / "result.json").write_text('{"gap": 1, "seconds": 3}')
    assert not any(compare(contents(tmp_path), right).values())
    (tmp_path / "result.json").write_text('{"gap": 2, "seconds": 2}')
    (tmp_path / "report.md").unlink()
    (tmp_path / ".report.md.tmp").write_text("a")
    differs = compare(contents(tmp_path), right)
    assert list(differs.values()) == [["report.md"], ["result.json"], [".report.md.tmp"]]
