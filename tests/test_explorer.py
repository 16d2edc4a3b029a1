"""The map says of every item what the tables count, and fits into a page."""

import base64
import json
import re
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from introspect.config import LabelConfig
from introspect.interview import RunTask
from introspect.labels import freeze
from introspect.measure import KNOWN, Snapshot, measure
from introspect.reading import read_lines
from introspect.report import explorer
from introspect.report.explorer import (
    MOST_DATA,
    SIDES,
    choose_steps,
    describe_task,
    draw_map,
    fill_page,
    find_sides,
    grid_of,
    pack_for_page,
)
from introspect.report.html import page
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.moments import Moment, count_said, name_moment, pack, shapes, unpack
from introspect.runs.run import run
from introspect.runs.stages import make_tasks
from introspect.runs.study import Run
from introspect.tasks.hint import Hint
from introspect.tasks.refusal import Refusal
from introspect.tasks.rules import Rules
from introspect.tasks.verdict import Verdict
from tests.cases import each
from tests.several import saying

HERE = Path(explorer.__file__).parent
SMALL = {"n_entity": 6, "n_attribute": 6, "n_layer": 1, "n_head": 2, "n_embd": 16}
SMALL |= {"pretrain_steps": 60, "pretrain_batch_size": 16, "learning_rate": 0.01}
SMALL |= {"max_steps": 24, "batch_size": 8, "eval_interval": 8}
ARMS = ("reg", "noreg")
STUDY = {"experiment": "anchor", "task": "hint", "overrides": SMALL}


def random_snapshot(world, seed, channel="head"):
    """A snapshot of random answers near those of M0 and of random explanations, and its moments."""
    N, V, K = world.ideal.shape
    draw = torch.Generator().manual_seed(seed)
    reference, noise = torch.randn(2, N, V, K, generator=draw)
    n_class = 2 * K + 1 if channel == "verbal" else K + 1
    said = torch.randint(n_class, (N, len(world.pairs)), generator=draw)
    task = RunTask("hint", world, saying(world, reference + noise, said, channel), True, False)
    frozen = freeze(reference, reference, world, LabelConfig(), 0)
    s = Snapshot(None, task, frozen)
    classes = [(s.now, s.explanation), (s.before, s.original)]
    p = np.zeros((N, V, K), np.uint8), np.zeros((N, len(world.pairs), count_said(task)), np.uint8)
    now, then = (Moment(*(c.numpy().astype(np.uint8) for c in each), *p) for each in classes)
    return s, now, then


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_arms(tmp_path_factory.mktemp("runs"), SMALL)


def make_arms(out, fields, arms=ARMS):
    """The finished runs of a small study, of one seed."""
    cfgs = {arm: EXPERIMENTS["anchor"].config(arm, "hint", fields, 0) for arm in arms}
    made = {arm: run(cfg, arm, out / arm, out / "cache", "cpu") for arm, cfg in cfgs.items()}
    return {arm: [Run(result, out / arm)] for arm, result in made.items()}


def task_of(fields):
    [task] = make_tasks(EXPERIMENTS["anchor"].config("reg", "hint", fields, 0), "cpu")
    return task


def data_of(blocks):
    """The data that a page of these blocks shows."""
    text = re.search(r'id="map-data">(.*?)</script>', blocks[1], re.S)[1]
    return json.loads(text)


def parts_of(data, task, arm, step):
    """What the page has of a moment: answers, said, current, sides."""
    world = task.world
    N, V, P = world.n_subject, len(world.prompts), len(world.pairs)
    text = data["packed"][data["arms"][arm]["moments"][step][0]]
    found = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    sizes = np.cumsum([N * V, N * P, N * P, N * P])
    return [part.reshape(N, -1) for part in np.split(found, sizes)[:4]]


