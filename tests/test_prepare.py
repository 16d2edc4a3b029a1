"""data/prepare.py: what it writes is what the tasks are, and data/README.md says so."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from introspect.fields import Refused
from introspect.runs.build import build
from introspect.tasks import TASKS
from introspect.tasks.registry import find_tasks
from introspect.tokenizer import encode, encoding, vocabulary
from tests.tiny import TINY

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "data"))

import prepare


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "here"
    assert prepare.main([f"--out_dir={out}"]) == 0
    return out


def test_the_manifest_has_the_hash_of_every_file_and_the_counts(written):
    manifest = json.loads((written / "manifest.json").read_text())
    files = {p.name for p in written.iterdir()} - {"manifest.json"}
    assert files == set(manifest["sha256"]) and len(files) == 1 + 2 * len(TASKS)
    for file, sha256 in manifest["sha256"].items():
        assert hashlib.sha256((written / file).read_bytes()).hexdigest() == sha256
    assert manifest["counts"]["words"] == len(vocabulary())


def test_what_the_readme_of_the_data_says_is_what_the_command_prints(tmp_path, capsys):
    prepare.main([f"--out_dir={tmp_path}"])
    readme = (ROOT / "data" / "README.md").read_text()
    assert readme.split("<!-- prepare -->")[1].split("```")[1] == "\n" + capsys.readouterr().out


@pytest.mark.parametrize("task", TASKS)
def test_the_files_of_a_task_have_its_splits_and_nothing_leaks(written, task):
    rows = [json.loads(line) for line in (written / f"{task}-splits.jsonl").open()]
    facts = {split: set() for split in ("train", "held_out")}
    for row in rows:
        facts[row["split"]] |= set(row["rests_on"])
    assert facts["train"] and facts["held_out"] and not facts["train"] & facts["held_out"]
    prompts = [row["prompt"] for row in rows]
    assert len(set(prompts)) == len(prompts)
    words = {word for prompt in prompts for word in prompt.split()}
    assert words <= set(vocabulary())
    assert (written / f"{task}-prompts.txt").read_text().count(f"{task}, subject ") == 20


def test_ids_in_the_vocabulary_file_are_those_of_the_encoding(written):
    rows = [json.loads(line) for line in (written / "vocabulary.jsonl").open()]
    assert all(encode(row["word"]) == [row["id"]] for row in rows)


@pytest.mark.parametrize("task", TASKS)
def test_examples_show_what_the_world_holds(task, capsys):
    assert prepare.main([f"--task={task}", "--show=3", "--seed=4"]) == 0
    said = capsys.readouterr().out
    name = f"hint+{task}" if task == "jabberwocky" else task
    world = prepare.worlds_of(build(find_tasks(name), {"world_seed": 4}))[task]
    numbers = [int(line.split()[2].rstrip(",")) for line in said.split("\n") if "subject" in line]
    assert len(numbers) == 3
    for block, s in zip(said.split("\n\n"), numbers):
        assert ("held out" in block) == (not world.explained[s])
        for v in range(len(world.prompts)):
            best = world.answers[world.ideal[s, v].argmax()]
            assert f"  {world.text(s, v)} " in block and best in block
        labels = [world.explanation(label) for label in world.truth[s]]
        lines = block.split("\n")[-len(labels):]
        assert all(line.endswith(label) for line, label in zip(lines, labels))
        assert all(line.startswith(f"  {cue} ") for line, cue in zip(lines, world.cues))


def test_the_vocabulary_of_a_task_of_ones_own_has_its_words_as_well(folder, capsys):
    prepare.main([f"--task={ROOT / 'data' / 'example_task.py'}:Weather", "--out_dir=here"])
    rows = [json.loads(line) for line in (folder / "here" / "vocabulary.jsonl").open()]
    n = encoding().n_vocab
    assert rows[-2:] == [{"id": n, "word": "cloudy"}, {"id": n + 1, "word": "sunny"}]
    counts = json.loads((folder / "here" / "manifest.json").read_text())["counts"]
    assert counts["words"] == len(rows) == len(vocabulary()) + 2 and counts["tokens"] == n + 2


def test_another_seed_is_another_world(capsys):
    prepare.main(["--task=hint", "--show=1", "--seed=0"])
    one = capsys.readouterr().out
    prepare.main(["--task=hint", "--show=1", "--seed=1"])
    assert capsys.readouterr().out != one


def test_what_m0_knows_is_said_in_a_line():
    flags = dict(flag[2:].split("=") for flag in TINY if "device" not in flag)
    config = build(find_tasks("hint"), {name: int(value) for name, value in flags.items()})
    line = prepare.competence_of_m0(config, ["hint"])
    assert line.startswith("hint: M0 knows 0.") and "would stay" in line


def test_several_tasks_of_one_model_are_shown_each(capsys):
    assert prepare.main(["--task=hint+refusal", "--show=1"]) == 0
    said = capsys.readouterr().out
    assert "hint, subject " in said and "refusal, subject " in said


@pytest.mark.parametrize("arguments, says", [
    ("--task=hnit", "must be of hint, verdict"), ("--show=-1", "--show=-1: must be"),
    ("--m0=maybe", "true or false"), ("--sho=3", "--sho=3"), ("--seed=x", "'x'")])
def test_bad_input_is_refused_in_one_line(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=says) as refusal:
        prepare.main(arguments.split())
    assert "\n" not in str(refusal.value) and list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "thesis").write_text("years")
    with pytest.raises(Refused, match="must be a folder"):
        prepare.main([f"--out_dir={tmp_path / 'thesis'}"])
    assert (tmp_path / "thesis").read_text() == "years"
