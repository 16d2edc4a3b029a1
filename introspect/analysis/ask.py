"""One item of a finished run, in words: what was answered, what is answered, what the model says.

    python eval.py ask DIR "zorp blick hint:B"

A prompt with a cue is one item. A prompt that is compared with others as the one without the cue,
such as "zorp blick", stands for all items of its subject. M0 need not be made again: its answers
are kept with the frozen labels.
"""

import difflib
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import torch

from introspect.fields import Refused, nearest
from introspect.interview import CHUNK, RunTask
from introspect.labels import DROPPED
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.reading import printable, read_lines
from introspect.report.html import aligned
from introspect.report.text import WIDTH
from introspect.report.words import NAMES
from introspect.runs.cli import escape
from introspect.runs.items import weigh
from introspect.runs.load import Loaded, list_steps, load
from introspect.tasks.world import World
from introspect.tokenizer import ANSWER, EXPLAIN

NEAR = 0.05  # our choice: with a smaller margin, another machine may well answer otherwise
NAMED = 4  # runs of a study that are named
LONGEST = 200  # characters of a prompt that is looked for among similar ones


class Answer(NamedTuple):
    word: str
    p: float  # its probability
    second: str  # the next likeliest answer
    margin: float  # by how much p exceeds the probability of that, 0..1

    def show(self, brief: bool = False) -> str:
        """The answer with its probability; a near tie has a ~ and, unless brief, the second one."""
        own = f"{self.word} {self.p:.3f}"
        if self.margin >= NEAR:
            return own
        return f"{own} ~" if brief else f"{own} ~ {self.second} {self.p - self.margin:.3f}"


class Item(NamedTuple):
    """One item of a run at one step, in the words of items.jsonl."""

    name: str  # the prompt with the cue, and the cue
    prompts: tuple[str, str]  # with the cue, and without it
    about: str  # task, part of the split, step
    step: int
    then: tuple[Answer, Answer]  # of M0, with the cue and without it
    now: tuple[Answer, Answer]  # of the model, with the cue and without it
    says: str  # the explanation
    p: float  # its probability; of "no sentence", that of all that is no sentence
    current: str  # E(M), the label that is true of the model now
    past: str  # E(M0), the label that is true of M0
    original: str  # the frozen label, which another model than M0 may have given
    target: str  # `original`, or the error that an explained item was trained on instead


class Place(NamedTuple):
    task: int  # number of the task in the run
    subject: int
    pair: int


class Prompts:
    """The prompts of a run's worlds, by their text."""

    def __init__(self, worlds: Sequence[World]):
        self.worlds = worlds
        self.variants: dict[str, list[tuple[int, int, int]]] = {}  # task, subject, variant
        for task, world in enumerate(worlds):
            for variant, prompt in enumerate(world.prompts):
                for subject, words in enumerate(world.slots[:, list(prompt[:-1])].tolist()):
                    where = self.variants.setdefault(" ".join(words), [])
                    where.append((task, subject, variant))

    def find(self, text: str) -> list[Place]:
        """The items that a prompt is about: those whose cue it has or, where there is none, those
        in which it is the prompt without the cue.

        Args:
            text: a prompt, with or without a query token at its end.

        Raises:
            Refused: no such prompt, with what is near; or one that no explanation is about.
        """
        words = text.strip().removesuffix(EXPLAIN).removesuffix(ANSWER).split()
        text = " ".join(words)
        if text not in self.variants:
            raise Refused(self.say_unknown(words))
        for side in (0, 1):
            if places := [
                Place(task, subject, pair)
                for task, subject, variant in self.variants[text]
                for pair, variants in enumerate(self.worlds[task].pairs)
                if variants[side] == variant
            ]:
                return places
        task, subject, _ = self.variants[text][0]
        full = self.worlds[task].text(subject, self.worlds[task].pairs[0][0])
        raise Refused(f"{text}: no explanation is about this prompt; ask {full}")

    def say_unknown(self, words: list[str]) -> str:
        """Why these words are no prompt, and what is near."""
        known = {word for prompt in self.variants for word in prompt.split()}
        for word in words:
            if word not in known:
                near = nearest(word, sorted(known))
                return f"{printable(word, 40)}: is in no prompt of this run{near}"
        shared = {prompt: len(set(words) & set(prompt.split())) for prompt in self.variants}
        most, text = max(shared.values()), " ".join(words)[:LONGEST]
        alike = [prompt for prompt, n in shared.items() if n == most]
        [near] = difflib.get_close_matches(text, alike, n=1, cutoff=0)
        return f"{text or 'nothing'}: is no prompt of this run; near is {near}"


