"""One run, whole: what it makes once, and that it ends in the same bytes however it was stopped."""

from collections import Counter

import pytest
import torch

import train
from introspect import checkpoint, cotrain
from introspect.fields import Refused
from introspect.reading import read_json, read_lines
from introspect.runs import run as run_module
from introspect.runs import stages
from introspect.runs.cli import parse
from introspect.runs.run import run
from introspect.tasks.hint import Hint
from tests.tiny import TINY, run_folder, weights, without_time


def one(out, *flags):
    return train.main(["single/run", *TINY, "--learning_rate=0.01", f"--out_dir={out}", *flags])


def end(out):
    """The bytes that a run ends in, but for time."""
    out = run_folder(out)
    last = max((out / "checkpoints").glob("step-*"))
    result = without_time(read_json(out / "result.json", {}))
    kept = [(out / name).read_bytes() for name in ("items.jsonl", "examples.json")]
    return (last / "state.pt").read_bytes(), kept, result


class Killed(BaseException):
    pass


def stopped(out, monkeypatch, after, *flags):
    """A run killed after some updates, then started again."""
    with monkeypatch.context() as patch:
        set_rates, calls = cotrain.set_rates, iter(range(100))

        def stop(*args):
            if next(calls) == after:
                raise Killed
            set_rates(*args)

        patch.setattr(cotrain, "set_rates", stop)
        with pytest.raises(Killed):
            one(out, *flags)
    assert checkpoint.newest(run_folder(out) / "checkpoints")[0] == after - 1
    assert one(out, *flags) == 0


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--kl_weight=0",),
        ("--anchor=all",),
        ("--channel=verbal",),
        ("--channel=same", "--kl_weight=0"),
    ],
    ids=" ".join,
)
def test_a_refreshed_run_that_was_stopped_ends_in_the_same_bytes(tmp_path, monkeypatch, flags):
    assert one(tmp_path / "whole", "--refreshed=true", *flags) == 0
    stopped(tmp_path / "stopped", monkeypatch, 3, "--refreshed=true", *flags)
    assert end(tmp_path / "whole") == end(tmp_path / "stopped")
    one(tmp_path / "frozen", *flags)
    frozen, refreshed = (
        read_lines(run_folder(tmp_path / n) / "metrics.jsonl", {}) for n in ("frozen", "whole")
    )
    assert without_time(frozen[0]) == without_time(refreshed[0])  # both are M0 and its labels
    assert not torch.equal(
        weights(run_folder(tmp_path / "frozen")), weights(run_folder(tmp_path / "whole"))
    )
    hashes = {
        read_json(run_folder(tmp_path / n) / "result.json", {})["labels_sha256"]
        for n in ("frozen", "whole")
    }
    assert len(hashes) == 1  # Orig is about the same labels


def m0_and_labels(out):
    """Bytes of every M0 and of all labels in the cache of a run."""
    kept = [*(out / "cache").glob("m0-*/*/state.pt"), *(out / "cache").glob("labels-*/state.pt")]
    assert len({path.parents[-1] for path in kept}) == 1 < len(kept)
    return {str(path.relative_to(out)): path.read_bytes() for path in kept}


def test_another_draw_seed_draws_other_batches_of_the_same_m0_and_labels(tmp_path):
    one(tmp_path / "plain", "--seed=3")
    one(tmp_path / "same", "--seed=3", "--draw_seed=3")
    one(tmp_path / "other", "--seed=3", "--draw_seed=4")
    assert torch.equal(
        weights(run_folder(tmp_path / "plain")), weights(run_folder(tmp_path / "same"))
    )
    assert not torch.equal(
        weights(run_folder(tmp_path / "plain")), weights(run_folder(tmp_path / "other"))
    )
    assert m0_and_labels(tmp_path / "plain") == m0_and_labels(tmp_path / "other")
    plain, other = (
        read_json(run_folder(tmp_path / n) / "result.json", {}) for n in ("plain", "other")
    )
    for key in ("m0", "labels_sha256", "n_items"):
        assert plain[key] == other[key]


