"""Checkpoints: whole or absent, verified, and never executed; killed and damaged in every place."""

import builtins
import contextlib
import io
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from introspect import checkpoint
from introspect.checkpoint import Corrupt, seal
from introspect.fields import Refused
from tests.test_files import dead_number

FILES = ("state.pt", "meta.json", "manifest.json")


def state(value):
    return {"model": {"w": torch.full((2, 3), float(value))}, "optimizer": {"step": value}}


def save_step(parent, step):
    checkpoint.save_step(parent, step, state(step), {"rows": [step, None, 0.5, "é"]})


def is_that_of(found, step):
    number, loaded, meta = found
    assert loaded["optimizer"] == {"step": number}
    assert meta["rows"][0] == meta["step"] == number
    assert torch.equal(loaded["model"]["w"], state(number)["model"]["w"])
    return number == step


@pytest.fixture
def two(tmp_path):
    save_step(tmp_path, 1)
    save_step(tmp_path, 2)
    return tmp_path


def test_what_is_saved_is_loaded(tmp_path):
    tensors = {"a": torch.tensor([1.5, float("nan"), -0.0]), "b": torch.arange(3), "c": [1, None]}
    checkpoint.save(tmp_path / "x" / "y", tensors, {"sha256": "é", "n": [1, 2.5, None]})
    loaded, meta = checkpoint.load(tmp_path / "x" / "y")
    assert loaded["a"].view(torch.int32).equal(tensors["a"].view(torch.int32))  # to the bit
    assert loaded["b"].equal(tensors["b"]) and loaded["b"].dtype == torch.int64
    assert loaded["c"] == [1, None] and meta == {"sha256": "é", "n": [1, 2.5, None]}
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["y"]  # nothing left aside


def test_a_folder_that_is_there_stays_as_it_is(tmp_path):
    checkpoint.save(tmp_path / "x", state(1), {})
    checkpoint.save(tmp_path / "x", state(2), {})
    assert checkpoint.load(tmp_path / "x")[0]["optimizer"] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_newest_is_the_highest_step_as_a_number_up_to_the_one_asked_for(tmp_path):
    assert checkpoint.newest(tmp_path / "absent") is None
    for step in (999_999, 1_000_000):  # as text the first would be the newer one
        save_step(tmp_path, step)
    for name in ("step-x", "step-2000000.old", "old-step-2000000", "step-9", "step-²000000"):
        (tmp_path / name).mkdir()
    assert is_that_of(checkpoint.newest(tmp_path), 1_000_000)
    assert is_that_of(checkpoint.newest(tmp_path, until=1_000_000), 1_000_000)
    assert is_that_of(checkpoint.newest(tmp_path, until=999_999), 999_999)
    assert checkpoint.newest(tmp_path, until=999_998) is None


def test_the_two_newest_steps_are_kept_and_later_ones_are_not_touched(tmp_path):
    for step in (1, 9, 2, 3, 4):
        save_step(tmp_path, step)
    assert [step for step, _ in checkpoint.numbered(tmp_path)] == [9, 4, 3]


def test_what_is_kept_stays_is_found_as_the_others_and_does_not_count_among_the_two(tmp_path):
    for step in range(1, 8):
        meta = {"rows": [step]}
        checkpoint.save_step(tmp_path, step, state(step), meta, kept=step in (2, 6))
    names = [folder.name for _, folder in checkpoint.numbered(tmp_path)]
    assert names == ["step-000007", "kept-000006", "step-000005", "kept-000002"]
    assert is_that_of(checkpoint.newest(tmp_path, until=6), 6)
    assert is_that_of(checkpoint.newest(tmp_path, until=4), 2)


class Killed(BaseException):
    """Not an Exception: nothing may catch it and clean up, as nothing can when the power goes."""


def killed_at(monkeypatch, k, act):
    """Run `act`, stopped before its file operation number k. Returns whether it was stopped."""
    left = [k]

    def guarded(operation):
        def run(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return operation(*args, **kwargs)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda pid=dead_number(): pid)
        for place, name in ((builtins, "open"), (os, "fsync"), (os, "replace"), (os, "open"),
                            (Path, "mkdir"), (shutil, "rmtree")):
            patch.setattr(place, name, guarded(getattr(place, name)))
        try:
            act()
        except Killed:
            return True
    return False


def test_a_save_killed_between_any_two_operations_leaves_the_old_state_or_the_new(
    tmp_path, monkeypatch, capsys
):
    seen = []
    while True:
        parent = tmp_path / str(len(seen))
        save_step(parent, 1)
        save_step(parent, 2)
        stopped = killed_at(monkeypatch, len(seen), lambda: save_step(parent, 3))
        if not stopped:
            break
        seen.append(checkpoint.newest(parent)[0])
        assert is_that_of(checkpoint.newest(parent), seen[-1])
        save_step(parent, 3)  # the restarted run
        assert is_that_of(checkpoint.newest(parent), 3)
        assert not list(parent.glob(".*"))
    first_new = seen.index(3)
    assert first_new > 6 and set(seen[:first_new]) == {2} and set(seen[first_new:]) == {3}
    assert capsys.readouterr().err == ""  # no checkpoint was ever seen half-written


