"""Trials of faults: a command in a child process, and what it leaves behind.

A process that has imported everything (`python -m tests.trials`) forks a child for each trial, so
that a trial takes the time of the command alone. It has one thread and runs nothing itself.
"""

import gc
import hashlib
import importlib
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

import introspect
from tests.faults import Event, Fault, Injector, read_notes
from tests.tiny import without_time

ROOT = Path(__file__).parents[1]
LIMIT = 120  # seconds after which a command that hangs is ended
LATE = ("matplotlib.style", "matplotlib.backends.backend_svg", "torch._dynamo", "eval", "train")


class Trial(NamedTuple):
    """A command of tests/scenarios.py, run in a folder."""

    scenario: str
    folder: str
    fault: Fault = Fault("none")
    more: tuple[str, ...] = ()  # more arguments
    out: str = "out"  # below the folder: where it writes, and where events are counted
    tag: str = "only"  # tells it from another command in the same folder
    same_number: bool = False  # whether its process number is 1, as in a container


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # exit code; negative: the signal that ended it
    events: list[Event]
    landed: list[str]  # a line for each fault
    missed: list[str]  # a line for each event that was not counted
    stderr: str


class Zygote:
    """The process that forks a child for each trial."""

    def __init__(self):
        command = [sys.executable, "-m", "tests.trials"]
        variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def run(self, *trials: Trial) -> list[Ended]:
        """How these commands ended, which were let go at one moment."""
        self.process.stdin.write(json.dumps(trials) + "\n")
        self.process.stdin.flush()
        codes = json.loads(self.process.stdout.readline())
        return [read_end(trial, code) for trial, code in zip(trials, codes)]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def beside(trial: Trial, kind: str) -> Path:
    """A file of a trial that is not its command's: notes, stdout or stderr."""
    return Path(trial.folder) / f"{kind}-{trial.tag}"


def read_end(trial: Trial, code: int) -> Ended:
    events, said = read_notes(beside(trial, "notes"))
    landed = [line for line in said if line.startswith("landed")]
    missed = [line for line in said if line not in landed]
    return Ended(code, events, landed, missed, beside(trial, "stderr").read_text())


def serve() -> None:
    """Run the trials of each line of stdin; answer with a line of their exit codes."""
    ours = [module.name for module in pkgutil.walk_packages(introspect.__path__, "introspect.")]
    for name in (*LATE, *ours, "tests.scenarios"):
        with suppress(ImportError):  # matplotlib is not everywhere
            importlib.import_module(name)
    torch.set_num_threads(1)
    gc.freeze()  # else each child spends its time on collecting what it shares with the others
    for line in sys.stdin:
        trials = [Trial(*fields) for fields in json.loads(line)]
        print(json.dumps(run_together(trials)), flush=True)


def run_together(trials: list[Trial]) -> list[int]:
    """Exit codes of these commands, which are let go at one moment."""
    waiting, gate = os.pipe()  # the children wait until the other end is closed
    children = []
    for trial in trials:
        child = os.fork()
        if child == 0:
            os.close(gate)
            os.read(waiting, 1)
            perform(trial)
        children.append(child)
    os.close(waiting)
    os.close(gate)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def perform(trial: Trial) -> None:
    """Be the process of this command, and end."""
    from tests.scenarios import SCENARIOS

    code = 1
    try:
        signal.alarm(LIMIT)
        os.chdir(trial.folder)
        for number, kind in enumerate(("stdin", "stdout", "stderr")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
            os.dup2(os.open(beside(trial, kind) if number else os.devnull, flags), number)
        notes = beside(trial, "notes")
        notes.unlink(missing_ok=True)
        if trial.same_number:
            os.getpid = lambda: 1
        scenario = SCENARIOS[trial.scenario]
        scenario.replace()
        script = importlib.import_module(scenario.script)
        sys.argv = [f"{scenario.script}.py", *scenario.argv, *trial.more]
        Injector(Path(trial.out), notes, Fault(*trial.fault)).install()
        script.one_line(script.main)
    except SystemExit as e:
        code = e.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def contents(out: Path) -> dict[str, Any]:
    """What is in a folder, by path, equal where two commands did the same: without seconds and
    dates, tensors as they are loaded."""
    return {
        path.relative_to(out).as_posix(): None if path.is_dir() else content(path)
        for path in out.rglob("*")
        if path.name != "manifest.json"  # hashes of files that have seconds
    }


def content(path: Path) -> Any:
    """What is in a file; its bytes where it is not what its name says."""
    try:
        return parsed(path)
    except Exception:  # half a file can make the readers raise anything
        return path.read_bytes()


def parsed(path: Path) -> Any:
    if path.name == "state.pt":
        return digests(torch.load(path, weights_only=True))
    text = path.read_text()
    if path.suffix == ".json":
        return without_time(json.loads(text))
    if path.suffix == ".jsonl":
        return [without_time(json.loads(line)) for line in text.splitlines()]
    return re.sub(r"\d{4}-\d\d-\d\d: the claims", "TODAY: the claims", text)


def digests(state: Any) -> Any:
    """A state with a hash for each tensor."""
    if isinstance(state, torch.Tensor):
        data = state.contiguous().view(torch.uint8) if state.dim() else state.reshape(1)
        sha256 = hashlib.sha256(data.numpy().tobytes()).hexdigest()
        return [str(state.dtype), list(state.shape), sha256]
    if isinstance(state, dict):
        return {key: digests(value) for key, value in state.items()}
    return [digests(value) for value in state] if isinstance(state, list | tuple) else state


def compare(found: dict[str, Any], right: dict[str, Any]) -> dict[str, list[str]]:
    """Paths that are lost (missing), wrong (of other content), or left over."""
    return {
        "lost": [path for path in right if path not in found],
        "wrong": [path for path in right if path in found and found[path] != right[path]],
        "left over": [path for path in found if path not in right],
    }


if __name__ == "__main__":
    serve()
