"""A study is a view of runs: the same with any number of workers, again, and beside others."""
import os
from pathlib import Path

import pytest

import train
from introspect import cotrain
from introspect.fields import Refused
from introspect.reading import read_json
from tests.test_train import same_run
from tests.tiny import TINY, folder_of, without_time


def study(out: Path, *flags: str) -> dict:
    assert train.main([*TINY, "--seeds=2", f"--out_dir={out}", *flags]) == 0
    return read_json(study_folder(out) / "result.json", {})


def study_folder(root: Path) -> Path:
    """The folder of the only study below ROOT."""
    [folder] = [p for p in root.iterdir() if p.name not in ("runs", "cache")]
    return folder


@pytest.mark.slow
def test_a_study_is_the_same_with_one_worker_and_with_two(tmp_path):
    one_job = study(tmp_path / "1", "--jobs=1")
    two_jobs = study(tmp_path / "2", "--jobs=2")
    assert without_time(one_job) == without_time(two_jobs)
    for arm in ("reg", "noreg"):
        for seed in (0, 1):
            a, b = (folder_of(tmp_path / n, arm, seed) for n in "12")
            assert same_run(a, b)

    arms = one_job["arms"]
    gaps = [r["gap"] for r in one_job["runs"] if r["arm"] == "noreg"]
    assert len(gaps) == 2 and arms["noreg"]["gap"]["mean"] == pytest.approx(sum(gaps) / 2)
    folders = [folder_of(tmp_path / "1", arm, 0) for arm in arms]
    of_seed_0 = [read_json(folder / "result.json", {}) for folder in folders]
    assert len({r["labels_sha256"] for r in of_seed_0}) == 1 < len(of_seed_0)  # the arms share them


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_a_study_again_is_a_no_op_and_other_seeds_rewrite_it_from_the_same_runs(tmp_path, capsys):
    root = tmp_path / "s"
    two = study(root, "--jobs=1")
    first = contents(root)
    study(root, "--jobs=1")
    assert "4 of 4 runs are there already; 0 to make" in capsys.readouterr().err
    assert contents(root) == first
    more = study(root, "--jobs=1", "--seeds=3")
    assert more["seeds"] == [0, 1, 2] and more["arms"]["reg"]["gap"]["n"] == 3
    runs = {p: data for p, data in first.items() if p.is_relative_to(root / "runs")}
    assert {p: data for p, data in contents(root).items() if p in runs} == runs
    assert study(root, "--jobs=1") == two  # fewer seeds: the same folder, written again
    again = {p: data for p, (_, data) in contents(study_folder(root)).items()}
    assert again == {p: first[p][1] for p in first if p.is_relative_to(study_folder(root))}


@pytest.mark.parametrize("flag", ["--kl_weight=5", "--seed=10", "--n_head=1"])
def test_studies_of_other_fields_or_other_first_seeds_stand_beside_each_other(tmp_path, flag):
    field = flag.split("=")[0]
    flags = [word for word in TINY if not word.startswith(field)] + ["--seeds=1", "--jobs=1"]
    assert train.main([*TINY, "--seeds=1", "--jobs=1", f"--out_dir={tmp_path}"]) == 0
    before = contents(tmp_path)
    target = "single" if field == "--kl_weight" else "anchor"
    assert train.main([target, *flags, flag, f"--out_dir={tmp_path}"]) == 0
    assert {p: data for p, data in contents(tmp_path).items() if p in before} == before
    assert len([p for p in tmp_path.iterdir() if p.name not in ("runs", "cache")]) == 2


@pytest.mark.skipif(os.name != "posix", reason="a folder below a file, as POSIX reports it")
def test_a_study_folder_that_is_foreign_or_unwritable_is_refused_before_training(tmp_path):
    flags = [*TINY, "--seeds=1", "--jobs=1"]
    root = tmp_path / "root"
    assert train.main([*flags, "--max_steps=0", f"--out_dir={root}"]) == 0
    study_of_none = study_folder(root)
    (study_of_none / "runs.jsonl").unlink()  # what is left is not known as a study
    before = contents(root)
    with pytest.raises(Refused, match="is not empty and not a study"):
        train.main([*flags, "--max_steps=0", f"--out_dir={root}"])
    (tmp_path / "file").write_text("years of work")
    with pytest.raises(Refused, match="cannot be written"):
        train.main([*flags, f"--out_dir={tmp_path / 'file'}"])
    assert contents(root) == before and (tmp_path / "file").read_text() == "years of work"


def test_a_run_that_diverges_does_not_take_the_study_with_it(tmp_path, monkeypatch):
    judge = cotrain.judge

    def poisoned(batches, replies, c):
        total, terms = judge(batches, replies, c)
        return total * (1.0 if c.kl_weight else float("nan")), terms  # arm noreg

    monkeypatch.setattr(cotrain, "judge", poisoned)
    flags = [*TINY, "--seeds=2", "--jobs=1", f"--out_dir={tmp_path / 's'}"]
    assert train.main(flags) == 3
    result = read_json(study_folder(tmp_path / "s") / "result.json", {})
    starts = [f"noreg of seed {seed}: loss is not finite at step 0" for seed in (0, 1)]
    assert [text.partition(";")[0] for text in result["failed"]] == starts
    assert list(result["arms"]) == ["reg"]
