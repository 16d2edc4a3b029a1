"""Everything that a run says at an evaluation, kept for the map of its report.

    N subjects   V variants   P pairs   K answers   E explanations

A *moment* is one evaluation of one task: the likeliest answers, what is said, and 255 times the
probability of each, in bytes. RUN/moments/000080.json has that of update 80, and then.json that of
M0, with the frozen labels in the place of explanations. Each file is written whole, before the
checkpoint of its update, and depends on nothing but the weights. So a run that was killed and
continued leaves the same files.

They come from the pass that is measured anyway: nothing is asked twice, and no number of a run is
another one for it.
"""

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from introspect.channels import Verbal
from introspect.config import CotrainConfig
from introspect.cotrain import Training
from introspect.fields import Refused
from introspect.files import write_json
from introspect.interview import Interview, RunTask
from introspect.labels import Frozen
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.reading import read_json

MOST_KEPT = 32  # moments of a run, and the last
MOST_BYTES = 2**19  # of a moment, before it is compressed; of a larger world none is kept


class Moment(NamedTuple):
    """What a model says of one task, in bytes."""

    answers: np.ndarray  # (N, V) the likeliest answer
    said: np.ndarray  # (N, P) the explanation, in the classes of the channel
    p_answers: np.ndarray  # (N, V, K) 255 times the probability
    p_said: np.ndarray  # (N, P, E)


def count_said(task: RunTask) -> int:
    """E, the classes of an explanation that have a probability; a sentence can be none of them."""
    K = len(task.world.answers)
    return 2 * K if isinstance(task.interview.channel, Verbal) else K + 1


def shapes(task: RunTask) -> list[tuple[int, ...]]:
    """The shapes of the parts of a moment."""
    world = task.world
    N, V, P = world.n_subject, len(world.prompts), len(world.pairs)
    return [(N, V), (N, P), (N, V, len(world.answers)), (N, P, count_said(task))]


def pack(*parts: np.ndarray) -> str:
    """Arrays of bytes, one after another, compressed, in characters of ASCII."""
    data = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    return base64.b64encode(zlib.compress(data)).decode()


def unpack(text: str, task: RunTask, what: str) -> Moment:
    """The moment in a packed text.

    Raises:
        Refused: it is not one of this task.
    """
    sizes, reader = [prod(shape) for shape in shapes(task)], zlib.decompressobj()
    try:
        data = reader.decompress(base64.b64decode(text, validate=True), sum(sizes) + 1)
    except (ValueError, zlib.error):
        data = b""
    if len(data) != sum(sizes) or not reader.eof:
        raise Refused(f"{what}: must be {sum(sizes):,} bytes, compressed, in base64")
    parts = np.split(np.frombuffer(data, np.uint8), np.cumsum(sizes)[:-1])
    moment = Moment(*(part.reshape(shape) for part, shape in zip(parts, shapes(task))))
    answers, words = len(task.world.answers), count_words(task)
    if moment.answers.max() >= answers or moment.said.max() >= words:
        raise Refused(f"{what}: must have answers below {answers}, explanations below {words}")
    return moment


def count_words(task: RunTask) -> int:
    """How many explanations have words: those of `count_said`, and no sentence."""
    return count_said(task) + isinstance(task.interview.channel, Verbal)


def read_moments(path: Path, tasks: Sequence[RunTask]) -> list[Moment]:
    """The moment of each of these tasks in a file.

    Raises:
        Refused: not such a file, or not of these tasks.
    """
    texts = read_json(path, {"tasks": {task.name: str for task in tasks}})["tasks"]
    return [unpack(texts[task.name], task, f"{path}: {task.name}") for task in tasks]


class Listener(Interview):
    """An interview that keeps the probabilities of all that it was told last."""

    def __init__(self, interview: Interview):
        vars(self).update(vars(interview))
        self.heard: list[tuple[np.ndarray, np.ndarray]] = []  # of each chunk

    def ask_all(self, model: GPT) -> tuple[Tensor, Tensor]:
        self.heard = []
        return super().ask_all(model)

    @torch.no_grad()
    def ask(self, model: GPT, subjects: Tensor) -> tuple[Tensor, Tensor]:
        answers, queries = self._hidden(model, subjects)
        logits, log_probs = self._answer(model, answers), self.channel.log_probs(model, queries)
        self.heard.append((in_bytes(logits.softmax(-1)), in_bytes(log_probs.exp())))
        return logits, self.channel.say(model, queries)


def in_bytes(p: Tensor) -> np.ndarray:
    """round(255 p)."""
    return (255 * p).round().to(torch.uint8).cpu().numpy()


def moment_of(snapshot: Snapshot) -> Moment:
    """What was said when this snapshot was taken through a Listener."""
    probabilities = [np.concatenate(parts) for parts in zip(*snapshot.task.interview.heard)]
    classes = (part.numpy().astype(np.uint8) for part in (snapshot.now, snapshot.explanation))
    return Moment(*classes, *probabilities)


def moment_then(snapshot: Snapshot, frozen: Frozen) -> Moment:
    """What M0 answered, and the frozen labels as if they were said."""
    classes = (part.numpy().astype(np.uint8) for part in (snapshot.before, snapshot.original))
    p_said = F.one_hot(snapshot.original, count_said(snapshot.task)).float()
    return Moment(*classes, in_bytes(frozen.reference.softmax(-1)), in_bytes(p_said))


def is_kept(step: int, c: CotrainConfig) -> bool:
    """Whether the evaluation of this update is one of those whose moments are kept."""
    every = -(-c.max_steps // (c.eval_interval * MOST_KEPT)) or 1
    return step % (c.eval_interval * every) == 0 or step == c.max_steps


def name_moment(run: Path, step: int | None) -> Path:
    """The file of the moments of an update, or of those that labels are of."""
    return run / "moments" / ("then.json" if step is None else f"{step:06d}.json")


@dataclass(eq=False)
class Recorded(Training):
    """A run in training whose moments are kept."""

    def __post_init__(self):
        self.tasks = [t._replace(interview=Listener(t.interview)) for t in self.tasks]
        super().__post_init__()

    def take_snapshots(self) -> list[Snapshot]:
        snapshots = super().take_snapshots()
        if is_kept(self.step, self.c):
            self.keep(snapshots)
        return snapshots

    def keep(self, snapshots: list[Snapshot]) -> None:
        """Write the moments of these snapshots."""
        if sum(map(prod, (shape for s in snapshots for shape in shapes(s.task)))) > MOST_BYTES:
            return
        then = name_moment(self.out, None)
        then.parent.mkdir(parents=True, exist_ok=True)
        if not then.exists():
            self.write(then, map(moment_then, snapshots, self.frozen))
        self.write(name_moment(self.out, self.step), map(moment_of, snapshots))

    def write(self, path: Path, moments: Iterable[Moment]) -> None:
        packed = {task.name: pack(*moment) for task, moment in zip(self.tasks, moments)}
        write_json(path, {"tasks": packed})
