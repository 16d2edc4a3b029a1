"""The claims as tables: one setting's, all of them (CLAIMS.md), objections, README, terminal.

Rows are dicts as claims.json has them (`as_dict`), so that every table can be written again from
that file. `family` is the number of rows that Holm's correction was over; 0: no correction.
"""

import inspect
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from introspect.files import write_text
from introspect.lab.claim import Claim
from introspect.lab.headlines import HEADLINES, OVERVIEW
from introspect.lab.objections import OBJECTIONS
from introspect.lab.verdicts import ALPHA, Row, judge
from introspect.report.html import aligned, clean, table
from introspect.report.text import WIDTH, estimate, number
from introspect.runs.study import Setting

Rows = Sequence[dict[str, Any]]
HEAD = ["claim", "row", "measured", "paper", "claimed", "here (95 %)", "n", "Holm p", "verdict"]
STAR = "Rows marked * were added after we had seen the results; treat them as exploratory."
COLUMNS = """
- *row*: what the row is about. *measured*: the same by the names of the arms, which each
  experiment's page explains. *paper*: what the paper has, as far as we could recover it.
- *claimed*: where the claim puts the number. *here*: its mean and 95 % interval over seeds, by
  Student's t. *Self - Past* beside a gap is not tested. *each seed*: the number of every seed.
- *gap*: Self - Orig. *Self*: share of explanations that are true of the model as it is now. *Orig*:
  share equal to the labels of the model that gave the training labels. *Past*: share equal to M0's
  own labels; it differs from Orig where another model, or M0 at an earlier time, gave the labels.
- *adjusted gap*: the gap beyond what the frequencies of labels alone would give.
- *Holm p*: two-sided p against 0, corrected. It takes differences between seeds as normal. With
  five seeds no test without that assumption can go below 0.0625.
""".strip()


def as_dict(row: Row) -> dict[str, Any]:
    """A row as claims.json has it: enough to judge it again."""
    words = ("name", "says", "measured", "paper", "experiment", "task")
    judged = {key: getattr(row, key) for key in ("also", "beside", "p", "adjusted", "verdict")}
    return {
        **{key: getattr(row.claim, key) for key in words},
        "values": {str(seed): value for seed, value in row.values.items()},
        **row.interval,
        "claimed": claimed(row.claim),
        "after": row.claim.after,
        **judged,
    }


def claimed(claim: Claim) -> str:
    """Where the claim puts its number."""
    if claim.within:
        return "{:g} to {:g}".format(*claim.within)
    return "> 0" if claim.sign > 0 else "< 0"


def cells(row: dict[str, Any]) -> list[str]:
    """One line under HEAD."""
    words = [row[key] for key in ("says", "measured", "paper", "claimed")]
    beside = f"; Self - Past {estimate(row['beside'], 'gap')}" if row["beside"] else ""
    p = row["adjusted"]
    corrected = "" if p is None else f"{p:.3f}" if p >= 0.01 else "< 0.01"
    here, n = estimate(row, "gap") + beside, str(row["n"])
    return [row["name"] + "*" * row["after"], *words, here, n, corrected, row["verdict"]]


def correction(family: int) -> str:
    """What the p-values and verdicts of a table were corrected for."""
    if not family:
        return (
            "No correction for many rows was made, since only some of the experiments were judged. "
            "`python eval.py claims` judges all of them together."
        )
    return (
        f"Holm's correction is over all {family} tested rows of the whole table of claims, not "
        f"only over the rows shown here; the chance of even one false row is at most {ALPHA:g}. "
        "Rows marked (not after correction) have an interval without 0 but do not survive it."
    )


def claim_blocks(rows: Rows, family: int) -> list[str]:
    """Markdown blocks about one setting: the table of its claims and the notes below it.

    Args:
        rows: of this setting; no rows give no blocks.
    """
    if not rows:
        return []
    notes = [STAR] if any(row["after"] for row in rows) else []
    names = dict.fromkeys(row["name"] for row in rows)
    about = [f"{name}: {HEADLINES[name].note}" for name in names
             if name in HEADLINES and HEADLINES[name].note]
    return [table([HEAD, *map(cells, rows)]), *map(clean, [*notes, correction(family), *about])]


def count_verdicts(rows: Rows) -> str:
    """How many rows got which verdict.

    >>> count_verdicts([{"verdict": "holds"}, {"verdict": "holds"}])
    '2 rows: 2 holds.'
    """
    words = [row["verdict"] for row in rows]
    counts = "; ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    return f"{len(rows)} rows: {counts}."


