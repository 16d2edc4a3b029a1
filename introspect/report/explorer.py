"""The map of a report: everything that the models of one seed say, to be looked at item by item.

explorer.html, .css and .js are put into the page together with its data, so that it needs no other
file. A *side* is whose label an explanation equals:

    now      the label moved, and the explanation equals that of the model as it is    Self alone
    then     the label moved, and the explanation equals the frozen one                Orig alone
    both     the label did not move though an answer did, and the explanation is it    both
    still    neither answer moved, nor the label, and the explanation is it            both
    neither  the explanation equals neither label                                      neither

So Self = now + both + still, Orig = then + both + still, gap = now - then, as shares of items.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from introspect.config import CotrainConfig
from introspect.interview import RunTask
from introspect.measure import KNOWN
from introspect.runs.declared import find_experiment
from introspect.runs.moments import (
    Moment,
    count_said,
    count_words,
    name_moment,
    pack,
    read_moments,
)
from introspect.runs.stages import ask_through, make_tasks
from introspect.runs.study import Run
from introspect.tasks.world import World

HERE = Path(__file__).parent
SIDES = ("now", "then", "both", "still", "neither")
MOST_ARMS = 4
MOST_DATA = 2_400_000  # bytes; where evaluations have more, some of them are left out


def find_sides(moment: Moment, current: np.ndarray, then: Moment, world: World) -> np.ndarray:
    """(N, P) the side of every explanation, a number of SIDES; `current` (N, P) is E(M)."""
    original = then.said
    moved = moment.answers != then.answers  # (N, V)
    still = ~moved[:, np.array(world.pairs)].any(-1)  # (N, P)
    same = current == original
    now, was = moment.said == current, moment.said == original
    return np.select([now & ~same, was & ~same, now & ~still, now], range(4), 4).astype(np.uint8)


def grid_of(world: World) -> int:
    """How many columns there are where subjects are all pairs of two names, in order; else 0."""
    bare = min((world.prompts[y] for _, y in world.pairs), key=len)
    varying = [words for words in world.slots.T[list(bare)] if (words != words[0]).any()]
    if len(varying) != 2:
        return 0
    first, second = varying
    n = int((first == first[0]).sum())  # the subjects of the first name
    regular = first.size % n == 0 and (first == np.repeat(first[::n], n)).all()
    return n if regular and (second == np.tile(second[:n], len(second) // n)).all() else 0


def describe_task(task: RunTask) -> dict[str, Any]:
    """What the page has to know of a task to show its items in words."""
    world = task.world
    split = np.full(world.n_subject, 2)  # an objective trains these
    for number, name in enumerate(("train", "held_out")):
        split[task.subjects(name)] = number
    without = [y for _, y in world.pairs]
    slots = world.slots.T  # (S, N)
    vary = (slots != slots[:, :1]).any(1)
    return {
        "name": task.name,
        "columns": grid_of(world),
        "cues": world.cues,
        "answers": world.answers,
        "pairs": world.pairs,
        "prompts": [prompt[:-1] for prompt in world.prompts],
        "slots": [words.tolist() if many else str(words[0]) for words, many in zip(slots, vary)],
        "words": [task.interview.channel.words(k) for k in range(count_words(task))],
        "n_said": count_said(task),
        "split": "".join(map(str, split)),
        "sure": "".join(map(str, (world.ideal[:, without].max(-1) >= KNOWN).astype(int).flatten())),
    }


def pack_for_page(task: RunTask, moment: Moment, then: Moment) -> str:
    """A moment together with what was true of it, and with the side of every explanation."""
    current = task.interview.labels(torch.from_numpy(moment.answers.astype(np.int64)))
    current = current.numpy().astype(np.uint8)
    sides = find_sides(moment, current, then, task.world)
    answers, said, p_answers, p_said = moment
    shown = np.zeros_like(p_answers)  # the page shows variants that some pair compares
    shown[:, task.interview.compared] = p_answers[:, task.interview.compared]
    return pack(answers, said, current, sides, shown, p_said)


def choose_steps(sizes: dict[int, int], most: int) -> list[int]:
    """As many of these evaluations as have `most` bytes together, evenly from the first to the
    last; of one, the last."""
    steps = sorted(sizes)
    for n in range(len(steps), 0, -1):
        chosen = [steps[i] for i in np.linspace(len(steps) - 1, 0, n).round().astype(int)[::-1]]
        if sum(sizes[step] for step in chosen) <= most:
            return chosen
    return []


def pack_run(folder: Path, c: CotrainConfig, tasks: list[RunTask]) -> dict[int | None, list[str]]:
    """Update -> the packed moments of each task; None -> those that labels are of."""
    then = read_moments(name_moment(folder, None), tasks)
    packed = {None: list(map(pack_for_page, tasks, then, then))}
    for step in sorted({*range(0, c.max_steps, c.eval_interval), c.max_steps}):
        if (path := name_moment(folder, step)).exists():
            packed[step] = list(map(pack_for_page, tasks, read_moments(path, tasks), then))
    return packed


def draw_map(study: dict[str, Any], by_arm: dict[str, list[Run]]) -> list[str]:
    """The blocks of a page that show the map; none where the runs of the first seed left no
    moments. Arms whose items are not those of the first arm have no place in it."""
    seed, tasks, arms = min(runs[0].result["seed"] for runs in by_arm.values()), [], {}
    for arm, (run, *_) in by_arm.items():
        if run.result["seed"] != seed or not name_moment(run.folder, None).exists():
            continue
        experiment, overrides = find_experiment(study["experiment"]), study["overrides"]
        cfg = experiment.config(arm, study["task"], overrides, seed)
        asked = ask_through(make_tasks(cfg, "cpu"), cfg.cotrain.channel, "cpu")
        described = list(map(describe_task, asked))
        tasks = tasks or described
        if described == tasks and len(arms) < MOST_ARMS:
            arms[arm] = pack_run(run.folder, cfg.cotrain, asked)
    steps = set.intersection(*map(set, arms.values())) if arms else set()
    sizes = {s: sum(map(len, {text for of in arms.values() for text in of[s]})) for s in steps}
    most = MOST_DATA - sizes.pop(None, 0) - len(json.dumps(tasks))
    if not (chosen := choose_steps(sizes, most)):
        return []
    texts: dict[str, int] = {}  # each once: arms begin alike

    def number(packed: list[str]) -> list[int]:
        return [texts.setdefault(text, len(texts)) for text in packed]

    listed = [{"name": arm, "then": number(of[None]), "moments": [number(of[s]) for s in chosen]}
              for arm, of in arms.items()]
    data = {"seed": seed, "steps": chosen, "sides": SIDES, "tasks": tasks, "arms": listed}
    return ["## Map", fill_page(data | {"packed": list(texts)})]


def fill_page(data: dict[str, Any]) -> str:
    """The element that shows the map, with its style, its script and its data."""
    files = (HERE / f"explorer.{kind}" for kind in ("html", "css", "js"))
    html, style, script = (file.read_text(encoding="utf-8") for file in files)
    plain = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"style": style, "script": script, "data": plain}
    return re.sub(r"\{(style|script|data)\}", lambda name: parts[name[1]], html).strip()
