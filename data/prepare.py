"""What the tasks are made of, to read and to hash. Nothing is downloaded.

    python data/prepare.py                            write vocabulary, splits and sample prompts
    python data/prepare.py --show=5 --task=refusal    print examples of a task
    python data/prepare.py --m0=true --task=hint      train M0 and say what it knows (a minute)
"""

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from introspect.config import LAST_SEED, Config, is_taught
from introspect.fields import Refused, check_fields, option
from introspect.files import write_json, write_lines, write_text
from introspect.report.html import aligned
from introspect.report.text import number
from introspect.runs.build import build, check_sizes, worlds_of
from introspect.runs.cli import DONE, add_flags, one_line, parser_of
from introspect.streams import rng
from introspect.tasks import TASKS
from introspect.tasks.registry import find_tasks
from introspect.tasks.world import World
from introspect.tokenizer import encode_words, encoding, vocabulary

SAMPLES = 20  # subjects in the sample prompts


@dataclass(frozen=True)
class PrepareConfig:
    """What is written or shown."""

    task: str = option("", f"of {', '.join(TASKS)}, or FILE.py:CLASS; default: all of these")
    seed: int = option(0, "of the world", 0, LAST_SEED)
    show: int = option(0, "examples to print instead of writing files", 0)
    m0: bool = option(False, "train M0 and say what it knows, instead of writing files")
    out_dir: str = option("out/data", "folder for vocabulary, splits and sample prompts")

    def __post_init__(self):
        check_fields(self)


def main(argv: list[str]) -> int:
    parser = parser_of("data/prepare.py", __doc__)
    add_flags(parser, PrepareConfig)
    asked = PrepareConfig(**vars(parser.parse_args(argv)))
    worlds: dict[str, World] = {}
    for spec in [asked.task] if asked.task else TASKS:
        alone = find_tasks(spec)
        beside = find_tasks("hint") if all(map(is_taught, alone.values())) else {}
        config = build(beside | alone, {"seed": asked.seed})
        check_sizes(config)
        of_all = worlds_of(config)
        worlds |= {name: of_all[name] for name in alone}
        if asked.m0:
            print(competence_of_m0(config, list(alone)))
    if asked.m0:
        return DONE
    if asked.show:
        for name, world in worlds.items():
            print(examples(name, world, asked.show, asked.seed))
        return DONE
    hashes = write(worlds, Path(asked.out_dir), asked.seed)
    print(contents(worlds), end="\n\n")
    print(aligned([[file, sha256] for file, sha256 in hashes.items()]))
    return DONE


def examples(name: str, world: World, n: int, seed: int) -> str:
    """n random subjects: every prompt with its ideal answer, and what each cue does to it."""
    lines = []
    for subject in rng(seed, "examples").permutation(world.n_subject)[:n]:
        split = "explanation training" if world.explained[subject] else "held out"
        ideal = world.ideal[subject]  # (V, K)
        words = [world.answers[k] for k in ideal.argmax(-1)]
        prompts = [
            ["  " + world.text(subject, v), word, f"{ideal[v].max():.2f}"]
            for v, word in enumerate(words)
        ]
        cues = [
            [f"  {cue}", words[x], words[y], world.explanation(int(label))]
            for cue, (x, y), label in zip(world.cues, world.pairs, world.truth[subject])
        ]
        lines.append(f"{name}, subject {subject}, {split}")
        lines.append(aligned([["  prompt", "ideal answer", "P"], *prompts]))
        lines.append(aligned([["  cue", "with it", "without", "explanation"], *cues]) + "\n")
    return "\n".join(lines)


def contents(worlds: dict[str, World]) -> str:
    """A line a task: counts, how often a cue changes the ideal answer, the commonest class."""
    rows = [["task", "subjects", "explained", "prompts", "cues", "changed", "largest class"]]
    for name, world in worlds.items():
        shares = np.bincount(world.truth.flatten()) / world.truth.size
        largest = world.explanation(int(shares.argmax()))
        sizes = (world.n_subject, world.explained.sum(), len(world.prompts), len(world.pairs))
        changed = (world.truth != len(world.answers)).mean()
        rows.append([name, *map(str, sizes), f"{changed:.3f}", f"{shares.max():.3f} {largest}"])
    return aligned(rows)


def write(worlds: dict[str, World], out: Path, seed: int) -> dict[str, str]:
    """Vocabulary, splits, sample prompts, and manifest.json. Returns their SHA-256 by file."""
    if out.exists() and not out.is_dir():
        raise Refused(f"--out_dir={out}: must be a folder, and is a file")
    out.mkdir(parents=True, exist_ok=True)
    own = next(iter(worlds.values())).own_words
    words = [*vocabulary(), *own]
    ids = zip(encode_words(words, own).tolist(), words)
    write_lines(out / "vocabulary.jsonl", [{"id": id, "word": word} for id, word in ids])
    files = ["vocabulary.jsonl"]
    for name, world in worlds.items():
        stem = "".join(c if c.isalnum() else "-" for c in name)
        plain = min(y for _, y in world.pairs)
        subjects = [
            {
                "subject": s,
                "prompt": world.text(s, plain),
                "split": "train" if world.explained[s] else "held_out",
                "rests_on": world.rests_on[s].tolist(),
            }
            for s in range(world.n_subject)
        ]
        write_lines(out / f"{stem}-splits.jsonl", subjects)
        write_text(out / f"{stem}-prompts.txt", examples(name, world, SAMPLES, seed))
        files += [f"{stem}-splits.jsonl", f"{stem}-prompts.txt"]
    hashes = {file: hashlib.sha256((out / file).read_bytes()).hexdigest() for file in files}
    counts = {"tokens": encoding().n_vocab + len(own), "words": len(words)}
    counts |= {name: world.n_subject for name, world in worlds.items()}
    write_json(out / "manifest.json", {"seed": seed, "counts": counts, "sha256": hashes})
    return hashes


def competence_of_m0(config: Config, names: list[str]) -> str:
    """M0 trained as in a run of these tasks, and asked everything: a line a task."""
    import torch

    from introspect.measure import measure_competence
    from introspect.runs.stages import make_m0, make_tasks

    torch.set_num_threads(1)
    parts = make_tasks(config, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        m0 = make_m0(config, parts, Path(folder), "cpu")
    lines = []
    for part in (part for part in parts if part.name in names):
        answers = part.interview.answers_of_all(m0).argmax(-1)
        found = measure_competence(part.world, answers)
        labels = ", ".join(f"{label} {share:.3f}" for label, share in found["labels"].items())
        lines.append(
            f"{part.name}: M0 knows {number(found['known'])} of the clear answers; the cue "
            f"changes {number(found['changed'])} of its answers ({labels})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    one_line(main)
