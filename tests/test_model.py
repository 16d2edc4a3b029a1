"""The model, against one that computes with numpy a token and a head at a time."""

import math
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import torch

from introspect.config import GPTConfig
from introspect.model import GPT

CFG = GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=6)
IDS = torch.tensor([[3, 1, 4, 1, 5, 0]])


def gpt(n_layer=2, seed=0, **sizes):
    cfg = GPTConfig(n_layer=n_layer, n_head=2, n_embd=8, block_size=6)
    return GPT(cfg, **{"vocab_size": 7, "n_answer": 3, "n_explanation": 4, **sizes}, seed=seed)


def shaken(n_layer=2):
    """A float64 model whose norms and biases are not 1 and 0, so that leaving one out shows."""
    model, g = gpt(n_layer).double(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=p.dtype), alpha=0.3)
    return model


def naive_norm(x, weight):
    return weight * (x - x.mean()) / math.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)


def naive_attention(x, sees, qkv, proj, n_head):
    """softmax(q k / sqrt(D)) v for each token i over the tokens j in sees[i], a head at a time."""
    C, out = x.shape[1], np.zeros_like(x)
    for h in range(n_head):
        rows = np.arange(h * C // n_head, (h + 1) * C // n_head)
        for i in range(len(x)):
            q = qkv[rows] @ x[i]
            scores = [q @ (qkv[C + rows] @ x[j]) / math.sqrt(len(rows)) for j in sees[i]]
            total = sum(math.exp(s) for s in scores)
            for s, j in zip(scores, sees[i]):
                out[i, rows] += math.exp(s) / total * (qkv[2 * C + rows] @ x[j])
    return out @ proj.T


def naive_trunk(model, ids, positions, sees):
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    gelu = np.vectorize(lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2)
    x = np.stack([w["token.weight"][t] + w["position.weight"][p] for t, p in zip(ids, positions)])
    for i, block in enumerate(model.blocks):
        at = f"blocks.{i}."
        normed = np.stack([naive_norm(row, w[at + "norm_1.weight"]) for row in x])
        attention = w[at + "attn.qkv.weight"], w[at + "attn.proj.weight"], block.attn.n_head
        x = x + naive_attention(normed, sees, *attention)
        normed = np.stack([naive_norm(row, w[at + "norm_2.weight"]) for row in x])
        x = x + gelu(normed @ w[at + "mlp.up.weight"].T) @ w[at + "mlp.down.weight"].T
    return torch.from_numpy(np.stack([naive_norm(row, w["norm.weight"]) for row in x]))


def test_the_trunk_is_its_definition_token_by_token():
    model = shaken()
    sees = [range(i + 1) for i in range(6)]
    expected = naive_trunk(model, IDS[0].tolist(), range(6), sees)
    torch.testing.assert_close(model.trunk(IDS)[0], expected, rtol=0, atol=1e-12)


def test_positions_and_mask_are_used_as_given():
    model = shaken()
    positions, sees = [2, 0, 5, 5, 1, 3], [[0, 3], [1], [0, 2, 5], [3, 4], [0, 4], [5, 1, 2]]
    mask = torch.zeros(6, 6, dtype=torch.bool)
    for i, row in enumerate(sees):
        mask[i, row] = True
    given = model.trunk(IDS, torch.tensor(positions), mask)[0]
    expected = naive_trunk(model, IDS[0].tolist(), positions, sees)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-12)


def test_rows_of_a_batch_do_not_meet():
    model, ids = shaken(), torch.cat([IDS, IDS.flip(1)])
    alone = torch.cat([model.trunk(ids[:1]), model.trunk(ids[1:])])
    torch.testing.assert_close(model.trunk(ids), alone, rtol=0, atol=1e-12)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize("n_layer", [1, 2])
