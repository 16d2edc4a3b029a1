"""One run from M0 to its result. The loop of co-training is in introspect/cotrain.py."""

import copy
from pathlib import Path
from typing import Any

from introspect.config import Config
from introspect.cotrain import Trained, cotrain
from introspect.fields import Refused
from introspect.files import write_json, write_lines
from introspect.forms import RESULT
from introspect.measure import measure_controls, measure_m0
from introspect.reading import read_json
from introspect.runs.build import make_shifted, shifted
from introspect.runs.items import choose_examples, list_items
from introspect.runs.moments import Recorded
from introspect.runs.stages import hash_labels, make_ingredients, run_key
from introspect.versions import versions
from introspect.watch import Progress, silent

N_EXAMPLE = 12  # held-out items that a finished run shows in words


def read_result(out: Path, cfg: Config) -> dict[str, Any]:
    """The result of the finished run in `out`.

    Raises:
        Refused: it is not there, not a result, or that of another configuration.
    """
    path = out / "result.json"
    result = read_json(path, RESULT)
    whose = cfg.sha256(), cfg.task, cfg.seed
    if (result["config_sha256"], result["task"], result["seed"]) != whose:
        raise Refused(f"{path}: is the result of another configuration; remove it")
    return result


def finished(out: Path, cfg: Config) -> dict[str, Any] | None:
    """The result of the run in `out`, if it is done; raises as `read_result` does."""
    return read_result(out, cfg) if (out / "result.json").exists() else None


def run(
    cfg: Config,
    arm: str,
    out: Path,
    cache: Path,
    device: str,
    progress: Progress = silent,
    m0_progress: Progress = silent,
) -> dict[str, Any]:
    """One run, complete: M0, frozen labels, co-training, measures. Continues what is in `out`.

    Writes out/metrics.jsonl (a line an evaluation), out/result.json, out/examples.json,
    out/items.jsonl (a line a held-out item), out/moments and the checkpoints; returns what is in
    result.json. A finished run is returned as it is.

    Args:
        progress: told about co-training. m0_progress: told about what comes before it.
    """
    if done := finished(out, cfg):
        return done
    given = prepare(cfg, arm, out, cache, device, m0_progress) | {"progress": progress}
    return conclude(cfg, arm, device, given, cotrain(**given, kind=Recorded))


def prepare(
    cfg: Config,
    arm: str,
    out: Path,
    cache: Path,
    device: str,
    m0_progress: Progress = silent,
    stacked: bool = False,
) -> dict[str, Any]:
    """What `cotrain` is given for a run, by name, but for `progress`."""
    tasks, _, start, frozen = make_ingredients(cfg, cache, device, m0_progress)
    worlds = {task.name: task.world for task in tasks}
    names = shifted(cfg.tasks, cfg.cotrain.shift)
    return {
        "model": copy.deepcopy(start),
        "tasks": tasks,
        "frozen": frozen,
        "c": cfg.cotrain,
        "seed": cfg.seed,
        "out": out,
        "title": f"{arm} of seed {cfg.seed}",
        "shifted": {name: make_shifted(cfg, name, worlds[name]) for name in names},
        "refreshed": cfg.labels.refreshed,
        "made_of": run_key(cfg, device, stacked),
    }


def conclude(
    cfg: Config,
    arm: str,
    device: str,
    given: dict[str, Any],
    trained: Trained,
    stacked: bool = False,
) -> dict[str, Any]:
    """Write what a run that was trained leaves beside its checkpoints; returns its result.

    Args:
        given: what `prepare` returned.
    """
    (rows, snapshots), frozen, out = trained, given["frozen"], given["out"]
    write_json(out / "examples.json", {"examples": choose_examples(snapshots, N_EXAMPLE)})
    write_lines(out / "items.jsonl", list_items(snapshots))
    final = {k: v for k, v in rows[-1].items() if k not in ("step", "seconds") and "/" not in k}
    result = {
        "task": cfg.task,
        "arm": arm,
        "seed": cfg.seed,
        **final,
        "controls": measure_controls(snapshots),
        "m0": measure_m0(given["tasks"], frozen),
        "config_sha256": cfg.sha256(),
        "labels_sha256": hash_labels(frozen),
        "seconds": rows[-1]["seconds"],
        "versions": versions(device) | ({"training": "stacked"} if stacked else {}),
    }
    write_json(out / "result.json", result)
    return result
