"""Low-rank adapters: nothing changes at first, little can change, and all else stays as it was."""

import copy
from functools import partial

import pytest
import torch

from introspect.adapters import MATRICES, LowRank, adapt, trainable
from introspect.analysis.patching import list_sites
from introspect.config import LabelConfig
from introspect.fields import Refused
from introspect.labels import freeze
from introspect.runs.build import build
from introspect.runs.stages import ask_through, make_tasks, new_model
from introspect.tasks.hint import Hint
from tests.several import loss_of

SMALL = dict(
    n_entity=4, n_attribute=4, n_layer=2, n_head=2, n_embd=16, block_size=16, batch_size=4,
    learning_rate=0.05, warmup_steps=0,
)
small = partial(build, {"hint": Hint})


def model_of(cfg):
    return new_model(cfg, tasks_of(cfg))


def tasks_of(cfg):
    """The tasks of a run, asked through its channel."""
    return ask_through(make_tasks(cfg, "cpu"), cfg.cotrain.channel, "cpu")


def heard(model, cfg):
    """Logits of all answers and of all explanations."""
    (task,) = tasks_of(cfg)
    with torch.no_grad():
        return task.interview.both(model, torch.arange(task.world.n_subject))


def matrix(module):
    """The matrix that a map without bias applies, column by column of what it makes of units."""
    weight = module.linear.weight if isinstance(module, LowRank) else module.weight
    with torch.no_grad():
        return module.double()(torch.eye(weight.shape[1], dtype=torch.float64)).T


def matrices(model):
    """Every matrix of the trunk by name, as the model applies it."""
    model = copy.deepcopy(model)
    return {
        (i, name): matrix(block.get_submodule(name))
        for i, block in enumerate(model.blocks)
        for name in MATRICES
    }


def updated(cfg, steps=3):
    """A model before and after some co-training updates, and the weights that were to move."""
    tasks, model = tasks_of(cfg), model_of(cfg)
    logits = torch.randn(16, 5, 4, generator=torch.Generator().manual_seed(0))
    frozen = [freeze(logits, logits, tasks[0].world, LabelConfig(), 0)]
    loss = loss_of(cfg, tasks, frozen)
    before = copy.deepcopy(model)
    c = cfg.cotrain
    trained = trainable(model, c.channel, c.adapter_rank, cfg.seed)
    optimizer = torch.optim.SGD(trained, lr=0.5)  # no momentum, no decay: what moves has a gradient
    for step in range(steps):
        optimizer.zero_grad()
        loss(model, step)[0].backward()
        optimizer.step()
    return before, model, trained


def moved(before, after):
    """Names of weights that are not what they were, by their name before adapters."""
    there = dict(before.named_parameters())
    plain = {n.replace(".linear.", "."): p for n, p in after.named_parameters()}
    return {n for n, p in plain.items() if n in there and not torch.equal(p, there[n])}


# --- what an adapter is ---


@pytest.mark.parametrize("rank", [1, 3, 40])
def test_an_adapted_model_computes_exactly_what_it_did(rank):
    cfg = small(SMALL)
    model = model_of(cfg)
    before = heard(model, cfg)
    found = adapt(model, rank, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(heard(model, cfg), before))
    assert len(found) == 2 * 2 * len(MATRICES)
    assert [tuple(p.shape) for p in found[:8]] == [
        (rank, 16), (48, rank), (rank, 16), (16, rank), (rank, 16), (64, rank), (rank, 64),
        (16, rank)]
    found[1].data.fill_(1.0)  # guard: it would show if they were not used
    assert not torch.equal(heard(model, cfg)[0], before[0])


def test_every_matrix_of_the_trunk_has_an_adapter_and_nothing_else_has():
    model = model_of(small(SMALL))
    names = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    adapt(model, 2, seed=0)
    adapted = {n for n, m in model.named_modules() if isinstance(m, LowRank)}
    assert adapted == names - {"task_head", "explain_head", "lm_head"} and len(adapted) == 8


