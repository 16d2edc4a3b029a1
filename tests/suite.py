"""Commands with faults, many at a time, and what is asked of each: the same end as without."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from tests.faults import ERRORS, KILLS, WRITES_ONLY, Event, Fault
from tests.scenarios import SCENARIOS
from tests.trials import Ended, Trial, Zygote, compare, contents

SIDE_BY_SIDE = 2
EXITS = {**dict.fromkeys(KILLS, (-9,)), "SIGTERM": (130,), **dict.fromkeys(ERRORS, (0, 1, 2))}


class Reference(NamedTuple):
    """The end of a command without a fault."""

    folder: Path
    events: list[Event]  # of the command from where its scenario begins
    contents: dict[str, Any]


class Outcome(NamedTuple):
    """What came of one trial. Empty lists: all is well."""

    trial: str  # in words
    landed: bool  # whether the fault has happened for sure
    lost: list[str]  # what is missing after the second, whole command, or why it failed
    wrong: list[str]  # files that are not as they would be without a fault
    left: list[str]  # files and folders that would not be there without a fault
    unclear: list[str] = []  # what was said of an error, if not one line that names a file


class Suite:
    """The processes that do the trials, and the references, each made once."""

    def __init__(self, folder: Path, n: int = SIDE_BY_SIDE):
        self.folder, self.count = folder, 0
        self.zygotes, self.free = [Zygote() for _ in range(n)], SimpleQueue()
        self.references: dict[str, Reference] = {}
        self.outcomes: dict[Any, list[Outcome]] = {}
        for zygote in self.zygotes:
            self.free.put(zygote)

    def close(self) -> None:
        for zygote in self.zygotes:
            zygote.close()

    def run(self, *trials: Trial) -> list[Ended]:
        zygote = self.free.get()
        try:
            return zygote.run(*trials)
        finally:
            self.free.put(zygote)

    def begin(self, name: str, end: Path | None = None) -> Path:
        """A new folder in which a scenario can run."""
        self.count += 1
        return SCENARIOS[name].begin(self.folder / f"{name}-{self.count}", end)

    def refer(self, name: str) -> Reference:
        """The end of a scenario; twice, to see that it has only one."""
        if name not in self.references:
            first = self.begin(name)
            [ended] = self.run(Trial(name, str(first)))
            assert ended.code == 0, ended.stderr
            second = self.begin(name, first)
            [ended] = self.run(Trial(name, str(second)))
            assert ended.code == 0 and not ended.missed, (ended.stderr, ended.missed)
            right = contents(first / "out")
            assert not any(compare(contents(second / "out"), right).values())
            self.references[name] = Reference(first, ended.events, right)
        return self.references[name]

    def plan(self, name: str, hows: Sequence[str], every: int = 1) -> list[Fault]:
        """Each of these faults at every event of a scenario, or at one of `every` in turn."""
        return [
            Fault(how, event.number)
            for i, how in enumerate(hows)
            for event in self.refer(name).events[i % every :: every]
            if how not in WRITES_ONLY or event.kind == "write"
        ]

    def try_all(self, name: str, faults: Sequence[Fault]) -> list[Outcome]:
        """These trials, some side by side; made once, however often they are asked for."""
        key = name, tuple(faults)
        if key not in self.outcomes:
            self.outcomes[key] = self.map(lambda fault: self.try_fault(name, fault), faults)
        return self.outcomes[key]

    def map(self, act: Callable, each: Sequence) -> list:
        with ThreadPoolExecutor(len(self.zygotes)) as pool:
            return list(pool.map(act, each))

    def try_fault(self, name: str, fault: Fault) -> Outcome:
        """A command with a fault, then the same without."""
        end, events, right = self.refer(name)
        folder = self.begin(name, end)
        [first] = self.run(Trial(name, str(folder), fault))
        early = compare(contents(folder / "out"), right) if first.code == 0 else {}
        [again] = self.run(Trial(name, str(folder)))
        late = compare(contents(folder / "out"), right)
        if again.code:
            late["lost"].insert(0, f"exit {again.code}: {again.stderr[-200:]}")
        words = f"{name}: {fault.how} {' '.join(map(str, events[fault.at]))}"
        landed = bool(first.landed) and first.code in EXITS.get(fault.how, ())
        unclear = say_unclear(first) if fault.how in ERRORS else []
        shutil.rmtree(folder)
        lost, wrong = (early.get(key, []) + late[key] for key in ("lost", "wrong"))
        return Outcome(words, landed, lost, wrong, late["left over"], unclear)

    def try_pair(self, name: str, share: str, same_number: bool) -> Outcome:
        """Two processes at one moment: on one out folder, or on one cache alone. Containers have
        processes of the same number."""
        folder, apart = self.begin(name), share == "cache"
        outs = ["out", "other"] if apart else ["out", "out"]
        more = [(f"--out_dir={out}", *["--cache_dir=cache"] * apart) for out in outs]
        trials = [
            Trial(name, str(folder), Fault("none"), flags, out, f"{i}-{out}", same_number)
            for i, (flags, out) in enumerate(zip(more, outs))
        ]
        ended = self.run(*trials)
        right = self.refer_pair(name, trials[0])
        found = pair_contents(folder)
        if apart:
            right = right | {f"other{k[3:]}": v for k, v in right.items() if k.startswith("out/")}
        differs = compare(found, right)
        exits = [f"exit {e.code}: {e.stderr.splitlines()[-1:]}" for e in ended if e.code]
        hidden = [path for path in differs["left over"] if "/." in path]  # old checkpoints may stay
        shutil.rmtree(folder)
        words = f"{name}: two on one {share}"
        return Outcome(words, True, exits + differs["lost"], differs["wrong"], hidden)

    def refer_pair(self, name: str, trial: Trial) -> dict[str, Any]:
        """The end of one of two processes that runs alone."""
        key = f"{name} {trial.more}"
        if key not in self.references:
            folder = self.begin(name)
            [ended] = self.run(trial._replace(folder=str(folder)))
            assert ended.code == 0, ended.stderr
            self.references[key] = Reference(folder, ended.events, pair_contents(folder))
        return self.references[key].contents


def pair_contents(folder: Path) -> dict[str, Any]:
    """What is in the folders of a pair, by path."""
    return {
        f"{out.name}/{path}": content
        for out in folder.iterdir()
        if out.is_dir()
        for path, content in contents(out).items()
    }


def say_unclear(ended: Ended) -> list[str]:
    """What a command said of an error, if it is not one last line that names a file below out."""
    lines = ended.stderr.splitlines()
    said = [line for line in lines if line.startswith(("stopped: ", "refused: "))]
    words = " ".join(said).replace("/", " ").replace(":", " ").replace("=", " ").split()
    clear = said == lines[-1:] and "out" in words and "None" not in words
    if ended.code == 0:
        clear = not said
    return [] if clear and "Traceback" not in ended.stderr else lines[-1:]


def check_landed(outcomes: Sequence[Outcome]) -> None:
    missing = [outcome.trial for outcome in outcomes if not outcome.landed]
    assert outcomes and not missing, f"no fault landed in {len(missing)}: {missing[:5]}"


def check_nothing_lost(outcomes: Sequence[Outcome]) -> None:
    bad = [(o.trial, *o.lost, *o.wrong) for o in outcomes if o.lost or o.wrong]
    assert not bad, f"{len(bad)} of {len(outcomes)}: {bad[:5]}"


def check_nothing_left(outcomes: Sequence[Outcome]) -> None:
    bad = [(o.trial, *o.left) for o in outcomes if o.left]
    assert not bad, f"{len(bad)} of {len(outcomes)}: {bad[:5]}"


def check_clear(outcomes: Sequence[Outcome]) -> None:
    bad = [(o.trial, *o.unclear) for o in outcomes if o.unclear]
    assert not bad, f"{len(bad)} of {len(outcomes)}: {bad[:5]}"


HEAD = ("tried", "landed", "same", "lost", "wrong", "left over", "unclear")


def count(outcomes: Sequence[Outcome]) -> list[int]:
    """The numbers below HEAD."""
    same = sum(not (o.lost or o.wrong) for o in outcomes)
    kinds = zip(*[(o.landed, bool(o.lost), bool(o.wrong), bool(o.left), bool(o.unclear))
                  for o in outcomes])  # fmt: skip
    landed, *others = map(sum, kinds)
    return [len(outcomes), landed, same, *others]


def table(rows: Sequence[tuple[str, list[int]]]) -> list[str]:
    """Lines with the numbers of each group of trials, and of all."""
    total = [sum(column) for column in zip(*(numbers for _, numbers in rows))]
    lines = [("", HEAD), *rows, ("all", total)]
    width = max(len(name) for name, _ in lines)
    return [f"{name:{width}}" + "".join(f"{cell:>11}" for cell in cells) for name, cells in lines]
