"""Moments hold what snapshots hold, cost a run no byte of its own, and outlive kills."""

import base64
import zlib

import numpy as np
import pytest
import torch

from introspect import checkpoint, cotrain
from introspect.config import CotrainConfig, LabelConfig
from introspect.fields import Refused
from introspect.files import write_json
from introspect.labels import freeze
from introspect.measure import Snapshot
from introspect.reading import read_lines
from introspect.runs import moments
from introspect.runs import run as run_module
from introspect.runs.build import build
from introspect.runs.cli import parse
from introspect.runs.moments import (
    MOST_KEPT,
    Listener,
    is_kept,
    moment_of,
    moment_then,
    name_moment,
    pack,
    read_moments,
    shapes,
    unpack,
)
from introspect.runs.run import run
from introspect.runs.stages import ask_through, make_tasks, new_model
from introspect.tasks.registry import find_tasks
from tests.cases import each
from tests.several import SIZES
from tests.several import TINY as SMALL
from tests.test_stacked import configs
from tests.test_stacked_runs import make
from tests.tiny import TINY, without_time

CHANNELS = ["head", "tied", "same", "verbal", "probe"]
BOTH = "hint+refusal"


def told(task="hint", channel="head"):
    """Tasks, their interviews without and with a listener, a model, and its frozen labels."""
    names = task.split("+")
    sizes = {(f"{t}.{k}" if names[1:] else k): v for t in names for k, v in SIZES[t].items()}
    cfg = build(find_tasks(task), SMALL | sizes)
    tasks = ask_through(make_tasks(cfg, "cpu"), channel, "cpu")
    heard = [t._replace(interview=Listener(t.interview)) for t in tasks]
    m0, model = (new_model(cfg, tasks).eval().requires_grad_(False) for _ in range(2))
    draw = torch.Generator().manual_seed(5)
    for p in model.parameters():
        p += 0.3 * torch.randn(p.shape, generator=draw)
    frozen = []
    for t in tasks:
        logits = t.interview.ask_all(m0)[0]
        frozen.append(freeze(logits, logits, t.world, LabelConfig(), 0))
    return tasks, heard, model, frozen


def near(part, p):
    """Whether bytes are these probabilities: off by half a byte, and by what float32 rounds."""
    return part.shape == p.shape and np.abs(part / 255 - p.numpy()).max() <= 0.5 / 255 + 1e-5


@each("channel, task", [*((c, "hint") for c in CHANNELS), ("head", "rules"), ("tied", BOTH)])
def test_a_moment_is_the_snapshot_in_bytes(channel, task):
    tasks, heard, model, frozen = told(task, channel)
    plain, snapshot = Snapshot(model, tasks[0], frozen[0]), Snapshot(model, heard[0], frozen[0])
    moment = unpack(pack(*moment_of(snapshot)), tasks[0], "it")
    assert (moment.answers == plain.now.numpy()).all()
    assert (moment.said == plain.explanation.numpy()).all()
    everything = torch.arange(tasks[0].world.n_subject)
    answers, log_probs = tasks[0].interview.both(model, everything)
    assert near(moment.p_answers, answers.softmax(-1)) and near(moment.p_said, log_probs.exp())
    assert not near(255 - moment.p_said, log_probs.exp())
    then = unpack(pack(*moment_then(snapshot, frozen[0])), tasks[0], "it")
    assert (then.answers == plain.before.numpy()).all()
    assert (then.said == plain.original.numpy()).all()
    assert near(then.p_answers, frozen[0].reference.softmax(-1))
    assert (then.p_said.argmax(-1) == then.said).all() and (then.p_said.sum(-1) == 255).all()
    assert (then.answers != moment.answers).any()


def test_a_listener_keeps_what_it_was_told_last_and_nothing_else():
    _, (task, other), model, frozen = told(BOTH)
    first, again = (moment_of(Snapshot(model, task, frozen[0])) for _ in range(2))
    assert all(map(np.array_equal, first, again))
    assert moment_of(Snapshot(model, other, frozen[1])).answers.max() < 2
    for p in model.parameters():
        p.zero_()
    last = moment_of(Snapshot(model, task, frozen[0]))
    assert (last.p_answers == 85).all() and not np.array_equal(first.p_answers, last.p_answers)


@each("max_steps, interval", [(0, 1), (1, 1), (7, 2), (800, 80), (800, 1), (999, 10), (5, 9)])
def test_kept_are_the_first_the_last_and_so_many_between(max_steps, interval):
    c = CotrainConfig(max_steps=max_steps, eval_interval=interval)
    due = sorted({*range(0, max_steps, interval), max_steps})
    kept = [step for step in due if is_kept(step, c)]
    assert kept[0] == 0 and kept[-1] == max_steps and len(kept) <= MOST_KEPT + 2
    assert kept == due or len(kept) > MOST_KEPT / 2


