"""A finished run as its folder has it: asked again, it says what it said."""

import shutil

import pytest
import torch

import train
from introspect.checkpoint import Corrupt
from introspect.fields import Refused
from introspect.measure import measure_all
from introspect.reading import read_json
from introspect.runs.build import build
from introspect.runs.load import least_bytes, load_run
from introspect.tasks.registry import find_tasks
from tests.tiny import TINY, run_folder, weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("adapted") / "run"
    flags = ["--learning_rate=0.01", "--adapter_rank=2", f"--out_dir={out}"]
    assert train.main(["anchor/reg", *TINY, *flags]) == 0
    return run_folder(out)


def config_of(description):
    fields = dict(description["config"])
    return build(find_tasks(fields.pop("task")), fields)


def test_a_finished_run_is_loaded_and_says_what_its_items_say(whole):
    description = read_json(whole / "config.json", {})
    config = config_of(description)
    run = load_run(whole, config, whole / description["cache"], "cpu")
    assert run.step == 6 and config.cotrain.adapter_rank == 2
    assert torch.equal(torch.cat([p.flatten() for p in run.model.state_dict().values()]),
                       weights(whole))
    assert not any(p.requires_grad for p in run.model.parameters())
    (s,), rows = run.snapshots, (whole / "items.jsonl").read_text().splitlines()
    said = [s.channel.words(int(k)) for k in s.explanation[s.rows("held_out")].flatten()]
    assert len(rows) == len(said)
    assert all(f'"explanation": "{word}"' in row for word, row in zip(said, rows))
    with pytest.raises(Refused, match="step-000006: must be of this configuration"):
        plain = read_json(whole / "config.json", {})
        plain["config"]["adapter_rank"] = None
        load_run(whole, config_of(plain), whole / description["cache"], "cpu")


def test_a_loaded_run_has_the_measures_of_its_result(whole):
    config = config_of(read_json(whole / "config.json", {}))
    found = measure_all(load_run(whole, config, whole.parents[1] / "cache", "cpu").snapshots)
    result = read_json(whole / "result.json", {})
    assert found == {key: result[key] for key in found}


def test_a_run_without_its_checkpoint_or_its_labels_is_refused(whole, tmp_path):
    config = config_of(read_json(whole / "config.json", {}))
    with pytest.raises(Refused, match="must hold a checkpoint"):
        load_run(tmp_path / "none", config, whole.parents[1] / "cache", "cpu")
    with pytest.raises(Refused, match="the frozen labels of .* must be there"):
        load_run(whole, config, tmp_path / "none", "cpu")
    shutil.copytree(whole.parents[1] / "cache", tmp_path / "cache")
    next((tmp_path / "cache").glob("labels-*/state.pt")).write_bytes(b"")
    with pytest.raises(Corrupt):
        load_run(whole, config, tmp_path / "cache", "cpu")


def test_a_checkpoint_that_is_cut_short_is_refused_and_kept(whole, tmp_path):
    config = config_of(read_json(whole / "config.json", {}))
    shutil.copytree(whole, tmp_path / "cut")
    for file in (tmp_path / "cut").glob("checkpoints/*/state.pt"):
        file.write_bytes(file.read_bytes()[:99])
    with pytest.raises(Refused, match="cut short or of another model: remove them to begin again"):
        load_run(tmp_path / "cut", config, whole.parents[1] / "cache", "cpu")
    assert file.read_bytes()


def test_a_checkpoint_has_more_bytes_than_its_configuration_needs_at_least(whole):
    """Also where the adapters of a configuration are never made."""
    config = config_of(read_json(whole / "config.json", {}))
    file = whole / "checkpoints" / "step-000006" / "state.pt"
    assert file.stat().st_size / 20 < least_bytes(config) < file.stat().st_size
    fields = read_json(whole / "config.json", {})["config"]
    rank = {"adapter_rank": 10**6}
    probe, head = (config_of({"config": fields | rank | {"channel": c}}) for c in ("probe", "head"))
    plain = config_of({"config": fields | {"adapter_rank": None}})
    assert least_bytes(probe) == least_bytes(plain) < least_bytes(config) < least_bytes(head)
