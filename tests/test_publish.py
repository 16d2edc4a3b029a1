"""What the lab writes: every row with its numbers, once, and nothing that the runs do not say."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from introspect.files import write_lines
from introspect.lab.headlines import HEADLINES
from introspect.lab.mechanism import STATEMENTS
from introspect.lab.objections import OBJECTIONS
from introspect.lab.publish import log, write_all
from introspect.lab.tables import (
    claim_blocks,
    claims_page,
    fill,
    main_row,
    mechanism_page,
    objections_page,
    readme_table,
    show,
)
from introspect.lab.verdicts import judge
from introspect.reading import read_json, read_lines
from introspect.report.figures import dots
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.study import Gathered, Run
from tests.made_claims import ARMS, CLAIM, FAMILIES, NOISE, ROWS, TABLE
from tests.made_up import result_of


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
            write_lines(
                folder / "metrics.jsonl",
                [{"step": s, "self": 0.2 + s, "orig": 0.3 + s} for s in (0, 1)],
            )
            result = result_of(arm, seed, self_match - 0.5) | result
            runs.setdefault(seed, {})[arm] = Run(result, folder)
    return Gathered(runs, ["noise-0.7 of seed 9: loss is not finite"])


COUNTED = "4 rows: 1 supported; 1 undecided (interval includes 0); 1 contradicted; 1 explores."


def cells_of(table: str) -> list[list[str]]:
    return [line[2:-2].split(" | ") for line in table.splitlines() if line.startswith("| ")]


VERDICT_WORDS = ["supported", "undecided (interval includes 0)", "contradicted", "explores"]
FAMILY_WORDS = "(0 about C1 and C2; 1 about C3 to C13; 2 about C14, C15 and N1 to N6)"


def test_the_table_of_a_setting_has_every_row_with_its_interval_n_and_verdict():
    block, corrected, *notes = claim_blocks(TABLE["rows"], FAMILIES)
    head, *rows = cells_of(block)
    assert len(rows) == 4 and {len(r) for r in rows} == {len(head)}
    at = {name: i for i, name in enumerate(head)}
    assert [r[at["verdict"]] for r in rows] == VERDICT_WORDS
    assert rows[0][at["here (95 %)"]] == "+0.110 [+0.101, +0.119]"
    assert rows[1][at["here (95 %)"]].endswith("; Self - Past +0.400 [+0.152, +0.648]")
    assert [r[at["n"]] for r in rows] == ["6"] * 4
    assert [r[at["p"]] for r in rows] == ["0.010", "0.400", "&lt; 0.01", "0.010"]
    assert rows[1][at["row"]] == "a &#124; b" and rows[1][at["paper"]] == "&lt;none&gt;"
    assert [r[at["claim"]] for r in rows] == ["C5", "C15", "N1", "N1"]
    assert [r[at["claimed"]] for r in rows] == ["&gt; 0"] * 4
    assert FAMILY_WORDS in corrected and "common drift" in " ".join(notes)


def test_a_page_of_few_rows_says_the_size_of_the_whole_family_or_that_there_was_none():
    one = TABLE["rows"][:1]
    assert FAMILY_WORDS in " ".join(claim_blocks(one, FAMILIES))
    alone = " ".join(claim_blocks(one, {}))
    assert "No correction for many rows was made" in alone and "families" not in alone
    assert claim_blocks([], FAMILIES) == []


def test_the_page_of_claims_has_every_row_below_its_claim_and_quotes_the_rule():
    text = claims_page(TABLE)
    for name, verdict in zip(("C5", "C15", "N1"), VERDICT_WORDS):
        part = text.split(f'<a id="{name.lower()}"></a>')[1].split("<a id")[0]
        assert f"## {name}: {HEADLINES[name].says}" in part and f"| {verdict} |" in part
        assert "python eval.py experiment noise" in part and "[noise](noise/README.md)" in part
    assert "+0.10 +0.11 +0.12" in text and "## C1:" not in text
    assert " ".join(judge.__doc__.split()) in text and FAMILY_WORDS in text
    assert COUNTED in text and "SHA-256" not in text
    registered = claims_page(TABLE | {"registered": "abc"})
    assert "(SHA-256 `abc`). Judged so far: C3 to C13; C14, C15 and N1 to N6." in registered


def test_the_readme_has_one_row_a_claim_and_it_is_the_declared_one():
    head, *rows = cells_of(readme_table(TABLE))
    assert [r[0] for r in rows] == ["C5", "C15", "N1"]
    assert rows[0][3:] == ["gap at 30 % +0.110 [+0.101, +0.119]", "supported", "1/1"]
    assert [r[-1] for r in rows[1:]] == ["0/1", "0/1"]
    two = [{"name": "C8", "measured": m} for m in ("first", HEADLINES["C8"].main)]
    assert main_row("C8", two) == two[1]
    again = [row | {"name": "C5", "says": "second"} for row in TABLE["rows"]]
    assert main_row("C5", [*TABLE["rows"], *again])["says"] == CLAIM.says


def test_every_objection_has_the_verdicts_of_the_rows_that_speak_to_it():
    parts = {p.partition("\n")[0]: p for p in objections_page(TABLE).split("## ")[1:]}
    assert len(parts) == len(OBJECTIONS)
    shared = next(part for text, part in parts.items() if text.startswith("Shared drift"))
    assert "[C15](CLAIMS.md#c15) a &#124; b (noise): +0.067 [" in shared
    steps = next(part for text, part in parts.items() if text.startswith("Multi-step"))
    assert "No row speaks to it." in steps and "Not answered: all of it" in steps
    noise = next(part for text, part in parts.items() if "how much noise" in text)
    assert f"{CLAIM.says} (noise): +0.110 [+0.101, +0.119], supported" in noise


def test_every_sentence_of_the_mechanism_has_its_rows_or_says_that_they_are_to_come():
    rows = [TABLE["rows"][0] | {"measured": "gap of noise-0.5"}]
    parts = mechanism_page({"rows": rows}).split("\n## ")[1:]
    assert len(parts) == len(STATEMENTS)
    carried = [f"- [C5](CLAIMS.md#c5) {CLAIM.says} (noise): +0.110" in part for part in parts]
    waiting = ["Its rows are not judged yet." in part for part in parts]
    assert carried.count(True) == 1 and [not c for c in carried] == waiting


def test_the_terminal_shows_the_same_numbers_and_counts_the_verdicts():
    text = show(ROWS)
    assert "+0.110 [+0.101, +0.119]" in text
    assert COUNTED in text and "2 about C14" in text
    plain = show([r._replace(adjusted=None) for r in ROWS[:2]])
    assert "No correction" in plain and "families" not in plain


def test_a_study_lists_every_run_and_says_how_to_get_it(found, tmp_path):
    write_all(tmp_path / "results", {NOISE: found}, ROWS, True)
    out = tmp_path / "results" / "noise"
    lines = read_lines(out / "runs.jsonl", {})
    assert [(line["arm"], line["seed"]) for line in lines] == [
        (arm, seed) for seed in (0, 1, 2) for arm in ARMS
    ]
    for line in lines:
        assert line["gap"] == found.runs[line["seed"]][line["arm"]].result["gap"]
        assert line["fields"] == EXPERIMENTS["noise"].fields(line["arm"], line["seed"])
        assert line["versions"] == {"torch": "2"} and "seconds" not in line
    text = (out / "README.md").read_text()
    for part in ("python eval.py experiment noise", "label_noise=0.3", "torch 2"):
        assert part in text
    assert EXPERIMENTS["noise"].question in text and "loss is not finite" in text
    assert "| reg | 3 | 0.710 | 0.500 | +0.210 [+0.185, +0.235] |" in text
    assert f" | {EXPERIMENTS['noise'].say('reg')} | the defaults |\n" in text
    assert "| 0.400 | 0.200 |" in text and FAMILY_WORDS in text
    assert "undecided (interval includes 0)" in text and "## Not controlled" in text


def test_the_figure_has_a_row_an_arm_and_is_the_same_again(found, tmp_path):
    pytest.importorskip("matplotlib")
    for folder in ("a", "b"):
        write_all(tmp_path / folder, {NOISE: found}, ROWS, True)
    one, other = ((tmp_path / f / "noise" / "figure.svg").read_bytes() for f in ("a", "b"))
    assert one == other
    texts = ["".join(e.itertext()).strip() for e in ElementTree.fromstring(one).iter()]
    assert all(any(text.endswith(f" ({arm})") for text in texts) for arm in ARMS)


@pytest.mark.parametrize("key", ["self", "orig", "gap", "majority_now"])
def test_the_figure_shows_each_of_its_numbers(key):
    pytest.importorskip("matplotlib")
    runs = [{"self": 0.7, "orig": 0.5, "gap": 0.2, "majority_now": 0.4}] * 3
    assert dots({"a": runs}) == dots({"a": runs})
    assert dots({"a": runs}) != dots({"a": [run | {key: 0.3} for run in runs]})


def test_without_matplotlib_there_is_no_figure_and_no_link_to_one(
    found, tmp_path, without_matplotlib
):
    write_all(tmp_path, {NOISE: found}, ROWS, True)
    assert not (tmp_path / "noise" / "figure.svg").exists()
    assert "figure.svg" not in (tmp_path / "noise" / "README.md").read_text()


def test_claims_are_written_where_families_were_judged(found, tmp_path):
    write_all(tmp_path, {NOISE: found}, [r._replace(adjusted=None) for r in ROWS], True)
    assert not (tmp_path / "claims.json").exists()
    write_all(tmp_path, {NOISE: found}, ROWS, True)
    written = TABLE | {"seeds": [0, 1, 2]}
    assert read_json(tmp_path / "claims.json", {}) == json.loads(json.dumps(written))
    assert (tmp_path / "CLAIMS.md").read_text() == claims_page(written)
    assert (tmp_path / "OBJECTIONS.md").read_text() == objections_page(TABLE)
    assert (tmp_path / "MECHANISM.md").read_text() == mechanism_page(written)


def test_the_log_gets_one_entry_that_marks_what_is_negative(tmp_path):
    path = tmp_path / "LOG.md"
    path.write_text("# Log\n\nNewest first.\n\n## 2020-01-01: before\n\nSaw: it\n")
    log(path, ROWS, [0, 1, 2], "do it")
    once = path.read_text()
    assert "Ran:   `do it`; worlds 0, 1, 2" in once
    log(path, ROWS, [0, 1, 2], "do it")
    assert path.read_text() == once
    assert once.startswith("# Log\n\nNewest first.\n\n## 20") and once.endswith("Saw: it\n")
    assert once.count("(negative)") == 2 and once.index("the claims") < once.index("before")
    log(path, ROWS[:1], [0, 1, 2], "do it")
    assert path.read_text().count(": the claims") == 2


def test_the_readme_is_filled_between_its_markers_and_nowhere_else(tmp_path):
    path = tmp_path / "README.md"
    around = "a\n<!-- claims -->\n{}<!-- /claims -->\nb\n"
    path.write_text(around.format("old\n"))
    for _ in range(2):
        fill(path, TABLE)
        assert path.read_text() == around.format(f"{readme_table(TABLE)}\n")
    other = Path(tmp_path / "other.md")
    other.write_text("nothing to fill")
    fill(other, TABLE)
    assert other.read_text() == "nothing to fill"
