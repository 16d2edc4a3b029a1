"""Hundreds of thousands of inputs, mostly wrong: each works, or is refused in one printable line.

Hypothesis draws the seed of a batch, so that a failure comes with the smallest such seed, and every
run tries the same inputs.
"""

import argparse
import contextlib
import io
import json
import os
import warnings
from dataclasses import fields
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eval as evaluation
import train
from introspect.analysis import score
from introspect.analysis.folders import measure
from introspect.analysis.lines import ANSWERS, read
from introspect.config import GROUPS
from introspect.fields import Refused
from introspect.forms import DESCRIPTION, RESULT, ROW, STUDY_ROW
from introspect.reading import misfit, parse_json, read_json, read_lines
from introspect.restore import newest_of_run, restore
from introspect.runs.cli import RunConfig, escape, parse
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.load import read_config
from introspect.runs.stages import labels_folder, make_tasks, new_model, run_key
from introspect.tasks import TASKS
from tests import plants
from tests.tiny import TINY, folder_of
from tests.tried import TRIED

pytestmark = pytest.mark.reliability


@pytest.fixture
def untranslated(monkeypatch):
    """argparse looks every word up in a dictionary, which takes half of its time."""
    monkeypatch.setattr(argparse, "_", str)


def fuzz(try_one, batches, size=50):
    """How many inputs were tried; try_one(draw) makes one and tries it."""
    tried = 0

    @settings(max_examples=batches, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.integers(0, 2**64 - 1))
    def batch(seed):
        nonlocal tried
        draw = Random(seed)
        for _ in range(size):
            tried += try_one(draw) or 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch()
    TRIED["fuzzed inputs"] += tried
    return tried


def works_or_is_refused(do):
    """Any other exception fails the test. Returns what `do` does, or None."""
    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            return do()
    except Refused as e:
        line = escape(f"refused: {e}").replace("\n", "\\n")
        assert line.isprintable(), ascii(line)
    except SystemExit as e:
        assert e.code == 0  # --help
    return None


ODD = ["", " ", "-1", "0", "1", "2", "1e999", "nan", "1.5", "true", "None", "x" * 300, "\n",
       "\x1b[2J", "é", "\udcff", "9" * 5000, "=", "--", "-", "+", "/", "..", "a=b", "a=1,b=2",
       "hint", "hint+rules", "hint+hint", "x.py:Y", ":", "m0_seed=1", "n_embd=8", "reg", "²",
       "hint_reliability=0.5", "cpu", "tpu", "shuffled", "verbal", "all"]  # fmt: skip
FLAGS = [f.name for group in (RunConfig, *GROUPS.values(), *TASKS.values()) for f in fields(group)]
TARGETS = [f"{name}/{arm}" for name, e in EXPERIMENTS.items() for arm in e.arms] + list(EXPERIMENTS)


def some_text(draw):
    if draw.random() < 0.7:
        return draw.choice(ODD)
    last = draw.choice([128, 0x3000])
    return "".join(chr(draw.randrange(1, last)) for _ in range(draw.randrange(9)))


def some_flag(draw):
    name = draw.choice(FLAGS) if draw.random() < 0.9 else some_text(draw)
    if draw.random() < 0.1:
        name = name[: draw.randrange(len(name) + 1)] + draw.choice(["", "_", "x"])
    value = str(draw.randrange(100)) if draw.random() < 0.5 else some_text(draw)
    return [f"--{name}", value] if draw.random() < 0.1 else [f"--{name}={value}"]


def test_command_lines_of_training(tmp_path, monkeypatch, untranslated):
    monkeypatch.chdir(tmp_path)

    def try_one(draw):
        argv = [draw.choice(TARGETS)] if draw.random() < 0.9 else [some_text(draw)]
        for _ in range(draw.randrange(1, 4)):
            argv += some_flag(draw)
        if draw.random() < 0.9:  # small: worlds are made to check their sizes
            argv += ["--n_entity=4", "--n_attribute=4"]
        draw.shuffle(argv)
        works_or_is_refused(lambda: parse(argv))

    assert fuzz(try_one, 700) >= 35_000
    assert list(tmp_path.iterdir()) == []


def test_command_lines_of_measuring(tmp_path, monkeypatch, untranslated):
    monkeypatch.chdir(tmp_path)
    for name in ("judge_claims", "time_updates", "count_errors"):
        monkeypatch.setattr(evaluation, name, lambda *_: 0)
    words = ["run", "ask", "score", "experiment", "claims", "bench", "calibrate", "nowhere", "."]
    flags = ["repeats", "seed", "seeds", "jobs", "device", "out_dir", "task", "publish", "help"]
    flags += ["at", "curve"]

    def try_one(draw):
        argv = [draw.choice(words)] if draw.random() < 0.95 else [some_text(draw)]
        for _ in range(draw.randrange(4)):
            value = some_text(draw)
            argv.append(f"--{draw.choice(flags)}={value}" if draw.random() < 0.6 else value)
        works_or_is_refused(lambda: evaluation.main(argv))

    assert fuzz(try_one, 1300) >= 65_000
    assert list(tmp_path.iterdir()) == []


