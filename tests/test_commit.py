"""The commit that a result names, from a made-up .git folder."""

import pytest

from introspect.files import commit, versions

ONE, TWO, THREE = ("1" * 40, "2" * 40, "3" * 40)
PACKED = f"# pack-refs with: peeled fully-peeled sorted \n{TWO} refs/backup/refs/heads/main\n" \
         f"{ONE} refs/heads/main\n{TWO} refs/heads/not/main\n{THREE} refs/tags/v1\n^{TWO}\n"


@pytest.fixture
def git(tmp_path):
    (tmp_path / "refs" / "heads").mkdir(parents=True)
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path


def test_a_loose_ref_is_read(git):
    (git / "refs" / "heads" / "main").write_text(f"{ONE}\n")
    assert commit(git) == ONE


def test_a_packed_ref_is_found_by_its_whole_name(git):
    (git / "packed-refs").write_text(PACKED)
    assert commit(git) == ONE
    (git / "HEAD").write_text("ref: refs/heads/not/main\n")
    assert commit(git) == TWO


def test_a_loose_ref_is_newer_than_a_packed_one(git):
    (git / "packed-refs").write_text(PACKED)
    (git / "refs" / "heads" / "main").write_text(f"{THREE}\n")
    assert commit(git) == THREE


def test_a_detached_head_is_the_commit_itself(git):
    (git / "packed-refs").write_text(PACKED)
    (git / "HEAD").write_text(f"{TWO}\n")
    assert commit(git) == TWO


@pytest.mark.parametrize("packed", [None, "", PACKED])
def test_a_branch_without_a_commit_is_unknown(git, packed):
    (git / "HEAD").write_text("ref: refs/heads/new\n")
    if packed is not None:
        (git / "packed-refs").write_text(packed)
    assert commit(git) == "unknown"


def test_without_a_git_folder_the_commit_is_unknown(tmp_path):
    assert commit(tmp_path / ".git") == "unknown"
    (tmp_path / ".git").write_text("gitdir: ../elsewhere\n")  # of a worktree
    assert commit(tmp_path / ".git") == "unknown"


def test_versions_name_the_commit_of_this_source():
    assert versions("cpu")["commit"] == commit()
    assert commit() == "unknown" or set(commit()) <= set("0123456789abcdef")
