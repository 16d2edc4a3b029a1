"""The lesson: what it asks, that its numbers decide what it concludes, and its page."""

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from introspect.lesson import __main__ as lesson
from introspect.lesson import steps
from introspect.lesson.steps import SEEDS, STEPS
from introspect.measure import Snapshot
from tests.cases import each
from tests.own import refusal_of
from tests.planted_fork import ANSWER, SCALE, TASK, look, planted

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "data" / "lesson" / "README.md"
TINY = dict(n_entity=6, n_attribute=6, n_layer=2, n_head=2, n_embd=16, device="cpu")
TINY |= dict(pretrain_steps=12, pretrain_batch_size=8, max_steps=2, eval_interval=2, batch_size=4)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    """What the lesson says of tiny runs, with some predictions: (argv, first text, its stderr)."""
    out = tmp_path_factory.mktemp("lesson")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesson, "FIELDS", TINY)
        argv = ["--answers=b,,c", f"--out_dir={out}"]
        with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()) as told:
            assert lesson.main(argv) == 0
        yield argv, said.getvalue(), told.getvalue()


@pytest.mark.slow
def test_all_steps_run_unattended_and_a_second_pass_makes_no_run(lessons, capsys):
    argv, first, told = lessons
    assert re.findall(r"^(\d)\. (.+)$", first, re.M) == [
        (str(n), step.title) for n, step in enumerate(STEPS, start=1)
    ]
    assert len(re.findall("You predicted", first)) == 2 and "You predicted b)" in first
    assert all(step.text in first and step.code in first for step in STEPS)
    assert told.count("; 1 to make") == 9  # six worlds with the anchor, and three changes
    assert lesson.main(argv) == 0
    again = capsys.readouterr()
    assert again.out == first and "; 1 to make" not in again.err


@pytest.mark.slow
def test_a_prediction_is_read_again_until_it_is_a_choice_and_none_is_needed(
    lessons, capsys, monkeypatch
):
    _, out = lessons[0]
    for lines, predicted in (("z\n\nc\n", ""), ("x\ne\n", "e"), ("", "")):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert lesson.main([out, "--step=8"]) == 0
        said = capsys.readouterr().out
        assert re.findall(r"You predicted (\w)\)", said) == [*predicted]
        assert said.startswith("8. ") and said.count("Your prediction") == 1 + bool(lines)


@pytest.mark.slow
def test_the_committed_page_has_the_texts_questions_and_code_of_the_steps(lessons, tmp_path):
    assert lesson.main([lessons[0][1], f"--write={tmp_path}"]) == 0
    marks = r"<!-- numbers -->.*?<!-- /numbers -->"
    here, there = ((path.read_text()) for path in (tmp_path / "README.md", COMMITTED))
    assert len(re.findall(marks, there, re.S)) == len(STEPS)
    assert re.sub(marks, "", here, flags=re.S) == re.sub(marks, "", there, flags=re.S)
    assert here != there


WRONG = [
    (["--answers=f"], "step 1 has a, b, c"),
    (["--answers=a,d"], "step 2 has a, b, c"),
    (["--step=8", "--answers=a,a"], "at most 1"),
    (["--answers=" + "," * 8], "at most 8"),
    (["--step=9"], "from 1 to 8"),
    (["--write=x", "--step=2"], "--write=x"),
    (["--write=x", "--answers="], "--write=x"),
    (["--seeds=3"], "--seeds"),
]


@each("argv, why", WRONG)
def test_what_cannot_be_meant_is_refused_before_anything_runs(argv, why):
    assert why in refusal_of(lambda: lesson.main(argv))


def test_every_conclusion_names_a_choice_and_a_hit_is_told():
    step = STEPS[0]
    found = steps.Found("", "b", "Words.")
    assert lesson.conclude(step, found) == f"The numbers say: b) {step.choices['b']}. Words."
    assert lesson.conclude(step, found, "b").startswith("You predicted b). The numbers say so, too")
    assert lesson.conclude(step, found, "a").startswith("You predicted a). The numbers say: b)")
    nothing = lesson.conclude(step, found._replace(choice=""), "a")
    assert nothing == "You predicted a). The numbers say: none of these. Words."
    assert all("abcde".startswith("".join(step.choices)) for step in STEPS)


FACTS = torch.arange(25) % 4
M0, FROZEN = planted(), look(planted())[1]


def made(snapshot, model=None, **more):
    """A run with this snapshot."""
    read = SimpleNamespace(snapshots=[snapshot], frozen=[FROZEN])
    return SimpleNamespace(run=read, model=model or M0, **more)


def moved(side):
    """A snapshot whose gap has this sign: every fact is another one, and one of both is said."""
    snapshot = Snapshot(planted((FACTS + 1) % 4) if side else M0, TASK, FROZEN)
    snapshot.explanation = snapshot.current if side > 0 else snapshot.original
    return snapshot


@each("side, choice", [(1, "a"), (-1, "b"), (0, "c")])
def test_the_sign_of_the_gap_decides_whether_it_is_imitation(side, choice):
    found = steps.imitate(lambda: made(moved(side)))
    assert found.choice == choice
    rows = {line[:12]: line.split()[2:] for line in found.table.splitlines()[1:]}
    assert rows["imitates M0 "][1] == rows["reads itself"][0] == "1.000"


