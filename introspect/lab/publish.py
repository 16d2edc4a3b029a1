"""What the lab found, written down: a folder an experiment, the table of claims, the log."""

import datetime
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from introspect.files import read_lines, write_json, write_lines, write_text
from introspect.lab.claim import Claim
from introspect.lab.claims import CLAIMS
from introspect.lab.objections import OBJECTIONS
from introspect.lab.verdicts import ALPHA, Row
from introspect.report.figures import dots, forest
from introspect.report.html import aligned, clean, table
from introspect.report.text import WIDTH, estimate, number
from introspect.report.words import NAMES
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.study import Gathered, Run, Setting
from introspect.stats import interval

MEASURED = ("self", "orig", "gap", "drift", "compatibility", "preference")
COLUMNS = {key: NAMES[key] for key in MEASURED} | {"majority_now": "majority"}
OPEN = (
    "a seed sets world, split, M0 and batches together; their parts in the spread are not told "
    "apart.",
    "one size of model and of world, where they are not what is asked about.",
    "settings were chosen on development seeds for a clear gap (LOG.md).",
)


def as_dict(row: Row) -> dict[str, Any]:
    """A row of the table as claims.json has it: enough to judge it again."""
    claim = row.claim
    return {
        "name": claim.name,
        "says": claim.says,
        "measured": claim.measured,
        "paper": claim.paper,
        "experiment": claim.experiment,
        "task": claim.task,
        "values": {str(seed): value for seed, value in row.values.items()},
        **row.interval,
        "claimed": claimed(claim),
        "after": claim.after,
        "also": row.also,
        "p": row.p,
        "adjusted": row.adjusted,
        "verdict": row.verdict,
    }


def claimed(claim: Claim) -> str:
    """Where the number is claimed to be."""
    if claim.within:
        return "{:g} to {:g}".format(*claim.within)
    return "> 0" if claim.sign > 0 else "< 0"


HEAD = ["claim", "what it says", "measured", "in", "paper", "claimed", "here, 95 %"]
HEAD += ["n", "Holm p", "verdict"]


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table of claims."""
    adjusted = row["adjusted"]
    return [
        row["name"] + "*" * row["after"],
        row["says"],
        row["measured"],
        Setting(row["experiment"], row["task"]).name,
        row["paper"],
        row["claimed"],
        estimate(row, "gap"),
        str(row["n"]),
        "" if adjusted is None else f"{adjusted:.3f}" if adjusted >= 0.001 else "< 0.001",
        row["verdict"],
    ]


def claims_table(claims: dict[str, Any]) -> str:
    """The table of the README, in Markdown, and its sums; the last column is what makes a row."""
    rows = [[*cells(row), f"experiment {row['experiment']}"] for row in claims["rows"]]
    lines = [table([[*HEAD, "python eval.py"], *rows]), *map(clean, tally(claims["rows"]))]
    return "\n\n".join(lines)


def objections_table(claims: dict[str, Any]) -> str:
    """Every objection of the paper's readers, with the rows that speak to it."""
    rows = [["objection", "what the rows say that speak to it", "not answered"]]
    for objection in OBJECTIONS:
        says = [
            f"{label(row)}: {number(row['mean'], 'gap')}, {row['verdict']}"
            for row in claims["rows"]
            if f"{row['name']} {row['measured']}".startswith(objection.rows or ("no row",))
        ]
        rows.append([objection.text, "; ".join(says) or "nothing here does", objection.rest])
    return table(rows)


