"""Archives of runs: what is packed comes back, and nothing else comes out of a stranger's file."""

import io
import json
import lzma
import tarfile

import pytest

from introspect.fields import Refused
from introspect.files import write_json, write_lines, write_text
from introspect.lab.extras import EXTRAS
from introspect.runs import archive
from introspect.runs.archive import pack, unpack
from tests.cases import each

NAME = "hint-0123456789abcdef"
SAID = {"explanation": "would stay", "current": "would change to B"}
NAMES = [NAME, "hint+jabberwocky-fedcba9876543210", "task.py:Own-0000000000000000"]


@pytest.fixture
def runs(tmp_path):
    """Folders of runs with more in them than is kept."""
    folders = [tmp_path / "runs" / name for name in NAMES]
    for number, folder in enumerate(folders):
        (folder / "checkpoints").mkdir(parents=True)
        write_text(folder / "checkpoints" / "weights.bin", "w" * 1000)
        for kept in archive.KEPT:
            write_json(folder / kept, {"run": number, "file": kept})
        write_lines(folder / "items.jsonl", [SAID | {"item": f"{number} é"} for _ in range(3)])
    write_json(folders[1] / "readout.json", {"gap": 0.5})
    return folders


def test_every_measurement_of_a_run_is_kept():
    assert archive.EXTRAS == tuple(f"{name}.json" for name in sorted(EXTRAS))


def contents(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_is_kept_comes_back_and_the_same_runs_give_the_same_bytes(runs, tmp_path):
    for name in ("a", "b"):
        pack(tmp_path / name, runs)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert unpack(tmp_path / "a", tmp_path / "new") == 3 * len(archive.KEPT) + 1
    before = contents(tmp_path / "runs")
    kept = {path: data for path, data in before.items() if "checkpoints" not in path.parts}
    assert contents(tmp_path / "new") == kept and len(kept) < len(before)


def test_an_archive_that_holds_the_runs_stays_and_any_other_is_replaced(runs, tmp_path):
    pack(tmp_path / "a", runs)
    right = (tmp_path / "a").read_bytes()
    other_filters = lzma.compress(lzma.decompress(right), preset=0)
    for before, after in ((other_filters, other_filters), (b"no archive", right)):
        (tmp_path / "a").write_bytes(before)
        pack(tmp_path / "a", runs)
        assert (tmp_path / "a").read_bytes() == after
    pack(tmp_path / "a", runs[:1])
    assert (tmp_path / "a").read_bytes() not in (right, other_filters)


def test_of_items_the_words_are_kept_and_not_how_sure_the_models_were(runs, tmp_path):
    sure = SAID | {"answers": ["A", "B"], "probabilities": [0.7, 0.2], "margins": [0.1]}
    write_lines(runs[0] / "items.jsonl", [sure, SAID])
    pack(tmp_path / "a", runs)
    unpack(tmp_path / "a", tmp_path / "new")
    lines = (tmp_path / "new" / NAME / "items.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [SAID, SAID]


def test_what_is_there_stays(runs, tmp_path):
    pack(tmp_path / "a", runs)
    (tmp_path / "new" / NAME).mkdir(parents=True)
    write_text(tmp_path / "new" / NAME / "result.json", "mine")
    unpack(tmp_path / "a", tmp_path / "new")
    assert (tmp_path / "new" / NAME / "result.json").read_text() == "mine"


def tar_of(path, name, data=b"{}", kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(data), kind, "/etc/passwd"
        tar.addfile(member, io.BytesIO(data))


@each("name, kind", [
    (f"../{NAME}/result.json", tarfile.REGTYPE), (f"/{NAME}/result.json", tarfile.REGTYPE),
    (f"{NAME}/train.py", tarfile.REGTYPE), (f"{NAME}/../result.json", tarfile.REGTYPE),
    ("hint/result.json", tarfile.REGTYPE), (f"{NAME}/result.json", tarfile.SYMTYPE),
    (f"{NAME}/result.json", tarfile.LNKTYPE), (f"{NAME}/result.json", tarfile.FIFOTYPE),
    (f"{NAME}/result.json", tarfile.DIRTYPE),
])  # fmt: skip
def test_other_names_and_links_are_refused_and_nothing_is_written(name, kind, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("archive")
    tar_of(tmp_path / "a", name, b"" if kind != tarfile.REGTYPE else b"{}", kind)
    with pytest.raises(Refused, match="which is no file of a run"):
        unpack(tmp_path / "a", tmp_path / "new")
    assert not contents(tmp_path / "new")


def test_what_is_too_large_too_many_or_no_archive_is_refused(runs, tmp_path, monkeypatch):
    pack(tmp_path / "a", runs)
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(Refused, match="has more than 3 files"):
        unpack(tmp_path / "a", tmp_path / "new")
    monkeypatch.setattr(archive, "MOST_FILE", 5)
    with pytest.raises(Refused, match="must have at most 5 bytes"):
        unpack(tmp_path / "a", tmp_path / "other")
    monkeypatch.undo()
    whole = (tmp_path / "a").read_bytes()
    for data in (b"", b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "b").write_bytes(data)
        with pytest.raises(Refused, match="b: is no archive of runs"):
            unpack(tmp_path / "b", tmp_path / "third")
    with pytest.raises(Refused, match="cannot be read"):
        unpack(tmp_path / "none", tmp_path / "third")