@each("sides", product((-1, 0, 1), repeat=3))
def test_what_keeps_the_gap_above_zero_is_named(sides):
    keys = "kl_weight", "label_noise", "turned_share"
    by_key = dict(zip(keys, sides))
    found = steps.change_one(lambda **f: made(moved(by_key[min(f)] if f else 1)))
    kept = {key for key in keys if by_key[key] > 0}
    names = {"random errors only": {keys[1]}, "both kinds of errors": {*keys[1:]},
             "all three": {*keys}, "none": set()}  # fmt: skip
    named = STEPS[4].choices[found.choice]
    assert names.get(named) == kept if kept in names.values() else named not in names
    assert steps.change_one(lambda **f: made(moved(0))).choice == ""


def test_an_answer_head_that_came_loose_is_told_from_explanations_that_are_wrong():
    loose = planted()
    loose.task_head.weight[torch.arange(4), ANSWER] = 0
    loose.task_head.weight[(torch.arange(4) + 1) % 4, ANSWER] = SCALE
    found = steps.fit_head(lambda kl_weight: made(Snapshot(loose, TASK, FROZEN), loose))
    assert found.choice == "b" and "+" in found.words
    wrong = moved(-1)  # the trunk recalls other facts, which no head can tell apart from M0's
    wrong.logits = FROZEN.reference.roll(1, -1), wrong.logits[1]
    found = steps.fit_head(lambda kl_weight: made(wrong, planted((FACTS + 1) % 4)))
    assert found.choice in ("a", "b", "c") and found.table.count("\n") == 2
    assert steps.fit_head(lambda kl_weight: made(moved(0))).choice == ""


@each("follows, choice", zip(product((True, False), repeat=2), "abcd"))
def test_the_place_whose_edit_explanations_follow_is_named(follows, choice):
    def teach(model, task, edit, answers, place, steps):
        facts = FACTS.clone()
        facts[edit.subjects] = answers
        return {steps[0]: planted(facts) if follows[place == "block-1"] else model}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "teach_answers", teach)
        found = steps.edit_facts(lambda: made(look(M0)[0]))
    assert found.choice == choice and "Edited facts: 1" in found.words
    shares = [line.split()[1:] for line in found.table.splitlines()[1:]]
    assert shares == [["1.000", "1.000", "0.000"] if f else ["0.000", "0.000", "1.000"]
                      for f in follows]  # fmt: skip


@each("gaps, choice", [
    ((0.10, 0.12, 0.09, 0.11, 0.13, 0.10), "d"),
    ((0.10, 0.12, -0.09, 0.11, 0.13, 0.10), "e"),
    ((-0.10, -0.12, -0.09, -0.11, -0.13, -0.10), "e"),
])  # fmt: skip
def test_fewer_than_six_worlds_are_never_believed_and_six_are_where_all_agree(gaps, choice):
    by_seed = dict(zip(SEEDS, gaps))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "measure", lambda seed, split: {"gap": by_seed[seed]})
        patch.setattr(steps, "measure_controls", lambda seed: {"adjusted": by_seed[seed]})
        found = steps.count_worlds(lambda s: SimpleNamespace(run=SimpleNamespace(snapshots=s)))
    assert found.choice == choice and f"{sum(g > 0 for g in gaps)} of 6" in found.words
    if len({g > 0 for g in gaps}) == 1:
        flips = [line.split()[5] for line in found.table.splitlines()[1:]]
        assert flips == [f"{2 / 2**n:.3f}" for n in (3, 4, 5, 6)]


@each("drift, choice", [(0.0, "a"), (0.05, "b"), (0.1, "c"), (0.5, "c")])
def test_the_drift_at_the_end_decides_how_many_frozen_labels_are_false(drift, choice):
    def run(kl_weight=1.0):
        ends = [{"step": 0, "drift": 0.0}, {"step": 9, "drift": drift if kl_weight else 0.9}]
        return made(moved(0), curves=lambda: ends)

    found = steps.freeze(run)
    assert found.choice == choice and f"{drift:.0%} are false" in found.words
    assert "the same labels" in found.words
    assert found.table.split()[-2:] == [f"{drift:.3f}", "0.900"]


@each("near, far, choice", [(0, 0, "b"), (0, 9, "a"), (9, 9, "c"), (9, 0, "c")])
def test_the_anchor_holds_where_it_halves_what_moves(near, far, choice):
    def run(kl_weight=1.0):
        now = torch.zeros(20, 5)
        now[:near], now[10 : 10 + far] = 1, 1
        before = torch.zeros(20, 5) if kl_weight else 1 - now * 0 + now
        rows = {"train": torch.arange(10), "held_out": torch.arange(10, 20)}
        return made(SimpleNamespace(now=now, before=before, rows=rows.__getitem__))

    assert steps.hold_answers(run).choice == choice


@each("share, choice", [(0.0, "a"), (0.5, "b"), (1.0, "c")])
def test_the_share_of_changed_answers_decides_how_often_hints_count(share, choice):
    snapshot = look(M0)[0]  # which answers with the hint
    snapshot.before = snapshot.before.clone()
    n = int(share * 25)
    snapshot.before[n:, 1:] = snapshot.before[n:, :1]
    snapshot.before[:n, 1:] = (snapshot.before[:n, :1] + 1) % 4
    found = steps.show_labels(lambda: made(snapshot))
    assert found.choice == choice and len(found.table.splitlines()) == 5