@pytest.mark.parametrize("merged", [False, True])
def test_an_adapter_adds_b_a_x(merged):
    g = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(5, 4, bias=False, dtype=torch.float64)
    adapter = LowRank(linear, 2, g)
    adapter.merged = merged
    adapter.b.data.normal_(generator=g)
    x = torch.randn(3, 7, 5, generator=g, dtype=torch.float64)
    weight = (linear.weight + adapter.b @ adapter.a).detach()
    expected = [
        [[sum(weight[o, i] * x[n, t, i] for i in range(5)) for o in range(4)] for t in range(7)]
        for n in range(3)
    ]
    torch.testing.assert_close(adapter(x).detach(), torch.tensor(expected, dtype=torch.float64))
    assert adapter.a.dtype == adapter.b.dtype == torch.float64


@pytest.mark.parametrize("rank, width, merged", [
    (1, 64, []), (16, 64, MATRICES[:2]), (64, 64, MATRICES), (16, 256, []), (96, 256, MATRICES)])
def test_merged_are_those_for_which_it_is_less_work_with_the_same_gradients(rank, width, merged):
    cfg, g = small(SMALL | dict(n_embd=width, n_layer=1)), torch.Generator().manual_seed(0)
    model = model_of(cfg).double()
    adapt(model, rank, seed=0)
    adapters = [model.blocks[0].get_submodule(name) for name in MATRICES]
    assert [name for name, m in zip(MATRICES, adapters) if m.merged] == list(merged)
    for m in adapters:
        m.b.data.normal_(generator=g)
        x = torch.randn(3, 7, m.in_features, generator=g, dtype=torch.float64, requires_grad=True)
        plain = x @ m.linear.weight.T + (x @ m.a.T) @ m.b.T
        of = torch.randn(plain.shape, generator=g, dtype=torch.float64)
        found = [torch.autograd.grad((y * of).sum(), (x, m.a, m.b)) for y in (m(x), plain)]
        for ours, expected in zip(*found):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_a_is_drawn_by_the_seed_with_variance_one_over_inputs_and_b_is_zero():
    first, again, other = (adapt(model_of(small(SMALL)), 300, seed=s) for s in (0, 0, 1))
    assert all(torch.equal(p, q) for p, q in zip(first, again))
    for a, of_other in zip(first[::2], other[::2]):
        assert not torch.equal(a, of_other)
        n, expected = a.numel(), 1 / a.shape[1]
        assert abs(a.var().item() - expected) < 5 * expected * (2 / n) ** 0.5
        assert abs(a.mean().item()) < 5 * (expected / n) ** 0.5
    assert not any(b.any() for b in first[1::2])
    assert not torch.equal(first[0], first[4])  # each matrix has draws of its own


def test_the_seed_of_a_run_and_not_that_of_its_m0_draws_its_adapters():
    drawn = []
    for seed, m0_seed in ((0, 0), (0, 1), (1, 0)):
        cfg = small(SMALL | dict(adapter_rank=2, seed=seed, m0_seed=m0_seed))
        drawn.append(trainable(model_of(cfg), "head", 2, cfg.seed)[0])
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_what_is_drawn_for_adapters_leaves_other_draws_alone():
    model = model_of(small(SMALL))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    adapt(model, 2, seed=5)
    assert torch.equal(torch.rand(1), expected)


def test_an_adapted_model_has_the_sites_it_had_and_sees_there_what_it_saw():
    """Patching asks a matrix how wide its input is: that of mlp.down are four times the stream."""
    cfg = small(SMALL)
    model, seen = model_of(cfg), []
    sites = list_sites(model)
    for adapted in (False, True):
        if adapted:
            adapt(model, 2, seed=0)
        for point in ("blocks.0.attn.proj", "blocks.1.mlp.down"):
            with model.hooked(point, lambda x: seen.append(x.detach().clone())):
                heard(model, cfg)
    assert list_sites(model) == sites and max(site.high for site in sites) == 64
    assert len(seen) == 4 and all(torch.equal(a, b) for a, b in zip(seen[:2], seen[2:]))