def some_value(draw, depth=3):
    """A JSON value, nested or not."""
    kind = draw.randrange(9 if depth else 7)
    if kind < 3:
        return draw.choice(["a", "b", 1, 2, 0.5, True, None])
    if kind < 5:
        return draw.choice([v for v in plants.VALUES.values() if not isinstance(v, (list, dict))])
    if kind < 7:
        return draw.choice([draw.random(), draw.randrange(9), some_text(draw), 2**62, -1e300])
    inner = [some_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    return inner if kind == 7 else {some_text(draw): value for value in inner}


def mutated(draw, value):
    """The JSON value with something else at one place or two."""
    for _ in range(draw.randrange(1, 3)):
        path = draw.choice(list(plants.leaves(value)) or [None])
        if path:
            new = plants.leaves if draw.random() < 0.2 else some_value(draw)
            value = plants.changed(value, path, new)
    return value


def damaged(draw, data):
    """The bytes with some of them lost, changed, doubled or put in."""
    data = bytearray(data)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(data) + 1)
        upto = min(len(data), at + draw.choice([1, 1, 1, 2, 8, 100, len(data)]))
        n, old = upto - at, data[at:upto]
        data[at:upto] = draw.choice([b"", bytes(n), old * 2, draw.randbytes(n), b'"', b"[" * 999])
    return bytes(data)


def test_files_of_json(tmp_path):
    forms = [DESCRIPTION, RESULT, ROW, STUDY_ROW, {"a": [int]}, {str: {"b?": float}}]
    path = tmp_path / "x"

    def try_one(draw):
        value = some_value(draw)
        assert isinstance(misfit(value, draw.choice(forms)), (str, type(None)))
        data = json.dumps(value).encode()
        data = damaged(draw, data) if draw.random() < 0.5 else data
        works_or_is_refused(lambda: parse_json(data, "x"))
        if draw.random() < 0.1:
            path.write_bytes(data)
            works_or_is_refused(lambda: read_json(path, draw.choice(forms)))
            works_or_is_refused(lambda: read_lines(path, draw.choice(forms[:5])))
            assert path.read_bytes() == data

    assert fuzz(try_one, 2000) >= 100_000


def test_lines_of_score(tmp_path):
    path = tmp_path / "lines"
    labels = ["explanation", "current", "original"]
    answers = ["explanation", *ANSWERS]
    more = ["group", "item", "run", "cue", "class", "x"]

    def try_one(draw):
        used = draw.choice([labels, labels, answers]) + more[: draw.randrange(7)]
        lines, n = [], draw.randrange(1, 40)
        for i in range(n):
            row = {key: draw.choice(["a", "A ", "would stay", 1, 1.0, True]) for key in used}
            row |= {key: i for key in used if key == "item"}
            text = json.dumps(row).encode()
            if draw.random() < 0.02:
                text = json.dumps(mutated(draw, row)).encode()
            lines.append(damaged(draw, text) if draw.random() < 0.01 else text)
        data = b"\n".join(lines)
        path.write_bytes(data)
        works_or_is_refused(lambda: escape(score.show(read([path]))))
        assert path.read_bytes() == data
        return n

    assert fuzz(try_one, 120) >= 100_000


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("base")
    assert train.main(["anchor", *TINY, "--seeds=2", "--jobs=1", f"--out_dir={out}"]) == 0
    return out


def stamps(folder):
    paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return {path: (os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in paths}


def spoiled(draw, path):
    """New bytes for a file of a run, with or without a seal that holds."""
    data = path.read_bytes()
    if path.suffix == ".pt":
        if draw.random() < 0.7:
            name = draw.choice(["data.pkl"] * 4 + ["data/0", "byteorder", "version"])
            return plants.rezip(data, lambda n, was: damaged(draw, was) if n == name else was)
        return damaged(draw, data)
    if draw.random() < 0.3:
        return damaged(draw, data)
    first, *rest = data.splitlines() if path.suffix == ".jsonl" else [data]
    return b"\n".join([json.dumps(mutated(draw, json.loads(first))).encode(), *rest])


def test_folders_of_runs_and_studies(base):
    run, [study] = folder_of(base, "reg", 0), base.glob("anchor*")
    config = read_config(run, "")[1]
    labels, last = labels_folder(config, "hint", base / "cache", "cpu"), run / "checkpoints"
    seals = [last / "step-000006", labels]
    files = [run / "config.json", run / "result.json", study / "runs.jsonl"]
    names = "state.pt", "meta.json", "manifest.json"
    files += [folder / name for folder in seals for name in names]
    model = new_model(config, make_tasks(config, "cpu"))
    key = run_key(config, "cpu")

    def go_on():
        from torch.optim import AdamW

        optimizer = AdamW(model.parameters(), fused=True)
        step, state, _ = newest_of_run(run, model, config.cotrain, key)
        restore(state, model, [optimizer], step, "here")

    def try_one(draw):
        path = draw.choice(files)
        before, new = path.read_bytes(), spoiled(draw, path)
        folder, kept = path.parent, (path.parent / "manifest.json")
        manifest = kept.read_bytes() if kept.exists() else None
        path.write_bytes(new)
        if manifest and path != kept and draw.random() < 0.8:
            plants.seal(folder, **{path.stem: new})
        there = stamps(base)
        deep = folder == seals[0] and draw.random() < 0.5
        if path.name == "runs.jsonl":
            works_or_is_refused(lambda: measure([study] * draw.choice([1, 2]), ""))
        else:
            works_or_is_refused(go_on if deep else lambda: measure([run], ""))
        assert stamps(base) == there
        path.write_bytes(before)
        if manifest:
            kept.write_bytes(manifest)

    assert fuzz(try_one, 160) >= 8_000
