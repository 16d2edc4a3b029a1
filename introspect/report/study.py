"""A study written down: its runs, its numbers, its tables and pictures, in one folder.

Everything is made from the runs, so that the folder can be written again at any time. The folder of
a published study holds README.md, runs.jsonl and figures; any other also report.html and
result.json, and its report has a map, curves and examples.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from introspect.fields import Refused
from introspect.files import write_json, write_lines, write_text
from introspect.forms import EXAMPLES, ITEM, ROW, UNTRAINED
from introspect.reading import read_json, read_lines
from introspect.report.dials import draw_dials
from introspect.report.explorer import draw_map
from introspect.report.figures import curves, dots, inline
from introspect.report.html import clean, page
from introspect.report.report import (
    CAPTION, NO_CURVES, arms_table, background, findings, not_controlled, numbers,
    runs_table, say_made_with, show_examples, tasks_table,
)
from introspect.report.summary import MOST_SHOWN, by_world, summarize
from introspect.runs.build import build
from introspect.runs.declared import find_experiment, is_own
from introspect.runs.experiment import Experiment, show_fields, world_of
from introspect.runs.study import Gathered, Run, Setting
from introspect.tasks.registry import find_tasks

Arms = dict[str, list[Run]]  # the runs of each arm, in the order of the seeds


def describe_study(
    setting: Setting, experiment: Experiment, rows: list[dict], failed: list[str]
) -> dict[str, Any]:
    """The numbers of a study from the lines of its runs.jsonl, and in words what its arms are."""
    task = setting.task
    seeds = sorted({world_of(row["seed"]) for row in rows})
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    usual = build(find_tasks(task), {"seed": seeds[0]}).flat()
    differing = {}
    for arm in arms:
        config = build(find_tasks(task), next(r["fields"] for r in rows if r["arm"] == arm))
        flat = config.flat().items()
        differing[arm] = {k: v for k, v in flat if k != "seed" and v != usual[k]}
    first, *others = differing.values()
    shared = {k: v for k, v in first.items() if others and all((k, v) in o.items() for o in others)}
    versions = [tuple(row["versions"].items()) for row in rows]
    shown = ("arm", "seed", "self", "orig", "gap", "drift", "preference", "n_items", "folder")
    return {
        "experiment": setting.experiment,
        "task": task,
        "question": experiment.question,
        "open": experiment.open,
        "explained": build(find_tasks(task), rows[0]["fields"]).explained,
        "seeds": seeds,
        "draws": len({row["seed"] for row in rows}) // len(seeds),
        "shared": show_fields(shared) if shared else "",
        "words": {arm: experiment.say(arm) for arm in arms},
        "fields": {arm: show_fields({k: v for k, v in fields.items() if k not in shared})
                   for arm, fields in differing.items()},
        "dialed": {arm: sets for arm, sets in experiment.arms.items()
                   if experiment.dials and arm in arms},
        "along": order_along(experiment, task, arms) if experiment.axis else {},
        **summarize(rows),
        "runs": [{key: row[key] for key in shown} for row in rows],
        "failed": failed,
        "versions": [dict(each) for each in dict.fromkeys(versions)],
    }


def order_along(experiment: Experiment, task: str, arms: list[str]) -> dict[str, dict[str, Any]]:
    """Arms with their fields, in the order of the experiment's axis; no shuffled labels."""
    placed = {arm: experiment.along(arm, task) for arm in arms if arm != "shuffled"}
    return dict(sorted(placed.items(), key=lambda arm: arm[1][experiment.axis]))


def study_of_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The study whose runs.jsonl has these lines.

    Raises:
        Refused: they are not of one study, or of one that this version does not know.
    """
    (name, task), *others = {(row["experiment"], row["task"]) for row in rows}
    arms = {row["arm"]: f"an arm of {name}" for row in rows}
    if is_own(name):  # its file would run as a program; without it, only the question is missing
        experiment = Experiment(f"The question is in {name}.", dict.fromkeys(arms, {}), words=arms)
    else:
        experiment = find_experiment(name)
    if others or not arms.keys() <= experiment.arms.keys():
        raise Refused(f"{name}: must be runs of the arms of one experiment on one task")
    return describe_study(Setting(name, task), experiment, rows, [])


def list_rows(setting: Setting, gathered: Gathered, overrides: dict[str, Any]) -> list[dict]:
    """The lines of runs.jsonl: each result with its arm, declared fields, folder, and Self and Orig
    before the first update."""
    experiment, rows = setting.declared, []
    for seed, by_arm in sorted(gathered.runs.items()):
        for arm, run in by_arm.items():
            kept = {k: v for k, v in run.result.items() if k not in ("arm", "seconds")}
            before = read_lines(run.folder / "metrics.jsonl", UNTRAINED)[0]
            untrained = {key: before[key] for key in ("self", "orig")}
            fields = experiment.fields(arm, seed, overrides)
            named = {"experiment": setting.experiment, "arm": arm, "fields": fields}
            rows.append(named | {"folder": run.folder.name, "untrained": untrained} | kept)
    return rows


def group_by_arm(gathered: Gathered) -> Arms:
    """The runs of each arm, in the order of the seeds."""
    arms = dict.fromkeys(arm for by_arm in gathered.runs.values() for arm in by_arm)
    ordered = [by_arm for _, by_arm in sorted(gathered.runs.items())]
    return {arm: [by_arm[arm] for by_arm in ordered if arm in by_arm] for arm in arms}


def write_study(
    out: Path, setting: Setting, gathered: Gathered, overrides: dict[str, Any] = {},
    claims: Sequence[str] = (), published: bool = False,
) -> dict[str, Any]:
    """Write the folder of a study and return its numbers (`describe_study`).

    Args:
        claims: Markdown blocks about the claims that rest on it.
        published: write README.md for a repository instead of a report to open in a browser.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows, by_arm = list_rows(setting, gathered, overrides), group_by_arm(gathered)
    study = describe_study(setting, setting.declared, rows, gathered.failed)
    worlds = sorted(set(map(world_of, gathered.runs)))  # also what diverged
    study |= {"overrides": overrides, "seeds": worlds}
    write_lines(out / "runs.jsonl", rows)
    if published:
        write_items(out, setting, gathered)
        write_readme(out, setting, study, by_arm, claims)
    else:
        write_json(out / "result.json", study)
        write_report(out, study, by_arm, claims)
    return study


