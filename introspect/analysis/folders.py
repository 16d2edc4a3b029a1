"""What is in folders that train.py or eval.py wrote, maybe on another machine, measured again.

Nothing in such a folder is run as a program: the file of a task of one's own is used only where the
user names it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from introspect.analysis import alarm, conflict, readout
from introspect.analysis.recovery import can_flip, recovery, show_recoveries, show_recovery
from introspect.fields import Refused
from introspect.files import write_text
from introspect.forms import STUDY_ROW
from introspect.measure import measure_all, measure_m0
from introspect.reading import read_json, read_lines
from introspect.report.agreement import draw_agreement
from introspect.report.study import study_of_rows
from introspect.report.text import show_run, show_studies, show_study
from introspect.runs.build import worlds_of
from introspect.runs.load import load, read_config
from introspect.runs.run import finished
from introspect.runs.stages import hash_labels
from introspect.runs.study import Setting
from introspect.tasks.registry import check_named

EXTRAS = {  # of what is kept beside results as NAME.json: its form, and how it is shown
    "alarm": (alarm.FORM, alarm.show_alarms),
    "conflict": (conflict.FORM, conflict.show_conflicts),
    "readout": (readout.FORM, readout.show_readouts),
}


def show_extras(
    folders_of: dict[str, list[Path]], names: Iterable[str] = tuple(EXTRAS)
) -> list[str]:
    """A text for each of these extra measurements that a run has; `folders_of` runs by arm."""
    texts = []
    for name in filter(EXTRAS.__contains__, names):
        (form, show), found = EXTRAS[name], {}
        for arm, folders in folders_of.items():
            paths = [folder / f"{name}.json" for folder in folders]
            if runs := [read_json(path, form) for path in paths if os.path.exists(path)]:
                found[arm] = runs
        if found:
            texts.append(show(found))
    return texts


def measure(folders: list[Path], named: str) -> str:
    """One run, measured again; one study, its table; several studies, their gaps, as text.

    Args:
        named: the tasks that the user names; a folder can make no other file run.
    """
    out, *others = folders
    if not others and os.path.exists(out / "config.json"):
        return measure_run(out, named)
    for folder in folders:
        if others and os.path.exists(folder / "config.json"):
            raise Refused(f"{folder}: is a run; several folders must be studies")
        if not os.path.exists(folder / "runs.jsonl"):
            raise Refused(
                f"{folder}: must be a folder of a finished run or study that train.py or eval.py "
                "wrote; it has neither config.json nor runs.jsonl"
            )
    return show_studies(read_studies(folders, named)) if others else tabulate_study(out, named)


def measure_run(out: Path, named: str) -> str:
    """Ask the last checkpoint everything again and hold the answers against result.json.

    Writes nothing: the frozen labels are those of the run's cache, or there is no measurement.
    """
    run = load(out, named)
    tasks = [snapshot.task for snapshot in run.snapshots]
    measured = {**measure_all(run.snapshots), "labels_sha256": hash_labels(run.frozen)}
    result = finished(out, run.config) or {}
    about = {"task": run.config.task, "arm": result.get("arm", out.name), "seed": run.config.seed}
    text = [show_run({**about, **measured, "m0": measure_m0(tasks, run.frozen)})]
    for snapshot in run.snapshots:
        if can_flip(snapshot.world):
            text += [f"{snapshot.task.name}:", show_recovery(recovery(run.model, snapshot))]
    text += show_extras({about["arm"]: [out]})
    text.append(f"measured at step {run.step} of {run.config.cotrain.max_steps}")
    if result:
        differ = [key for key, value in measured.items() if result.get(key) != value]
        same = "as in result.json"
        text.append(f"differs from result.json in {', '.join(differ)}" if differ else same)
    return "\n".join(text)


def read_rows(folder: Path, named: str) -> list[dict]:
    """The runs of the study in a folder, a line each."""
    rows = read_lines(folder / "runs.jsonl", STUDY_ROW)
    for row in rows:
        check_named(row["task"], named)
    return rows


def read_studies(folders: list[Path], named: str) -> dict[str, dict]:
    """Several studies, as their runs.jsonl have them, by the name of the folder."""
    names = [folder.name for folder in folders]
    unique = [folder.name if names.count(folder.name) == 1 else str(folder) for folder in folders]
    return dict(zip(unique, [study_of_rows(read_rows(folder, named)) for folder in folders]))


def draw_studies(folders: list[Path], named: str, out: Path) -> None:
    """Draw the gaps of these studies against the agreement of their labels, as an SVG file."""
    if others := [folder for folder in folders if not os.path.exists(folder / "runs.jsonl")]:
        raise Refused(f"--picture={out}: draws studies; {others[0]} is none")
    if out.suffix != ".svg":
        raise Refused(f"--picture={out}: must end in .svg")
    drawn = draw_agreement(read_studies(folders, named))
    if drawn is None:
        raise Refused(f"--picture={out}: needs matplotlib, the extra `plot`")
    write_text(out, drawn)


def show_each(root: Path, settings: Iterable[Setting]) -> str:
    """The tables of the studies of these settings."""
    found = [read_rows(root / setting.name, setting.task) for setting in settings]
    return "\n\n".join(show_study(study_of_rows(rows)) for rows in found if rows)


def tabulate_study(out: Path, named: str) -> str:
    """The table of a study, of its extra measurements, and, where features can be flipped, of what
    recovers those that count."""
    rows = read_rows(out, named)
    text = [show_study(study_of_rows(rows))]
    folders = [out.parent / "runs" / Path(row["folder"]).name for row in rows]
    folders_of: dict[str, list[Path]] = {}  # arm -> of each run
    for folder, row in zip(folders, rows):
        folders_of.setdefault(row["arm"], []).append(folder)
    text += show_extras(folders_of)
    recoveries: dict[str, list] = {}  # arm, and task where there are several -> of each run
    if all(os.path.exists(folder / "config.json") for folder in folders):
        for folder, row in zip(folders, rows):
            if not any(map(can_flip, worlds_of(read_config(folder, named)[1]).values())):
                break
            run = load(folder, named)
            for snapshot in run.snapshots:
                if can_flip(snapshot.world):
                    several = f" {snapshot.task.name}" if len(run.snapshots) > 1 else ""
                    name = f"{row['arm']}{several}"
                    recoveries.setdefault(name, []).append(recovery(run.model, snapshot))
    if recoveries:
        text.append(show_recoveries(recoveries))
    return "\n".join(text)
