"""On a CUDA device: the same model, and a run from its first step to its result."""

import shutil

import pytest
import torch

import train
from introspect.analysis.patching import shared_sites
from introspect.analysis.probes import where_known
from introspect.interview import Interview, RunTask
from introspect.reading import read_json
from introspect.runs.build import build
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.hint import Hint
from tests.tiny import TINY, run_folder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def small():
    """An untrained model and its world."""
    config = build({"hint": Hint}, {"n_entity": 8, "n_attribute": 8})
    tasks = make_tasks(config, "cpu")
    return new_model(config, tasks), tasks[0].world


def test_a_model_answers_and_explains_as_on_the_cpu():
    model, world = small()
    on_cpu = Interview(world).ask_all(model)
    on_gpu = Interview(world, device="cuda").ask_all(model.to("cuda"))
    for a, b in zip(on_cpu, on_gpu):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_circuits_and_probes_are_found_where_the_model_is():
    model, world = small()
    found = []
    for device in ("cpu", "cuda"):
        part = RunTask("hint", world, Interview(world, device=device), True, False)
        model.to(device)
        found.append((shared_sites(model, part), where_known(model, part)))
    (circuits, known), (circuits_gpu, known_gpu) = found
    assert circuits["all"]["n_items"] == pytest.approx(circuits_gpu["all"]["n_items"], rel=0.01)
    assert known == pytest.approx(known_gpu, abs=0.02)


def test_a_run_that_lost_its_last_checkpoint_continues_on_the_device(tmp_path):
    flags = [f for f in TINY if not f.startswith("--device")] + ["--device=cuda"]
    command = ["anchor/reg", *flags, f"--out_dir={tmp_path / 'run'}"]
    assert train.main(command) == 0
    out = run_folder(tmp_path / "run")
    whole = read_json(out / "result.json", {})
    (out / "result.json").unlink()
    shutil.rmtree(max((out / "checkpoints").glob("step-*")))
    assert train.main(command) == 0
    continued = read_json(out / "result.json", {})
    assert whole["versions"]["device"] == "cuda"
    for key in ("self", "orig", "drift"):
        assert whole[key] == pytest.approx(continued[key], abs=0.03)  # two items
