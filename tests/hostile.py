"""Commands on folders of strangers, each in a child that is watched for all that it must not do.

A server process imports everything once and forks a child for every command, which ends within
seconds, says what it says into files, and has its memory measured. The server trains nothing
itself, so that it has one thread and forking it is safe.
"""

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MOST_SECONDS = 10  # of a command; they take tenths of one
MOST_GROWTH = 64  # MB above what a harmless refusal takes
MOST_MEMORY = 3 * 2**30  # bytes that a child can add before it gets no more
CANARY = "canary"  # the file, in the working directory, that a planted program makes


class Outcome(NamedTuple):
    """What a command did."""

    code: int | None  # None: it did not end by itself
    signal: int  # that ended it, or 0
    megabytes: int  # at most in memory
    out: str
    err: str


def serve() -> None:
    """Fork a child for each line of JSON on stdin, and say in a line how it ended."""
    sys.modules["matplotlib"] = None  # pictures take time and are no part of this
    programs = load_programs()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            be_child(programs[asked["program"]], **asked)
        _, status, used = os.wait4(child, 0)
        print(json.dumps([status, used.ru_maxrss // 1024]), flush=True)


def load_programs() -> dict[str, Callable[[list[str]], int]]:
    """The scripts' own mains, and misbehaving ones that show that misbehavior is noticed."""
    import torch._dynamo  # noqa: F401, what the first optimizer of a process imports

    import eval as evaluation
    import introspect.analysis.folders  # noqa: F401
    import introspect.lab.extras  # noqa: F401
    import introspect.lab.publish  # noqa: F401
    import train

    def remember(_: list[str]) -> int:
        return len(b"a" * (200 * 2**20)) and 2

    return {
        "train": train.main,
        "eval": evaluation.main,
        "hangs": lambda _: time.sleep(60) or 0,
        "raises": lambda _: {}["a"],
        "remembers": remember,
        "crashes": lambda _: os.kill(os.getpid(), signal.SIGSEGV) or 0,
    }


def be_child(main: Callable, program: str, argv: list[str], folder: str, seconds: int) -> None:
    """Run the script in `folder` through the wrapper that real scripts have, and end."""
    code = 1
    try:
        os.chdir(folder)
        sys.path.insert(0, folder)  # worse than real: what lies there could be imported
        for number, name in ((0, os.devnull), (1, "../out"), (2, "../err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + MOST_MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(seconds)
        sys.argv = [program, *argv]
        from introspect.runs.cli import one_line

        one_line(main)
    except SystemExit as e:
        code = e.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Watch:
    """Runs commands through a server, and says what is wrong with how they end."""

    def __init__(self, place: Path):
        self.place = place  # children leave their output here; their folders are below
        self.server = subprocess.Popen(
            [sys.executable, "-c", "from tests.hostile import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        (place / "empty").mkdir()
        harmless = self.run("eval", ["run", "nowhere"], place / "empty")
        assert problems(harmless, harmless.megabytes) == []
        self.usual = harmless.megabytes

    def run(
        self, program: str, argv: list[str], folder: Path, seconds: int = MOST_SECONDS
    ) -> Outcome:
        """How this command ends, with `folder`, which must be below `place`, as its directory."""
        asked = {"program": program, "argv": argv, "folder": str(folder), "seconds": seconds}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        status, megabytes = json.loads(self.server.stdout.readline())
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        said = [(folder.parent / name).read_bytes().decode() for name in ("out", "err")]
        return Outcome(code, ended_by, megabytes, *said)

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait()


def problems(outcome: Outcome, usual: int, code: int = 2, says: str = "") -> list[str]:
    """All that a command did not do right: to refuse, or to end with another `code`.

    Args:
        usual: megabytes of a harmless refusal. says: what its output has to contain.
    """
    found = []
    if outcome.code is None:
        name = signal.Signals(outcome.signal).name
        found.append("hangs" if outcome.signal == signal.SIGALRM else f"ended by {name}")
    elif outcome.code != code:
        found.append(f"exit code {outcome.code}, not {code}")
    lines = outcome.err.splitlines()
    if "Traceback" in outcome.err:
        found.append("traceback")
    refused = [line.startswith("refused: ") for line in lines]
    others = [line for line in lines if not line.startswith(("refused: ", "warning: "))]
    others = [line for line in others if not is_plan(line)]
    if code == 2 and (sum(refused) != 1 or not refused[-1]):
        found.append("must say in one line what is refused")
    if code == 2 and others:
        found.append(f"says {others[0][:200]!r}")
    if not all(c.isprintable() or c == "\n" for c in outcome.out + outcome.err):
        found.append("moves the cursor of the terminal")
    if says not in outcome.out + outcome.err:
        found.append(f"does not say {says!r}")
    if outcome.megabytes > usual + MOST_GROWTH:
        found.append(f"takes {outcome.megabytes - usual} MB more than a harmless refusal")
    return found and [*found, f"stderr: {outcome.err[-600:]!r}"]


def is_plan(line: str) -> bool:
    """Whether train.py says in this line what it is about to do."""
    plans = ("anchor/reg on hint", "anchor on hint", "  reg: ", "  noreg: ")
    return line.startswith(plans) or " runs are there already; " in line or "resumed from" in line


def picture(folder: Path) -> dict[str, tuple]:
    """Everything in a folder, to be compared with what is there later."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            what = os.readlink(path)
        elif stat.S_ISREG(mode) and path.stat().st_size < 2**26:
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            what = path.stat().st_size if stat.S_ISREG(mode) else ""
        found[str(path.relative_to(folder))] = stat.S_IFMT(mode), what
    return found