def shares(claims: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that are differences of shares with an interval, and what to call them."""
    rows = [row for row in claims["rows"] if row["p"] is not None and row["name"] != "N4"]
    return [row | {"label": label(row)} for row in rows]


def label(row: dict[str, Any]) -> str:
    """What tells a row from all others."""
    return f"{row['name']} {row['measured']} ({Setting(row['experiment'], row['task']).name})"


def show(rows: Sequence[Row]) -> str:
    """The table for the terminal."""
    told = [as_dict(row) for row in rows]
    found = [cells(row) for row in told]
    kept = [0, 2, 3, 5, 6, 7, 8, 9]
    lines = [[line[i] for i in kept] for line in (HEAD, *found)]
    return "\n".join([aligned(lines), *(textwrap.fill(text, WIDTH) for text in tally(told))])


def tally(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How the verdicts are distributed."""
    words = [row["verdict"] for row in rows]
    counts = "; ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    tested = sum(row["adjusted"] is not None for row in rows)
    notes = [f"{len(rows)} rows: {counts}."]
    if any(row["after"] for row in rows):
        notes.append("Rows with a * were added when the runs had been seen.")
    if tested:
        return [
            *notes,
            f"Holm's correction is over the {tested} rows that have a direction, at {ALPHA:g} in "
            'all; "uncorrected" marks those whose interval excludes 0 and that it does not leave.',
        ]
    return [*notes, "Not corrected for many rows: that takes all claims, python eval.py claims."]


def write_all(results: Path, found: dict[Setting, Gathered], rows: list[Row]) -> None:
    """A folder for each study and, where all experiments were run, claims.json and its picture."""
    told = [as_dict(row) for row in rows]
    for study, of in found.items():
        about = [row for row in told if (row["experiment"], row["task"]) == study]
        write_study(results / study.name, study, of, about)
    seeds = sorted({seed for of in found.values() for seed in of.runs})
    if {study.experiment for study in found} >= {claim.experiment for claim in CLAIMS}:
        claims = {"seeds": seeds, "rows": told}
        write_json(results / "claims.json", claims)
        if drawn := forest(shares(claims)):
            write_text(results / "claims.svg", drawn)


def write_study(
    out: Path, study: Setting, found: Gathered, rows: list[dict[str, Any]]
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
    write_text(out / "README.md", readme(study, found, rows, drawn is not None))


def arms_of(found: Gathered) -> dict[str, list[Run]]:
    """The runs of each arm, in the order of the seeds."""
    arms = dict.fromkeys(arm for by_arm in found.runs.values() for arm in by_arm)
    return {arm: [of[arm] for _, of in sorted(found.runs.items()) if arm in of] for arm in arms}


def readme(study: Setting, found: Gathered, rows: list[dict[str, Any]], drawn: bool) -> str:
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
        table([HEAD, *map(cells, rows)]) if rows else "No claim rests on this task.",
        *map(clean, tally(rows)[1:]),
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


def fill(path: Path, claims: dict[str, Any]) -> None:
    """Put the tables between their markers, <!-- claims --> and <!-- /claims -->, in a README."""
    text = path.read_text(encoding="utf-8")
    for name, block in (("claims", claims_table(claims)), ("objections", objections_table(claims))):
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        text = marked.sub(lambda found: f"{found[1]}{block}\n{found[2]}", text)
    write_text(path, text)


def log(path: Path, rows: Sequence[Row], seeds: Sequence[int]) -> None:
    """Put a dated entry with every row on top of the log, unless one says the same."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Log\n\n"
    lines = [
        f"Asked: do the claims hold? {len(rows)} rows, judged together",
        f"Ran:   `python eval.py claims {asked(seeds)}`; seeds {', '.join(map(str, seeds))}",
    ]
    for i, row in enumerate(rows):
        claim, negative = row.claim, "" if row.verdict.startswith("reproduced") else " (negative)"
        lines.append(
            f"{'Saw:   ' if i == 0 else '       '}{claim.name} {claim.task}, {claim.measured}: "
            f"{estimate(row.interval, 'gap')}, {row.verdict}{negative}"
        )
    body = "\n".join([*lines, "So:    " + tally([as_dict(row) for row in rows])[0]])
    if body in text:
        return
    head, newest, rest = text.partition("## ")
    entry = f"## {datetime.date.today().isoformat()}: the claims\n\n{body}\n\n"
    write_text(path, head + entry + newest + rest)