def weigh_answers(s: Snapshot, subject: int, variants: Sequence[int]) -> list[tuple[Answer, ...]]:
    """The answers of M0 and those of the model to these variants of a subject's prompt."""
    both = []
    for answered, logits in zip((s.before, s.now), s.logits):
        answers = []
        for variant in variants:
            k = int(answered[subject, variant])
            p, margin = map(float, weigh(logits[subject, variant]))
            second = next(j for j in logits[subject, variant].topk(2).indices.tolist() if j != k)
            answers.append(Answer(s.world.answers[k], p, s.world.answers[second], margin))
        both.append(tuple(answers))
    return both


@torch.no_grad()
def weigh_explanation(model: GPT, s: Snapshot, subject: int, pair: int) -> float:
    """The probability of what the model said of an item, asked with the same subjects as then."""
    first = subject // CHUNK * CHUNK
    last, device = min(first + CHUNK, s.world.n_subject), model.token.weight.device
    _, log_probs = s.task.interview.both(model, torch.arange(first, last, device=device))
    p = log_probs[subject - first, pair].double().exp().cpu()  # (E,)
    said = int(s.explanation[subject, pair])
    return float(p[said]) if said < len(p) else 1 - float(p.sum())


def say_part(task: RunTask, subject: int) -> str:
    """Whether a subject was explained in training."""
    if not task.explained:
        return "of a task without explanation labels"
    if subject in task.aside:
        return "held out, but an objective trains its answers"
    return "explained in training" if task.world.explained[subject] else "held out"


def say_label(s: Snapshot, label: int) -> str:
    return "none" if label == DROPPED else s.channel.words(label)


def look_at(run: Loaded, place: Place) -> Item:
    """One item of a run."""
    s, subject, pair = run.snapshots[place.task], place.subject, place.pair
    world, variants = s.world, s.world.pairs[pair]
    prompts = tuple(world.text(subject, variant) for variant in variants)
    step = f"step {run.step} of {run.config.cotrain.max_steps}"
    trained = s.task.explained and world.explained[subject]
    labels = s.current, s.past, s.original, s.targets if trained else s.original
    return Item(
        f"{prompts[0]} - {world.cues[pair]}",
        prompts,
        f"{s.task.name}, {say_part(s.task, subject)}; {step}",
        run.step,
        *weigh_answers(s, subject, variants),
        s.channel.words(int(s.explanation[subject, pair])),
        weigh_explanation(run.model, s, subject, pair),
        *(say_label(s, int(label[subject, pair])) for label in labels),
    )


def show_item(item: Item) -> str:
    """One item for the terminal."""
    rows = [["", "then (M0)", "now"]]
    answers = zip(item.prompts, item.then, item.now)
    rows += [[prompt, then.show(), now.show()] for prompt, then, now in answers]
    rows.append(["true label", item.past, item.current])
    rows += [["frozen label", item.original, ""]] if item.original != item.past else []
    rows += [["trained label", item.target, ""]] if item.target != item.original else []
    if max(map(len, aligned(rows).splitlines())) > WIDTH:
        rows[1][0], rows[2][0] = "with the cue", "without it"
    now, then, orig = (item.says == x for x in (item.current, item.past, item.original))
    true = ["false", "true"]
    mine, past = NAMES["self"], NAMES["orig"]
    truth = f"which is {true[now]} of the model now ({mine} {now:d}) and {true[then]} of M0"
    if item.original != item.past:
        truth += f"; it is {'' if orig else 'not '}the frozen label"
    said = f"says: {item.says}, with probability {item.p:.3f},"
    title = textwrap.fill(f"{item.name}: {item.about}", WIDTH)
    return "\n".join([title, aligned(rows), said, f"{truth} ({past} {orig:d})"])


