"""A run that begins from the model of a finished one."""

import shutil
from pathlib import Path

import pytest
import torch

import train
from introspect.reading import read_json
from introspect.runs.load import load
from tests.own import refusal_of
from tests.tiny import TINY, folder_of, run_folder, weights, without_time

FIRST = ["anchor/reg", *TINY, "--learning_rate=0.03"]
NEXT = ["--max_steps=6", "--batch_size=4", "--eval_interval=2", "--device=cpu"]


def make(out, *argv):
    assert train.main([*argv, f"--out_dir={out}"]) == 0
    return run_folder(out)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run whose answers and explanations have moved."""
    run = make(tmp_path_factory.mktemp("first") / "out", *FIRST, "--seed=3")
    assert read_json(run / "result.json", {})["drift"] > 0
    return run


def refuse(argv):
    return refusal_of(lambda: train.main(argv))


def begin(first, out, *flags):
    return make(out, "anchor/reg", *NEXT, "--seed=5", f"--from={first}", *flags)


def test_before_any_update_it_is_the_finished_run_with_labels_of_its_own(first, tmp_path):
    before, after = load(first, "hint"), load(begin(first, tmp_path, "--max_steps=0"), "hint")
    old, new = before.snapshots[0], after.snapshots[0]
    assert torch.equal(new.explanation, old.explanation) and torch.equal(new.now, old.now)
    for labels in (new.original, new.targets, new.past, new.current):
        assert torch.equal(labels, old.current)
    assert torch.equal(after.frozen[0].reference, old.logits[1])
    assert not torch.equal(old.current, old.original)  # M0's labels would have been others
    results = [read_json(run / "result.json", {}) for run in (first, run_folder(tmp_path))]
    assert results[1]["orig"] == results[1]["self"] == results[0]["self"]
    assert results[1]["gap"] == results[1]["drift"] == 0


def test_it_is_trained_on_from_there_by_its_own_seed(first, tmp_path):
    run = begin(first, tmp_path)
    config, old = (read_json(folder / "config.json", {})["config"] for folder in (run, first))
    assert config["seed"] == 5 and config["m0_seed"] == config["world_seed"] == 3
    same = set(config) - {"seed", "learning_rate", "begun_from"}
    assert {k: config[k] for k in same} == {k: old[k] for k in same}
    assert config["begun_from"] and not torch.equal(weights(run), weights(first))
    far = (weights(make(tmp_path / "far", *FIRST, "--seed=5")) - weights(first)).norm()
    assert (weights(run) - weights(first)).norm() < 0.5 * far


def test_the_same_command_goes_on_and_needs_the_model_no_more(first, tmp_path):
    shutil.copytree(first.parents[1], tmp_path / "there")
    there = tmp_path / "there" / "runs" / first.name
    whole = without_time(read_json(begin(first, tmp_path / "a") / "result.json", {}))
    run = begin(there, tmp_path / "b")
    shutil.rmtree(there / "checkpoints")
    shutil.rmtree(run)
    assert without_time(read_json(begin(there, tmp_path / "b") / "result.json", {})) == whole


def test_a_study_begins_all_its_runs_from_the_same_model(first, tmp_path):
    argv = ["anchor", *NEXT, f"--from={first}", "--seeds=2", "--jobs=1", f"--out_dir={tmp_path}"]
    assert train.main(argv) == 0
    hashes = {read_json(folder_of(tmp_path, arm, seed) / "result.json", {})["labels_sha256"]
              for arm in ("reg", "noreg") for seed in (0, 1)}
    assert len(hashes) == 1 and len(list((tmp_path / "cache").glob("m0-*"))) == 1


@pytest.mark.parametrize("flags, words", [
    (["--n_embd=32"], "--n_embd=32: {first} has 16, from which it begins"),
    (["--world_seed=1"], "--world_seed=1: {first} has 3"),
    (["--donor=m0_seed=9"], "leave out donor"),
    (["--label_progress=0.5"], "leave out donor, label_progress"),
    (["--task=refusal"], "is a run of task hint, not of refusal"),
    (["--from=nowhere"], "--from=nowhere: must be the folder of a finished run"),
    (["--from="], "--from=.: must be the folder of a finished run"),
])  # fmt: skip
def test_what_cannot_begin_there_is_refused(first, tmp_path, flags, words):
    argv = ["anchor/reg", *NEXT, f"--from={first}", *flags, f"--out_dir={tmp_path / 'out'}"]
    assert words.format(first=first) in refuse(argv)
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_finished_or_has_adapters_is_refused(first, tmp_path):
    shutil.copytree(first.parents[1], tmp_path / "there")
    there = tmp_path / "there" / "runs" / first.name
    (there / "result.json").unlink()
    adapted = make(tmp_path / "adapted", *FIRST, "--adapter_rank=2")
    for folder, words in ((there, "must be finished"), (adapted, "without adapters")):
        argv = ["anchor/reg", *NEXT, f"--from={folder}", f"--out_dir={tmp_path / 'out'}"]
        assert words in refuse(argv)


def test_only_the_model_of_that_run_is_taken_from_the_cache(first, tmp_path):
    run = begin(first, tmp_path)
    [cached] = (tmp_path / "cache").glob("m0-*")
    shutil.rmtree(run)
    shutil.rmtree(cached)
    fields = read_json(first / "config.json", {})["config"]
    for labels in (tmp_path / "cache").glob("labels-*"):
        shutil.rmtree(labels)
    same = [f"--{k}={fields[k]}" for k in ("n_entity", "n_attribute", "n_layer", "n_head", "n_embd",
                                           "pretrain_steps", "pretrain_batch_size")]
    argv = ["anchor/reg", *NEXT, *same, "--seed=5", "--m0_seed=3", f"--out_dir={tmp_path}"]
    begun = f"--begun_from={read_hash(tmp_path, first)}"
    assert "the model to begin from must be there" in refuse([*argv, begun])
    train.main([*argv, "--max_steps=0"])  # leaves an M0 of its own
    [other] = (tmp_path / "cache").glob("m0-*")
    shutil.copytree(next(p for p in other.iterdir() if p.is_dir()), cached)
    assert "must be of this configuration" in refuse([*argv, begun])


def read_hash(root: Path, first: Path) -> str:
    return load(first, "hint").config.sha256()[:16]
