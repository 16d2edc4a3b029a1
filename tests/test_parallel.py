"""One model trained by several processes has the gradients of one, and may change their number."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed

from introspect import checkpoint, parallel
from introspect.fields import Refused
from introspect.reading import read_lines
from tests.parallel_gradients import compute
from tests.tiny import TINY, run_folder, weights

ROOT = Path(__file__).parents[1]
needs_gloo = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="needs torch.distributed with gloo",
)


def torchrun(n, *arguments):
    """What n processes, started by torchrun, print; their exit code is 0."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}"]
    command = [sys.executable, *start, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@needs_gloo
@pytest.mark.reliability
def test_averaged_gradients_and_terms_are_those_of_one_process(tmp_path):
    torchrun(2, "-m", "tests.parallel_gradients", tmp_path / "vector")
    alone = compute(tmp_path / "cache")
    for rank in range(2):
        for mine, whole in zip(torch.load(tmp_path / f"vector.{rank}"), alone):
            torch.testing.assert_close(mine, whole, rtol=1e-9, atol=1e-12)
    assert all(float(vector.abs().max()) > 1e-3 for vector in alone)


@needs_gloo
@pytest.mark.reliability
def test_a_run_of_two_processes_is_that_of_one_and_goes_on_with_one(tmp_path):
    """Rounding differs, and AdamW divides small gradients by themselves: close, not the same."""
    command = ["train.py", "anchor/reg", *TINY]
    said = torchrun(2, *command, f"--out_dir={tmp_path / 'two'}")
    assert said.stdout.count("arm reg, seed 0") == 1  # one of them reports
    subprocess.run([sys.executable, *command, f"--out_dir={tmp_path / 'one'}"], cwd=ROOT,
                   check=True, capture_output=True)
    two, one = run_folder(tmp_path / "two"), run_folder(tmp_path / "one")
    loss = "loss/explanation"
    for a, b in zip(read_lines(two / "metrics.jsonl", {}), read_lines(one / "metrics.jsonl", {})):
        assert a["step"] == b["step"] and a.get(loss, 0) == pytest.approx(b.get(loss, 0), abs=1e-3)
    last = weights(two)
    assert float((last - weights(one)).abs().max()) < 0.02
    (two / "result.json").unlink()
    shutil.rmtree(two / "checkpoints" / "step-000006")
    said = subprocess.run([sys.executable, *command, f"--out_dir={tmp_path / 'two'}"], cwd=ROOT,
                          check=True, capture_output=True, text=True)
    assert "resumed from step 4" in said.stderr and checkpoint.newest(two / "checkpoints")[0] == 6
    assert float((last - weights(two)).abs().max()) < 0.01


def test_parts_cover_a_batch_and_alone_a_part_is_all_of_it(monkeypatch):
    batch = np.arange(12)
    assert parallel.part(batch) is not None and (parallel.part(batch) == batch).all()
    tensors = [torch.ones(2)]
    parallel.average(tensors)
    assert tensors[0].equal(torch.ones(2))
    with parallel.joined("cpu", {}) as place:
        assert place == (0, 1)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(parallel, "count_processes", lambda rank=rank: (rank, 3))
        parts.append(parallel.part(batch))
    assert sorted(np.concatenate(parts)) == list(batch) and {len(p) for p in parts} == {4}


def test_a_process_leaves_its_group_before_it_ends_also_where_the_work_fails(monkeypatch):
    done, fake = [], parallel.dist
    monkeypatch.setattr(fake, "init_process_group", lambda backend: done.append(backend))
    monkeypatch.setattr(fake, "destroy_process_group", lambda: done.append("left"))
    with pytest.raises(ZeroDivisionError), parallel.joined("cpu", {"MASTER_ADDR": "a",
                                                                   "WORLD_SIZE": "2"}):
        assert done == ["gloo"]
        raise ZeroDivisionError
    assert done == ["gloo", "left"]


def test_a_batch_that_cannot_be_dealt_out_equally_is_refused():
    parallel.check_parts({"batch_size": 6}, 3)
    with pytest.raises(Refused, match="--batch_size: gives each task 6 subjects an update; 4 pro"):
        parallel.check_parts({"pretrain_batch_size": 8, "batch_size": 6}, 4)
