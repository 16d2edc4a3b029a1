"""Every command of the README's list runs as it stands there, on models that take no time."""

import re
import runpy
import sys
from pathlib import Path

import pytest

import eval as eval_script
import train
from introspect.config import name_flag
from introspect.runs import build, cli, study
from tests.several import SIZES, TINY
from tests.test_readme import README, ROOT, blocks, marked
from tests.tiny import run_folder

LISTED = re.findall(r"^(python .*?|torchrun .*?)(?:\s+#.*)?$", "".join(blocks("sh")), flags=re.M)
ELSEWHERE = {  # commands that take minutes however small models are -> who runs them
    "python -m introspect.single": "test_single.py",
    "python -m introspect.lesson": "test_lesson.py",
    "python eval.py bench": "test_bench.py",
    "python eval.py calibrate": "test_calibration_rules.py",
    "torchrun --nproc_per_node=4 eval.py claims": "test_share.py",
    "torchrun --nproc_per_node=4 train.py single/run --n_embd=512": "test_parallel.py",
}
RUN = [command for command in LISTED if command not in ELSEWHERE]


@pytest.fixture()
def small(monkeypatch):
    """Defaults of every task that make its models tiny; two seeds a study, in this process."""
    usual = build.defaults_of

    def defaults_of(tasks):
        sizes = [(name_flag(t, k, tasks), v) for t in tasks for k, v in SIZES.get(t, {}).items()]
        return usual(tasks) | TINY | dict(sizes)

    for module in (build, cli):
        monkeypatch.setattr(module, "defaults_of", defaults_of)
    seeds = property(lambda self: [0] if self.arm else [0, 1])
    monkeypatch.setattr(cli.Command, "seeds", seeds)
    for module in (study, eval_script):
        monkeypatch.setattr(module, "n_core", lambda: 1)


@pytest.fixture()
def here(small, tmp_path, monkeypatch):
    """A working folder like a clone after its first study, with the folder of a run in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    (((name,), text),) = marked("lines")
    Path(name).write_text(text + "\n")
    assert train.main(["anchor/reg"]) == 0
    return run_folder(tmp_path / "out").relative_to(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_a_command_of_the_readme_runs(here, capsys, monkeypatch, command):
    words = command.replace("DIR", str(here)).replace("OUT", "exported").split()
    script, arguments = words[1], words[2:]
    if script == "eval.py" and "out/anchor" in arguments:
        assert train.main([]) == 0
    capsys.readouterr()
    try:
        if script in ("train.py", "eval.py"):
            assert {"train.py": train, "eval.py": eval_script}[script].main(arguments) == 0
        else:
            monkeypatch.setattr(sys, "argv", words[1:])
            runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as e:
        assert not e.code
    assert len(capsys.readouterr().out) > 50


def test_each_listed_command_is_run_here_or_by_a_test_that_is_there():
    assert len(LISTED) >= 20 and len(RUN) >= 14 and ELSEWHERE.keys() <= set(LISTED)
    assert all((ROOT / "tests" / name).exists() for name in ELSEWHERE.values())
    assert "python train.py" in RUN and README.count("python eval.py run out/anchor") == 1