def configured(*flags):
    return parse(["anchor/reg", *TINY, "--learning_rate=0.01", *flags]).configs()[0][1]


def files(out):
    """All bytes that a run leaves, but for times."""
    kept = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    timed = ("metrics.jsonl", "result.json", "meta.json", "manifest.json")
    rows = without_time(read_lines(out / "metrics.jsonl", {}))
    return rows, {p: data for p, data in kept.items() if p.name not in timed}


def test_a_run_whose_moments_are_kept_has_every_other_byte_of_one_whose_are_not(
    tmp_path, monkeypatch
):
    cfg, cache = configured(), tmp_path / "cache"
    run(cfg, "reg", tmp_path / "kept", cache, "cpu")
    monkeypatch.setattr(run_module, "Recorded", cotrain.Training)
    run(cfg, "reg", tmp_path / "not", cache, "cpu")
    (rows, with_moments), (others, without) = files(tmp_path / "kept"), files(tmp_path / "not")
    more = {path for path in with_moments if path.parts[0] == "moments"}
    assert {p.name for p in more} == {"then.json", *(f"{s:06d}.json" for s in (0, 2, 4, 6))}
    assert rows == others and {p: with_moments[p] for p in with_moments.keys() - more} == without


@pytest.mark.parametrize("place", ["save_step", "write_lines", "write_json"])
def test_a_run_killed_at_an_evaluation_leaves_the_same_moments(tmp_path, monkeypatch, place):
    class Killed(BaseException):
        pass

    cfg, cache = configured(), tmp_path / "cache"
    owner = {"save_step": checkpoint, "write_lines": cotrain, "write_json": moments}[place]
    run(cfg, "reg", tmp_path / "whole", cache, "cpu")
    inner, calls = getattr(owner, place), iter(range(9))

    def stop(*args, **named):
        if next(calls) == 2:
            raise Killed
        return inner(*args, **named)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, place, stop)
        run(cfg, "reg", tmp_path / "killed", cache, "cpu")
    left = len(list((tmp_path / "killed").glob("moments/*.json")))
    assert left == (2 if place == "write_json" else 4)
    run(cfg, "reg", tmp_path / "killed", cache, "cpu")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_runs_of_a_stack_keep_moments_too(tmp_path):
    out = tmp_path / "runs"
    cfgs = configs({})[:2]
    make(out, cfgs)
    for cfg in cfgs:
        steps = [row["step"] for row in read_lines(out / str(cfg.seed) / "metrics.jsonl", {})]
        tasks = make_tasks(cfg, "cpu")
        for step in (None, *steps):
            assert read_moments(name_moment(out / str(cfg.seed), step), tasks)


def test_of_a_world_that_is_too_large_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "MOST_BYTES", 36 * 49 - 1)  # 36 facts, 9 classes, 40 probabilities
    run(configured(), "reg", tmp_path / "large", tmp_path / "cache", "cpu")
    assert not (tmp_path / "large" / "moments").exists()
    monkeypatch.setattr(moments, "MOST_BYTES", 36 * 49)
    run(configured(), "reg", tmp_path / "fits", tmp_path / "cache", "cpu")
    assert (tmp_path / "fits" / "moments").exists()


def test_what_is_no_moment_is_refused_in_a_line(tmp_path):
    [task], *_ = told()
    parts = [np.zeros(shape, np.uint8) for shape in shapes(task)]
    good, path = pack(*parts), tmp_path / "000000.json"
    write_json(path, {"tasks": {"hint": good}})
    assert read_moments(path, [task])[0].answers.shape == shapes(task)[0]
    bomb = base64.b64encode(zlib.compress(bytes(2**26))).decode()
    wrong = [good[:-8], good[4:], bomb, "", "?", pack(*parts[:3]), pack(*parts, parts[0])]
    wrong += [pack(parts[0] + 3, *parts[1:]), pack(parts[0], parts[1] + 4, *parts[2:])]
    for text in wrong:
        write_json(path, {"tasks": {"hint": text}})
        with pytest.raises(Refused, match="000000.json: hint: must") as refusal:
            read_moments(path, [task])
        assert "\n" not in str(refusal.value)
    write_json(path, {"tasks": {"other": good}})
    with pytest.raises(Refused, match="000000.json: it must be an object with hint|hint"):
        read_moments(path, [task])