@each("channel, seed", product(("head", "verbal"), (1, 2)))
def test_shares_of_sides_are_self_orig_and_gap_of_random_models(channel, seed):
    world = Hint(n_entity=16, n_attribute=16, n_answer=3).world(seed)
    s, now, then = random_snapshot(world, seed, channel)
    sides = find_sides(now, s.current.numpy().astype(np.uint8), then, world)
    for split in ("train", "held_out"):
        counts = np.bincount(sides[s.rows(split).numpy()].flatten(), minlength=5)
        n, expected = counts.sum(), measure([s], split)
        assert (counts[0] + counts[2] + counts[3]) / n == expected["self"]
        assert (counts[1] + counts[2] + counts[3]) / n == expected["orig"]
        assert abs((counts[0] - counts[1]) / n - expected["gap"]) < 1e-15
        assert counts.min() > 0 and n == expected["n_items"]


def test_every_side_is_what_its_name_says():
    world = Hint(n_entity=16, n_attribute=16, n_answer=3).world(0)
    s, now, then = random_snapshot(world, 3)
    sides = find_sides(now, s.current.numpy().astype(np.uint8), then, world)
    for n, p in product(range(world.n_subject), range(len(world.pairs))):
        said, current, original = (int(t[n, p]) for t in (s.explanation, s.current, s.original))
        moved = [int(s.now[n, v]) != int(s.before[n, v]) for v in world.pairs[p]]
        if said not in (current, original):
            side = "neither"
        elif current != original:
            side = "now" if said == current else "then"
        else:
            side = "both" if any(moved) else "still"
        assert SIDES[sides[n, p]] == side


def test_the_page_has_the_sides_of_every_evaluation_of_a_real_run(runs):
    data, task = data_of(draw_map(STUDY, runs)), task_of(SMALL)
    assert data["steps"] == [0, 8, 16, 24] and [of["name"] for of in data["arms"]] == [*ARMS]
    gaps = set()
    for arm, ((made,), own) in enumerate(zip(runs.values(), data["arms"])):
        rows = read_lines(made.folder / "metrics.jsonl", {})
        assert own["moments"][0] == data["arms"][0]["moments"][0]  # both begin as M0
        for step, row in enumerate(rows):
            _, said, current, sides = parts_of(data, task, arm, step)
            for split, measured in (("held_out", row), ("train", row["train"])):
                counts = np.bincount(sides[task.subjects(split)].flatten(), minlength=5)
                shares = [counts[[i, 2, 3]].sum() / counts.sum() for i in (0, 1)]
                assert shares == [measured["self"], measured["orig"]]
                gaps.add(measured["gap"])
            assert ((said == current) == np.isin(sides, (0, 2, 3))).all()
    assert len(gaps) > 4  # something moved


def test_a_task_is_described_as_its_world_has_it():
    s, *_ = random_snapshot(Hint(n_entity=3, n_attribute=4).world(1), 1, "verbal")
    world, told = s.world, describe_task(s.task)
    for n, (p, pair) in product(range(12), enumerate(world.pairs)):
        for v in pair:
            words = [told["slots"][slot] for slot in told["prompts"][v]]
            words = [word if isinstance(word, str) else word[n] for word in words]
            assert " ".join(words) == world.text(n, v)
        assert told["sure"][n * 4 + p] == str(int(world.ideal[n, pair[1]].max() >= KNOWN))
        assert told["split"][n] == str(int(not world.explained[n]))
    assert told["words"] == [s.channel.words(k) for k in range(9)] and told["n_said"] == 8


def test_a_grid_has_a_row_for_each_first_name_and_other_tasks_a_list():
    assert grid_of(Hint(n_entity=3, n_attribute=4).world(0)) == 4
    assert grid_of(Refusal(n_action=5, n_object=3).world(0)) == 3
    others = Hint(n_entity=3, n_attribute=4, knowledge="names"), Rules(n_first=3, n_second=4)
    for task in (*others, Verdict(n_actor=5, n_act=4, n_story=14)):
        assert grid_of(task.world(0)) == 0


