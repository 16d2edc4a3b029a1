"""The claims as tables: one setting's, all of them (CLAIMS.md), objections, README, terminal.

Rows are dicts as claims.json has them (`as_dict`), so that every table can be written again from
that file. `families` says how many rows of each family were tested; empty: no correction.
"""

import inspect
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from introspect.files import write_text
from introspect.lab.claim import FAMILIES
from introspect.lab.headlines import HEADLINES, OVERVIEW
from introspect.lab.mechanism import DRAWING, STATEMENTS
from introspect.lab.objections import OBJECTIONS
from introspect.lab.verdicts import ALPHA, Row, claimed, judge, numbers_of_families
from introspect.report.html import aligned, clean, table
from introspect.report.text import WIDTH, estimate
from introspect.runs.study import Setting

Rows = Sequence[dict[str, Any]]
HEAD = ["claim", "row", "measured", "paper", "claimed", "here (95 %)", "n", "p", "verdict"]
COLUMNS = """
- *row*: what the row is about. *measured*: the same by the names of the arms, which each
  experiment's page explains. *paper*: what the paper has, as far as we could recover it.
- *claimed*: where the claim puts the number. *here*: its mean and 95 % interval over worlds, by
  Student's t. *Self - Past* beside a gap is not tested. *each world*: the number of every world,
  the mean of its draws.
- *gap*: Self - Orig. *Self*: share of explanations that are true of the model as it is now. *Orig*:
  share equal to the labels of the model that gave the training labels. *Past*: share equal to M0's
  own labels; it differs from Orig where another model, or M0 at an earlier time, gave the labels.
- *adjusted gap*: the gap beyond what the frequencies of labels alone would give.
- *p*: the larger one of Student's t and of the exact sign-flip test, corrected for all families.
""".strip()


def as_dict(row: Row) -> dict[str, Any]:
    """A row as claims.json has it: enough to judge it again."""
    words = ("name", "says", "measured", "paper", "experiment", "task")
    numbers = ("also", "beside", "p", "small", "adjusted", "verdict")
    judged = {key: getattr(row, key) for key in numbers}
    return {
        **{key: getattr(row.claim, key) for key in words},
        "values": {str(seed): value for seed, value in row.values.items()},
        **row.interval,
        "claimed": claimed(row.claim),
        "family": row.claim.family,
        **judged,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """One line under HEAD."""
    words = [row[key] for key in ("says", "measured", "paper", "claimed")]
    beside = f"; Self - Past {estimate(row['beside'], 'gap')}" if row["beside"] else ""
    p = row["adjusted"]
    corrected = "" if p is None else f"{p:.3f}" if p >= 0.01 else "< 0.01"
    here, n = estimate(row, "gap") + beside, str(row["n"])
    return [row["name"], *words, here, n, corrected, row["verdict"]]


def correction(families: dict[str, int]) -> str:
    """What the p-values and verdicts of a table were corrected for."""
    if not families:
        return (
            "No correction for many rows was made, since only some of the experiments were judged. "
            "`python eval.py claims` judges all of ours together."
        )
    sizes = "; ".join(f"{n} about {FAMILIES[int(family)]}" for family, n in families.items())
    return (
        f"The correction is over all tested rows of the whole table, in families that pass on what "
        f"they have earned ({sizes}); the chance of even one false row is at most {ALPHA:g}. "
        "Rows marked at 5 % only do not survive it."
    )


def claim_blocks(rows: Rows, families: dict[str, int]) -> list[str]:
    """Markdown blocks about one setting: the table of its claims and the notes below it.

    Args:
        rows: of this setting; no rows give no blocks.
    """
    if not rows:
        return []
    names = dict.fromkeys(row["name"] for row in rows)
    about = [f"{name}: {HEADLINES[name].note}" for name in names
             if name in HEADLINES and HEADLINES[name].note]
    return [table([HEAD, *map(cells, rows)]), *map(clean, [correction(families), *about])]


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
        "C1-C13 are claims of the paper, C14 and C15 controls, N1-N6 questions of our own. "
        "`python eval.py claims` judges all of them and writes this page. Every number is in "
        f"[claims.json](claims.json). Worlds {', '.join(map(str, seeds))}.",
        *filter(None, [say_registered(claims)]),
        "![Every row with its interval](claims.svg)",
        "## How to read the tables",
        COLUMNS,
        f"- *verdict*: {rule}",
        clean(correction(claims["families"])),
        clean(count_verdicts(rows)),
    ]
    for name, headline in HEADLINES.items():
        own = [row for row in rows if row["name"] == name]
        if not own:
            continue
        settings = list(dict.fromkeys(Setting(row["experiment"], row["task"]) for row in own))
        commands = dict.fromkeys(f"python eval.py experiment {s.experiment}" for s in settings)
        folders = ", ".join(f"[{s.name}]({s.name}/README.md)" for s in settings)
        head = [*HEAD[1:6], "each world", *HEAD[6:]]
        lines = []
        for row in own:
            of, each_world = cells(row), " ".join(f"{x:+.2f}" for x in row["values"].values())
            lines.append([*of[1:6], each_world, *of[6:]])
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


def say_registered(claims: dict[str, Any]) -> str:
    """What was fixed before the runs were made, and which families have been judged so far."""
    if not claims["registered"]:
        return ""
    judged = [FAMILIES[int(family)] for family, n in claims["families"].items() if n]
    return (
        "Worlds, arms, rows and rules were [registered](REGISTRATION.md) before any of these runs "
        f"was made (SHA-256 `{claims['registered']}`). Judged so far: {'; '.join(judged)}."
    )


