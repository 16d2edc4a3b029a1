"""Commands, as small as they get, that together write every file of the library.

Each is run in a folder of its own, below which it writes to `out`. All happen in the child process
that runs the command, so what they replace there stays there.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import eval as eval_script
import introspect.lab.claims as claims
import introspect.lab.registration as registration
import introspect.lab.verdicts as verdicts
import introspect.pretrain as pretrain
from introspect.runs.experiments import EXPERIMENTS
from tests.tiny import SIZE, STEPS, WORLD

USUAL = [*STEPS, *SIZE, "--eval_interval=2", "--device=cpu", "--jobs=1", "--out_dir=out"]
LAB = ["--device=cpu", "--jobs=1", "--out_dir=out"]
SHORT = ["--pretrain_steps=4", "--max_steps=2"]  # what is longer is in the other scenarios
OTHER_WORLD = ["--jabberwocky.n_creature=4", "--jabberwocky.n_habit=3"]
MARKED = "# Ours\n\n<!-- claims -->\n<!-- /claims -->\n"


class Scenario(NamedTuple):
    """A command."""

    script: str  # train or eval
    argv: list[str]
    replace: Callable[[], None] = lambda: None  # makes it small, in the child process
    forget: tuple[str, ...] = ()  # it starts from its own end without these; (): from nothing
    files: dict[str, str] = {}  # what is there before: path below out -> text

    def begin(self, folder: Path, end: Path | None = None) -> Path:
        """Make `folder` as it is before the command. end: the folder of one that is done."""
        if self.forget and end:
            shutil.copytree(end, folder)
            for path in [path for name in self.forget for path in folder.glob(f"out/{name}")]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        folder.mkdir(exist_ok=True)
        for name, text in self.files.items():
            (folder / "out" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "out" / name).write_text(text)
        return folder


def save_often() -> None:
    """Three checkpoints of M0, one of which is removed when the third is written."""
    pretrain.SAVE_INTERVAL = 4


def draw_nothing() -> None:
    """Figures are empty files: drawing them takes most of the time of a study so small."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    Figure.savefig = lambda self, file, **how: file.write("<svg></svg>\n")


def make_small(name: str) -> None:
    """An experiment whose runs take no time."""
    fields = dict(flag.removeprefix("--").split("=") for flag in (*WORLD, *SIZE, *STEPS))
    base = {field: int(value) for field, value in fields.items()} | {"eval_interval": 2}
    EXPERIMENTS[name] = replace(EXPERIMENTS[name], base=base)


def measure_small() -> None:
    draw_nothing()
    make_small("knowledge")


def judge_small() -> None:
    """All claims are those of one experiment."""
    draw_nothing()
    publish_small()


def publish_small() -> None:
    """The same with figures, and the repository is the folder `out`."""
    make_small("matrix")
    claims.CLAIMS = verdicts.CLAIMS = [c for c in claims.CLAIMS if c.experiment == "matrix"]
    registration.WORLDS, eval_script.ROOT = [0, 1, 2], Path("out")


SCENARIOS = {
    "run": Scenario("train", ["anchor/reg", *USUAL, *WORLD, "--label_progress=0.6"], save_often),
    "taught": Scenario(
        "train",
        ["anchor/reg", "--task=hint+jabberwocky", "--teach_steps=8", *USUAL]
        + [flag.replace("--", "--hint.") for flag in WORLD] + OTHER_WORLD,
        save_often,
    ),  # fmt: skip
    "study": Scenario("train", ["anchor", "--seeds=1", *USUAL, *WORLD, *SHORT], draw_nothing),
    "extras": Scenario(
        "eval",
        ["experiment", "knowledge", "--seeds=1", *LAB],
        measure_small,
        ("knowledge", "runs/*/probes.json"),
    ),
    "claims": Scenario(
        "eval",
        ["claims", "--seeds=3", *LAB],
        judge_small,
        ("matrix", "*.md", "claims.json", "*.svg"),
    ),
    "publishing": Scenario(
        "eval",
        ["claims", "--seeds=3", "--draws=2", "--publish=true", *LAB],
        publish_small,
        ("data",),
        {"README.md": MARKED, "data/results/LOG.md": "# Log\n\n## 2020-01-01: before\n"},
    ),
}
