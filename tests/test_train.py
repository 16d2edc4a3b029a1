"""A run is a function of its configuration: however it is interrupted, repeated or watched."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from introspect import checkpoint, cotrain, pretrain, terms
from introspect.fields import Refused
from introspect.reading import read_json, read_lines
from tests.tiny import TINY, run_folder, weights, without_time

ROOT = Path(__file__).parents[1]


def one(out: Path, *flags: str, arm: str = "reg") -> int:
    return train.main([f"anchor/{arm}", *TINY, f"--out_dir={out}", *flags])


def same_run(a: Path, b: Path) -> bool:
    """Final weights, results and every line of the log, but for time fields."""
    results = [without_time(read_json(out / "result.json", {})) for out in (a, b)]
    logs = [without_time(read_lines(out / "metrics.jsonl", {})) for out in (a, b)]
    examples = [(out / "examples.json").read_bytes() for out in (a, b)]
    same = results[0] == results[1] and logs[0] == logs[1] and examples[0] == examples[1]
    return same and torch.equal(weights(a), weights(b))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert one(out) == 0
    return run_folder(out)


def test_a_run_leaves_its_config_its_log_and_its_result(whole):
    rows = read_lines(whole / "metrics.jsonl", {})
    assert [row["step"] for row in rows] == [0, 2, 4, 6]
    result = read_json(whole / "result.json", {})
    assert (result["task"], result["arm"], result["seed"]) == ("hint", "reg", 0)
    for key in "self orig gap drift compatibility preference n_items majority".split():
        assert result[key] == rows[-1][key]
        assert key in result["train"]
    assert result["gap"] == pytest.approx(result["self"] - result["orig"], abs=1e-15)
    assert result["n_items"] == 18 * 4  # half of 36 subjects, 4 hints
    assert {"m0", "config_sha256", "labels_sha256", "seconds", "versions"} <= result.keys()


def test_the_same_command_again_is_the_same_run(whole, tmp_path):
    one(tmp_path / "again")
    assert same_run(whole, run_folder(tmp_path / "again"))


@pytest.mark.parametrize(
    "flag", ["--seed=1", "--m0_seed=1", "--world_seed=1", "--explain_weight=3"]
)
def test_another_seed_or_weight_is_another_run(whole, tmp_path, flag):
    """Guards the tests of sameness: they would also pass if nothing mattered."""
    one(tmp_path / "other", flag)
    assert not torch.equal(weights(whole), weights(run_folder(tmp_path / "other")))


def test_evaluating_more_often_does_not_change_the_weights(whole, tmp_path):
    one(tmp_path / "often", "--eval_interval=1")
    assert torch.equal(weights(whole), weights(run_folder(tmp_path / "often")))
    assert len(read_lines(run_folder(tmp_path / "often") / "metrics.jsonl", {})) == 7


def test_a_finished_run_is_not_touched_again(whole):
    root = whole.parents[1]
    files = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert one(root) == 0
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == files


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stage, after", [("pretrain", 5), ("cotrain", 1), ("cotrain", 5)])
def test_a_run_stopped_in_any_stage_ends_as_if_it_had_not_been(
    whole, tmp_path, monkeypatch, stage, after
):
    module = {"pretrain": pretrain, "cotrain": cotrain}[stage]
    set_rates, calls = module.set_rates, iter(range(100))

    def stop(*args):
        if next(calls) == after:
            raise Killed
        set_rates(*args)

    monkeypatch.setattr(pretrain, "SAVE_INTERVAL", 4)
    monkeypatch.setattr(module, "set_rates", stop)
    with pytest.raises(Killed):
        one(tmp_path / "run")
    assert not (run_folder(tmp_path / "run") / "result.json").exists()
    monkeypatch.setattr(module, "set_rates", set_rates)
    one(tmp_path / "run")
    assert same_run(whole, run_folder(tmp_path / "run"))


def test_a_run_killed_while_it_saves_keeps_the_checkpoint_before(whole, tmp_path, monkeypatch):
    replace = checkpoint.os.replace

    def die(a, b):
        if "step-000004" in str(b) and "checkpoints" in str(b):
            raise Killed
        replace(a, b)

    monkeypatch.setattr(checkpoint.os, "replace", die)
    with pytest.raises(Killed):
        one(tmp_path / "run")
    monkeypatch.setattr(checkpoint.os, "replace", replace)
    assert checkpoint.newest(run_folder(tmp_path / "run") / "checkpoints")[0] == 2
    one(tmp_path / "run")
    assert same_run(whole, run_folder(tmp_path / "run"))


@pytest.mark.slow
def test_sigkill_at_random_moments_does_not_change_the_end(tmp_path):
    """Real processes of a longer run, killed again and again until one gets through."""
    flags = ["--max_steps=300", "--pretrain_steps=300", "--eval_interval=20"]
    one(tmp_path / "calm", *flags)
    command = [sys.executable, str(ROOT / "train.py"), "anchor/reg", *TINY, *flags]
    command.append(f"--out_dir={tmp_path / 'killed'}")
    moments, kills = random.Random(0), 0
    while not list(tmp_path.glob("killed/runs/*/result.json")):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if kills < 4:
            while not (tmp_path / "killed" / "cache").exists():  # past the imports
                time.sleep(0.01)
                assert process.poll() in (None, 0)
            time.sleep(moments.uniform(0, 2.5))
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert same_run(run_folder(tmp_path / "calm"), run_folder(tmp_path / "killed"))


@pytest.mark.parametrize("stage", ["pretrain", "cotrain"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_nan_stops_the_run_within_one_step_with_exit_code_3(
    tmp_path, monkeypatch, capsys, stage, what
):
    module = {"pretrain": pretrain, "cotrain": terms}[stage]
    name = {"pretrain": "world_loss", "cotrain": "explanation_loss"}[stage]
    loss, calls = getattr(module, name), iter(range(100))

    def poisoned(logits, *rest):
        if next(calls) != 5:
            return loss(logits, *rest)
        if what == "loss":
            return loss(logits, *rest) * float("nan")
        logits.register_hook(lambda g: g * float("inf"))
        return loss(logits, *rest)

    monkeypatch.setattr(pretrain, "SAVE_INTERVAL", 4)
    monkeypatch.setattr(module, name, poisoned)
    assert one(tmp_path / "run") == 3
    assert f"{what} is not finite at step 5" in capsys.readouterr().err
    assert not (run_folder(tmp_path / "run") / "result.json").exists()
    kept = run_folder(tmp_path / "run") / "checkpoints"
    if stage == "pretrain":
        kept = next((tmp_path / "run" / "cache").glob("m0-*"))
    step, state, _ = checkpoint.newest(kept)
    assert step == 4
    assert all(torch.isfinite(p).all() for p in state["model"].values())


def test_a_rate_that_makes_weights_infinite_exits_with_3(tmp_path):
    assert one(tmp_path / "run", "--learning_rate=1e38", "--warmup_steps=0") == 3


def test_corrupt_checkpoints_are_refused_and_kept(whole, tmp_path):
    one(tmp_path / "run")
    (run_folder(tmp_path / "run") / "result.json").unlink()
    states = sorted((run_folder(tmp_path / "run") / "checkpoints").glob("*/state.pt"))
    for path in states:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    before = [path.read_bytes() for path in states]
    with pytest.raises(Refused, match="state.pt is not the one that the manifest seals"):
        one(tmp_path / "run")
    assert [path.read_bytes() for path in states] == before


def test_one_corrupt_checkpoint_costs_time_but_no_result(whole, tmp_path, capsys):
    one(tmp_path / "run")
    (run_folder(tmp_path / "run") / "result.json").unlink()
    newest = max((run_folder(tmp_path / "run") / "checkpoints").glob("step-*"))
    (newest / "state.pt").write_bytes(b"")
    one(tmp_path / "run")
    assert "trying the one before" in capsys.readouterr().err
    assert same_run(whole, run_folder(tmp_path / "run"))


def test_a_single_run_needs_no_process_pool(tmp_path):
    code = (
        f"import sys, train; assert train.main({['anchor/reg', *TINY, f'--out_dir={tmp_path}']!r})"
        " == 0; assert 'introspect.runs.pool' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("anchor/reg on hint, seed 0\n0 of 1 runs are there already; 1 to")


def test_a_probe_trains_its_head_and_nothing_else(tmp_path):
    one(tmp_path / "run", "--channel=probe")
    _, first, _ = checkpoint.newest(run_folder(tmp_path / "run") / "checkpoints", 4)
    _, last, _ = checkpoint.newest(run_folder(tmp_path / "run") / "checkpoints")
    moved = {n for n, p in last["model"].items() if not torch.equal(p, first["model"][n])}
    assert moved == {"explain_head.weight", "explain_head.bias"}
