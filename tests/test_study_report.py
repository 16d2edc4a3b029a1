"""The folder of a study: what is published of it, and that its lines are enough to describe it."""

import pytest

from introspect.reading import read_json, read_lines
from introspect.report.study import study_of_rows, write_study
from introspect.runs.study import Gathered, Run, Runs, Setting
from tests import made_up
from tests.made_up import COUPLED, REVERSED, VERSIONS, Page

pytestmark = pytest.mark.usefixtures("without_matplotlib")
ANCHOR = Setting("anchor", "hint")
CLAIMS = ["A block about the claims."]


@pytest.fixture
def gathered(two_arms, tmp_path):
    runs = {}
    for seed in range(3):
        folders = {arm: tmp_path / "runs" / f"{arm}-seed{seed}" for arm in ("reg", "noreg")}
        read = {arm: read_json(folder / "result.json", {}) for arm, folder in folders.items()}
        runs[seed] = Runs({arm: Run(read[arm], folder) for arm, folder in folders.items()})
    return Gathered(runs, [])


@pytest.mark.parametrize("published", [True, False])
def test_the_lines_of_a_study_describe_it_as_its_runs_do(gathered, tmp_path, published):
    study = write_study(tmp_path / "a", ANCHOR, gathered, {}, CLAIMS, published)
    rows = read_lines(tmp_path / "a" / "runs.jsonl", {})
    assert study == study_of_rows(rows) | {"overrides": {}}
    expected = made_up.write_study(tmp_path / "b", {"reg": COUPLED, "noreg": REVERSED})
    for key in ("arms", "differences", "m0", "runs", "seeds", "explained", "versions", "failed"):
        assert study[key] == expected[key]
    assert study["versions"] == [VERSIONS] and study.keys() == expected.keys()


def test_a_published_page_says_its_command_and_claims_and_names_no_file_it_lacks(
    gathered, tmp_path
):
    write_study(tmp_path / "a", ANCHOR, gathered, {}, CLAIMS, published=True)
    text = (tmp_path / "a" / "README.md").read_text("utf-8")
    assert "python eval.py experiment anchor\n" in text and f"## Claims\n\n{CLAIMS[0]}\n" in text
    assert "result.json" not in text and not (tmp_path / "a" / "result.json").exists()
    write_study(tmp_path / "b", ANCHOR, gathered, {}, (), published=True)
    assert "No claim rests on this study." in (tmp_path / "b" / "README.md").read_text("utf-8")


def test_a_report_shows_its_claims_and_what_is_not_controlled(two_arms, tmp_path):
    text, page = made_up.reports(tmp_path, CLAIMS)
    for shown in (text, Page(page).text):
        assert CLAIMS[0] in shown and "the phase of the moon." in shown
    assert "Claims" not in made_up.reports(tmp_path)[0]
