"""What a stranger can put into a folder: tensors, pickles, archives, texts, with valid seals.

Each table has rows of a name and of what is planted under it.
"""

import hashlib
import io
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import torch

from tests.hostile import CANARY

DEEP = b"[" * 100_000
NOT_JSON = {
    "empty": b"",
    "deep": DEEP,
    "deep object": b'{"a":' * 50_000,
    "deep inside": b'{"config": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NaN": b'{"a": NaN}',
    "huge digits": b'{"a": ' + b"9" * 5000 + b"}",
    "list": b"[]",
    "number": b"3",
    "null": b"null",
    "text": b'"text"',
    "half": b'{"a": 1',
    "two": b"{} {}",
    "zeros": bytes(1000),
    "escape": b'{"\x1b[2J": 1}',
}
VALUES = {  # of any key, in JSON
    "null": None,
    "true": True,
    "text": "\x1b[2J\x1b]0;owned\x07",
    "list": [1],
    "nested": [[[[{"a": []}]]]],
    "object": {"a": {"b": 1}},
    "negative": -1,
    "huge": 10**400,
    "fraction": 0.5,
    "lone surrogate": "\ud800",
    "zero byte": "a\0b",
    "lines": "a\nrefused: b\r\n",
    "long": "a" * 5000,
    "empty": "",
}


class Payload:
    """What unpickling it does is to make the canary."""

    def __reduce__(self):
        return exec, (f"open({CANARY!r}, 'w').close()",)


def zipped(value, legacy: bool = False) -> bytes:
    """The bytes of torch.save."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def seal(folder: Path, made_of=None, **contents: bytes) -> None:
    """Put files into a checkpoint, by the first part of their names, with a manifest that holds."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for stem, data in contents.items():
        name = {"state": "state.pt", "meta": "meta.json"}[stem]
        (folder / name).write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        manifest["files"][name] = {"sha256": sha256, "bytes": len(data)}
    if made_of is not None:
        manifest["made_of"] = made_of
    path.write_text(json.dumps(manifest))


def state_of(folder: Path):
    return torch.load(folder / "state.pt", weights_only=True)


def rezip(data: bytes, edit, kind=zipfile.ZIP_STORED) -> bytes:
    """An archive with other contents; edit: (name without its folder, bytes) -> bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", kind) as new:
        for entry in old.infolist():
            name = entry.filename.partition("/")[2]
            new.writestr(entry.filename, edit(name, old.read(entry)))
    return buffer.getvalue()


def with_pickle(code: bytes):
    """The same archive with another program of the unpickler."""
    return lambda data: rezip(data, lambda name, was: code if name == "data.pkl" else was)


def other_archive(data: bytes) -> bytes:
    """Two archives in one: readers that count from the end see the first, others the second."""
    bomb = rezip(data, lambda name, was: bytes(2**27) if name == "data/0" else was, 8)
    return bomb + data


def overlapping(data: bytes) -> bytes:
    """Many names for the same bytes, each of which would be read by itself."""
    names = {f"w{i}": torch.zeros(10**6) for i in range(40)}
    whole = zipfile.ZipFile(io.BytesIO(zipped(names)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        shared = None
        for entry in whole.infolist():
            name = entry.filename
            if "/data/" not in name:
                new.writestr(name, whole.read(name))
            elif shared is None:
                new.writestr(name, whole.read(name))
                shared = new.getinfo(name)
            else:
                again = zipfile.ZipInfo(name)
                again.file_size, again.compress_size = shared.file_size, shared.compress_size
                again.CRC, again.header_offset = shared.CRC, shared.header_offset
                new.filelist.append(again)
                new.NameToInfo[name] = again
    return buffer.getvalue()


def protocol_2(value) -> bytes:
    return pickle.dumps(value, protocol=2)


ARCHIVES = {  # of state.pt: (bytes that were there) -> bytes
    "payload": lambda _: zipped({"model": Payload(), "optimizers": []}),
    "payload among tensors": lambda _: zipped({"model": {"token.weight": Payload()}}),
    "plain pickle": lambda _: protocol_2({"model": Payload()}),
    "pickle of protocol 4": lambda _: pickle.dumps({"model": Payload()}, protocol=4),
    "old format": lambda _: zipped({"model": Payload()}, legacy=True),
    "old format, plain": lambda _: zipped({"model": {}, "optimizers": []}, legacy=True),
    "called by stack": with_pickle(pickle.dumps(Payload(), protocol=4)),
    "called by name": with_pickle(b"(S'open(\"canary\",\"w\")'\nibuiltins\nexec\n."),
    "a billion bytes": with_pickle(b"\x80\x02cbuiltins\nbytearray\n(J\x00\x00\x00\x40tR."),
    "not tensors": with_pickle(b"\x80\x02ccollections\nCounter\n)R."),
    "no end": with_pickle(b"\x80\x02}"),
    "bad opcode": with_pickle(b"\x80\x02\xff."),
    "huge memo": with_pickle(b"\x80\x02}r\xff\xff\xff\x7f."),
    "deep": with_pickle(b"\x80\x02" + b"]" * 9000 + b"a" * 8999 + b"."),
    "long pickle": lambda _: zipped({str(i): i for i in range(10**5)}),
    "escape": with_pickle(b"\x80\x02cevil\x1b[2J\nname\x1b]0;owned\x07\n)R."),
    "packed": lambda data: rezip(data, lambda _, was: was, zipfile.ZIP_DEFLATED),
    "bomb": lambda data: rezip(
        data, lambda n, was: was + bytes(2**27 if n == "data/0" else 0), zipfile.ZIP_DEFLATED),
    "two in one": other_archive,
    "overlapping": overlapping,
    "shorter records": lambda data: rezip(
        data, lambda name, was: was[:4] if "data/" in name else was),
    "script": lambda _: script(),
    "empty archive": lambda _: b"PK\5\6" + bytes(18),
    "half": lambda data: data[: len(data) // 2],
    "nothing": lambda _: b"",
    "text": lambda _: b"# state\n" * 100,
    "escape in a name": lambda data: rezip(
        data, lambda _, was: was, zipfile.ZIP_DEFLATED).replace(b"archive", b"a\x1b[2Jve"),
}  # fmt: skip


def script() -> bytes:
    """A TorchScript archive, which is a program."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


