"""One run, whole: what it makes once, and that it ends in the same bytes however it was stopped."""


import pytest
import torch

import train
from introspect import checkpoint, cotrain
from introspect.files import read_json, read_lines
from tests.tiny import TINY, weights, without_time


def one(out, *flags):
    return train.main(["anchor/reg", *TINY, "--learning_rate=0.01", f"--out_dir={out}", *flags])


def end(out):
    """The bytes that a run ends in, but for time."""
    last = max((out / "checkpoints").glob("step-*"))
    result = without_time(read_json(out / "result.json", set()))
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
    assert checkpoint.newest(out / "checkpoints")[0] == after - 1
    assert one(out, *flags) == 0


@pytest.mark.parametrize("flags", [
    (), ("--kl_weight=0",), ("--anchor=all",), ("--channel=verbal",),
    ("--channel=same", "--kl_weight=0")], ids=" ".join)
def test_a_refreshed_run_that_was_stopped_ends_in_the_same_bytes(tmp_path, monkeypatch, flags):
    assert one(tmp_path / "whole", "--refreshed=true", *flags) == 0
    stopped(tmp_path / "stopped", monkeypatch, 3, "--refreshed=true", *flags)
    assert end(tmp_path / "whole") == end(tmp_path / "stopped")
    one(tmp_path / "frozen", *flags)
    frozen, refreshed = (read_lines(tmp_path / n / "metrics.jsonl") for n in ("frozen", "whole"))
    assert without_time(frozen[0]) == without_time(refreshed[0])  # both are M0 and its labels
    assert not torch.equal(weights(tmp_path / "frozen"), weights(tmp_path / "whole"))
    hashes = {read_json(tmp_path / n / "result.json", set())["labels_sha256"]
              for n in ("frozen", "whole")}
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
    assert torch.equal(weights(tmp_path / "plain"), weights(tmp_path / "same"))
    assert not torch.equal(weights(tmp_path / "plain"), weights(tmp_path / "other"))
    assert m0_and_labels(tmp_path / "plain") == m0_and_labels(tmp_path / "other")
    plain, other = (read_json(tmp_path / n / "result.json", set()) for n in ("plain", "other"))
    for key in ("m0", "labels_sha256", "n_items"):
        assert plain[key] == other[key]


def test_a_draw_seed_decides_no_label_that_is_drawn(tmp_path):
    drawn = ("--label_noise=0.3", "--turned_share=0.3", "--label_order=shuffled")
    for name, flags in (("plain", ()), ("other", ("--draw_seed=4",)), ("seed", ("--seed=4",))):
        one(tmp_path / name, "--m0_seed=0", *drawn, *flags)
    plain, other, seed = (read_json(tmp_path / name / "result.json", set())["labels_sha256"]
                          for name in ("plain", "other", "seed"))
    assert plain == other != seed
