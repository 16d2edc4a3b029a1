"""Runs in a stack, in their folders: killed, continued, begun otherwise; a study of them."""

import shutil

import pytest

import eval as eval_script
import train
from introspect import cotrain
from introspect.fields import Refused
from introspect.reading import read_json, read_lines
from introspect.runs.jobs import Failure, Job
from introspect.runs.pool import perform_in_workers
from introspect.runs.run import run
from introspect.runs.stacked import kind_of, run_together
from introspect.watch import Diverged, silent
from tests.test_cotrain import small
from tests.test_stacked import TINY, configs
from tests.tiny import TINY as FLAGS
from tests.tiny import folder_of, weights


class Killed(BaseException):
    pass


def make(out, cfgs):
    runs = [("reg", cfg, out / str(cfg.seed)) for cfg in cfgs]
    return run_together(runs, out.parent / "cache", "cpu")


def files(out):
    """All bytes that a run leaves, but for times."""
    lines = [{**row, "seconds": 0} for row in read_lines(out / "metrics.jsonl", {})]
    result = read_json(out / "result.json", {}) | {"seconds": 0}
    named = [*out.glob("checkpoints/*/state.pt"), out / "items.jsonl", out / "examples.json"]
    return lines, result, {p.relative_to(out): p.read_bytes() for p in named}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three finished runs of a stack."""
    out = tmp_path_factory.mktemp("whole") / "runs"
    make(out, configs({}))
    return out


def test_a_run_of_a_stack_has_the_labels_and_about_the_weights_of_the_run_alone(whole, tmp_path):
    for cfg in configs({}):
        alone = run(cfg, "reg", tmp_path / str(cfg.seed), whole.parent / "cache", "cpu")
        ours = read_json(whole / str(cfg.seed) / "result.json", {})
        assert ours["labels_sha256"] == alone["labels_sha256"] and ours.keys() == alone.keys()
        assert ours["versions"] == alone["versions"] | {"training": "stacked"}
        moved = weights(whole / str(cfg.seed)) - weights(tmp_path / str(cfg.seed))
        assert 0 < float(moved.abs().max()) < 0.02  # AdamW divides small gradients by themselves


@pytest.mark.parametrize("after", [4, 8, 13])  # 3 runs: in update 1, 2 and 4
@pytest.mark.parametrize("alone", [False, True])
def test_killed_runs_end_together_and_alone_as_if_nothing_had_been(
    whole, tmp_path, monkeypatch, after, alone
):
    set_rates, calls = cotrain.set_rates, iter(range(100))

    def stop(*args):
        if next(calls) == after:
            raise Killed
        set_rates(*args)

    shutil.copytree(whole.parent / "cache", tmp_path / "cache")
    monkeypatch.setattr(cotrain, "set_rates", stop)
    with pytest.raises(Killed):
        make(tmp_path / "runs", configs({}))
    monkeypatch.setattr(cotrain, "set_rates", set_rates)
    if after == 13:  # one of them is a checkpoint behind
        shutil.rmtree(tmp_path / "runs" / "4" / "checkpoints" / "step-000004")
    for cfgs in ([[cfg] for cfg in configs({})] if alone else [configs({})]):
        make(tmp_path / "runs", cfgs)
    for cfg in configs({}):
        assert files(tmp_path / "runs" / str(cfg.seed)) == files(whole / str(cfg.seed))


def test_a_run_begun_in_a_stack_is_not_continued_by_itself_nor_the_other_way(whole, tmp_path):
    cfg, cache = configs({})[0], whole.parent / "cache"
    shutil.copytree(whole / "3", tmp_path / "3")
    (tmp_path / "3" / "result.json").unlink()
    with pytest.raises(Refused, match="must be of this configuration"):
        run(cfg, "reg", tmp_path / "3", cache, "cpu")
    run(cfg, "reg", tmp_path / "alone", cache, "cpu")
    (tmp_path / "alone" / "result.json").unlink()
    with pytest.raises(Refused, match="must be of this configuration"):
        run_together([("reg", cfg, tmp_path / "alone")], cache, "cpu")


STUDY = [*(f for f in FLAGS if "batch_size" not in f), "--batch_size=16",
         "--pretrain_batch_size=8"]  # fmt: skip


@pytest.mark.slow
def test_a_study_in_stacks_is_the_same_with_workers_and_its_runs_one_by_one(tmp_path, capsys):
    def study(name, *flags):
        assert train.main([*flags, *STUDY, f"--out_dir={tmp_path / name}"]) == 0
        return capsys.readouterr().err

    said = study("one", "anchor", "--seeds=2", "--jobs=1", "--stack=8")
    assert "4 of 4 runs are trained in stacks of up to 8" in said
    study("two", "anchor", "--seeds=2", "--jobs=2", "--stack=2")
    study("alone", "anchor/noreg", "--seed=1", "--stack=2")
    for arm in ("reg", "noreg"):
        for seed in (0, 1):
            one, two = (folder_of(tmp_path / name, arm, seed) for name in ("one", "two"))
            assert files(one) == files(two)
    assert files(folder_of(tmp_path / "alone", "noreg", 1)) == files(two)
    assert eval_script.main(["run", str(two)]) == 0
    assert "as in result.json" in capsys.readouterr().out
    with pytest.raises(Refused, match="holds another run, with stacked=True and not False"):
        study("one", "anchor", "--seeds=2", "--jobs=1", "--stack=1")


@pytest.mark.slow
def test_an_m0_that_diverges_ends_its_own_run_of_a_stack_only(tmp_path):
    cfgs = [small(TINY), small(TINY | dict(seed=1, pretrain_batch_size=9, muon_learning_rate=1e30))]
    assert len({kind_of(cfg) for cfg in cfgs}) == 1
    good, bad = (Job("reg", cfg, tmp_path / str(cfg.seed), kind_of(cfg)) for cfg in cfgs)
    found = perform_in_workers([(good, bad)], tmp_path / "cache", "cpu", silent, 1)
    assert isinstance(found[bad], Failure) and found[good]["seed"] == 0
    here = make(tmp_path / "here", cfgs)
    assert isinstance(here[1], Diverged) and here[0]["self"] == found[good]["self"]