def test_reading_at_some_tokens_equals_reading_all_and_selecting(n_layer):
    model, at = shaken(n_layer), torch.tensor([4, 1, 1])
    whole, seen = model.trunk(IDS), []
    model.blocks[-1].mlp.register_forward_hook(lambda m, i, out: seen.append(out.shape[1]))
    torch.testing.assert_close(model.trunk(IDS, at=at), whole[:, at], rtol=0, atol=1e-12)
    assert seen == [3]  # and the last block computes nothing for the others


def test_no_token_depends_on_a_later_one_and_each_depends_on_all_before():
    model, embedded = shaken(), []
    model.embed.register_forward_hook(lambda m, i, out: embedded.append(out) or out)
    out = model.trunk(IDS)
    for t in range(6):
        (grad,) = torch.autograd.grad(out[0, t, 0], embedded[0], retain_graph=True)
        strength = grad[0].abs().amax(-1)
        assert (strength[: t + 1] > 1e-6).all() and (strength[t + 1:] == 0).all()


def test_a_model_of_one_layer_knows_the_order_by_its_position_embedding_alone():
    """One layer: from two on, the causal mask tells the order as well."""
    model, swapped = shaken(n_layer=1), IDS[:, [1, 0, 2, 3, 4, 5]]
    last = torch.tensor([5])
    assert (model.trunk(IDS, at=last) - model.trunk(swapped, at=last)).abs().max() > 1e-3
    torch.nn.init.zeros_(model.position.weight)
    same = model.trunk(swapped, at=last)
    torch.testing.assert_close(model.trunk(IDS, at=last), same, rtol=0, atol=1e-12)


POINTS = ["embed", *(f"blocks.{i}.{p}" for i in (0, 1) for p in ("attn.proj", "mlp.down", "resid"))]


def test_what_is_seen_at_each_point_makes_up_the_residual_stream():
    model, seen = shaken(), {}
    with ExitStack() as stack:
        for point in POINTS:
            stack.enter_context(model.hooked(point, partial(seen.__setitem__, point)))
        out = model.trunk(IDS)
    x = seen["embed"]
    for i, block in enumerate(model.blocks):
        x = x + block.attn.proj(seen[f"blocks.{i}.attn.proj"])
        x = x + block.mlp.down(seen[f"blocks.{i}.mlp.down"])
        torch.testing.assert_close(seen[f"blocks.{i}.resid"], x, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.norm(x), out, rtol=0, atol=1e-12)


def test_what_see_returns_takes_the_place_of_the_input_within_the_context_only():
    for point in POINTS:
        model = shaken()
        before = model.trunk(IDS)
        with model.hooked(point, lambda x: x.clone()):
            assert torch.equal(model.trunk(IDS), before)
        with pytest.raises(ZeroDivisionError), model.hooked(point, lambda x: x * 0):
            assert (model.trunk(IDS) - before).abs().max() > 1e-3
            1 / 0
        assert torch.equal(model.trunk(IDS), before)


def test_initial_weights_depend_on_the_seed_only():
    def weights(seed, global_seed):
        torch.manual_seed(global_seed)
        return torch.cat([p.flatten() for p in gpt(seed=seed).parameters()])

    assert torch.equal(weights(seed=3, global_seed=0), weights(seed=3, global_seed=1))
    assert not torch.equal(weights(seed=3, global_seed=0), weights(seed=4, global_seed=0))


def test_initial_scales_are_those_of_the_docstring():
    cfg = GPTConfig(n_layer=1, n_head=4, n_embd=64, block_size=64)
    model = GPT(cfg, vocab_size=64, n_answer=64, n_explanation=64, seed=0)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert (p == 0).all()
        elif "norm" in name:
            assert (p == 1).all()
        else:
            wide = 1 / 16 if name.endswith("mlp.down.weight") else 1 / 8  # 1 / sqrt(256), sqrt(64)
            expected = 0.02 if "head" in name else wide if "blocks" in name else 0.5
            # the deviation of n normal numbers is known to 1 / sqrt(2 n); here to 5 times that
            assert p.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * p.numel()))
            assert p.mean().abs() < 5 * expected / math.sqrt(p.numel())