def main_row(name: str, rows: Rows) -> dict[str, Any]:
    """The row that stands for a claim: the one that its headline names, else the first."""
    own = [row for row in rows if row["name"] == name]
    return next(row for row in own if row["measured"].startswith(HEADLINES[name].main))


def stands(row: dict[str, Any]) -> bool:
    """Whether a row came out as claimed and survives the correction."""
    return row["verdict"] in ("supported", "holds")


def contradicts(row: dict[str, Any]) -> bool:
    """Whether a row came out against its claim, corrected or not."""
    return row["verdict"].startswith("contradicted")


def readme_table(claims: dict[str, Any]) -> str:
    """One row a claim that was judged, with its main number and how many of its rows stand."""
    lines = [["claim", "in words", "paper", "here", "verdict", "rows"]]
    for name, headline in HEADLINES.items():
        rows = [row for row in claims["rows"] if row["name"] == name]
        if not any(row["family"] for row in rows):
            continue
        row = main_row(name, rows)
        told = f"{headline.unit} {estimate(row, 'gap')}"
        kept = f"{sum(map(stands, rows))}/{sum(row['family'] > 0 for row in rows)}"
        n_against = sum(map(contradicts, rows))
        verdict = row["verdict"] + f", {n_against} contradicted" * bool(n_against)
        lines.append([name, headline.says, headline.paper, told, verdict, kept])
    return table(lines)


def objections_page(claims: dict[str, Any]) -> str:
    """OBJECTIONS.md: what readers of the paper object to or ask for, and the rows about it."""
    blocks = [
        "# Objections, and what the rows say",
        "What readers of the paper object to or ask for, the rows of the [claims](CLAIMS.md) that "
        "speak to it, and what they leave open. `python eval.py claims` writes this page.",
    ]
    for objection in OBJECTIONS:
        said = list_about(claims["rows"], objection.rows)
        blocks += [f"## {clean(objection.text)}", said or "No row speaks to it."]
        blocks += [f"Not answered: {clean(objection.rest)}."] if objection.rest else []
    return "\n\n".join(blocks) + "\n"


def mechanism_page(claims: dict[str, Any]) -> str:
    """MECHANISM.md: what we think happens, each sentence with the rows that carry or refute it."""
    blocks = [
        "# What we think happens",
        "A mechanism in words, for models of two blocks. Each sentence has the rows of the "
        "[claims](CLAIMS.md) that carry or refute it, what would have refuted it, and how to try "
        "it on a large model. It was found on development worlds 100 to 103; the rows are of "
        "worlds that were registered before ([REGISTRATION.md](REGISTRATION.md)). "
        "`python eval.py claims` writes this page.",
        f"```\n{DRAWING}\n```",
        "Not registered: models of four and six blocks fork too. On development worlds (experiment "
        "depth, [LOG.md](LOG.md)) explanations follow edits of the first third of the blocks, and "
        "less and less those of later ones.",
    ]
    for i, statement in enumerate(STATEMENTS, start=1):
        blocks += [
            f"## {i}. {clean(statement.text)}",
            list_about(claims["rows"], statement.rows) or "Its rows are not judged yet.",
            f"It would be wrong if: {clean(statement.refuted)}",
            f"On a large model: {clean(statement.elsewhere)}",
        ]
    return "\n\n".join(blocks) + "\n"


def list_about(rows: Rows, names: tuple[str, ...]) -> str:
    """A line for each row whose name and `measured` begin with one of these."""
    return "\n".join(
        f"- [{row['name']}](CLAIMS.md#{row['name'].lower()}) "
        + clean(f"{row_label(row)}: {estimate(row, 'gap')}, {row['verdict']}")
        for row in rows
        if f"{row['name']} {row['measured']}".startswith(names or ("no row",))
    )


def row_label(row: dict[str, Any]) -> str:
    """A row in words, with the folder of its experiment."""
    return f"{row['says']} ({Setting(row['experiment'], row['task']).name})"


def overview_rows(claims: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(claim in words, number in words, row) for the README's picture: the main row of each of its
    claims, then the rows of it that are contradicted."""
    shown = []
    for name in OVERVIEW:
        if rows := [row for row in claims["rows"] if row["name"] == name]:
            main = main_row(name, rows)
            shown.append((f"{name}  {HEADLINES[name].says}", main["says"], main))
            against = filter(contradicts, rows)
            shown += [(f"{name}  but not in this row", row["says"], row) for row in against]
    return shown


def show(rows: Sequence[Row]) -> str:
    """The table for the terminal."""
    dicts = [as_dict(row) for row in rows]
    lines = [[line[0], line[2], *line[4:]] for line in (HEAD, *map(cells, dicts))]
    notes = [count_verdicts(dicts), correction(numbers_of_families(rows))]
    return "\n".join([aligned(lines), *(textwrap.fill(note, WIDTH) for note in notes)])


def fill(path: Path, claims: dict[str, Any]) -> None:
    """Put the short table between <!-- claims --> and <!-- /claims --> of a README."""
    text, block = path.read_text(encoding="utf-8"), readme_table(claims)
    marked = re.compile(r"(<!-- claims -->\n).*?(<!-- /claims -->)", re.S)
    write_text(path, marked.sub(lambda match: f"{match[1]}{block}\n{match[2]}", text))