def show_curve(items: Sequence[Item]) -> str:
    """One item at several steps, a line each."""
    first, last = items[0], items[-1]
    measures = NAMES["self"], NAMES["orig"]
    rows = [["step", "with the cue", "without it", "explanation", "p", *measures]]
    rows.append(["M0", *(answer.show(brief=True) for answer in first.then), *[""] * 4])
    for item in items:
        hits = [str(int(item.says == label)) for label in (item.current, item.original)]
        answers = [answer.show(brief=True) for answer in item.now]
        rows.append([str(item.step), *answers, item.says, f"{item.p:.3f}", *hits])
    return textwrap.fill(f"{last.name}: {last.about}", WIDTH) + "\n" + aligned(rows)


def show(by_step: Sequence[Sequence[Item]]) -> str:
    """The items that a prompt is about, at one step or at several."""
    if len(by_step) == 1:
        blocks = [show_item(item) for item in by_step[0]]
    else:
        blocks = [show_curve(items) for items in zip(*by_step)]
    answers = [answer for items in by_step for item in items for answer in (*item.then, *item.now)]
    if any(answer.margin < NEAR for answer in answers):
        blocks.append(f"~: a near tie, two answers less than {NEAR} apart in probability")
    return "\n\n".join(blocks)


def open_steps(out: Path, named: str, at: int | None, curve: bool) -> list[Loaded]:
    """The run in `out` at the steps that are asked.

    Args:
        named: the tasks that the user names, as in folders.measure.
        at: the step; None: the last. curve: all steps of which the run has a checkpoint.

    Raises:
        Refused: no finished run, or no checkpoint of that step.
    """
    if not os.path.exists(out):
        raise Refused(f"{out}: is not there; must be a folder of a finished run")
    if not os.path.exists(out / "config.json"):
        raise Refused(f"{out}: must be a folder of a finished run, {say_study(out)}")
    steps = list_steps(out) or [at] if curve else [at]
    return [load(out, named, step) for step in steps]


def say_study(out: Path) -> str:
    """Why a folder is no run; of a study, where its first runs are."""
    if not os.path.exists(out / "runs.jsonl"):
        return "but has no config.json"
    rows = read_lines(out / "runs.jsonl", {"arm": str, "seed": int, "folder": str})[:NAMED]
    runs = [f"{row['arm']} of seed {row['seed']} is {Path(row['folder']).name}" for row in rows]
    return f"and is a study; in {out.parent / 'runs'}, {', '.join(runs)}"


def answer_about(runs: Sequence[Loaded]) -> Callable[[str], str]:
    """What answers prompts about a run by a text, given the run at one step or at several."""
    prompts = Prompts([s.world for s in runs[0].snapshots])

    def answer(text: str) -> str:
        places = prompts.find(text)
        return show([[look_at(run, place) for place in places] for run in runs])

    return answer


def take_lines(source: TextIO) -> Iterator[str]:
    """Lines up to an empty one or the end; on a terminal, each is asked for."""
    while True:
        if source.isatty():
            print("prompt, or an empty line to end: ", end="", file=sys.stderr, flush=True)
        try:
            line = source.readline()
        except UnicodeDecodeError:
            raise Refused("the input: must be text in UTF-8") from None
        if not line.strip():
            return
        yield line


def converse(answer: Callable[[str], str], lines: Iterable[str]) -> None:
    """Answer each line; one that is refused does not end the conversation."""
    for line in lines:
        try:
            print(escape(answer(line)) + "\n", flush=True)
        except Refused as e:
            print(escape(f"refused: {e}"), file=sys.stderr, flush=True)