def claims_page(claims: dict[str, Any]) -> str:
    """CLAIMS.md: every row, grouped by claim."""
    rows, seeds = claims["rows"], claims["seeds"]
    rule = " ".join((inspect.getdoc(judge) or "").split())
    blocks = [
        "# The claims",
        "C1-C13 are claims of the paper, C14 and C15 controls, N1-N5 questions of our own. "
        "`python eval.py claims` judges all of them and writes this page. Every number is in "
        f"[claims.json](claims.json). Seeds {', '.join(map(str, seeds))}.",
        "![Every row with its interval](claims.svg)",
        "## How to read the tables",
        COLUMNS,
        f"- *verdict*: {rule}",
        STAR,
        clean(correction(claims["family"])),
        clean(count_verdicts(rows)),
    ]
    for name, headline in HEADLINES.items():
        own = [row for row in rows if row["name"] == name]
        if not own:
            continue
        settings = list(dict.fromkeys(Setting(row["experiment"], row["task"]) for row in own))
        commands = dict.fromkeys(f"python eval.py experiment {s.experiment}" for s in settings)
        folders = ", ".join(f"[{s.name}]({s.name}/README.md)" for s in settings)
        head = [*HEAD[1:6], "each seed", *HEAD[6:]]
        lines = []
        for row in own:
            of, each_seed = cells(row), " ".join(f"{x:+.2f}" for x in row["values"].values())
            lines.append([of[1] + "*" * row["after"], *of[2:6], each_seed, *of[6:]])
        main = main_row(name, own)
        why = f" The README shows the row \"{main['says']}\": {headline.why}."
        blocks += [
            f'<a id="{name.lower()}"></a>',
            f"## {name}: {headline.says}",
            "```sh\n" + "\n".join(commands) + "\n```",
            f"Arms and runs: {folders}.",
            table([head, *lines]),
            *filter(None, [clean(headline.note + why * bool(headline.why)).strip()]),
        ]
    return "\n\n".join(blocks) + "\n"


def main_row(name: str, rows: Rows) -> dict[str, Any]:
    """The row that stands for a claim: the one that its headline names, else the first."""
    own = [row for row in rows if row["name"] == name]
    return next(row for row in own if row["measured"].startswith(HEADLINES[name].main))


def stands(row: dict[str, Any]) -> bool:
    """Whether a row came out as claimed and survives the correction."""
    return row["verdict"] in ("supported", "holds")


def readme_table(claims: dict[str, Any]) -> str:
    """One row a claim, with its main number and a link to all of its rows."""
    lines = [["claim", "in words", "paper", "here", "verdict", "rows"]]
    for name, headline in HEADLINES.items():
        rows = [row for row in claims["rows"] if row["name"] == name]
        if not rows:
            continue
        row = main_row(name, rows)
        link = f"[{name}](data/results/CLAIMS.md#{name.lower()}){'*' * row['after']}"
        told = f"{headline.unit} {estimate(row, 'gap')}"
        verdict = row["verdict"].replace("not after correction", "not corr.")
        kept = f"{sum(map(stands, rows))}/{len(rows)}"
        lines.append([link, headline.says, headline.paper, told, verdict, kept])
    return table(lines)


def objections_page(claims: dict[str, Any]) -> str:
    """OBJECTIONS.md: what readers of the paper object to or ask for, and the rows about it."""
    blocks = [
        "# Objections, and what the rows say",
        "What readers of the paper object to or ask for, the rows of the [claims](CLAIMS.md) that "
        "speak to it, and what they leave open. `python eval.py claims` writes this page.",
    ]
    for objection in OBJECTIONS:
        said = [
            f"- [{row['name']}](CLAIMS.md#{row['name'].lower()}){'*' * row['after']} "
            + clean(f"{row_label(row)}: {number(row['mean'], 'gap')}, {row['verdict']}")
            for row in claims["rows"]
            if f"{row['name']} {row['measured']}".startswith(objection.rows or ("no row",))
        ]
        blocks += [f"## {clean(objection.text)}", "\n".join(said) or "No row speaks to it."]
        blocks += [f"Not answered: {clean(objection.rest)}."] if objection.rest else []
    return "\n\n".join([*blocks, STAR]) + "\n"


def row_label(row: dict[str, Any]) -> str:
    """A row in words, with the folder of its experiment."""
    return f"{row['says']} ({Setting(row['experiment'], row['task']).name})"


def overview_rows(claims: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(claim in words, number in words, main row) of the claims that the README's picture shows."""
    there = {row["name"] for row in claims["rows"]}
    rows = [main_row(name, claims["rows"]) for name in OVERVIEW if name in there]
    return [(f"{row['name']}  {HEADLINES[row['name']].says}", row["says"], row) for row in rows]


def show(rows: Sequence[Row]) -> str:
    """The table for the terminal."""
    dicts = [as_dict(row) for row in rows]
    lines = [[line[0], line[2], *line[4:]] for line in (HEAD, *map(cells, dicts))]
    family = sum(row.adjusted is not None for row in rows)
    notes = [count_verdicts(dicts), *[STAR] * any(row["after"] for row in dicts)]
    notes.append(correction(family))
    return "\n".join([aligned(lines), *(textwrap.fill(note, WIDTH) for note in notes)])


def fill(path: Path, claims: dict[str, Any]) -> None:
    """Put the short table between <!-- claims --> and <!-- /claims --> of a README."""
    text, block = path.read_text(encoding="utf-8"), readme_table(claims)
    marked = re.compile(r"(<!-- claims -->\n).*?(<!-- /claims -->)", re.S)
    write_text(path, marked.sub(lambda match: f"{match[1]}{block}\n{match[2]}", text))
