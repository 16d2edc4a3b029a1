"""Pictures of claims: a line a row, in the look of its verdict, in words."""

import xml.etree.ElementTree as ElementTree

import pytest

from introspect.lab.headlines import HEADLINES
from introspect.lab.tables import overview_rows
from introspect.report.figures import UNDECIDED, VERDICTS, dots, forest, look_of, overview
from tests.made_claims import CLAIM, TABLE


def texts_of(svg: str) -> set[str]:
    return {" ".join("".join(e.itertext()).split()) for e in ElementTree.fromstring(svg).iter()}


def test_the_picture_of_the_claims_has_a_line_a_row_below_its_claim():
    pytest.importorskip("matplotlib")
    rows = [*TABLE["rows"], TABLE["rows"][0] | {"says": "a range", "claimed": "0.6 to 0.7"}]
    drawn = forest({"C5 in words": rows[:1], "the others": rows[1:]})
    assert {"C5 in words", "the others", "a range", CLAIM.says} <= texts_of(drawn)
    assert any("claimed range" in text for text in texts_of(drawn))
    assert drawn != forest({"C5 in words": rows[:1], "the others": [rows[1] | {"mean": 0.0}]})


@pytest.mark.parametrize("verdict, color, hollow", [
    ("supported", "supported", False), ("holds at 5 % only", "holds", True),
    ("contradicted", "contradicted", False), ("smaller than 0.03", None, False),
    ("contradicted at 5 % only", "contradicted", True), ("explores", None, False),
])  # fmt: skip
def test_a_dot_is_hollow_where_a_row_does_not_survive_the_correction(verdict, color, hollow):
    expected = VERDICTS[color] if color else UNDECIDED
    assert look_of(verdict) == (expected, "white" if hollow else expected)


def test_the_overview_shows_the_declared_rows_in_words():
    pytest.importorskip("matplotlib")
    rows = overview_rows(TABLE)
    assert [row["name"] for _, _, row in rows] == ["C5", "C15"]  # N1 is not among them
    texts = texts_of(overview(rows))
    words = {f"C5 {HEADLINES['C5'].says}", CLAIM.says, "+0.110"}
    assert words | {"as claimed, survives correction for all rows"} <= texts
    assert not texts & {"as claimed, but at 5 % only", "against the claim"}  # no row is


def test_the_overview_shows_what_is_against_a_claim_below_its_main_row():
    pytest.importorskip("matplotlib")
    [main] = [row for row in TABLE["rows"] if row["name"] == "C5"]
    others = [main | {"says": text, "measured": text, "verdict": text}
              for text in ("contradicted", "undecided (interval includes 0)", "supported")]
    rows = overview_rows(TABLE | {"rows": [*TABLE["rows"], *others]})
    assert [row["says"] for _, _, row in rows][:2] == [CLAIM.says, "contradicted"]
    assert [row["name"] for _, _, row in rows] == ["C5", "C5", "C15"]
    assert {"against the claim", "C5 but not in this row"} <= texts_of(overview(rows))


def test_arms_of_a_figure_are_named_in_words_where_there_are_some():
    pytest.importorskip("matplotlib")
    runs = [{"self": 0.7, "orig": 0.5, "gap": 0.2, "majority_now": 0.4}] * 3
    texts = texts_of(dots({"a": runs, "b": runs}, {"a": "no anchor"}))
    assert "no anchor (a)" in texts and "b" in texts
