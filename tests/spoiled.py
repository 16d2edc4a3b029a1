"""A finished study whose copies are spoiled, one for each case, and given to the real commands."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import train
from tests.hostile import CANARY, Watch, picture, problems
from tests.tiny import TINY, folder_of, weights, without_time
from tests.tried import TRIED

SOME = pytest.param(40, id="some")  # one case of so many, by default
ALL = pytest.param(1, id="all", marks=pytest.mark.reliability)
some_and_all = pytest.mark.parametrize("every", [SOME, ALL])

FIRST, LAST = "step-000004", "step-000006"  # the checkpoints of a finished run


class Case(NamedTuple):
    name: str
    spoil: Callable[[Path], None]  # what is done to a copy of the study before
    command: list[str]
    code: int | None = 2  # None: 2, or 0 with the result that is right
    says: str = ""
    look: Callable[[Path], list[str]] = lambda tree: []  # what else is wrong with the copy after


class Place:
    """The study, and what is where in it, as paths from its root."""

    def __init__(self, root: Path):
        self.root, self.base, self.n, self.ended = root, root / "base", 0, []
        flags = ["anchor", *TINY, "--seeds=2", "--jobs=1"]
        assert train.main([*flags, f"--out_dir={self.base}"]) == 0
        self.run, self.other = (
            folder_of(self.base, "reg", seed).relative_to(self.base) for seed in (0, 1)
        )
        [study] = self.base.glob("anchor*")
        self.study, self.steps = study.relative_to(self.base), self.run / "checkpoints"
        mine, theirs = (self.cache_of(folder) for folder in (self.run, self.other))
        self.m0, self.labels, self.other_m0, self.other_labels = *mine, *theirs
        self.watch = Watch(root)
        self.measure, self.tabulate = ["run", str(self.run)], ["run", str(self.study)]
        self.compare = ["run", str(self.study), str(self.study)]
        self.go_on = ["anchor/reg", *TINY, "--out_dir=."]
        self.study_again = ["anchor", *TINY, "--seeds=2", "--jobs=1", "--out_dir=."]

    def check(self, cases: list[Case], every: int, least: int) -> None:
        """Every so many of the cases, of which there must be at least `least`, end as they say."""
        assert len(cases) >= least
        assert self.failures(cases[::every]) == []
        TRIED["hostile or broken folders and files"] += len(cases[::every])

    def cache_of(self, run: Path) -> tuple[Path, Path]:
        """The folders of the M0 and of the labels of a run."""
        from introspect.runs.load import read_config
        from introspect.runs.stages import labels_folder, m0_key

        config = read_config(self.base / run, "")[1]
        labels = labels_folder(config, "hint", Path("cache"), "cpu")
        return Path("cache") / f"m0-{m0_key(config, 'cpu')[:16]}", labels

    def read(self, path: Path | str):
        """The JSON value of a file; of lines, the first one."""
        text = (self.base / path).read_text()
        return json.loads(text.splitlines()[0] if str(path).endswith(".jsonl") else text)

    def failures(self, cases: list[Case]) -> list[str]:
        """Try every case; returns what is wrong, case by case. `ended` has those that end well."""
        failed, self.ended = [], []
        for case in cases:
            self.n += 1
            tree = self.root / str(self.n) / "tree"
            shutil.copytree(self.base, tree, symlinks=True)
            wrong = self.try_case(case, tree)
            if wrong:
                failed.append(f"{case.name}: {' '.join(case.command)[:30]}: {'; '.join(wrong)}")
            shutil.rmtree(tree.parent)
        return failed

    def try_case(self, case: Case, tree: Path) -> list[str]:
        """What is wrong with how the command of a case ends."""
        case.spoil(tree)
        before = picture(tree)
        measures = case.command[0] in ("run", "score")
        outcome = self.watch.run("eval" if measures else "train", case.command, tree)
        code = case.code if case.code is not None else 0 if outcome.code == 0 else 2
        wrong = problems(outcome, self.watch.usual, code, case.says)
        if (tree / CANARY).exists():
            wrong.append("executes what was planted")
        if (code == 2 or measures) and picture(tree) != before:
            wrong.append("changes the folder")
        if code == 0 and "anchor/reg" in case.command and not wrong:
            wrong += self.differs(tree)
        wrong += case.look(tree)
        self.ended += [case.name] if outcome.code == 0 else []
        return wrong

    def differs(self, tree: Path) -> list[str]:
        """What the run has, now that it has ended, that it has not where nothing was spoiled."""
        wrong, path = [], self.run / "result.json"
        there, right = (json.loads((root / path).read_text()) for root in (tree, self.base))
        if without_time(there) != without_time(right):
            wrong.append("ends with another result")
        if not weights(tree / self.run).equal(weights(self.base / self.run)):
            wrong.append("ends with other weights")
        return wrong

    # --- what is done to a copy ---

    def begin_again(self, tree: Path, keep=(LAST,)) -> None:
        """The run is not finished, and has only these checkpoints."""
        (tree / self.run / "result.json").unlink()
        self.leave_checkpoints(tree, keep)

    def leave_checkpoints(self, tree: Path, keep=(LAST,)) -> None:
        """Remove the others."""
        for step in {FIRST, LAST} - {*keep}:
            shutil.rmtree(tree / self.steps / step, ignore_errors=True)
