"""Items in words: each example and each line says what the tables say."""

import math

import pytest
import torch

from introspect.analysis import lines
from introspect.config import LabelConfig
from introspect.fields import Refused
from introspect.files import write_lines
from introspect.forms import ITEM
from introspect.interview import RunTask
from introspect.labels import freeze
from introspect.measure import Snapshot
from introspect.reading import read_lines
from introspect.report.study import write_items
from introspect.runs.items import choose_examples, list_items
from introspect.runs.study import Gathered, Run, Runs, Setting
from introspect.tasks.hint import Hint
from tests.several import WORLDS, saying

WORLD = Hint(n_entity=4, n_attribute=5, n_answer=3, explained_share=0.4).world(3)


def made(world, seed, name="hint", explained=True, channel="head"):
    """A snapshot of random answers and explanations, and its frozen labels."""
    N, V, K = world.ideal.shape
    g, n_class = torch.Generator().manual_seed(seed), 2 * K + 1 if channel == "verbal" else K + 1
    reference, noise = torch.randn(2, N, V, K, generator=g)
    spoken = torch.randint(n_class, (N, len(world.pairs)), generator=g)
    interview = saying(world, reference + noise, spoken, channel)
    frozen = freeze(reference, reference, world, LabelConfig(), 0)
    return Snapshot(None, RunTask(name, world, interview, explained, False), frozen), frozen


SNAPSHOT, FROZEN = made(WORLD, 6)


def test_examples_say_in_words_what_the_tables_say():
    found = choose_examples([SNAPSHOT], 36)  # every held-out item once
    where = {WORLD.text(s, x): (s, p, x, y) for s in WORLD.subjects("held_out")
             for p, (x, y) in enumerate(WORLD.pairs)}
    assert {e["prompt"] for e in found} == set(where)
    for e in found:
        s, p, x, y = where[e["prompt"]]
        for who, answers in (("m0", FROZEN.reference.argmax(-1)), ("now", SNAPSHOT.now)):
            assert e[f"{who}_with_cue"] == "ABC"[answers[s, x]]
            assert e[f"{who}_without_cue"] == "ABC"[answers[s, y]]
        assert e["says"] == WORLD.explanation(SNAPSHOT.explanation[s, p].item())


def test_the_side_of_an_example_follows_from_its_own_words():
    found = choose_examples([SNAPSHOT], 36)
    for e in found:
        now, then = (
            "would stay" if e[f"{who}_with_cue"] == e[f"{who}_without_cue"]
            else f"would change to {e[f'{who}_without_cue']}"
            for who in ("now", "m0")
        )
        sides = {(True, True): "both", (True, False): "now", (False, True): "then"}
        assert e["side"] == sides.get((e["says"] == now, e["says"] == then), "neither")
    assert {e["side"] for e in found} == {"both", "now", "then", "neither"}


def test_examples_are_a_random_choice_that_begins_with_labels_that_moved():
    moved = SNAPSHOT.current != SNAPSHOT.original
    differs = {
        WORLD.text(s, x): bool(moved[s, p])
        for s in WORLD.subjects("held_out")
        for p, (x, _) in enumerate(WORLD.pairs)
    }
    order = [e["prompt"] for e in choose_examples([SNAPSHOT], 36)]
    assert [differs[prompt] for prompt in order] == sorted(differs.values(), reverse=True)
    assert 0 < sum(differs.values()) < 36
    assert order != sorted(order)
    assert order[:5] == [e["prompt"] for e in choose_examples([SNAPSHOT], 5)]


def test_examples_are_as_many_of_each_task():
    snapshots = [made(WORLDS[0], 10)[0], made(WORLDS[1], 11, "refusal", explained=False)[0]]
    found = choose_examples(snapshots, 5)
    for snapshot, five in zip(snapshots, (found[:5], found[5:])):
        world = snapshot.world
        texts = {world.text(s, x) for s in snapshot.rows("held_out") for x, _ in world.pairs}
        assert {e["prompt"] for e in five} <= texts and len(five) == 5
        assert {e["now_with_cue"] for e in five} <= set(world.answers)
    assert len(choose_examples(snapshots[1:], 99)) == 9 * 4  # without labels, of every subject


def weighed(snapshot, subject, x, y):
    """The answers of M0 and of the model with and without a cue, their probabilities, by hand."""
    words, probabilities, margins = [], [], []
    for logits in snapshot.logits:
        for variant in (x, y):
            odds = [math.exp(z) for z in logits[subject, variant].tolist()]
            second, first = sorted(odds)[-2:]
            words.append("ABCD"[odds.index(first)])
            probabilities.append(round(first / sum(odds), 4))
            margins.append(round((first - second) / sum(odds), 4))
    return {"answers": words, "probabilities": probabilities, "margins": margins}


def test_items_are_the_held_out_ones_of_explained_tasks_in_words():
    hint, refusal = made(WORLDS[0], 1, channel="verbal")[0], made(WORLDS[1], 2, "refusal", False)[0]
    lines, expected = list_items([refusal, hint]), []
    for s in range(20):
        for p, (x, y) in enumerate(hint.world.pairs if not hint.world.explained[s] else ()):
            said = hint.explanation[s, p].item()
            sentences = [f"would {does} {a}" for does in ("change to", "stay") for a in "ABCD"]
            labels = [
                f"would stay {'ABCD'[answers[s, x]]}" if answers[s, x] == answers[s, y]
                else f"would change to {'ABCD'[answers[s, y]]}"
                for answers in (hint.now, hint.before)
            ]
            expected.append({
                "item": f"{hint.world.text(s, x)} - {hint.world.cues[p]}", "group": f"hint {s}",
                "explanation": [*sentences, "no sentence"][said],
                "current": labels[0], "original": labels[1], **weighed(hint, s, x, y),
            })
    assert lines == expected and len({row["explanation"] for row in lines}) == 9


def test_readers_take_items_with_weights_and_without_them_as_the_same(tmp_path):
    rows = list_items([SNAPSHOT])
    bare = [{key: text for key, text in row.items() if isinstance(text, str)} for row in rows]
    mixed = [row if i % 2 else bare[i] for i, row in enumerate(rows)]
    runs = []
    for name, written in (("own", rows), ("bare", bare), ("mixed", mixed)):
        write_lines(tmp_path / name, written)
        assert read_lines(tmp_path / name, ITEM) == written
        runs += lines.read([tmp_path / name]).runs.values()
    for run in runs[1:]:
        assert all(a is b is None or (a == b).all() for a, b in zip(runs[0], run))
    assert len(lines.read([tmp_path / "own", tmp_path / "bare"]).runs) == 2
    write_lines(tmp_path / "bad", [rows[0] | {"margins": ["small"]}])
    with pytest.raises(Refused, match=r"margins\[0\] must be int or float"):
        read_lines(tmp_path / "bad", ITEM)


def test_published_items_are_words_alone(tmp_path):
    rows = list_items([SNAPSHOT])
    (tmp_path / "run").mkdir()
    write_lines(tmp_path / "run" / "items.jsonl", rows)
    gathered = Gathered({0: Runs(reg=Run({}, tmp_path / "run"))}, [])
    write_items(tmp_path, Setting("matrix", "hint"), gathered)
    words = [{k: v for k, v in row.items() if k not in weighed(SNAPSHOT, 0, 1, 0)} for row in rows]
    assert read_lines(tmp_path / "items.jsonl", {}) == [{"run": "reg"} | row for row in words]
