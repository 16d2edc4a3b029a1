"""The README says what is so: its commands parse, its table is the result, its code runs."""

import re
from pathlib import Path

import pytest

import train
from introspect.cli import parse
from introspect.record import read_json
from introspect.terminal import show_study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.M | re.S)


def test_the_table_is_what_the_committed_result_prints():
    result = read_json(ROOT / "data" / "results" / "anchor" / "result.json", set())
    table = README.split("<!-- table: anchor -->")[1].split("```")[1].strip()
    assert table == show_study(result).strip()


def test_the_committed_result_is_of_todays_defaults_and_of_seeds_that_were_not_chosen_on():
    result = read_json(ROOT / "data" / "results" / "anchor" / "result.json", set())
    command = parse([])
    described = command.describe("cpu", None, command.run.seed, Path("out"))
    assert result["config"] == described["config"]
    assert result["seeds"] == command.seeds == [0, 1, 2, 3, 4, 5]


COMMANDS = re.findall(r"^python train\.py ?(.*?)(?:\s+#.*)?$", "".join(blocks("sh")), flags=re.M)


@pytest.mark.parametrize("arguments", [c for c in COMMANDS if "--help" not in c])
def test_every_command_parses(arguments):
    assert parse(arguments.split()).configs()


def test_there_are_commands_to_parse():
    assert len(COMMANDS) >= 6


def test_the_python_example_runs():
    for code in blocks("python"):
        namespace = {}
        exec(code, namespace)
        assert namespace


def test_every_file_that_is_linked_to_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 15 and [link for link in links if not (ROOT / link).exists()] == []


def test_links_within_the_table_of_code_say_where_they_lead():
    for text, link in re.findall(r"\[([\w/]+\.py)\]\(([^)]+)\)", README):
        assert link.endswith(text) and (ROOT / link).exists()


def test_every_module_is_in_the_table_of_code():
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "introspect").rglob("*.py")}
    modules -= {"introspect/__init__.py", "introspect/tasks/__init__.py"}
    assert modules <= set(re.findall(r"\]\((introspect/[^)]+)\)", README))


def test_a_study_prints_the_table_that_its_result_holds(capsys, tmp_path):
    from tests.tiny import TINY

    train.main([*TINY, "--seeds=2", "--jobs=1", f"--out_dir={tmp_path / 's'}"])
    assert show_study(read_json(tmp_path / "s" / "result.json", set())) in capsys.readouterr().out
