"""Runs shared by several processes: each made once, and the same bytes as by one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import train
from introspect.fields import Refused
from introspect.runs.jobs import count_passes, deal
from introspect.runs.share import Share, Unfinished, find_share
from introspect.runs.stages import start_key
from introspect.runs.study import Setting, Workspace, plan_jobs
from tests.tiny import TINY

ROOT = Path(__file__).parents[1]
STUDY = ["anchor", *TINY, "--seeds=4", "--jobs=1"]


def results(out):
    """What a study leaves in each file, but for times."""
    files = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if path.name == "state.pt":
            files[str(path.relative_to(out))] = path.read_bytes()
        elif path.name not in ("manifest.json", "meta.json"):
            lines = path.read_text("utf-8").split("\n")
            files[str(path.relative_to(out))] = [line.partition('"seconds"')[0] for line in lines]
    return files


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    assert train.main([*STUDY, f"--out_dir={out}"]) == 0
    return results(out)


def start(out, rank, size):
    env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    command = [sys.executable, "train.py", *STUDY, f"--out_dir={out}"]
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True,
                            stdout=subprocess.DEVNULL)


def test_shares_are_read_from_the_variables_of_torchrun_and_slurm():
    array = {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"}
    assert find_share({}) == Share(0, 1)
    assert find_share({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}) == Share(3, 4, 2)
    assert find_share(array | {"SLURM_ARRAY_TASK_ID": "3"}) == Share(2, 3)
    both = {"RANK": "1", "WORLD_SIZE": "4", **array}  # torchrun on each machine of an array
    ranks = [find_share(both | {"SLURM_ARRAY_TASK_ID": str(i), "RANK": str(r)}).rank
             for i in (1, 2, 3) for r in range(4)]
    assert ranks == list(range(12))
    for wrong in ({"RANK": "x"}, {"RANK": "4", "WORLD_SIZE": "4"}, {"RANK": "-1"},
                  {"WORLD_SIZE": "0"}, array | {"SLURM_ARRAY_TASK_ID": "0"}):
        with pytest.raises(Refused, match="must be"):
            find_share(wrong)


def test_every_run_falls_to_one_process_and_runs_of_one_m0_to_the_same(tmp_path):
    workspace = Workspace(tmp_path, "cpu", 1)
    jobs = [*plan_jobs(workspace, Setting("anchor", "hint"), range(5)).values(),
            *plan_jobs(workspace, Setting("noise", "hint"), range(5)).values(),
            *plan_jobs(workspace, Setting("anchor", "rules"), range(5)).values()]
    for size in (1, 2, 4, 7):
        parts = [deal(jobs, "cpu", Share(rank, size)) for rank in range(size)]
        assert sorted(sum(parts, []), key=jobs.index) == jobs
        owners = {}
        for rank, part in enumerate(parts):
            for job in part:
                assert owners.setdefault(start_key(job.config, "cpu"), rank) == rank
        loads = [sum(map(count_passes, part)) for part in parts]
        assert min(loads) > 0 and max(loads) < 2 * sum(loads) / size
    assert deal(jobs[::-1], "cpu", Share(0, 1)) != []


def test_two_shares_one_after_the_other_end_as_one_process(alone, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    out = tmp_path / "out"
    with pytest.raises(Unfinished, match="process 0 of 2 is done; 4 runs of other processes"):
        train.main([*STUDY, f"--out_dir={out}"])
    assert not (out / "anchor").exists() or not list(out.glob("anchor*/report.html"))
    monkeypatch.setenv("RANK", "1")
    assert train.main([*STUDY, f"--out_dir={out}"]) == 0
    assert "process 1 of 2 has 4 of 8 runs" in capsys.readouterr().err
    assert results(out) == alone


def test_a_process_without_runs_says_what_must_be_the_same(tmp_path, monkeypatch, capsys):
    """As in an array of which every task has another --seed, which shares nothing."""
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    with pytest.raises(Unfinished, match="2 runs of other processes are missing"):
        train.main(["anchor", *TINY, "--seed=1", "--seeds=1", f"--out_dir={tmp_path}"])
    said = capsys.readouterr().err
    assert "process 1 of 3 has 0 of 2 runs; " in said
    assert "all need the same --seed and --seeds" in said


@pytest.mark.reliability
@pytest.mark.parametrize("size", [2, 4])
def test_processes_side_by_side_one_of_them_killed_end_as_one_process(alone, tmp_path, size):
    out = tmp_path / "out"
    ranks = [start(out, rank, size) for rank in range(size)]
    for line in ranks[1].stderr:  # it has begun
        if "to make" in line:
            break
    ranks[1].kill()
    said = [rank.communicate()[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, -9, *[0] * (size - 2)]
    missing = sum("is done; " in text for text in said)
    assert missing == size - 1, said  # nobody reports what is not there
    again = start(out, 1, size)
    assert "to make" in again.communicate()[1] and again.returncode == 0
    assert results(out) == alone