def write_readme(
    out: Path, setting: Setting, study: dict[str, Any], by_arm: Arms, claims: Sequence[str]
) -> None:
    """README.md with its figure, as the repository shows a study."""
    blocks = [
        f"# {clean(setting.name)}",
        clean(study["question"]),
        f"```sh\npython eval.py experiment {setting.experiment}\n```",
        *(["## Claims", *claims] if claims else ["No claim rests on this study."]),
        "## Arms",
        *write_figure(out, study, by_arm)[0],
        *arms_table(study),
        "Every run is in [runs.jsonl](runs.jsonl).",
        *([f"Diverged: {clean('; '.join(study['failed']))}."] if study["failed"] else []),
        *not_controlled(study),
        *say_made_with(study),
    ]
    write_text(out / "README.md", "\n\n".join(blocks) + "\n")
    if setting.name == "anchor":
        write_curves(out, by_arm)


def write_report(out: Path, study: dict[str, Any], by_arm: Arms, claims: Sequence[str]) -> None:
    """report.md, report.html with its map, and their figures.

    Of many arms there is one picture and one table of arms, without numbers of single runs.
    """
    title = f"Introspective coupling: {study['experiment']} on {study['task']}"
    shown = {}
    for arm, (run, *_) in by_arm.items():
        examples = read_json(run.folder / "examples.json", EXAMPLES)["examples"]
        shown[arm] = run.result["seed"], examples
    pointer, drawing = write_curves(out, by_arm)
    link, figure = write_figure(out, study, by_arm)
    many = len(by_arm) > MOST_SHOWN
    above = [f"# {clean(title)}", *findings(study)]
    arms = arms_table(study)
    details = [*numbers(study), *show_examples(shown), *runs_table(study)]
    below = [
        *(["## Claims", *claims] if claims else []),
        *(tasks_table(study) if many else details),
        *background(study),
    ]
    text, shown_page = (
        [*above, *explorer, "## Arms", *(picture + arms if many else arms + picture), *more, *below]
        for explorer, picture, more in (
            ([], link, pointer), (draw_map(study, by_arm), figure, drawing),
        )
    )  # fmt: skip
    write_text(out / "report.md", "\n\n".join(text) + "\n")
    write_text(out / "report.html", page(title, shown_page))


def over_worlds(by_seed: dict[int, Any]) -> list[Any]:
    """What each world has, on average over its draws."""
    return list(by_world(by_seed).values())


def write_figure(out: Path, study: dict[str, Any], by_arm: Arms) -> tuple[list[str], list[str]]:
    """figure.svg, and the blocks that show it in Markdown and in a page; nothing without
    matplotlib."""
    results = {arm: over_worlds({run.result["seed"]: run.result for run in runs})
               for arm, runs in by_arm.items()}  # fmt: skip
    dialed = study["dialed"] or study["along"]
    drawn = draw_dials(study, dialed) if dialed else dots(results, study["words"])
    if not drawn:
        return [], []
    write_text(out / "figure.svg", drawn)
    title = "Self, Orig and gap of every arm, with every seed"
    if dialed:
        axis = next(iter(next(iter(dialed.values()))))
        title = f"Gap, adjusted gap and drift over {axis}, with 95 % intervals"
    return [f"![{title}](figure.svg)"], [inline(drawn, "arms", title)]


def write_curves(out: Path, by_arm: Arms) -> tuple[list[str], list[str]]:
    """curves.svg, and the blocks that show curves in Markdown and in a page; nothing for many
    arms."""
    if len(by_arm) > MOST_SHOWN:
        return [], []
    metrics = {}
    for arm, runs in by_arm.items():
        metrics[arm] = over_worlds(
            {run.result["seed"]: read_lines(run.folder / "metrics.jsonl", ROW) for run in runs}
        )
    drawn = curves(metrics, "held_out", 5.2), curves(metrics, "train", 4.2)
    if None in drawn:
        return [NO_CURVES], [NO_CURVES]
    write_text(out / "curves.svg", drawn[0])
    drawing = ["## Curves", CAPTION, "### Held-out items", drawn[0], "### Training items", drawn[1]]
    return [*drawing[:2], "![Self, Orig, gap and drift over co-training](curves.svg)"], drawing


def write_items(out: Path, setting: Setting, gathered: Gathered) -> None:
    """items.jsonl: every held-out item of the first seed in words, where the experiment publishes
    them."""
    if not setting.declared.items or not gathered.runs:
        return
    first = gathered.runs[min(gathered.runs)]
    rows = [{"run": arm} | {key: text for key, text in item.items() if isinstance(text, str)}
            for arm, run in first.items()
            for item in read_lines(run.folder / "items.jsonl", ITEM)]
    write_lines(out / "items.jsonl", rows)