@pytest.mark.parametrize("outputs, inputs", [(48, 16), (16, 16), (16, 64)])
def test_full_rank_can_be_any_change_and_a_lower_rank_no_more_than_its_best_part(outputs, inputs):
    """Eckart and Young: what rank r leaves of a change is its singular value r + 1."""
    g = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(inputs, outputs, bias=False, dtype=torch.float64)
    change = torch.randn(outputs, inputs, generator=g, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(change, full_matrices=False)
    for rank in (len(s), len(s) - 1, 1):
        adapter = LowRank(linear, rank, g)
        adapter.b.data, adapter.a.data = u[:, :rank] * s[:rank], vt[:rank]
        left = torch.linalg.matrix_norm(matrix(adapter) - matrix(linear) - change, ord=2).item()
        assert left == pytest.approx(s[rank].item() if rank < len(s) else 0, abs=1e-9)
    assert s[-1] > 0.01  # guard: the change needs full rank


# --- what an update moves ---


@pytest.mark.parametrize("channel, heads", [
    ("head", {"explain_head.weight", "explain_head.bias"}),
    ("tied", {"explain_head.weight", "explain_head.bias"}),
    ("same", {"explain_head.weight", "explain_head.bias"}),
    ("verbal", {"lm_head.weight"})])
def test_adapters_and_the_head_that_explains_move_and_nothing_else(channel, heads):
    before, after, trained = updated(small(SMALL | dict(adapter_rank=2, channel=channel)))
    assert moved(before, after) == heads
    adapters = [m for m in after.modules() if isinstance(m, LowRank)]
    assert len(adapters) == 8 and all(m.b.any() for m in adapters)
    own = [p for m in adapters for p in (m.a, m.b)]
    named = dict(after.named_parameters())
    to_train = {id(p) for p in trained}
    assert to_train == {id(p) for p in [*own, *(named[h] for h in heads)]}
    assert all(p.requires_grad == (id(p) in to_train) for p in named.values())


def test_without_a_rank_every_weight_may_move():
    before, after, trained = updated(small(SMALL))
    names = "token blocks.0.attn.qkv norm task_head explain_head"
    assert {f"{name}.weight" for name in names.split()} <= moved(before, after)
    assert len(trained) == len(list(before.parameters()))
    assert not any(isinstance(m, LowRank) for m in after.modules())


@pytest.mark.parametrize("rank", [1, 3])
def test_the_change_of_each_matrix_has_at_most_the_rank_of_its_adapter(rank):
    before, after, _ = updated(small(SMALL | dict(adapter_rank=rank)))
    was, is_now = matrices(before), matrices(after)
    ranks = {k: torch.linalg.matrix_rank(is_now[k] - was[k], rtol=1e-7).item() for k in was}
    assert set(ranks.values()) == {rank}  # an update makes use of all of it
    free = matrices(updated(small(SMALL))[1])
    assert max(torch.linalg.matrix_rank(free[k] - was[k], rtol=1e-7) for k in was) > 3


@pytest.mark.parametrize("rank", [None, 2])
def test_a_probe_trains_its_head_alone_with_a_rank_or_without(rank):
    before, after, trained = updated(small(SMALL | dict(channel="probe", adapter_rank=rank)))
    assert moved(before, after) == {"explain_head.weight", "explain_head.bias"}
    assert len(trained) == 2 and not any(isinstance(m, LowRank) for m in after.modules())


def test_a_rank_is_a_whole_number_from_one_on():
    for rank in (0, -1, 1.5):
        with pytest.raises(Refused, match="--adapter_rank="):
            small(SMALL | dict(adapter_rank=rank))
