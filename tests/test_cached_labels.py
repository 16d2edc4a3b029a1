"""Labels in a cache: found by all that decides them, whole for every task, and of the world."""

import json

import pytest
import torch

from introspect import checkpoint
from introspect.checkpoint import Corrupt, seal
from introspect.fields import Refused
from introspect.runs.build import build
from introspect.runs.stages import labels_key, make_ingredients, make_labels
from introspect.tasks.registry import find_tasks
from tests.several import SIZES, TINY, config


def alone(**fields):
    """The tiny run of one task."""
    return build(find_tasks("hint"), TINY | SIZES["hint"] | fields)


def test_labels_of_some_subjects_from_a_donor_are_those_of_their_seed():
    """Which subjects these are is drawn: a cache that several seeds share must tell them apart."""
    def keys(**fields):
        return {labels_key(alone(m0_seed=0, seed=seed, **fields), "hint", "cpu")
                for seed in range(3)}

    assert len(keys(donor="m0_seed=5", donor_share=0.5)) == 3
    assert len(keys(donor="m0_seed=5")) == len(keys()) == 1
    for drawn in (dict(label_noise=0.1), dict(turned_share=0.1), dict(label_order="shuffled")):
        assert len(keys(**drawn)) == 3


def test_a_kill_between_the_labels_of_two_tasks_costs_the_missing_ones_only(tmp_path):
    cfg = config("hint+refusal")
    tasks, m0, _, frozen = make_ingredients(cfg, tmp_path, "cpu")
    first, second = (
        tmp_path / f"labels-{labels_key(cfg, task.name, 'cpu')[:16]}" for task in tasks
    )
    for missing, there in ((first, second), (second, first)):
        before = (there / "state.pt").stat().st_mtime_ns
        checkpoint.discard(missing)
        again = make_labels(cfg, tasks, m0, tmp_path, "cpu")
        assert [a.sha256() for a in again] == [b.sha256() for b in frozen]
        assert (there / "state.pt").stat().st_mtime_ns == before


WRONG = [  # of the fields of hint with 3 answers: which, what, and what is said
    ("original", lambda t: t.clamp(min=4), "original must be from 0 to 3"),
    ("targets", lambda t: t - 5, "targets must be from 0 to 3"),
    ("original_answers", lambda t: t.clamp(min=3), "original_answers must be from 0 to 2"),
    ("target_answers", lambda t: t.clamp(max=-1), "target_answers must be from 0 to 2"),
    ("original", lambda t: t[:-1], "original: must be torch.int64 of shape"),
    ("original", lambda t: t.int(), "original: must be torch.int64 of shape"),
    ("reference", lambda t: t[:, :, :-1], "reference: must be torch.float32 of shape"),
    ("reference", lambda t: t / 0, "reference: has numbers that are not finite"),
]


def test_labels_that_cannot_be_of_this_world_are_refused_though_their_seal_holds(tmp_path):
    cfg = alone()
    make_ingredients(cfg, tmp_path, "cpu")
    [folder] = tmp_path.glob("labels-*")
    whole, manifest = (folder / "state.pt").read_bytes(), (folder / "manifest.json").read_text()

    def write(state):
        torch.save(state, folder / "state.pt")
        sealed = json.loads(manifest)
        sealed["files"]["state.pt"] = seal((folder / "state.pt").read_bytes())
        (folder / "manifest.json").write_text(json.dumps(sealed))

    for name, spoil, says in WRONG:
        (folder / "state.pt").write_bytes(whole)
        state = torch.load(folder / "state.pt", weights_only=True)
        write(state | {name: spoil(state[name])})
        with pytest.raises(Corrupt, match=says):
            make_ingredients(cfg, tmp_path, "cpu")
    write({k: v for k, v in state.items() if k != "targets"})
    with pytest.raises(Corrupt, match="not the labels of this version"):
        make_ingredients(cfg, tmp_path, "cpu")


def test_labels_of_another_configuration_in_the_right_place_are_refused(tmp_path):
    for seed in (0, 1):
        make_ingredients(alone(m0_seed=seed), tmp_path / str(seed), "cpu")
    [own], [other] = ((tmp_path / str(seed)).glob("labels-*") for seed in (0, 1))
    checkpoint.discard(own)
    other.rename(own)
    with pytest.raises(Refused, match="must be of this configuration, with hash"):
        make_ingredients(alone(m0_seed=0), tmp_path / "0", "cpu")
