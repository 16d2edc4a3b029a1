"""Every published row, computed again from the committed runs by code that shares none of ours.

The numbers are those that told.py writes for the words of a claim; tests and interval
are scipy's, sign flips and gates are tried one by one.
"""

import json
import tarfile
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from introspect.lab.claims import CLAIMS
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.study import Setting
from tests.cases import each
from tests.test_hypotheses import reject
from tests.told import second, told

RESULTS = Path(__file__).parents[1] / "data" / "results"
PUBLISHED = json.loads((RESULTS / "claims.json").read_text())
ROWS = {(row["name"], row["measured"], row["task"]): row for row in PUBLISHED["rows"]}
BY_ITEMS = ("not turned", "labels agree", "tracking", "says of reg", "own labels", "itself",
            "itself moved", "shuffled for reg")  # fmt: skip
WORLDS, DRAW = range(10, 22), 10**9


class Read:
    """A run as the test reads it: its result, and the folder of its other files."""

    def __init__(self, folder):
        self.folder, self.result = folder, json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The committed runs, unpacked, with the items that rows are about."""
    root = tmp_path_factory.mktemp("published")
    counted = {"anchor", *(Setting(c.experiment, c.task).name for c in JUDGED if by_items(c))}
    for archive in sorted((RESULTS / "runs").glob("*.tar.xz")):
        more = [] if archive.name.split(".")[0] in counted else ["items.jsonl"]
        left_out = "examples.json", *more
        with tarfile.open(archive) as tar:
            for member in tar:
                if not member.name.endswith(left_out):
                    tar.extract(member, root, filter="data")
    return root


def folder_of(root, experiment, task, arm, seed):
    """The one folder whose configuration an arm asks for."""
    digest = EXPERIMENTS[experiment].config(arm, task, {}, seed).sha256()
    [folder] = root.glob(f"{task}-{digest[:16]}")
    result = json.loads((folder / "result.json").read_text())
    assert result["config_sha256"] == digest
    return folder


@cache
def runs_of(root, experiment, task, seed):
    arms = EXPERIMENTS[experiment].arms
    return {arm: Read(folder_of(root, experiment, task, arm, seed)) for arm in arms}


def numbers_of(root, claim, number):
    """World -> the mean of its draws; draws in which there is no such number do not count."""
    draws = 2 if EXPERIMENTS[claim.experiment].n_draw > 1 else 1
    of = root, claim.experiment, claim.task
    found = {world: [number(runs_of(*of, world + DRAW * draw)) for draw in range(draws)]
             for world in WORLDS}  # fmt: skip
    there = {world: [x for x in xs if not np.isnan(x)] for world, xs in found.items()}
    return {world: np.mean(xs) for world, xs in there.items() if xs}


def chance(values, low=None, high=None):
    """The larger p of t and of sign flips: for another mean than 0, or for one not in low..high."""
    def tails(x):
        flips = [np.dot(s, x) >= sum(x) - 1e-9 for s in product((1, -1), repeat=len(x))]
        return scipy.stats.ttest_1samp(x, 0, alternative="greater").pvalue, np.mean(flips)

    values = np.array(values)
    if low is None:
        return min(1, 2 * max(tails(values if values.mean() > 0 else -values)))
    return max(*tails(values - low), *tails(high - values))


JUDGED = [c for c in CLAIMS if (c.name, c.measured, c.task) in ROWS]


def by_items(claim):
    """Whether a row counts single items."""
    return any(words in claim.measured for words in BY_ITEMS)


@each("claim", JUDGED, lambda claim: f"{claim.name} {claim.measured} on {claim.task}")
def test_a_published_row_is_what_the_committed_runs_say(claim, folders):
    row = ROWS[claim.name, claim.measured, claim.task]
    values = numbers_of(folders, claim, told(claim.measured))
    assert {int(world): x for world, x in row["values"].items()} == pytest.approx(values, abs=1e-9)
    x = list(values.values())
    low, high = scipy.stats.t.interval(0.95, len(x) - 1, np.mean(x), scipy.stats.sem(x))
    assert [row["mean"], row["low"], row["high"]] == pytest.approx([np.mean(x), low, high])
    assert row["n"] == len(x) and (claim.explores or row["n"] == len(WORLDS))
    p = chance(x, *(claim.within or ()))
    if claim.also:
        p = max(p, chance(list(numbers_of(folders, claim, second(claim)).values())))
    assert row["p"] == (None if claim.explores else pytest.approx(p, abs=1e-9))


def test_what_is_judged_are_the_registered_rows_in_their_order():
    last = max(c.family_of_name for c in JUDGED)
    assert [(c.name, c.measured, c.task) for c in CLAIMS if c.family_of_name <= last] == list(ROWS)
    assert PUBLISHED["seeds"] == list(WORLDS)


def test_the_published_verdicts_follow_from_the_published_numbers():
    families = [[r for r in PUBLISHED["rows"] if r["family"] == k] for k in (1, 2, 3)]
    passed = iter(reject([[r["p"] for r in family] for family in families], 0.05))
    for row in (row for family in families for row in family):
        assert (row["adjusted"] <= 0.05) == next(passed)
        word, kept = row["verdict"], row["adjusted"] <= 0.05
        ends = [row] + ([row["also"]] if row["also"] else [])
        sides = {(e["low"] > 0) - (e["high"] < 0) for e in ends}
        if row["p"] >= 0.05:
            assert word.startswith(("undecided", "smaller"))
        elif " to " in row["claimed"] or sides == {1 if row["claimed"] == "> 0" else -1}:
            assert word.startswith(("supported", "holds")) and kept == ("only" not in word)
        else:
            assert word.startswith("contradicted") and kept == ("only" not in word)
    assert all(r["verdict"] == "explores" for r in PUBLISHED["rows"] if not r["family"])


def test_all_results_together_are_small():
    assert sum(p.stat().st_size for p in RESULTS.rglob("*") if p.is_file()) <= 40 * 2**20


def test_the_page_of_what_was_expected_has_the_rows_that_were_found():
    table = (RESULTS / "EXPECTED.md").read_text().split("## Row by row")[1].strip().splitlines()[2:]
    before = json.loads((RESULTS / "five-worlds" / "claims.json").read_text())["rows"]
    five = {(r["name"], r["measured"], r["task"]): r for r in before}
    for line, (key, row) in zip(table, ROWS.items(), strict=True):
        name, task, _, expected, older, found, verdict, differs = line[2:-1].split(" | ")
        low, high = row["low"], row["high"]
        assert (name, task, verdict) == (row["name"], row["task"], row["verdict"])
        assert found == f"{row['mean']:+.3f} [{low:+.3f}, {high:+.3f}]"
        old = five.get(key)
        assert older == (f"{old['mean']:+.3f}, {old['verdict']}" if old else "")
        if differs.strip():
            other = expected.startswith("-") != (row["mean"] < 0)
            assert other == (differs.strip() == "other side")
            assert other or not low <= float(expected.split()[0]) <= high
