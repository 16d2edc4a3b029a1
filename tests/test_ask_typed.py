"""What is typed to a run is answered, or refused in one line with what is near."""

import io
import json
from random import Random

import pytest

import eval as evaluation
import train
from introspect.analysis.ask import answer_about, open_steps, take_lines
from introspect.fields import Refused
from introspect.runs.cli import escape
from introspect.runs.load import load
from tests.own import OWN, SMALL, refusal_of
from tests.tiny import TINY, run_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with all its checkpoints."""
    out = tmp_path_factory.mktemp("typed")
    assert train.main(["anchor/reg", *TINY, "--keep_checkpoints=true", f"--out_dir={out}"]) == 0
    return run_folder(out)


@pytest.fixture(scope="module")
def ask(run):
    return answer_about(open_steps(run, "", None, False))


@pytest.mark.parametrize("text, says", [
    ("zorp blik", "blik: is in no prompt of this run (did you mean blick?)"),
    ("Zorp blick", "Zorp: is in no prompt of this run (did you mean zorp?)"),
    ("zorp blick hint:E", "hint:E: is in no prompt of this run (did you mean hint:"),
    ("qqqq", "qqqq: is in no prompt of this run"),
    ("zorp blick hint:A hint:B", "is no prompt of this run; near is zorp blick hint:"),
    ("zorp zorp", "zorp zorp: is no prompt of this run; near is zorp "),
    ("", "nothing: is no prompt of this run; near is "),
    ("\x1b[2J" * 99, " [2J: is in no prompt of this run"),
    ("zorp " * 9999, "is no prompt of this run; near is zorp "),
])
def test_what_is_no_prompt_is_refused_with_what_is_near(ask, text, says):
    refusal_of(lambda: ask(text), says.strip())


def test_whatever_is_typed_is_answered_or_refused_in_one_printable_line(run, ask):
    first, second = load(run, "").snapshots[0].world.text(0, 0).split()
    odd = ["hint:", "<|answer|>", "\ud800", "\0", "\x1b[2J", "é", "\t", " ", "x"]
    draw, answered = Random(0), 0
    for _ in range(400):
        words = draw.choices([first, second, "hint:A"] * 3 + odd, k=draw.randrange(5))
        try:
            answered += "says: " in ask(draw.choice(["", " ", " ", "  "]).join(words))
        except Refused as refusal:
            assert escape(str(refusal)).isprintable()
    assert 0 < answered < 200


def test_lines_of_the_input_are_answered_until_an_empty_one(run, ask, capsys, monkeypatch):
    s = load(run, "").snapshots[0]
    one, other = s.world.text(0, 1), s.world.text(5, 2)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{one}\nblick zorp\n{other}\n\n{one}\n"))
    assert evaluation.main(["ask", str(run)]) == 0
    said = capsys.readouterr()
    assert [line.split(" - ")[0] for line in said.out.splitlines() if " - " in line] == [one, other]
    assert said.err.startswith("refused: blick zorp: is no prompt") and said.err.count("\n") == 1
    monkeypatch.setattr("sys.stdin", io.StringIO(one))  # without the end of the line
    assert evaluation.main(["ask", str(run)]) == 0
    assert capsys.readouterr().out.strip() == ask(one)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8"))
    refusal_of(lambda: evaluation.main(["ask", str(run)]), "must be text in UTF-8")


def test_a_terminal_is_asked_for_each_line(capsys):
    source = io.StringIO("a\nb\n\nc\n")
    source.isatty = lambda: True
    assert list(take_lines(source)) == ["a\n", "b\n"]
    assert capsys.readouterr().err.count("prompt, or an empty line to end: ") == 3


def test_words_need_no_quotes_and_flags_may_stand_among_them(run, capsys):
    text, out = load(run, "").snapshots[0].world.text(0, 1), str(run)
    expected = answer_about(open_steps(run, "", 2, False))(text) + "\n"
    words = text.split()
    for given in ([text], words):
        for order in (["--at=2", out, *given], [out, "--at=2", *given], [out, *given, "--at=2"]):
            assert evaluation.main(["ask", *order]) == 0
            assert capsys.readouterr().out == expected
    refusal_of(lambda: evaluation.main(["ask", out, *words, "--att=2"]), "arguments: --att=2")
    refusal_of(lambda: evaluation.main(["run", out, "--task=hint", "zorp"]), "arguments: zorp")
    given = ["ask", out, text, "--at=2", "--curve=true"]
    refusal_of(lambda: evaluation.main(given), "--at=2: --curve=true")


def test_a_task_of_ones_own_is_asked_where_it_is_named(own, capsys):
    assert train.main(["anchor/reg", f"--task={OWN}", *SMALL, "--out_dir=run"]) == 0
    run = str(run_folder(own / "run"))
    capsys.readouterr()
    assert evaluation.main(["ask", run, f"--task={OWN}", "zorp", "wet"]) == 0
    assert f"zorp wet - wet: {OWN}, explained in training" in capsys.readouterr().out
    refusal_of(lambda: evaluation.main(["ask", run, "zorp wet"]), "would run as a program")


def test_a_study_and_what_is_no_run_are_refused(tmp_path):
    refusal_of(lambda: open_steps(tmp_path, "", None, True), "has no config.json")
    row = {"arm": "reg", "seed": 3, "folder": "hint-0123456789abcdef"}
    (tmp_path / "runs.jsonl").write_text(json.dumps(row) + "\n")
    said = refusal_of(lambda: open_steps(tmp_path, "", None, False), "and is a study; in ")
    assert said.endswith("reg of seed 3 is hint-0123456789abcdef")
    refusal_of(lambda: open_steps(tmp_path / "nowhere", "", None, True), "nowhere: is not there")
