"""Which commit, which source and which machine a result names."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from introspect.versions import PACKAGE, commit, hash_source, versions

ONE, TWO, THREE = ("1" * 40, "2" * 40, "3" * 40)
PACKED = f"# pack-refs with: peeled fully-peeled sorted \n{TWO} refs/backup/refs/heads/main\n" \
         f"{ONE} refs/heads/main\n{TWO} refs/heads/not/main\n{THREE} refs/tags/v1\n^{TWO}\n"
needs_git = pytest.mark.skipif(not shutil.which("git"), reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    """What git says about a folder."""
    who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def made(tmp_path):
    """A .git folder made by hand."""
    (tmp_path / "refs" / "heads").mkdir(parents=True)
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path


def test_a_branch_is_read_from_packed_refs_by_its_whole_name_or_from_a_newer_loose_file(made):
    (made / "packed-refs").write_text(PACKED)
    assert commit(made) == ONE
    (made / "HEAD").write_text("ref: refs/heads/not/main\n")
    assert commit(made) == TWO
    (made / "HEAD").write_text("ref: refs/heads/main\n")
    (made / "refs" / "heads" / "main").write_text(f"{THREE}\n")
    assert commit(made) == THREE
    (made / "HEAD").write_text(f"{TWO}\n")  # detached
    assert commit(made) == TWO


@pytest.mark.parametrize("packed", [None, "", PACKED])
def test_a_branch_without_a_commit_is_unknown(made, packed):
    (made / "HEAD").write_text("ref: refs/heads/new\n")
    if packed is not None:
        (made / "packed-refs").write_text(packed)
    assert commit(made) == "unknown"


def test_without_a_git_folder_the_commit_is_unknown(tmp_path):
    assert commit(tmp_path / ".git") == "unknown"
    (tmp_path / ".git").write_text("gitdir: ../elsewhere\n")  # of a worktree
    assert commit(tmp_path / ".git") == "unknown"


@needs_git
def test_the_commit_is_the_one_that_git_names(tmp_path):
    git(tmp_path, "init", "-q")
    seen = []
    new = "commit -q --allow-empty -m"
    for change in (f"{new} one", f"{new} two", "pack-refs --all", "checkout -q HEAD~1"):
        git(tmp_path, *change.split())
        seen.append(commit(tmp_path / ".git"))
        assert seen[-1] == git(tmp_path, "rev-parse", "HEAD")
    assert seen[1] == seen[2] and seen[3] == seen[0] != seen[1]


@needs_git
def test_versions_name_the_commit_of_this_source():
    if not (PACKAGE.parent / ".git").is_dir():
        pytest.skip("not a git repository of its own")
    assert versions("cpu")["commit"] == git(PACKAGE.parent, "rev-parse", "HEAD")


def test_the_hash_of_the_source_is_that_of_sha256sum_and_differs_after_any_edit(tmp_path):
    (tmp_path / "wing").mkdir()
    for name, text in (("b.py", "b"), ("a.txt", "a"), ("wing/c.py", "c"), ("wing.py", "d")):
        (tmp_path / name).write_text(text)
    before = hash_source(tmp_path)
    command = "find * -name '*.py' -o -name '*.txt' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    if shutil.which("sha256sum"):
        said = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert said.stdout[:12] == before
    (tmp_path / "b.pyc").write_text("compiled")
    assert hash_source(tmp_path) == before
    hashes = {before}
    (tmp_path / "wing" / "c.py").write_text("c ")
    hashes.add(hash_source(tmp_path))
    (tmp_path / "a.txt").write_text("A")
    hashes.add(hash_source(tmp_path))
    (tmp_path / "b.py").rename(tmp_path / "e.py")
    hashes.add(hash_source(tmp_path))
    assert len(hashes) == 4


def test_versions_name_the_hash_of_this_package(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "copy", ignore=shutil.ignore_patterns("*.pyc"))
    assert versions("cpu")["source"] == hash_source(tmp_path / "copy")
    assert versions("cuda")["device"] == "cuda"
    assert versions("cpu")["cpu"] == torch.backends.cpu.get_cpu_capability()
