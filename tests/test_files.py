"""Small files: whole or absent under every failure; what killed processes left is removed."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from introspect import files
from introspect.fields import Refused
from introspect.files import claim_folder, is_aside, name_aside, remove_leftovers, write_text
from introspect.reading import read_json


def dead_number():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_temporary_name_is_never_given_twice_and_says_whose_it_is(tmp_path):
    names = {name_aside(tmp_path / "x.json").name for _ in range(100)}
    assert len(names) == 100 and all(map(is_aside, names))
    assert all(f".{files.OWNER}.{os.getpid()}." in name for name in names)
    for other in (".x.json.tmp", ".notes.123.tmp", "x.tmp", ".x.0123456g.1.01234567.tmp"):
        assert not is_aside(other)


def test_another_start_of_the_machine_or_another_container_is_another_owner(monkeypatch):
    def owner(**changed):
        seen = {"node": "a", "boot": "b", "ns": "pid:[1]", **changed}
        with monkeypatch.context() as patch:
            patch.setattr(files.platform, "node", lambda: seen["node"])
            patch.setattr(Path, "read_text", lambda _: seen["boot"])
            patch.setattr(os, "readlink", lambda _: seen["ns"])
            return files.name_owner()

    assert owner() == owner()
    owners = {owner(), owner(node="z"), owner(boot="z"), owner(ns="pid:[2]")}
    assert len(owners) == 4
    command = [sys.executable, "-c", "from introspect.files import OWNER; print(OWNER)"]
    root = Path(files.__file__).parents[1]
    said = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert said.stdout.strip() == files.OWNER  # another process of this machine


def test_leftovers_are_removed_by_owner_and_by_age(tmp_path):
    """Of this machine: at once where the process is gone. Of others: after a day."""
    gone, other = dead_number(), "0" * 8
    made = {
        f".a.{files.OWNER}.{gone}.00000000.tmp": (0, False),
        f".b.{files.OWNER}.{os.getpid()}.00000000.tmp": (0, True),
        f".c.{files.OWNER}.{os.getpid()}.00000000.tmp": (files.STALE + 60, False),
        f".d.{other}.{gone}.00000000.tmp": (files.STALE - 60, True),
        f".e.{other}.{os.getpid()}.00000000.tmp": (files.STALE + 60, False),
        ".mine.tmp": (2 * files.STALE, True),  # not ours
        "e.tmp": (2 * files.STALE, True),
    }
    for i, (name, (age, _)) in enumerate(made.items()):
        path = tmp_path / name
        if i % 2:
            path.mkdir()
            (path / "state.pt").write_bytes(b"half")
        else:
            path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    remove_leftovers(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {n for n, (_, stays) in made.items() if stays}


def test_a_leftover_that_is_a_link_is_removed_and_what_it_names_is_not(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis").write_text("years")
    link = tmp_path / f".x.{files.OWNER}.{dead_number()}.00000000.tmp"
    link.symlink_to(tmp_path / "work", target_is_directory=True)
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["work"]
    assert (tmp_path / "work" / "thesis").read_text() == "years"


def test_a_write_removes_what_a_killed_one_left_and_leaves_nothing_of_its_own(tmp_path):
    (tmp_path / f".x.{files.OWNER}.{dead_number()}.00000000.tmp").write_text("half")
    write_text(tmp_path / "x", "one")
    write_text(tmp_path / "x", "two")
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "two"


def test_the_same_text_is_not_written_again(tmp_path):
    write_text(tmp_path / "x", "é")
    before = (tmp_path / "x").stat().st_mtime_ns, (tmp_path / "x").stat().st_ino
    write_text(tmp_path / "x", "é")
    assert ((tmp_path / "x").stat().st_mtime_ns, (tmp_path / "x").stat().st_ino) == before


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_failed_write_names_the_file_and_keeps_the_old_one(tmp_path, monkeypatch, operation):
    write_text(tmp_path / "x", "old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        with pytest.raises(OSError) as e:
            write_text(tmp_path / "x", "new")
    assert operation == "replace" or e.value.filename == str(tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"


def test_a_folder_is_of_one_configuration_whoever_asked_for_it(tmp_path):
    whole = {"device": "cpu", "cache": "../cache", "config": {"task": "hint", "seed": 0}}
    claim_folder(tmp_path / "run", whole)
    claim_folder(tmp_path / "run", whole | {"cache": "elsewhere", "arm": "reg"})
    assert read_json(tmp_path / "run" / "config.json", {})["cache"] == "elsewhere"
    claim_folder(tmp_path / "run", whole)
    before = (tmp_path / "run" / "config.json").read_bytes()
    for other in (whole | {"device": "cuda"}, whole | {"source": "a"}, {"config": whole["config"]},
                  whole | {"config": {}}, whole | {"config": {"task": "hint", "n": 0}},
                  whole | {"config": whole["config"] | {"seed": 1}}):  # fmt: skip
        with pytest.raises(Refused, match="holds another run, with"):
            claim_folder(tmp_path / "run", other)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_process_of_another_user_is_alive(monkeypatch):
    def refuse(*_):
        raise PermissionError

    assert files.is_alive(os.getpid()) and not files.is_alive(dead_number())
    assert not files.is_alive(10**30)
    monkeypatch.setattr(os, "kill", refuse)
    assert files.is_alive(1)