@each("most, chosen", [(34, [0, 2, 4, 6, 9]), (22, [0, 4, 9]), (21, [0, 9]), (15, [9]), (9, [])])
def test_evaluations_are_left_out_evenly_where_there_are_too_many(most, chosen):
    assert choose_steps(dict.fromkeys((0, 2, 4, 6), 6) | {9: 10}, most) == chosen


def test_a_page_of_full_size_has_three_million_bytes_at_most(runs, tmp_path):
    """Two arms of 2,304 facts at 11 evaluations, of bytes that cannot be compressed."""
    world, draw = Hint().world(0), np.random.default_rng(0)
    task = RunTask("hint", world, saying(world, None, None), True, False)

    def text():
        sizes = shapes(task)
        answers, said = (draw.integers(4, size=size, dtype=np.uint8) for size in sizes[:2])
        rest = (draw.integers(256, size=size, dtype=np.uint8) for size in sizes[2:])
        moment = unpack(pack(answers, said, *rest), task, "it")
        return pack_for_page(task, moment, moment)

    arms = {arm: {s: [text()] for s in (None, *range(0, 801, 80))} for arm in ARMS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer, "pack_run", lambda folder, *_: arms[folder.name])
        patch.setattr(explorer, "describe_task", lambda _: describe_task(task))
        blocks = draw_map(STUDY, runs)
    data = data_of(blocks)
    size = len(page("", blocks).encode())
    assert MOST_DATA / 2 < size < 2_700_000  # which leaves the rest of a report 300,000
    assert data["steps"][0] == 0 and data["steps"][-1] == 800 and 3 < len(data["steps"]) < 11


def test_runs_without_moments_and_of_other_items_are_not_in_the_map(runs, tmp_path):
    bare = {arm: [Run(of[0].result, tmp_path)] for arm, of in runs.items()}
    assert draw_map(STUDY, bare) == []
    assert len(data_of(draw_map(STUDY, runs | {"noreg": bare["noreg"]}))["arms"]) == 1
    later = [Run(runs["noreg"][0].result | {"seed": 1}, runs["noreg"][0].folder)]
    assert len(data_of(draw_map(STUDY, runs | {"noreg": later}))["arms"]) == 1
    with pytest.MonkeyPatch.context() as patch:
        told = iter("ab")
        patch.setattr(explorer, "describe_task", lambda task: {"name": next(told)})
        assert len(data_of(draw_map(STUDY, runs))["arms"]) == 1


def test_words_of_strangers_end_no_script_and_the_page_asks_for_no_other_file():
    text = fill_page({"tasks": [{"name": "</script><b>{script}{data}", "cue": "<!--"}]})
    assert text.count("</script>") == 2 and "<b>{" not in text and "<!--" not in text
    assert data_of(["", text])["tasks"][0]["cue"] == "<!--"
    for word in ("http", "src=", "@import", "import ", "fetch(", "innerHTML", "url(", "eval("):
        assert word not in text
    files = [HERE / f"explorer.{kind}" for kind in ("html", "css", "js")]
    assert sum(len(file.read_text("utf-8").splitlines()) for file in files) <= 400
    packaged = (HERE.parents[1] / "setup.cfg").read_text()
    assert "introspect.report = explorer.html, explorer.css, explorer.js\n" in packaged


def test_a_file_that_is_no_moment_is_refused(runs, tmp_path):
    folder = tmp_path / "reg"
    folder.mkdir()
    for step in (None, 0, 8, 16, 24):
        path = name_moment(runs["reg"][0].folder, step)
        (folder / "moments").mkdir(exist_ok=True)
        name_moment(folder, step).write_bytes(path.read_bytes())
    arms = {"reg": [Run(runs["reg"][0].result, folder)]}
    assert data_of(draw_map(STUDY, arms))["steps"] == [0, 8, 16, 24]
    name_moment(folder, 8).write_text("{}")
    with pytest.raises(Exception, match="000008.json"):
        draw_map(STUDY, arms)
