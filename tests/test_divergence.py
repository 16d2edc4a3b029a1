"""A weight that is not finite ends training in the update in which it came, wherever it is."""

import copy

import pytest
import torch

from introspect import checkpoint, cotrain, pretrain
from introspect.pretrain import Stage
from introspect.runs.build import build
from introspect.runs.stages import make_labels, make_tasks, new_model
from introspect.tasks.registry import find_tasks
from introspect.watch import Diverged

SMALL = dict(
    n_entity=6, n_attribute=6, n_layer=1, n_head=2, n_embd=16, pretrain_steps=12, max_steps=6,
    pretrain_batch_size=8, batch_size=4, eval_interval=2,
)  # fmt: skip
CONFIG = build(find_tasks("hint"), SMALL)
NAMES = [name for name, _ in new_model(CONFIG, make_tasks(CONFIG, "cpu")).named_parameters()]


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory):
    tasks = make_tasks(CONFIG, "cpu")
    model = new_model(CONFIG, tasks)
    frozen = make_labels(CONFIG, tasks, model, tmp_path_factory.mktemp("cache"), "cpu")
    return tasks, model, frozen


def learn(ingredients, folder):
    tasks, model, _ = ingredients
    stage = Stage("pretrain", "M0", 12)
    folder /= "checkpoints"
    return pretrain.learn(copy.deepcopy(model), tasks, CONFIG.pretrain, 0, stage, folder)


def explain(ingredients, folder):
    tasks, model, frozen = ingredients
    model = copy.deepcopy(model)
    return cotrain.cotrain(model, tasks, frozen, CONFIG.cotrain, 0, folder, "a run")


@pytest.mark.parametrize("train, module", [(learn, pretrain), (explain, cotrain)])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_weight_that_is_not_finite_is_noticed_in_the_same_update(
    ingredients, tmp_path, monkeypatch, train, module, value
):
    """Also in a head that the loss does not ask, where neither loss nor gradient shows it."""
    set_rates, norm, late, models = module.set_rates, module.weight_norm, {}, []
    monkeypatch.setattr(module, "weight_norm", lambda model: models.append(model) or norm(model))
    for name in NAMES:
        updates = 0

        def spoil(*args):
            nonlocal updates
            updates += 1
            set_rates(*args)
            if updates == 4:  # the weights have been seen at the end of each update before
                dict(models[-1].named_parameters())[name].data.view(-1)[-1] = value

        monkeypatch.setattr(module, "set_rates", spoil)
        with pytest.raises(Diverged, match="weights is not finite at step 4"):
            train(ingredients, tmp_path / name)
        if updates != 4:
            late[name] = updates
        kept = checkpoint.newest(tmp_path / name / "checkpoints") or (0,)
        assert kept[0] < 4, name  # it was not saved
    assert late == {}


def test_without_that_check_some_would_be_saved(ingredients, tmp_path, monkeypatch):
    """Guard: a spoiled head that is not asked changes no loss."""
    set_rates, (tasks, model, _) = pretrain.set_rates, ingredients
    model = copy.deepcopy(model)

    def spoil(*args):
        set_rates(*args)
        model.explain_head.weight.data[0, 0] = float("nan")

    monkeypatch.setattr(pretrain, "set_rates", spoil)
    monkeypatch.setattr(pretrain, "weight_norm", lambda _: torch.ones(()))
    stage = Stage("pretrain", "M0", 12)
    ended = pretrain.learn(model, tasks, CONFIG.pretrain, 0, stage, tmp_path)
    assert not ended.explain_head.weight.isfinite().all()