def test_a_draw_seed_decides_no_label_that_is_drawn(tmp_path):
    drawn = ("--label_noise=0.3", "--turned_share=0.3", "--label_order=shuffled")
    for name, flags in (("plain", ()), ("other", ("--draw_seed=4",)), ("seed", ("--seed=4",))):
        one(tmp_path / name, "--m0_seed=0", *drawn, *flags)
    plain, other, seed = (
        read_json(run_folder(tmp_path / name) / "result.json", {})["labels_sha256"]
        for name in ("plain", "other", "seed")
    )
    assert plain == other != seed


# --- what a run does once ---


def traced(out, monkeypatch, flags=(), steps=6):
    """How often a run builds its world and its interview, learns, and asks a model everything."""
    calls = Counter()

    def count(owner, name, key):
        inner = getattr(owner, name)

        def counted(*args, **options):
            calls[key] += 1
            return inner(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    cfg = parse(["anchor/reg", *TINY, f"--max_steps={steps}", *flags]).configs()[0][1]
    with monkeypatch.context() as monkeypatch:
        count(Hint, "world", "world")
        count(stages, "Interview", "interview")
        count(stages, "learn", "learn")
        count(cotrain, "Snapshot", "snapshot")
        run(cfg, "reg", out, out / "cache", "cpu")
    return dict(calls)


def test_a_run_makes_its_world_interview_and_m0_once_and_no_evaluation_twice(tmp_path, monkeypatch):
    once = {"world": 1, "interview": 1, "learn": 1}
    for steps, n in ((6, 4), (5, 4), (0, 1)):  # evaluated at 0, 2, 4 and at the end
        found = traced(tmp_path / str(steps), monkeypatch, steps=steps)
        assert found == once | {"snapshot": n}


def test_the_trace_counts_what_is_made_twice(tmp_path, monkeypatch):
    """Guards the test above: a donor's M0 is learned too, another channel has another interview."""
    found = traced(tmp_path, monkeypatch, ["--donor=m0_seed=5", "--channel=tied"])
    assert found == {"world": 1, "interview": 2, "learn": 2, "snapshot": 4}


@pytest.mark.parametrize("left", [(), ("items.jsonl", "examples.json", "metrics.jsonl")])
def test_a_run_killed_between_its_last_evaluation_and_its_result_ends_in_the_same_bytes(
    tmp_path, monkeypatch, left
):
    assert one(tmp_path / "whole") == 0
    write_json = run_module.write_json

    def die(path, value):
        if path.name in ("examples.json", "result.json"):
            raise Killed
        write_json(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_json", die)
        with pytest.raises(Killed):
            one(tmp_path / "killed")
    assert checkpoint.newest(run_folder(tmp_path / "killed") / "checkpoints")[0] == 6
    assert not (run_folder(tmp_path / "killed") / "result.json").exists()
    for name in left:
        (run_folder(tmp_path / "killed") / name).unlink(missing_ok=True)
    assert one(tmp_path / "killed") == 0
    assert end(tmp_path / "killed") == end(tmp_path / "whole")
    logs = [
        without_time(read_lines(run_folder(tmp_path / n) / "metrics.jsonl", {}))
        for n in ("whole", "killed")
    ]
    assert logs[0] == logs[1]


def test_the_result_of_another_configuration_is_refused_and_stays(tmp_path):
    assert one(tmp_path / "a") == 0 and one(tmp_path / "b", "--seed=1") == 0
    own, other = (run_folder(tmp_path / name) / "result.json" for name in "ab")
    own.write_bytes(other.read_bytes())
    with pytest.raises(Refused, match="result.json: is the result of another configuration"):
        one(tmp_path / "a")
    assert own.read_bytes() == other.read_bytes()
