"""Made-up runs of any experiment, whose files have the keys of real ones, for tests."""

import random
from functools import cache

from introspect.config import LabelConfig
from introspect.files import write_json, write_lines
from introspect.lab.extras import EXTRAS
from introspect.labels import freeze
from introspect.measure import Snapshot, measure_all, measure_controls
from introspect.runs.build import build
from introspect.runs.experiments import CLAIMED, EXPERIMENTS
from introspect.runs.items import list_items
from introspect.runs.load import Loaded
from introspect.runs.stages import make_tasks, new_model
from introspect.runs.study import Run, Runs
from introspect.tasks.registry import find_tasks

SIZES = {
    "hint": dict(n_entity=4, n_attribute=5),
    "verdict": dict(n_actor=5, n_act=4, n_story=14),
    "refusal": dict(n_action=4, n_object=4),
    "rules": dict(n_first=3, n_second=3, n_input=2),
    "jabberwocky": dict(n_creature=4, n_habit=4),
}


@cache
def measured(task):
    """What is measured of a model of two blocks: a result, items, and what is measured extra."""
    names = task.split("+")
    sizes = {k if len(names) == 1 else f"{t}.{k}": v for t in names for k, v in SIZES[t].items()}
    cfg = build(find_tasks(task), sizes | dict(n_layer=2, n_head=2, n_embd=16))
    parts = make_tasks(cfg, "cpu")
    model = new_model(cfg, parts)
    frozen = []
    for part in parts:
        reference = part.interview.ask_all(model)[0]
        frozen.append(freeze(reference, reference, part.world, LabelConfig(), 0))
    snapshots = [Snapshot(model, *of) for of in zip(parts, frozen)]
    result = {**measure_all(snapshots), "controls": measure_controls(snapshots)}
    extra = {} if len(names) > 1 else measure_extras(task, cfg, model, frozen, snapshots)
    return result, list_items(snapshots), extra


def measure_extras(task, *run):
    """Every extra measurement that claims rest on, of a run that is its own M0."""
    loaded = Loaded(*run, step=0)
    about = [EXPERIMENTS[name] for name in CLAIMED]
    names = {e.extra for e in about if task in (e.task, *e.more_tasks)} - {""}
    return {name: EXTRAS[name](loaded, lambda: loaded.model) for name in sorted(names)}


def scattered(value, draw):
    """The same keys with other numbers."""
    if isinstance(value, dict):
        return {k: scattered(v, draw) for k, v in value.items()}
    return draw.random()


def make_runs(experiment, task, folder):
    """Runs of exactly the arms of an experiment."""
    runs, draw = Runs(), random.Random(f"{experiment} {task}")
    result, rows, extra = measured(task)
    words = [row["current"] for row in rows] + ["would change to A", "would change to B"]
    originals = [draw.choice(words) for _ in rows]
    for number, arm in enumerate(EXPERIMENTS[experiment].arms):
        out = folder / f"{experiment}-{task}-{number}"
        out.mkdir()
        said = [{key: draw.choice(words) for key in ("explanation", "current", "original")}
                for _ in rows]
        alike = {row["item"].split()[0] for row in rows[:9]}
        for row, new, original in zip(rows, said, originals):
            if experiment == "matrix":  # runs of one M0
                new["original"] = original
            elif row["item"].split()[0] in alike:  # words whose labels are the same in all arms
                new["original"] = words[0]
        write_lines(out / "items.jsonl", [row | new for row, new in zip(rows, said)])
        logs = [{"step": s, **scattered(result, draw)} for s in (0, 200, 400)]
        write_lines(out / "metrics.jsonl", logs)
        if name := EXPERIMENTS[experiment].extra:
            write_json(out / f"{name}.json", scattered(extra[name], draw))
        runs[arm] = Run(scattered(result, draw), out)
    return runs
