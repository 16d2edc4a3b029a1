"""What an archive of tensors may be: as large as it says, with the names of plain tensors only."""

import io
import os
import pickle
import zipfile

import pytest
import torch

from introspect import checkpoint
from introspect.checkpoint import check_pickle, checked_archive
from introspect.fields import Refused
from tests import plants

STATE = {"w": torch.arange(300.0), "n": torch.arange(5), "rest": [1, 0.5, None, True, {"a": "é"}]}
DATA = plants.zipped(STATE)
SAYS = {  # why an archive is refused before it is unpickled; of others only that it is
    "payload": "must hold plain tensors, not __builtin__ exec",
    "payload among tensors": "must hold plain tensors",
    "called by stack": "must hold plain tensors",
    "called by name": "must hold plain tensors, not builtins exec",
    "a billion bytes": "must hold plain tensors, not builtins bytearray",
    "not tensors": "must hold plain tensors, not collections Counter",
    "escape": "must hold plain tensors, not evil",
    "packed": "must not be compressed",
    "bomb": "must not have more in it",
    "overlapping": "must not have more in it than its bytes say",
    "long pickle": "the pickle is too large",
    "plain pickle": "not a zip file",
    "old format": "not a zip file",
    "half": "not a zip file",
}


def test_an_archive_is_read_as_it_was_checked():
    read = torch.load(checked_archive(DATA, 2000), weights_only=True)
    assert str(read) == str(STATE)
    two = checked_archive(plants.other_archive(DATA), 2**21)  # the first has 128 MB in it
    assert len(two.getvalue()) < 2 * len(DATA)
    assert str(torch.load(two, weights_only=True)) == str(STATE)


def test_what_is_no_archive_of_plain_tensors_is_refused_before_it_is_unpickled():
    for name, says in SAYS.items():
        with pytest.raises(Exception, match=says):
            checked_archive(plants.ARCHIVES[name](DATA), 2000)
            pytest.fail(name)


def test_every_pickle_of_an_archive_is_checked_however_its_name_is_written():
    evil = pickle.dumps(plants.Payload(), protocol=2)
    for name in ("data.pkl", "DATA.PKL", "other.pkl", "a/b/c.Pkl"):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as new:
            new.writestr(f"archive/{name}", evil)
        with pytest.raises(ValueError, match="must hold plain tensors"):
            checked_archive(archive.getvalue(), 2000)
    for code in (pickle.dumps(plants.Payload(), protocol=n) for n in range(6)):
        with pytest.raises(ValueError, match="must hold plain tensors"):
            check_pickle(code, 10**4)
    check_pickle(pickle.dumps(STATE["rest"], protocol=2), 10**4)


def test_a_refusal_is_one_line_without_the_words_of_the_stranger(tmp_path):
    for name in ("escape", "escape in a name", "bad opcode"):
        folder = tmp_path / name.replace(" ", "")
        checkpoint.save(folder, STATE, {})
        plants.seal(folder, state=plants.ARCHIVES[name](DATA))
        with pytest.raises(Refused) as refusal:
            checkpoint.load(folder)
        assert str(refusal.value).isprintable() and len(str(refusal.value)) < 500


def test_a_link_that_leads_nowhere_is_no_checkpoint_and_is_not_followed(tmp_path, capsys):
    checkpoint.save_step(tmp_path, 1, STATE, {})
    (tmp_path / "step-000002").symlink_to("nowhere")
    assert checkpoint.newest(tmp_path)[0] == 1
    assert "step-000002" in capsys.readouterr().err
    (tmp_path / "step-000001").rename(tmp_path / "moved")
    with pytest.raises(Refused, match="none before it is whole"):
        checkpoint.newest(tmp_path)
    (tmp_path / "labels").symlink_to("nowhere")
    with pytest.raises(Refused, match="labels: is a link that leads nowhere; remove it"):
        checkpoint.save(tmp_path / "labels", STATE, {})
    assert sorted(os.listdir(tmp_path)) == ["labels", "moved", "step-000002"]


def test_the_first_that_is_broken_is_named_and_a_state_or_meta_without_names_is_broken(tmp_path):
    for step, state, meta in ((1, [1], {"step": 1}), (2, {}, [2]), (3, [1], [2])):
        checkpoint.save(tmp_path / f"step-00000{step}", state, meta)
        with pytest.raises(Refused, match=f"step-00000{step}: .*state and meta must have names"):
            checkpoint.newest(tmp_path)


def test_a_meta_that_is_larger_than_asked_for_is_not_read(tmp_path):
    checkpoint.save(tmp_path / "x", STATE, {"a": "b" * 5000})
    with pytest.raises(Refused, match="meta.json: has 5"):
        checkpoint.load(tmp_path / "x", size=10**6, meta_size=4000)
    assert checkpoint.load(tmp_path / "x", size=2000, meta_size=6000)[1]["a"] == "b" * 5000


class Made:
    """Whose pickle makes a folder when it is executed."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_payload_that_the_check_would_miss_is_still_not_executed(tmp_path, monkeypatch):
    evil = plants.zipped({"w": Made(tmp_path / "executed")})
    checkpoint.save(tmp_path / "one", STATE, {})
    plants.seal(tmp_path / "one", state=evil)
    monkeypatch.setattr(checkpoint, "check_pickle", lambda *_: None)
    with pytest.raises(Refused):
        checkpoint.load(tmp_path / "one")
    assert not (tmp_path / "executed").exists()
    torch.load(checked_archive(evil, 2000), weights_only=False)  # the payload does work
    assert (tmp_path / "executed").exists()


def test_packed_numbers_and_long_pickles_are_not_unpacked(tmp_path):
    """What would take a thousand times its bytes in memory."""
    zeros = io.BytesIO()
    torch.save({"w": torch.zeros(2**20)}, zeros)
    packed = io.BytesIO()
    with zipfile.ZipFile(zeros) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert len(packed.getvalue()) < 2**14
    with pytest.raises(ValueError, match="must not have more in it"):
        checked_archive(packed.getvalue(), 2**23)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/0", os.urandom(100))  # as large as before
    with pytest.raises(ValueError, match="must not be compressed"):
        checked_archive(packed.getvalue(), 2**23)
    names = io.BytesIO()
    torch.save({str(i): i for i in range(10**5)}, names)
    with pytest.raises(ValueError, match="pickle is too large"):
        checked_archive(names.getvalue(), 1000)
    checked_archive(zeros.getvalue(), 2**22)
