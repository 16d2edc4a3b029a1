"""Bad input is refused in one line, with exit code 2, before anything is written."""

import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import train
from introspect.config import GROUPS
from introspect.fields import Refused
from introspect.runs.cli import RunConfig, one_line, parse
from introspect.runs.share import Unfinished
from introspect.runs.study import Setting
from introspect.tasks import TASKS
from tests.cases import each

ROOT = Path(__file__).parents[1]

BAD = [  # arguments, what the line has to name: what was given, and what is allowed
    ("--n_layr=3", "--n_layr=3", "--n_layer"),
    ("--kl-weight=1", "--kl-weight=1", "--kl_weight"),
    ("--resume", "--resume", "no such flag"),
    ("anchr", "anchr", "anchor"),
    ("anchor/regg", "anchor/regg", "reg"),
    ("--task=hnit", "hnit", "hint"),
    ("--task=--", "--task=: ", "must be of hint"),
    ("--n_layer=two", "'two'", "a whole number from 1"),
    ("--n_layer=2.5", "'2.5'", "a whole number"),
    ("--n_layer=0", "--n_layer=0", "from 1"),
    ("--n_head=3", "--n_head=3", "divide n_embd=64"),
    ("--n_embd=-8", "--n_embd=-8", "from 1"),
    ("--block_size=3", "--block_size=3", "4 tokens"),
    ("single/run --kl_weight=-1", "--kl_weight=-1", ">= 0"),
    ("single/run --kl_weight=nan", "--kl_weight=nan", ">= 0"),
    ("single/run --kl_weight=inf", "--kl_weight=inf", "a number"),
    ("--kl_weight=", "''", "a number"),
    ("--learning_rate=fast", "'fast'", "a number >= 0"),
    ("--learning_rate=-0.1", "--learning_rate=-0.1", ">= 0"),
    ("--max_steps=-5", "--max_steps=-5", ">= 0"),
    ("--batch_size=0", "--batch_size=0", ">= 1"),
    ("--batch_size=99999", "--batch_size=99999", "1152"),
    ("--pretrain_batch_size=99999", "99999", "2304 subjects"),
    ("--eval_interval=0", "--eval_interval=0", ">= 1"),
    ("--grad_clip=0", "--grad_clip=0", "1e-12"),
    ("--seed=-1", "--seed=-1", "from 0 to 4294967295"),
    ("--seed=99999999999999999999", "--seed=99999999999999999999", "to 4294967295"),
    ("--seed=one", "'one'", "a whole number"),
    ("--seeds=0", "--seeds=0", "from 1 to"),
    ("anchor/reg --seeds=3", "--seeds=3", "one run"),
    ("--jobs=0", "--jobs=0", ">= 1"),
    ("--device=tpu", "tpu", "auto, cpu, cuda"),
    ("--channel=heed", "heed", "head, tied, same, probe, verbal"),
    ("--anchor=none", "none", "explained, all"),
    ("--n_answer=1", "--n_answer=1", "from 2 to 26"),
    ("--n_answer=27", "--n_answer=27", "26"),
    ("--n_entity=1000", "--n_entity=1000", "256"),
    ("--explained_share=1", "--explained_share=1.0", "0 held out"),
    ("--explained_share=0", "--explained_share=0.0", "0 of 2304"),
    ("--explained_share=1.5", "--explained_share=1.5", "from 0 to 1"),
    ("--hint_reliability=2", "--hint_reliability=2.0", "from 0 to 1"),
    ("--label_noise=1.1", "--label_noise=1.1", "from 0 to 1"),
    ("--donor=m0_seed=-3", "--m0_seed=-3", "from 0 to"),
    ("--donor=m0_seed=2 --seeds=3", "--donor=m0_seed=2", "another model than M0 itself"),
    ("--donor=n_entity=3", "--donor=n_entity=3", "m0_seed"),
    ("--donor_share=2", "--donor_share=2", "from 0 to 1"),
    ("--adapter_rank=0", "--adapter_rank=0", ">= 1"),
    ("--refreshed=maybe", "maybe", "true or false"),
    ("--shift=explained_share=0.4", "explained_share=0.4", "hint_reliability"),
    ("--shift=hint_reliability", "hint_reliability", "rate=number"),
    ("--shift=n_entity=3", "n_entity=3", "hint_reliability"),
    ("--shift=hint_reliability=3", "--shift=hint_reliability=3", "from 0 to 1"),
    ("anchor/noreg --kl_weight=1", "--kl_weight=1", "train.py single/run --kl_weight=1"),
    ("anchor/reg --kl_weight=0.5", "--kl_weight=0.5", "0.0 in arm noreg"),
    ("anchor reg", "reg", "one EXPERIMENT[/ARM]"),
    ("--seed", "--seed", "expected one argument"),
]


