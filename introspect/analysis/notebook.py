"""A run in a notebook: made or opened, asked about single items, shown as a page."""

from html import escape
from pathlib import Path
from typing import Any

from introspect.analysis.ask import answer_about, open_steps
from introspect.fields import Refused
from introspect.forms import ROW
from introspect.model import GPT
from introspect.reading import read_lines
from introspect.report.figures import curves
from introspect.report.text import show_run
from introspect.runs.cli import parse
from introspect.runs.run import read_result
from introspect.runs.study import Setting, make_runs, open_workspace, plan_jobs
from introspect.watch import Diverged

# fields of a run that takes a second, for examples
SMALL = dict(n_entity=6, n_attribute=6, n_layer=1, n_head=2, n_embd=16, device="cpu")
SMALL |= dict(pretrain_steps=12, pretrain_batch_size=8, max_steps=4, eval_interval=2, batch_size=4)


class Text(str):
    """Text that a notebook shows as it is printed."""

    def __repr__(self) -> str:
        return str(self)


class Finished:
    """A finished run: `model`, its weights at one step, and `run`, all that was read (Loaded)."""

    def __init__(self, folder: Path, task: str = "", at: int | None = None):
        self.folder, self.task = folder, task
        [self.run] = open_steps(folder, task, at, curve=False)
        self._answer = answer_about([self.run])

    @property
    def model(self) -> GPT:
        return self.run.model

    def ask(self, prompt: str, curve: bool = False) -> Text:
        """What the model says of the items of a prompt; with `curve`, at every step that was kept.

        Raises:
            Refused: no such prompt.
        """
        if curve:
            return Text(answer_about(open_steps(self.folder, self.task, None, curve))(prompt))
        return Text(self._answer(prompt))

    def curves(self) -> list[dict[str, Any]]:
        """What was measured at each evaluation, a row each: step, self, orig, gap, drift, ..."""
        return read_lines(self.folder / "metrics.jsonl", ROW)

    def table(self) -> Text:
        """The measures of the run at its end, as train.py prints them."""
        return Text(show_run(read_result(self.folder, self.run.config)))

    def _repr_html_(self) -> str:
        """The table, and the curves where matplotlib is there."""
        arm = read_result(self.folder, self.run.config)["arm"]
        drawn = curves({arm: [self.curves()]}, "held_out", 4.2)
        return f"<pre>{escape(self.table())}</pre>{drawn or ''}"


def load(folder: Path | str, task: str = "", at: int | None = None) -> Finished:
    """The finished run in a folder that train.py wrote.

    Args:
        task: the task of the run, where it is a file that you trust: FILE.py:CLASS.
        at: the step of the checkpoint; default: the last.

    Raises:
        Refused: no finished run, or no checkpoint of that step.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out:
    ...     made = run("anchor/reg", out_dir=out, **SMALL)
    ...     again = load(made.folder, at=2)
    ...     again.run.step, [row["step"] for row in again.curves()]
    (2, [0, 2, 4])
    """
    return Finished(Path(folder), task, at)


def run(target: str = "anchor/reg", **fields: Any) -> Finished:
    """One run of one arm, made if it is not there, as train.py makes it with these flags.

    Raises:
        Refused: as the command line is. Diverged: a number of it is not finite.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out:
    ...     run("anchor/noreg", seed=100, out_dir=out, **SMALL).model.token.embedding_dim
    16
    """
    words = {True: "true", False: "false"}
    flags = [f"--{k}={words[v] if type(v) is bool else v}" for k, v in fields.items()]
    command = parse([target, *flags])
    if not command.arm:
        raise Refused(f"{target}: must be one run, EXPERIMENT/ARM, such as anchor/reg")
    workspace, setting = open_workspace(command), Setting(command.experiment, command.task)
    [job] = plan_jobs(workspace, setting, command.seeds, command.arms).values()
    for failure in make_runs(workspace, [job], target, target):
        raise Diverged(failure.error)
    return Finished(job.out, command.task)


def ask(folder: Path | str, prompt: str, **opened: Any) -> Text:
    """What the run in a folder says of the items of a prompt; `opened` are arguments of `load`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out:
    ...     folder = run("anchor/reg", out_dir=out, **SMALL).folder
    ...     print(ask(folder, "zorp blick hint:B"))  # doctest: +ELLIPSIS
    zorp blick hint:B - hint:B: hint, ...; step 4 of 4
                       then (M0)   ...
    """
    return load(folder, **opened).ask(prompt)
