"""The claims written down: a folder for each setting, the tables of claims, the log."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from introspect.files import write_json, write_text
from introspect.lab.headlines import HEADLINES
from introspect.lab.own_claims import list_own_claims
from introspect.lab.registration import hash_registration
from introspect.lab.tables import (
    as_dict, claim_blocks, claims_page, count_verdicts, main_row, mechanism_page, objections_page,
    overview_rows, row_label, stands,
)
from introspect.lab.verdicts import Row, numbers_of_families, rows_of
from introspect.report.agreement import draw_agreement
from introspect.report.figures import forest, overview
from introspect.report.html import clean
from introspect.report.study import write_study
from introspect.report.text import estimate
from introspect.runs.archive import pack
from introspect.runs.experiment import world_of
from introspect.runs.study import Gathered, Setting


ERRORS = "noise", "disagreement", "progress", "donors", "foreign"  # what is wrong with labels


def write_all(
    results: Path, gathered: dict[Setting, Gathered], rows: list[Row], published: bool
) -> None:
    """A folder for each setting and, where families were judged together, the table of claims."""
    families, studies = numbers_of_families(rows), {}
    for setting, runs in gathered.items():
        blocks = claim_blocks([as_dict(row) for row in rows if row.setting == setting], families)
        study = write_study(results / setting.name, setting, runs, {}, blocks, published)
        if setting.name in ERRORS:
            studies[setting.name] = study
    if published:
        write_archives(results / "runs", gathered)
    if published and len(studies) > 1 and (drawn := draw_agreement(studies)):
        write_text(results / "agreement.svg", drawn)
    seeds = sorted({world_of(seed) for runs in gathered.values() for seed in runs.runs})
    if families:
        claims = {"seeds": seeds, "families": families, "rows": [as_dict(row) for row in rows]}
        write_claims(results, claims | {"registered": hash_registration(results)})


def write_archives(out: Path, gathered: dict[Setting, Gathered]) -> None:
    """A file for each setting with those of its runs that are in none before it."""
    out.mkdir(parents=True, exist_ok=True)
    packed: set[Path] = set()
    for setting, made in gathered.items():
        by_world = sorted(made.runs, key=lambda seed: (world_of(seed), seed))
        runs = [run.folder for seed in by_world for run in made.runs[seed].values()]
        if new := [run for run in dict.fromkeys(runs) if run not in packed]:
            pack(out / f"{setting.name}.tar.xz", new)
        packed.update(runs)


def write_setting(
    out: Path, setting: Setting, gathered: Gathered, overrides: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """The folder of one study, with the claims that rest on it unless the user changed a field.

    Returns:
        What is shown of the study, and what came of the claims, "" where there are none.
    """
    rows = [] if overrides else rows_of({setting: gathered}, 0)
    measured = [as_dict(row) for row in rows if row.interval["n"]]
    blocks = claim_blocks(measured, {})
    if n_left := len(rows) - len(measured):
        command = f"python eval.py experiment {setting.experiment}"
        blocks.append(clean(f"{n_left} more rows need further measurements: `{command}`."))
    outcome = f"claims, in the report: {count_verdicts(measured)}" if measured else ""
    if overrides and list_own_claims([setting]):
        outcome = f"claims: not judged, since flags changed {', '.join(overrides)}"
    return write_study(out, setting, gathered, overrides, blocks), outcome


def write_claims(results: Path, claims: dict[str, Any]) -> None:
    """claims.json, and what is made from it alone: three pages and two pictures."""
    write_json(results / "claims.json", claims)
    write_text(results / "CLAIMS.md", claims_page(claims))
    write_text(results / "OBJECTIONS.md", objections_page(claims))
    write_text(results / "MECHANISM.md", mechanism_page(claims))
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in claims["rows"]:
        groups.setdefault(f"{row['name']}  {HEADLINES[row['name']].says}", []).append(row)
    drawings = {"claims.svg": forest(groups), "overview.svg": overview(overview_rows(claims))}
    for name, drawn in drawings.items():
        if drawn:
            write_text(results / name, drawn)


def log(path: Path, rows: Sequence[Row], seeds: Sequence[int], command: str) -> None:
    """Put a dated entry with the main row of every claim on top, unless one says the same."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Log\n\n"
    dicts = [as_dict(row) for row in rows]
    lines = [
        f"Asked: do the claims hold? {len(rows)} rows, judged together (CLAIMS.md)",
        f"Ran:   `{command}`; worlds {', '.join(map(str, seeds))}",
    ]
    for i, name in enumerate(dict.fromkeys(row["name"] for row in dicts)):
        row = main_row(name, dicts)
        negative = " (negative)" if row["family"] and not stands(row) else ""
        lines.append(
            f"{'       ' if i else 'Saw:   '}{name}, {row_label(row)}: "
            f"{estimate(row, 'gap')}, {row['verdict']}{negative}"
        )
    body = "\n".join([*lines, "So:    " + count_verdicts(dicts)])
    if body in text:
        return
    head, newest, rest = text.partition("## ")
    entry = f"## {datetime.date.today().isoformat()}: the claims\n\n{body}\n\n"
    write_text(path, head + entry + newest + rest)
