"""What the lab writes: every row with its numbers, once, and nothing that the runs do not say."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

import introspect.lab.publish as publish
from introspect.files import read_json, read_lines, write_lines
from introspect.lab.claims import CLAIMS
from introspect.lab.objections import OBJECTIONS
from introspect.lab.publish import (
    as_dict,
    claims_table,
    fill,
    log,
    objections_table,
    shares,
    show,
    write_all,
)
from introspect.lab.verdicts import Row, judge
from introspect.report.figures import VERDICTS, dots, forest
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.study import Gathered, Run, Setting
from introspect.stats import interval

NOISE = Setting("noise", "hint")
ARMS = list(EXPERIMENTS["noise"].arms)


def row(claim, values, adjusted=0.01, also=None) -> Row:
    of = interval(values)
    verdict = judge(claim, of, also, adjusted)
    return Row(claim, NOISE, dict(enumerate(values)), of, also, adjusted / 2, adjusted, verdict)


CLAIM = replace(next(c for c in CLAIMS if c.name == "C5"), also=None)
ROWS = [
    row(CLAIM, [0.1, 0.11, 0.12]),
    row(replace(CLAIM, name="C15", says="a | b", paper="<none>"), [0.1, -0.2, 0.3], 0.4),
    row(replace(CLAIM, name="N1", after=True), [-0.1, -0.11, -0.12], 0.0001),
]
TABLE = {"seeds": [0, 1, 2], "rows": [as_dict(r) for r in ROWS]}


@pytest.fixture
def found(tmp_path):
    """The runs of one experiment, made up."""
    runs = {}
    for seed in (0, 1, 2):
        for i, arm in enumerate(ARMS):
            folder = tmp_path / "runs" / f"{arm}-{seed}"
            folder.mkdir(parents=True)
            self_match = 0.7 - 0.1 * i + 0.01 * seed
            keys = dict.fromkeys(("drift", "compatibility", "preference", "majority_now"), 0.4)
            result = {"task": "hint", "arm": "x", "seed": seed, "self": self_match, "orig": 0.5}
            result |= {"gap": self_match - 0.5, **keys, "seconds": 3.0, "versions": {"torch": "2"}}
            write_lines(folder / "metrics.jsonl", [{"step": s, "self": 0.2 + s} for s in (0, 1)])
            runs.setdefault(seed, {})[arm] = Run(result, folder)
    return Gathered(runs, ["noise-0.7 of seed 9: loss is not finite"])


def cells_of(table: str) -> list[list[str]]:
    return [line[2:-2].split(" | ") for line in table.splitlines() if line.startswith("| ")]


def test_the_table_has_every_row_with_its_interval_n_and_verdict():
    head, *rows = cells_of(claims_table(TABLE))
    assert len(rows) == 3 and {len(r) for r in rows} == {len(head)}
    at = {name: i for i, name in enumerate(head)}
    assert [r[at["verdict"]] for r in rows] == ["reproduced", "not seen at n = 3", "reversed"]
    assert rows[0][at["here, 95 %"]] == "+0.110 [+0.085, +0.135]"
    assert [r[at["n"]] for r in rows] == ["3"] * 3
    assert [r[at["Holm p"]] for r in rows] == ["0.010", "0.400", "&lt; 0.001"]
    assert rows[1][at["what it says"]] == "a &#124; b" and rows[1][at["paper"]] == "&lt;none&gt;"
    assert all(r[at["python eval.py"]] == "experiment noise" for r in rows)
    assert "\n\n3 rows: 1 reproduced; 1 not seen at n = 3; 1 reversed.\n\n" in claims_table(TABLE)
    assert [r[at["claim"]] for r in rows] == ["C5", "C15", "N1*"]
    assert [r[at["claimed"]] for r in rows] == ["&gt; 0"] * 3


def test_every_objection_has_the_verdicts_of_the_rows_that_speak_to_it():
    rows = {cells[0]: cells for cells in cells_of(objections_table(TABLE))[1:]}
    assert len(rows) == len(OBJECTIONS)
    shared = next(cells for text, cells in rows.items() if text.startswith("Shared drift"))
    assert shared[1] == "C15 gap of noise-0.3 (noise): +0.067, not seen at n = 3"
    steps = next(cells for text, cells in rows.items() if text.startswith("Multi-step"))
    assert steps[1] == "nothing here does" and steps[2]
    noise = next(cells for text, cells in rows.items() if "how much noise" in text)
    assert noise[1] == "C5 gap of noise-0.3 (noise): +0.110, reproduced"


def test_the_terminal_shows_the_same_numbers_and_counts_the_verdicts():
    text = show(ROWS)
    assert "+0.110 [+0.085, +0.135]" in text
    assert "3 rows: 1 reproduced; 1 not seen at n = 3; 1 reversed." in text
    assert "over the 3 rows" in text and "Rows with a *" in text
    plain = show([r._replace(adjusted=None) for r in ROWS[:2]])
    assert "Not corrected" in plain and "Rows with a *" not in plain


def test_a_study_lists_every_run_and_says_how_to_get_it(found, tmp_path):
    write_all(tmp_path / "results", {NOISE: found}, ROWS)
    out = tmp_path / "results" / "noise"
    lines = read_lines(out / "runs.jsonl", "gap")
    assert [(line["arm"], line["seed"]) for line in lines] == [
        (arm, seed) for seed in (0, 1, 2) for arm in ARMS
    ]
    for line in lines:
        assert line["gap"] == found.runs[line["seed"]][line["arm"]].result["gap"]
        assert line["fields"] == EXPERIMENTS["noise"].fields(line["arm"], line["seed"])
        assert line["versions"] == {"torch": "2"} and "seconds" not in line
    text = (out / "README.md").read_text()
    for part in ("python eval.py experiment noise --seeds=3", "label_noise=0.3", "torch 2"):
        assert part in text
    assert EXPERIMENTS["noise"].question in text and "loss is not finite" in text
    assert "| reg | nothing | 3 | 0.710 | 0.500 | +0.210 [+0.185, +0.235] |" in text
    assert "| 0.400 | 0.200 |" in text
    assert "not seen at n = 3" in text and "## Not controlled" in text


def test_the_figure_has_a_row_an_arm_and_is_the_same_again(found, tmp_path):
    pytest.importorskip("matplotlib")
    for folder in ("a", "b"):
        write_all(tmp_path / folder, {NOISE: found}, ROWS)
    one, other = ((tmp_path / f / "noise" / "figure.svg").read_bytes() for f in ("a", "b"))
    assert one == other
    texts = ["".join(e.itertext()).strip() for e in ElementTree.fromstring(one).iter()]
    assert all(any(arm == text for text in texts) for arm in ARMS)


@pytest.mark.parametrize("key", ["self", "orig", "gap", "majority_now"])
def test_the_figure_shows_each_of_its_numbers(key):
    pytest.importorskip("matplotlib")
    runs = [{"self": 0.7, "orig": 0.5, "gap": 0.2, "majority_now": 0.4}] * 3
    assert dots({"a": runs}) == dots({"a": runs})
    assert dots({"a": runs}) != dots({"a": [run | {key: 0.3} for run in runs]})


def test_the_picture_of_the_claims_has_a_line_a_row_in_the_color_of_its_verdict():
    pytest.importorskip("matplotlib")
    rows = shares({"rows": [*TABLE["rows"], TABLE["rows"][0] | {"p": None}]})
    assert len(rows) == 3  # a place is no difference
    drawn = forest(rows)
    texts = ["".join(e.itertext()).strip() for e in ElementTree.fromstring(drawn).iter()]
    assert all(any(row["label"] == " ".join(text.split()) for text in texts) for row in rows)
    for color in (VERDICTS["reproduced"], VERDICTS["reversed"]):
        assert color in drawn and color not in forest(rows[1:2])


def test_without_matplotlib_there_is_no_figure_and_no_link_to_one(
    found, tmp_path, without_matplotlib
):
    write_all(tmp_path, {NOISE: found}, ROWS)
    assert not (tmp_path / "noise" / "figure.svg").exists()
    assert "figure.svg" not in (tmp_path / "noise" / "README.md").read_text()


def test_claims_are_written_where_all_experiments_were_run(found, tmp_path, monkeypatch):
    write_all(tmp_path, {NOISE: found}, ROWS)
    assert not (tmp_path / "claims.json").exists()
    monkeypatch.setattr(publish, "CLAIMS", [r.claim for r in ROWS])
    write_all(tmp_path, {NOISE: found}, ROWS)
    assert read_json(tmp_path / "claims.json", set()) == json.loads(json.dumps(TABLE))


def test_the_log_gets_one_entry_that_marks_what_is_negative(tmp_path):
    path = tmp_path / "LOG.md"
    path.write_text("# Log\n\nNewest first.\n\n## 2020-01-01: before\n\nSaw: it\n")
    log(path, ROWS, [0, 1, 2])
    once = path.read_text()
    log(path, ROWS, [0, 1, 2])
    assert path.read_text() == once
    assert once.startswith("# Log\n\nNewest first.\n\n## 20") and once.endswith("Saw: it\n")
    assert once.count("(negative)") == 2 and once.index("the claims") < once.index("before")
    log(path, ROWS[:1], [0, 1, 2])
    assert path.read_text().count(": the claims") == 2


def test_the_readme_is_filled_between_its_markers_and_nowhere_else(tmp_path):
    path = tmp_path / "README.md"
    around = "a\n<!-- claims -->\n{}<!-- /claims -->\nb\n"
    around += "<!-- objections -->\n{}<!-- /objections -->\n"
    path.write_text(around.format("old\n", ""))
    fill(path, TABLE)
    tables = (f"{claims_table(TABLE)}\n", f"{objections_table(TABLE)}\n")
    assert path.read_text() == around.format(*tables)
    fill(path, TABLE)
    assert path.read_text() == around.format(*tables)
    other = Path(tmp_path / "other.md")
    other.write_text("nothing to fill")
    fill(other, TABLE)
    assert other.read_text() == "nothing to fill"