TENSORS = {  # in place of a weight, or of what an optimizer keeps of one
    "fewer": lambda w: w.flatten()[: w.numel() // 2].clone(),
    "more": lambda w: torch.cat([w, w]),
    "none": lambda w: torch.zeros(0),
    "another shape": lambda w: w.flatten()[None].clone(),
    "one more side": lambda w: w[None],
    "a number": lambda w: torch.tensor(1.0),
    "double": lambda w: w.double(),
    "half": lambda w: w.half(),
    "bfloat16": lambda w: w.bfloat16(),
    "whole numbers": lambda w: w.long(),
    "bytes": lambda w: w.to(torch.uint8),
    "bool": lambda w: w.bool(),
    "complex": lambda w: w.to(torch.complex64),
    "sparse": lambda w: w.to_sparse(),
    "nowhere": lambda w: w.to("meta"),
    "parameter": lambda w: torch.nn.Parameter(w, requires_grad=False),
    "NaN": lambda w: w * float("nan"),
    "one NaN": lambda w: w.float().index_fill(0, torch.tensor([0]), torch.nan),
    "infinite": lambda w: w + float("inf"),
    "list": lambda w: w.tolist(),
    "null": lambda w: None,
    "text": lambda w: "w",
    "object": lambda w: {"w": w},
    "rounded": lambda w: rounded(w),
    "stretched": lambda w: torch.zeros(1).expand(10**12),
}


def rounded(w):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this kind of tensor is on its way out
        return torch.quantize_per_tensor(w.float(), 0.1, 0, torch.qint8)


SAME = {  # other tensors with the same numbers, which do no harm
    "columns": lambda w: w.T.contiguous().T,
    "view": lambda w: torch.cat([w.flatten(), torch.zeros(5)])[: w.numel()].view(w.shape),
    "wants a gradient": lambda w: w.clone().requires_grad_(True),
}


def other_file(path: Path, kind: str) -> None:
    """Put something that is no usual file in the place of one, whatever is there."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name("moved"))
    else:
        path.unlink(missing_ok=True)
    links = {"zeros without end": "/dev/zero", "dangling link": "nowhere", "loop": path.name}
    links |= {"a terminal": "/dev/tty", "link to a folder": "/"}
    if kind in links:
        path.symlink_to(links[kind])
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        (path / "mine").write_text("thesis")
    elif kind == "ten gigabytes":
        with open(path, "wb") as f:
            f.truncate(10 * 2**30)
    elif kind == "not there":
        pass
    else:
        raise ValueError(kind)


OTHER_FILES = (
    "zeros without end", "dangling link", "loop", "link to a folder", "pipe", "folder",
    "ten gigabytes", "not there",
)  # fmt: skip


def leaves(value, path=()):
    """The paths to everything in a JSON value, itself left out."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in pairs if isinstance(value, (dict, list)) else ():
        yield (*path, key)
        if isinstance(each, (dict, list)):
            yield from leaves(each, (*path, key))


def changed(value, path, new):
    """A copy of a JSON value with another value at one place; nothing there for `leaves`."""
    copy = json.loads(json.dumps(value))
    at = copy
    for key in path[:-1]:
        at = at[key]
    if new is leaves:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return copy