def remove(file):
    file.unlink()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def empty(file):
    file.write_bytes(b"")


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [remove, truncate, empty, flip])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(two, name, damage, capsys):
    damage(two / "step-000002" / name)
    with pytest.raises(Corrupt, match="step-000002"):
        checkpoint.load(two / "step-000002")
    assert is_that_of(checkpoint.newest(two), 1)
    assert "warning: " in capsys.readouterr().err
    save_step(two, 2)  # training came by again: the broken folder is replaced
    assert is_that_of(checkpoint.newest(two), 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("manifest", ["[]", "3", "{}", '"state.pt"', '{"state.pt": 1}', "[" * 9999])
def test_a_manifest_of_another_form_is_passed_over(two, manifest):
    (two / "step-000002" / "manifest.json").write_text(manifest)
    assert is_that_of(checkpoint.newest(two), 1)


def test_where_no_checkpoint_is_whole_the_run_is_refused_and_nothing_deleted(two):
    for file in two.glob("step-*/state.pt"):
        flip(file)
    before = {p: p.read_bytes() for p in two.rglob("*") if p.is_file()}
    with pytest.raises(Refused, match="step-000002.*none before it is whole"):
        checkpoint.newest(two)
    assert {p: p.read_bytes() for p in two.rglob("*") if p.is_file()} == before
    assert checkpoint.newest(two, until=0) is None  # none was asked for, so none is broken


def test_a_good_checkpoint_is_not_written_again(two):
    before = (two / "step-000002" / "state.pt").stat().st_mtime_ns
    checkpoint.save_step(two, 2, state(7), {})
    assert (two / "step-000002" / "state.pt").stat().st_mtime_ns == before
    assert is_that_of(checkpoint.newest(two), 2)


def test_a_checkpoint_of_another_configuration_or_step_is_refused(tmp_path):
    """Seals hold, so only the hash and the step tell whose it is."""
    checkpoint.save_step(tmp_path, 1, state(1), {}, made_of="a" * 64)
    assert checkpoint.newest(tmp_path, made_of="a" * 64)[0] == 1
    for other in ("b" * 64, ""):
        with pytest.raises(Refused, match="must be of this configuration, with hash.*aaaaaaaaaaaa"):
            checkpoint.newest(tmp_path, made_of=other)
        with pytest.raises(Refused, match="must be of this configuration"):
            checkpoint.save_step(tmp_path, 1, state(1), {}, made_of=other)
    (tmp_path / "step-000001").rename(tmp_path / "step-000002")
    with pytest.raises(Refused, match="step-000002: holds step 1"):
        checkpoint.newest(tmp_path)


def test_a_checkpoint_that_goes_away_while_it_is_read_gives_way_to_the_later_one(
    two, monkeypatch, capsys
):
    """Another process of the same cache has got further and needs it no more."""
    load = checkpoint.load

    def slow(folder, *sizes):
        if folder.name == "step-000002" and not (two / "step-000003").exists():
            save_step(two, 3)
            save_step(two, 4)
        return load(folder, *sizes)

    monkeypatch.setattr(checkpoint, "load", slow)
    assert checkpoint.newest(two)[0] == 4
    assert capsys.readouterr().err == ""


def test_more_than_is_expected_is_not_read(two):
    folder = two / "step-000002"
    with pytest.raises(Corrupt, match="state.pt: has .* bytes; at most"):
        (folder / "state.pt").write_bytes(b"0" * 2**21)
        checkpoint.load(folder, size=1000)
    with pytest.raises(Corrupt, match="meta.json: has"):
        checkpoint.load(two / "step-000001", meta_size=10)
    (folder / "state.pt").unlink()
    os.mkfifo(folder / "state.pt")
    with pytest.raises(Corrupt, match="must be a regular file"):
        checkpoint.load(folder)


def test_everything_is_on_disk_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    """A kill leaves what was written; a power loss leaves what was synced."""
    log = []
    for name in ("fsync", "replace"):
        did = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, did=did: (log.append(n), did(*a))[1])
    save_step(tmp_path, 1)
    assert log == ["fsync"] * len(FILES) + ["replace", "fsync"]


class Payload:
    """What unpickling it would do is to make a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def zipped(value):
    buffer = io.BytesIO()
    torch.save({"model": value}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [zipped, lambda value: pickle.dumps(value, protocol=2)])
def test_a_planted_payload_with_a_matching_manifest_is_not_executed(two, tmp_path, packed):
    folder, payload = two / "step-000002", packed(Payload(tmp_path / "executed"))
    (folder / "state.pt").write_bytes(payload)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["state.pt"] = seal(payload)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises((Corrupt, pickle.UnpicklingError)):
        checkpoint.load(folder)
    assert not (tmp_path / "executed").exists()
    with contextlib.suppress(RuntimeError):  # guard: the payload does work
        torch.load(io.BytesIO(payload), weights_only=False)
    assert (tmp_path / "executed").exists()
