"""What the lab found, written down: a folder an experiment, the table of claims, the log."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from introspect.files import read_lines, write_json, write_lines, write_text
from introspect.lab.claims import CLAIMS
from introspect.lab.headlines import HEADLINES
from introspect.lab.tables import (
    as_dict,
    claim_blocks,
    claims_page,
    count_verdicts,
    main_row,
    objections_page,
    overview_rows,
    row_label,
    stands,
)
from introspect.lab.verdicts import Row
from introspect.report.figures import dots, forest, overview
from introspect.report.html import clean, table
from introspect.report.text import estimate, number
from introspect.report.words import NAMES
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.study import Gathered, Run, Setting
from introspect.stats import interval

MEASURED = ("self", "orig", "gap", "drift", "preference")
COLUMNS = {key: NAMES[key] for key in MEASURED} | {"majority_now": "majority"}
OPEN = (
    "a seed sets world, split, M0 and batches together; their parts in the spread are not told "
    "apart.",
    "one size of model and of world, where they are not what is asked about.",
    "settings were chosen on development seeds for a clear gap (LOG.md).",
)


def write_all(results: Path, gathered: dict[Setting, Gathered], rows: list[Row]) -> None:
    """A folder for each setting and, where all experiments were run, the claims about them."""
    dicts, family = [as_dict(row) for row in rows], sum(row.adjusted is not None for row in rows)
    for setting, runs in gathered.items():
        about = [row for row in dicts if (row["experiment"], row["task"]) == setting]
        write_study(results / setting.name, setting, runs, claim_blocks(about, family))
    seeds = sorted({seed for runs in gathered.values() for seed in runs.runs})
    if {setting.experiment for setting in gathered} >= {claim.experiment for claim in CLAIMS}:
        write_claims(results, {"seeds": seeds, "family": family, "rows": dicts})


def write_claims(results: Path, claims: dict[str, Any]) -> None:
    """claims.json, and what is made from it alone: CLAIMS.md, OBJECTIONS.md and both pictures."""
    write_json(results / "claims.json", claims)
    write_text(results / "CLAIMS.md", claims_page(claims))
    write_text(results / "OBJECTIONS.md", objections_page(claims))
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in claims["rows"]:
        groups.setdefault(f"{row['name']}  {HEADLINES[row['name']].says}", []).append(row)
    for name, drawn in (
        ("claims.svg", forest(groups)),
        ("overview.svg", overview(overview_rows(claims))),
    ):
        if drawn:
            write_text(results / name, drawn)


def write_study(
    out: Path, study: Setting, found: Gathered, about_claims: list[str]
) -> None:
    """out/runs.jsonl, README.md and figure.svg of one study."""
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for seed, by_arm in sorted(found.runs.items()):
        for arm, run in by_arm.items():
            kept = {k: v for k, v in run.result.items() if k not in ("arm", "seconds")}
            sets = EXPERIMENTS[study.experiment].fields(arm, seed)
            lines.append({"arm": arm, "fields": sets, **kept})
    write_lines(out / "runs.jsonl", lines)
    if EXPERIMENTS[study.experiment].items and lines:
        first = found.runs[min(found.runs)]
        of_arm = {arm: read_lines(run.folder / "items.jsonl", "item") for arm, run in first.items()}
        rows_of_items = [{"run": arm, **item} for arm, of in of_arm.items() for item in of]
        write_lines(out / "items.jsonl", rows_of_items)
    by_arm = arms_of(found)
    drawn = dots({arm: [run.result for run in runs] for arm, runs in by_arm.items()})
    if drawn:
        write_text(out / "figure.svg", drawn)
    write_text(out / "README.md", readme(study, found, about_claims, drawn is not None))


def arms_of(found: Gathered) -> dict[str, list[Run]]:
    """The runs of each arm, in the order of the seeds."""
    arms = dict.fromkeys(arm for by_arm in found.runs.values() for arm in by_arm)
    return {arm: [of[arm] for _, of in sorted(found.runs.items()) if arm in of] for arm in arms}


def readme(study: Setting, found: Gathered, about_claims: list[str], drawn: bool) -> str:
    """The report of one study: question, command, claims, arms, what was not controlled."""
    experiment, seeds = EXPERIMENTS[study.experiment], list(found.runs)
    runs = [run for by_arm in found.runs.values() for run in by_arm.values()]
    made = [", ".join(f"{k} {v}" for k, v in run.result["versions"].items()) for run in runs]
    made = list(dict.fromkeys(made))
    arms = [["arm", "differs in", "n", *COLUMNS.values(), "untrained"]]
    for arm, runs in arms_of(found).items():
        sets = experiment.sets(arm, seeds[0])
        of = {key: interval([run.result[key] for run in runs]) for key in COLUMNS}
        said = [estimate(of[k], k) if k == "gap" else number(of[k]["mean"]) for k in COLUMNS]
        first = [read_lines(run.folder / "metrics.jsonl")[0]["self"] for run in runs]
        differs = ", ".join(f"{k}={v}" for k, v in sets.items()) or "nothing"
        arms.append([arm, differs, str(len(runs)), *said, number(interval(first)["mean"])])
    base = ", ".join(f"{k}={v}" for k, v in experiment.base.items())
    blocks = [
        f"# {clean(study.name)}",
        clean(experiment.question),
        f"```sh\npython eval.py experiment {study.experiment} {asked(seeds)}\n```",
        f"Task {clean(study.task)}. Seeds {', '.join(map(str, seeds))}."
        + (f" All arms: {clean(base)}." if base else ""),
        "## Claims",
        *about_claims,
        "## Arms",
        *(["![Self, Orig and gap of every arm, with every seed](figure.svg)"] if drawn else []),
        table(arms),
        "Held-out items; means over seeds, the gap with its 95 % interval by Student's t. "
        "Majority: Self of the best constant explanation; untrained: Self before the first update. "
        "Values of fields that depend on the seed are those of the first. Every run is in "
        "[runs.jsonl](runs.jsonl).",
        *(["Diverged: " + clean("; ".join(found.failed))] if found.failed else []),
        "## Not controlled",
        "\n".join(f"- {clean(text)}" for text in filter(None, (experiment.open, *OPEN))),
        *("Made with " + clean(text) + "." for text in made),
    ]
    return "\n\n".join(blocks) + "\n"


def asked(seeds: Sequence[int]) -> str:
    """The flags that ask for these seeds."""
    first = [f"--seed={seeds[0]}"] if seeds[0] else []
    return " ".join([*first, f"--seeds={len(seeds)}"])


def log(path: Path, rows: Sequence[Row], seeds: Sequence[int]) -> None:
    """Put a dated entry with the main row of every claim on top, unless one says the same."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Log\n\n"
    dicts = [as_dict(row) for row in rows]
    lines = [
        f"Asked: do the claims hold? {len(rows)} rows, judged together (CLAIMS.md)",
        f"Ran:   `python eval.py claims {asked(seeds)}`; seeds {', '.join(map(str, seeds))}",
    ]
    for i, name in enumerate(dict.fromkeys(row["name"] for row in dicts)):
        row = main_row(name, dicts)
        lines.append(
            f"{'       ' if i else 'Saw:   '}{name}{'*' * row['after']}, {row_label(row)}: "
            f"{estimate(row, 'gap')}, {row['verdict']}{'' if stands(row) else ' (negative)'}"
        )
    body = "\n".join([*lines, "So:    " + count_verdicts(dicts)])
    if body in text:
        return
    head, newest, rest = text.partition("## ")
    entry = f"## {datetime.date.today().isoformat()}: the claims\n\n{body}\n\n"
    write_text(path, head + entry + newest + rest)
