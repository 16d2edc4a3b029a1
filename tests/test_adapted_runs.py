"""Whole runs with adapters: M0 stays, a stop leaves no trace, and they are measured again."""

import pytest
import torch

import eval as evaluation
import train
from introspect import checkpoint, cotrain
from introspect.reading import read_json, read_lines
from tests.tiny import TINY, run_folder, weights, without_time


def one(out, *flags):
    """The folder of a run that is made below `out`."""
    flags = ["anchor/reg", *TINY, "--learning_rate=0.01", f"--out_dir={out}", *flags]
    assert train.main(flags) == 0
    return run_folder(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return one(tmp_path_factory.mktemp("adapted"), "--adapter_rank=2")


def m0_of(out):
    return checkpoint.newest(next((out.parents[1] / "cache").glob("m0-*")))[1]["model"]


@pytest.mark.parametrize("channel, head", [("head", "explain_head"), ("verbal", "lm_head")])
def test_a_run_leaves_m0_as_it_is_but_for_adapters_and_one_head(whole, tmp_path, channel, head):
    out = whole
    if channel != "head":
        out = one(tmp_path, "--adapter_rank=2", f"--channel={channel}")
    m0, last = m0_of(out), checkpoint.newest(out / "checkpoints")[1]["model"]
    plain = {name.replace(".linear.", "."): p for name, p in last.items()}
    assert m0.keys() <= plain.keys()
    added = {name.rpartition(".")[2] for name in plain.keys() - m0.keys()}
    assert added == {"a", "b"} and len(plain) - len(m0) == 8
    differ = {name.split(".")[0] for name in m0 if not torch.equal(m0[name], plain[name])}
    assert differ == {head}
    assert all(p.any() for name, p in plain.items() if name.endswith(".b"))


def test_a_run_of_another_rank_is_another_run_with_the_same_start(whole, tmp_path):
    other = one(tmp_path, "--adapter_rank=1")
    rows, others = (read_lines(out / "metrics.jsonl", {}) for out in (whole, other))
    assert without_time(rows[0]) == without_time(others[0])  # both are M0
    assert not torch.equal(weights(whole), weights(other))
    m0 = m0_of(whole)
    assert all(torch.equal(p, m0[name]) for name, p in m0_of(other).items())


class Killed(BaseException):
    pass


def test_an_adapted_run_that_was_stopped_ends_in_the_same_bytes(whole, tmp_path, monkeypatch):
    set_rates, calls = cotrain.set_rates, iter(range(100))

    def stop(*args):
        if next(calls) == 3:
            raise Killed
        set_rates(*args)

    monkeypatch.setattr(cotrain, "set_rates", stop)
    with pytest.raises(Killed):
        one(tmp_path, "--adapter_rank=2")
    monkeypatch.setattr(cotrain, "set_rates", set_rates)
    assert checkpoint.newest(run_folder(tmp_path) / "checkpoints")[0] == 2
    both = whole, one(tmp_path, "--adapter_rank=2")
    last = [max((out / "checkpoints").glob("step-*")) for out in both]
    assert len({(step / "state.pt").read_bytes() for step in last}) == 1
    for name in ("items.jsonl", "examples.json"):
        assert len({(out / name).read_bytes() for out in both}) == 1
    results = [without_time(read_json(out / "result.json", {})) for out in both]
    assert results[0] == results[1]


def test_an_adapted_run_is_measured_again_with_the_same_result(whole, capsys):
    assert evaluation.main(["run", str(whole)]) == 0
    assert "as in result.json" in capsys.readouterr().out


def test_a_rank_changes_nothing_of_a_run_of_channel_probe(tmp_path):
    plain = one(tmp_path / "probe", "--channel=probe")
    adapted = one(tmp_path / "adapted", "--channel=probe", "--adapter_rank=2")
    assert torch.equal(weights(plain), weights(adapted))