@each("arguments, given, allowed", BAD, lambda case: case[0])
def test_bad_input_is_refused_in_one_line_before_anything_is_written(
    arguments, given, allowed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = list(tmp_path.iterdir())
    with pytest.raises(Refused) as refusal:
        train.main(arguments.split())
    line = str(refusal.value)
    assert given in line and allowed in line
    assert "\n" not in line and len(line) < 200
    assert list(tmp_path.iterdir()) == before


def test_good_input_is_not_refused():
    command = parse(["single/run", "--kl_weight=0.5", "--seed=3", "--n_head=2", "--max_steps=0"])
    [(arm, config)] = command.configs()
    assert (arm, config.seed, config.gpt.n_head, config.cotrain.kl_weight) == ("run", 3, 2, 0.5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="refusal of a GPU where there is none")
def test_cuda_without_a_gpu_is_refused(tmp_path):
    with pytest.raises(Refused, match="--device=cuda.*cpu or auto"):
        train.main(["--device=cuda", f"--out_dir={tmp_path / 'x'}"])
    assert list(tmp_path.iterdir()) == []


def run_script(*arguments, cwd):
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_the_script_exits_2_with_one_line_and_no_traceback(tmp_path):
    done = run_script("single/run", "--kl_weight=-1", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("refused: --kl_weight=-1")


def test_a_foreign_study_folder_and_a_file_are_left_alone(tmp_path):
    foreign = tmp_path / "anchor"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(Refused, match="is not empty and not a study"):
        train.main(["--device=cpu", f"--out_dir={tmp_path}"])
    with pytest.raises(Refused, match="cannot be written"):
        train.main(["--device=cpu", f"--out_dir={foreign / 'thesis.txt'}"])
    assert [p.name for p in tmp_path.rglob("*")] == ["anchor", "thesis.txt"]
    assert (foreign / "thesis.txt").read_text() == "years of work"


@pytest.mark.skipif(os.name != "posix", reason="a folder below a file, as POSIX reports it")
def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be written"):
        train.main([f"--out_dir={tmp_path / 'file' / 'out'}"])


def test_help_names_every_field_and_does_not_import_torch(tmp_path):
    probe = (
        "import sys, runpy; sys.argv = ['train.py', '--help']\n"
        f"try: runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for group in (RunConfig, TASKS["hint"], *GROUPS.values()):
        for f in fields(group):
            assert f"--{f.name} " in done.stdout
            assert f.metadata["help"].split()[0] in done.stdout


def test_studies_of_different_commands_have_folders_of_different_names():
    commands = ["", "--task=refusal", "--seed=1", "--channel=tied", "--n_head=2", "noise"]
    names = []
    for words in commands:
        command = parse(words.split())
        setting = Setting(command.experiment, command.task)
        names.append(setting.name_folder(command.overrides, min(command.seeds)))
    assert len(set(names)) == len(names) and names[0] == "anchor"
    usual = [f for f in fields(GROUPS["pretrain"]) if f.default is not None]
    long = parse([f"--{f.name}={f.default}" for f in usual])
    assert len(Setting("anchor", "hint").name_folder(long.overrides, 0)) < 200


def test_field_names_are_disjoint_so_that_flags_are_unambiguous():
    for task in TASKS.values():
        groups = (RunConfig, task, *GROUPS.values())
        names = [f.name for group in groups for f in fields(group)]
        assert len(names) == len(set(names))


def test_interfaces_that_stay_fixed_are_there():
    flags = "task seed out_dir device jobs n_layer n_head n_embd batch_size learning_rate max_steps"
    flags += " eval_interval kl_weight channel"
    names = {f.name for g in (RunConfig, TASKS["hint"], *GROUPS.values()) for f in fields(g)}
    assert set(flags.split()) <= names
    command = parse([])
    assert (command.experiment, command.arm, command.arms) == ("anchor", None, ["reg", "noreg"])


ENDINGS = [  # what a command does, its exit code, what is said
    (lambda: 0, 0, ""),
    (lambda: 3, 3, ""),
    (lambda: stop(Refused("a\nb\x1b[2J")), 2, "refused: a\\nb\\x1b[2J\n"),
    (lambda: stop(Refused("x" * 10**6)), 2, "refused: " + "x" * 1991 + "...\n"),
    (lambda: stop(Unfinished("2 are missing")), 0, "2 are missing\n"),
    (lambda: stop(OSError(28, "No space left", "x.json")), 1,
     "stopped: x.json: No space left; the same command continues\n"),
    (lambda: stop(OSError("odd")), 1, "stopped: odd; the same command continues\n"),
    (lambda: stop(BrokenProcessPool()), 1,
     "a worker was killed, maybe for memory; the same command continues\n"),
    (lambda: stop(KeyboardInterrupt()), 130, "stopped; the same command continues\n"),
]  # fmt: skip


def stop(error):
    raise error


def test_every_ending_has_its_exit_code_and_at_most_one_line(capsys, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, stream), "reconfigure", lambda **_: None, raising=False)
    for do, code, said in ENDINGS:
        with pytest.raises(SystemExit) as ended:
            one_line(lambda argv: do())
        assert (ended.value.code, capsys.readouterr().err) == (code, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full_or_closed_is_said_in_one_line(tmp_path):
    study = ROOT / "data" / "results" / "five-worlds" / "anchor"
    command = [sys.executable, "eval.py", "run", str(study)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.startswith("stopped: ")
    assert done.stderr.count("\n") == 1
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 1 and done.stderr.startswith("nobody reads the output any more")
    assert done.stderr.count("\n") == 1
