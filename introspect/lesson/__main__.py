"""Eight steps, a minute each: predict, let the library compute, compare.

    python -m introspect.lesson                   asks for a prediction at each step
    python -m introspect.lesson --answers=b,c,,a  has predictions, but not of the third step

Enter or the end of the input gives no prediction. Runs are kept in --out_dir.
"""

import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from introspect.analysis import notebook
from introspect.fields import Refused, check_fields, option
from introspect.files import write_text
from introspect.lesson.steps import SEEDS, STEPS, Found, Step
from introspect.runs.cli import DONE, add_flags, one_line, parser_of

FIELDS = dict(n_entity=24, n_attribute=24, n_embd=48, pretrain_steps=700, pretrain_batch_size=64)
FIELDS |= dict(max_steps=500, batch_size=16, learning_rate=2e-3, eval_interval=100, device="cpu")
PAGE = f"""# A lesson in eight steps

Do a model's explanations follow what it was, or what it is now? Predict at each step, then open the
numbers. `python -m introspect.lesson` asks you and computes them, in about two minutes on one core;
rounding differs between machines. `run` makes or opens a run, of seed {SEEDS[0]} or another, with
`{" ".join(f"--{name}={value}" for name, value in FIELDS.items())}`."""


@dataclass(frozen=True)
class LessonConfig:
    """What the lesson is asked for."""

    step: int = option(1, "the first step that is shown", 1, len(STEPS))
    answers: str | None = option(None, "predictions from that step on, such as a,b,,c")
    out_dir: str = option("out", "root folder of the runs")
    write: str = option("", "a folder for README.md; all steps are written, nothing is asked")

    def __post_init__(self):
        check_fields(self)
        predicted, asked = (self.answers or "").split(","), STEPS[self.step - 1 :]
        if self.write and (self.answers is not None or self.step > 1):
            raise Refused(f"--write={self.write}: goes with neither --answers nor --step")
        if len(predicted) > len(asked):
            raise Refused(f"--answers={self.answers}: must be at most {len(asked)}, one a step")
        for n, (letter, step) in enumerate(zip(predicted, asked), start=self.step):
            if letter not in ("", *step.choices):
                raise Refused(f"--answers={letter}: step {n} has {', '.join(step.choices)}")


def ask(step: Step) -> str:
    """A prediction from the input, a letter; empty where there is none."""
    try:
        while True:
            letter = input(f"\nYour prediction ({', '.join(step.choices)} or Enter): ").strip()
            if letter in ("", *step.choices):
                return letter
    except (EOFError, UnicodeDecodeError):
        return ""


def conclude(step: Step, found: Found, predicted: str = "") -> str:
    """What the numbers say, beside the prediction."""
    true = found.choice
    said = f"{true}) {step.choices[true]}" if true else "none of these"
    yours = f"You predicted {predicted}). " if predicted else ""
    too = " so, too" if predicted and predicted == true else ""
    return f"{yours}The numbers say{too}: {said}. {found.words}"


def write_step(n: int, step: Step, found: Found) -> str:
    """One step as Markdown; what depends on numbers is between marks."""
    return "\n\n".join([
        f"## {n}. {step.title}", step.text, f"**Predict:** {step.question}", step.listed,
        f"```python\n{step.code}\n```", "<details><summary>The numbers</summary>",
        "<!-- numbers -->", f"```\n{found.table}\n```", conclude(step, found),
        "<!-- /numbers -->", "</details>",
    ])  # fmt: skip


def main(argv: list[str]) -> int:
    parser = parser_of("python -m introspect.lesson", __doc__)
    add_flags(parser, LessonConfig)
    given = LessonConfig(**vars(parser.parse_args(argv)))

    @cache
    def run(seed: int = SEEDS[0], **changes: float) -> notebook.Finished:
        return notebook.run("single/run", seed=seed, out_dir=given.out_dir, **FIELDS, **changes)

    if given.write:
        Path(given.write).mkdir(parents=True, exist_ok=True)
        steps = [write_step(n, step, step.show(run)) for n, step in enumerate(STEPS, start=1)]
        write_text(Path(given.write) / "README.md", "\n\n".join([PAGE, *steps]) + "\n")
        return DONE
    letters = iter((given.answers or "").split(","))
    for n, step in list(enumerate(STEPS, start=1))[given.step - 1 :]:
        print(f"{n}. {step.title}\n\n{step.text}\n\n{step.question}\n{step.listed}", flush=True)
        predicted = ask(step) if given.answers is None else next(letters, "")
        found = step.show(run)
        words = textwrap.fill(conclude(step, found, predicted), 100)
        print(f"\n{step.code}\n\n{found.table}\n\n{words}\n\n", flush=True)
    return DONE


if __name__ == "__main__":
    one_line(main)
