"""Finished runs in one file, without checkpoints and caches: small enough for a repository.

A tar file compressed by xz. Its members are RUN/FILE, sorted by world, so that what runs of one
world have in common is kept once. Of items, only the words are kept, not the probabilities.
Unpacked under runs/, each run counts as finished, so that every table can be made again without
training.
"""

import io
import json
import lzma
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

from introspect.fields import Refused
from introspect.files import replace_bytes
from introspect.reading import read_bytes

KEPT = ("config.json", "result.json", "metrics.jsonl", "items.jsonl", "examples.json")
EXTRAS = tuple(f"{name}.json" for name in "alarm circuits conflict edits probes readout".split())
MEMBER = re.compile(r"[\w.:+-]+-[0-9a-f]{16}/(%s)" % "|".join(map(re.escape, KEPT + EXTRAS)))
# lines of items are long and alike in all runs of a world: long matches make half the size
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "nice_len": 273}]
MOST_FILE, MOST_PACKED, MOST_FILES = 32 << 20, 64 << 20, 20_000  # bytes, bytes, files


def pack(path: Path, runs: Iterable[Path]) -> None:
    """Write these folders of finished runs, unless `path` holds just them; the same folders in the
    same order give the same bytes.

    Args:
        runs: best with those of one world beside each other.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for kept in (*KEPT, *EXTRAS):  # files of one kind beside each other
            for run in runs:
                if (run / kept).exists():
                    data = read_bytes(run / kept, MOST_FILE)
                    data = without_numbers(data) if kept == "items.jsonl" else data
                    member = tarfile.TarInfo(f"{run.name}/{kept}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    if not holds(path, packed.getvalue()):  # compressing takes a hundred times as long as this
        replace_bytes(path, lzma.compress(packed.getvalue(), filters=FILTERS))


def holds(path: Path, packed: bytes) -> bool:
    """Whether an archive is there and holds just these bytes."""
    try:
        return lzma.decompress(read_bytes(path, MOST_PACKED)) == packed
    except (Refused, lzma.LZMAError):
        return False


def without_numbers(items: bytes) -> bytes:
    """Lines of items with what is said and what is true, without how sure the models were."""
    lines = [json.loads(line) for line in items.splitlines()]
    kept = ({key: x for key, x in line.items() if isinstance(x, str)} for line in lines)
    return b"".join(json.dumps(line).encode() + b"\n" for line in kept)


def unpack(path: Path, root: Path) -> int:
    """Write the runs of an archive under `root`, where they are not there yet; returns how many
    files were written.

    Raises:
        Refused: it is not such an archive: other names, links, or files that are too large.
    """
    data, written = io.BytesIO(read_bytes(path, MOST_PACKED)), 0
    try:
        with tarfile.open(fileobj=data, mode="r:xz") as tar:
            for number, member in enumerate(tar):
                if number >= MOST_FILES:
                    raise Refused(f"{path}: has more than {MOST_FILES:,} files")
                if not MEMBER.fullmatch(member.name) or not member.isreg():
                    raise Refused(f"{path}: has {member.name[:100]!a}, which is no file of a run")
                if member.size > MOST_FILE:
                    raise Refused(f"{path}: {member.name} must have at most {MOST_FILE:,} bytes")
                out, content = root / member.name, tar.extractfile(member)
                if content and not out.exists():
                    out.parent.mkdir(parents=True, exist_ok=True)
                    replace_bytes(out, content.read())
                    written += 1
    except (tarfile.TarError, lzma.LZMAError, EOFError) as e:
        raise Refused(f"{path}: is no archive of runs ({e})") from None
    return written
