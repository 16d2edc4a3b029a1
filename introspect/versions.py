"""Which code, packages and device made a result."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from introspect import __version__

PACKAGE = Path(__file__).parent


def commit(git: Path = PACKAGE.parent / ".git") -> str:
    """The commit that is checked out, read from .git; "unknown" if it cannot be read there."""
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        loose = git / head[5:]
        if loose.exists():
            return loose.read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next(line.split()[0] for line in packed if line.endswith(f" {head[5:]}"))
    except (OSError, StopIteration):
        return "unknown"


def hash_source(package: Path = PACKAGE) -> str:
    """A hash of the source itself, which differs from that of the commit if files were edited:
    12 digits of the SHA-256 of what `sha256sum` prints for the *.py and *.txt files in order.

        LC_ALL=C; cd introspect; find * -name '*.py' -o -name '*.txt' | sort | xargs sha256sum |
        sha256sum | head -c 12
    """
    paths = [p for p in package.rglob("*") if p.suffix in (".py", ".txt")]
    files = {p.relative_to(package).as_posix(): hashlib.sha256(p.read_bytes()) for p in paths}
    lines = [f"{sha256.hexdigest()}  {name}\n" for name, sha256 in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


# read when the program starts, so that edits during a long run do not change what its result says
CODE = {"introspect": __version__, "commit": commit(), "source": hash_source()}


def versions(device: str) -> dict[str, str]:
    """What besides the configuration decides the digits of a result: code, packages, device, and
    the vector instructions that PyTorch uses on this CPU."""
    packages = {name: version(name) for name in ("torch", "numpy", "tiktoken")}
    machine = {"device": device, "cpu": torch.backends.cpu.get_cpu_capability()}
    return CODE | {"python": platform.python_version()} | packages | machine
