"""The refitted answer head: the fit against other solvers, and readouts whose truth is planted."""

import copy

import numpy as np
import pytest
import scipy.optimize
import torch

from introspect.analysis.readout import compare_readouts, fit_classifier, read_hidden, refit
from introspect.measure import Snapshot
from introspect.runs.build import build
from introspect.runs.stages import make_ingredients
from introspect.tasks.registry import find_tasks
from introspect.tokenizer import ANSWER, encode
from tests.several import SIZES, TINY


def problem(n=60, D=5, K=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, D, generator=g, dtype=torch.float64)
    return x, torch.randn(n, K, generator=g, dtype=torch.float64).mul(2).softmax(-1)


@pytest.mark.parametrize("l2", [1e-3, 0.3])
def test_the_fit_is_the_minimum_that_another_solver_finds(l2):
    x, y = problem()
    a, p = x.numpy(), y.numpy()

    def loss(flat):
        w = flat.reshape(6, 3)
        z = a @ w[:-1] + w[-1]
        log_q = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -(p * log_q).sum() / len(a) + l2 / 2 * (w[:-1] ** 2).sum()

    found = scipy.optimize.minimize(loss, np.zeros(18), method="BFGS", options={"gtol": 1e-9})
    weights, bias = fit_classifier(x, y, l2)
    ours = torch.cat([weights, bias[None]]).numpy()
    assert loss(ours.ravel()) <= found.fun + 1e-12
    theirs = found.x.reshape(6, 3)
    q, r = (a @ w[:-1] + w[-1] for w in (ours, theirs))
    q, r = (z - z.mean(1, keepdims=True) for z in (q, r))
    np.testing.assert_allclose(q, r, atol=1e-4)
    np.testing.assert_allclose(ours[:-1], theirs[:-1], atol=1e-4)


def test_without_inputs_the_bias_gives_the_mean_of_the_targets():
    _, y = problem()
    weights, bias = fit_classifier(torch.zeros(60, 5), y)
    torch.testing.assert_close(bias.softmax(-1), y.mean(0))
    assert weights.abs().max() < 1e-12


def test_numbers_that_are_not_finite_do_not_pass_as_a_fit():
    x, y = problem()
    with pytest.raises((ValueError, RuntimeError)):
        fit_classifier(x * float("nan"), y)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """(model that knows its world, its task, its frozen labels)."""
    sizes = dict(n_entity=8, n_attribute=8, n_embd=32, pretrain_steps=300, pretrain_batch_size=32)
    rates = dict(muon_learning_rate=0.01, adamw_learning_rate=0.01, guess_share=0.0)
    cfg = build(find_tasks("hint"), TINY | SIZES["hint"] | sizes | rates)
    made = make_ingredients(cfg, tmp_path_factory.mktemp("cache"), "cpu")
    [task], [frozen] = made.tasks, made.frozen
    return made.m0, task, frozen


def test_hidden_states_are_those_behind_every_prompt_asked_by_itself(taught):
    model, task, _ = taught
    hidden = read_hidden(model, task)
    for s, v in ((0, 0), (5, 2), (63, 3)):
        ids = torch.tensor([encode(task.world.text(s, v) + ANSWER)])
        torch.testing.assert_close(hidden[s, v], model.trunk(ids)[0, -1], rtol=0, atol=1e-5)


def loose(model, seed=0):
    """The model with its answer head turned at random: what it reads from is as it was."""
    model = copy.deepcopy(model)
    g = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(32, 32, generator=g))
    model.task_head.weight.data @= turn
    return model


def test_a_readout_that_came_loose_is_restored(taught):
    model, task, frozen = taught
    broken = Snapshot(loose(model), task, frozen)
    held_out = broken.rows("held_out")
    assert (broken.now != broken.before)[held_out].float().mean() > 0.4
    restored = refit(loose(model), broken, frozen.reference)
    assert (restored.now != restored.before)[held_out].float().mean() < 0.1
    truthful = copy.copy(broken)  # explanations that are true of M0
    truthful.explanation = broken.past
    own, again = (s["gap"] for s in compare_readouts(loose(model), [truthful],
                                                     [frozen.reference]).values())
    assert own < -0.3 and abs(again) < 0.15


def test_what_the_trunk_does_not_carry_is_not_restored(taught):
    """The negative control: a trunk whose last norm passes nothing on."""
    model, task, frozen = taught
    empty = copy.deepcopy(model)
    empty.norm.weight.data.zero_()
    snapshot = Snapshot(empty, task, frozen)
    restored = refit(empty, snapshot, frozen.reference)
    assert len(restored.now.unique()) == 1
    assert (restored.now != restored.before)[snapshot.rows("held_out")].float().mean() > 0.4


def test_answers_of_held_out_subjects_are_not_used(taught):
    model, task, frozen = taught
    snapshot = Snapshot(loose(model), task, frozen)
    reference = frozen.reference.clone()
    reference[snapshot.rows("held_out")] = 99.0
    one, two = (refit(loose(model), snapshot, r).now for r in (frozen.reference, reference))
    assert torch.equal(one, two)
    reference[snapshot.rows("train")] = 99.0
    assert not torch.equal(one, refit(loose(model), snapshot, reference).now)
