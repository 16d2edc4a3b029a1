"""Checkpoints that are kept when asked for, and what is read of them."""

import pytest
import torch

import train
from introspect import checkpoint
from introspect.analysis.ask import answer_about, open_steps
from introspect.fields import Refused
from introspect.reading import read_json, read_lines
from introspect.runs.load import list_steps, load
from tests.own import refusal_of
from tests.tiny import TINY, run_folder, without_time

KEPT = "--keep_checkpoints=true"
COMMAND = ["anchor/reg", *TINY, "--learning_rate=0.03"]


def make(out, *flags):
    assert train.main([*COMMAND, *flags, f"--out_dir={out}"]) == 0
    return run_folder(out)


def contents(run):
    """Everything in a run's folder but for times and for what lies with the checkpoints."""
    state = {f.parent.name: f.read_bytes() for f in run.glob("checkpoints/*/state.pt")}
    named = {name: (run / name).read_bytes() for name in ("config.json", "items.jsonl")}
    rows = without_time(read_lines(run / "metrics.jsonl", {}))
    return state, named, rows, without_time(read_json(run / "result.json", {}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run that kept its checkpoints."""
    return make(tmp_path_factory.mktemp("kept") / "out", KEPT)


def test_a_run_that_keeps_checkpoints_leaves_all_other_files_as_they_are(whole, tmp_path):
    kept, usual = contents(whole), contents(make(tmp_path / "out"))
    assert list_steps(whole) == [0, 2, 4, 6] and kept[0].items() > usual[0].items()
    assert kept[0].keys() - usual[0].keys() == {"step-000000", "step-000002"}
    assert kept[1:] == usual[1:]


@pytest.mark.parametrize("flags", [[], [KEPT]])
def test_a_killed_run_goes_on_keeping_them_whether_or_not_it_is_asked_again(
    whole, tmp_path, monkeypatch, flags
):
    class Killed(BaseException):
        pass

    def save_step(parent, step, *rest):
        saved(parent, step, *rest)
        if step == 4:
            raise Killed

    saved = checkpoint.save_step
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_step", save_step)
        with pytest.raises(Killed):
            make(tmp_path / "out", KEPT)
    assert contents(make(tmp_path / "out", *flags)) == contents(whole)


def test_the_runs_of_a_study_keep_them_in_a_stack_too(tmp_path, without_matplotlib):
    flags = [*TINY, "--batch_size=16", "--seeds=1", "--jobs=1", "--stack=2", KEPT]
    assert train.main([*flags, f"--out_dir={tmp_path}"]) == 0
    for run in (tmp_path / "runs").iterdir():
        assert list_steps(run) == [0, 2, 4, 6]
        assert read_json(run / "result.json", {})["versions"]["training"] == "stacked"


def test_a_run_is_loaded_at_any_step_that_it_kept(whole):
    for step in (0, 2, 4, 6):
        run, folder = load(whole, "", step), whole / "checkpoints" / f"step-{step:06d}"
        state, _ = checkpoint.load(folder)
        assert run.step == step
        for name, weight in run.model.state_dict().items():
            assert torch.equal(weight, state["model"][name])
    assert load(whole, "").step == 6
    first, last = (load(whole, "", step).snapshots[0] for step in (0, 6))
    assert first.now.equal(first.before) and not last.logits[1].equal(first.logits[1])


def test_the_measures_of_each_step_are_those_of_the_curve_of_the_run(whole):
    for row in read_lines(whole / "metrics.jsonl", {}):
        [s] = load(whole, "", row["step"]).snapshots
        rows = s.rows("held_out")
        assert (s.explanation == s.current)[rows].double().mean() == pytest.approx(row["self"])


def test_an_item_is_followed_over_the_steps(whole):
    [s] = load(whole, "").snapshots
    text = answer_about(open_steps(whole, "", None, True))(s.world.text(4, 2))
    lines = text.split("\n")[3:7]
    assert [line.split()[0] for line in lines] == ["0", "2", "4", "6"]
    for line, step in zip(lines, (0, 2, 4, 6)):
        alone = answer_about(open_steps(whole, "", step, False))(s.world.text(4, 2))
        said, p = alone.split("says: ")[1].split(",\n")[0].split(", with probability ")
        assert f"  {said}  " in line and f"  {p}  " in line
        assert line.split()[-2:] == [alone.split("(Self ")[1][0], alone.split("(Orig ")[1][0]]


def test_a_step_that_is_not_there_or_broken_is_refused(whole, tmp_path):
    refusal_of(lambda: load(whole, "", 5), "--at=5: ", "the nearest is of ", "--keep_checkpoints")
    state = make(tmp_path / "out", KEPT) / "checkpoints" / "step-000004" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    run = state.parents[2]
    with pytest.raises(Refused, match="its checkpoint of step 4 is not whole"):
        load(run, "", 4)
    assert load(run, "", 2).step == 2
