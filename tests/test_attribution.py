"""Attribution, against loops over the definitions, closed forms, axioms, and Captum."""

from functools import partial
from itertools import permutations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect.analysis.attribution import (
    completeness,
    flips,
    gradient_x_input,
    integrated_gradients,
    leave_one_out,
    shapley,
)
from tests.cases import each

METHODS = {leave_one_out: "FeatureAblation", shapley: "ShapleyValues",  # and Captum's names
           integrated_gradients: "IntegratedGradients", gradient_x_input: "InputXGradient"}
close = partial(torch.testing.assert_close, rtol=0, atol=1e-12)
of = partial(torch.tensor, dtype=torch.float64)
seeds, total = st.integers(0, 10_000), partial(torch.sum, dim=1)
ONE, X, W = of([[1]]), torch.ones(2, 3), torch.tensor([2.0, 3.0], requires_grad=True)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(n, seed=0):
    """x, baseline (3, n) and a random smooth score in which every feature meets every other."""
    w, v = normal(n, 8, seed=seed) / n, normal(8, seed=seed + 1)
    x, b = normal(3, n, seed=seed + 2), normal(3, n, seed=seed + 3)
    return x, b, lambda z: (z @ w).tanh() @ v + (z @ w).cos().prod(1)


@given(st.integers(1, 6), seeds)
def test_leave_one_out_and_flips_are_their_definitions(n, seed):
    (x, b, score), w = network(n, seed), normal(n, 3, seed=seed)
    lost, flipped = leave_one_out(score, x, b), flips(lambda z: (z @ w).argmax(1), x, b)
    for k, i in product(range(3), range(n)):
        ablated = torch.cat([x[[k], :i], b[[k], i:i + 1], x[[k], i + 1:]], 1)
        close(lost[[k], i], score(x[[k]]) - score(ablated))
        assert flipped[k, i] == ((x[k] @ w).argmax() != (ablated[0] @ w).argmax())


@each("n", [1, 2, 3, 5])
def test_shapley_is_the_mean_over_orders_of_what_each_adds_in_its_turn(n):
    (x, b, score), orders = network(n), list(permutations(range(n)))
    phi = torch.zeros_like(x)
    for order in orders:
        z = b.clone()
        for i in order:
            before = score(z)
            z[:, i] = x[:, i]
            phi[:, i] += (score(z) - before) / len(orders)
    close(shapley(score, x, b), phi)


def test_gradient_methods_are_a_fine_sum_of_difference_quotients():
    """Midpoints of 20,000 pieces and central differences: either errs by about 1e-10."""
    (x, b, score), h = network(3), 1e-5 * torch.eye(3, dtype=torch.float64)
    middle = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for method, t in [(integrated_gradients, middle), (gradient_x_input, of([1]))]:
        z = (b + t[:, None, None] * (x - b)).view(-1, 3)
        slope = [((score(z + d) - score(z - d)) / 2e-5).view(-1, 3).mean(0) for d in h]
        close(method(score, x, b), (x - b) * torch.stack(slope, 1), atol=1e-8)


@each("score, x, b, expected", [
    # affine: 2 (3 - 1) = 4 and -3 (1 - 2) = 3, by leave-one-out, Shapley and both gradient methods
    (lambda z: 2 * z[:, 0] - 3 * z[:, 1] + 5, [3, 1], [1, 2], [[4, 3]] * 4),
    # and: each removal loses all; a third each; int t^2 dt = 1/3; slope y z = 1
    (lambda z: z.prod(1), [1, 1, 1], 0, [[1] * 3, [1 / 3] * 3, [1 / 3] * 3, [1] * 3]),
    # or, x + y - x y: no removal loses; half each; int (1 - t) dt = 1/2; slope 1 - y = 0
    (lambda z: z.sum(1) - z.prod(1), [1, 1], 0, [[0, 0], [0.5, 0.5], [0.5, 0.5], [0, 0]]),
    # parity, x y in signs: 1 - -1 = 2; in all 1 - 1 = 0; 2 int (2 t - 1) dt = 0; 2 y = 2
    (lambda z: z.prod(1), [1, 1], -1, [[2, 2], [0, 0], [0, 0], [2, 2]]),
    # quadratic, x^2 + x y: at (2, 3) 10, of x alone 4, of y alone 0. So 10 - 0, 10 - 4;
    # (4 + 10) / 2, (0 + 6) / 2; 2 int (4 t + 3 t) dt = 7, 3 int 2 t dt = 3; 2 (4 + 3), 3 * 2
    (lambda z: z[:, 0] * z.sum(1), [2, 3], 0, [[10, 6], [7, 3], [7, 3], [14, 6]]),
    # threshold, 3 x + y + z >= 4: x decides unless it is first, 2/3; y in the order x y z, 1/6
    (lambda z: (z @ of([3, 1, 1]) >= 4).double(), [1] * 3, 0, [[1, 0, 0], [2 / 3, 1 / 6, 1 / 6]]),
], name=lambda case: f"the one with {case[3]}")
def test_closed_forms_in_which_the_methods_differ(score, x, b, expected):
    for method, values in zip(METHODS, expected):
        close(method(score, of([x]), of(b)), of([values]))
        excess = sum(values) - sum(expected[1])  # Shapley's sum to score(x) - score(b)
        close(completeness(score, of([x]), of(b), of([values])), of([excess]))


def test_flips_of_a_parity_and_of_a_majority_of_whole_numbers_that_stay_whole():
    """Every bit that is on decides a parity; of a majority of 3 just two that are, never three."""
    bits = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert flips(lambda z: z.sum(1) % 2, bits, 0).tolist() == [[1, 1, 0], [1, 1, 1]]
    assert flips(lambda z: z.sum(1) >= 2, bits, 0).tolist() == [[1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("method", METHODS)
@given(n=st.integers(2, 5), seed=seeds)
def test_axioms(method, n, seed):
    """Linear, 0 for a dummy, equal for the symmetric, and two are complete; not so by accident."""
    (x, b, f), (_, _, g) = network(n, seed), network(n, seed + 10)
    x[:, 0], b[:, 0] = x[:, 1], b[:, 1]
    plain = method(f, x, b)
    close(method(lambda z: 2 * f(z) - 3 * g(z), x, b), 2 * plain - 3 * method(g, x, b))
    symmetric = method(lambda z: f(z) + f(z[:, [1, 0, *range(2, n)]]), x, b)
    close(method(lambda z: f(z * (torch.arange(n) > 0)), x, b)[:, 0], 0 * x[:, 0])
    close(symmetric[:, 0], symmetric[:, 1])
    assert plain[:, 0].abs().max() > 1e-9 and (plain[:, 0] - plain[:, 1]).abs().max() > 1e-9
    error = (plain.sum(1) - (f(x) - f(b))).abs().max()
    assert error < 1e-12 if method in (shapley, integrated_gradients) else error > 1e-9


def test_n_step_points_integrate_degree_2_n_step_exactly_and_no_higher():
    for n, more in product((1, 2, 5), (0, 1)):
        a = integrated_gradients(lambda z: total(z) ** (2 * n + more), 2 * ONE, 0, n)
        assert (abs(a.item() - 2 ** (2 * n + more)) < 1e-11) == (more == 0)


def test_the_error_falls_at_a_kink_as_1_over_n_step_and_a_jump_goes_unseen():
    """int_0^1 [z > 0.3] dz = 0.7, whether or not the score also jumps at 0.3."""
    for n, jump in product((10, 100, 1000), (0, 5)):
        a = integrated_gradients(lambda z: total((z - 0.3).relu() + jump * (z > 0.3)), ONE, 0, n)
        assert 1e-6 < abs(a.item() - 0.7) < 1 / n


@each("ours, theirs", METHODS.items())
def test_agrees_with_captum(ours, theirs):
    captum, (x, b, score) = pytest.importorskip("captum.attr"), network(4)
    b, options = (0 * b, {}) if ours is gradient_x_input else (b, {"baselines": b})
    expected = getattr(captum, theirs)(score).attribute(x.clone().requires_grad_(), **options)
    single = ours in (shapley, integrated_gradients)  # Captum's sum, and its weights, are float32
    close(ours(score, x, b), expected.double(), atol=1e-6 if single else 1e-12)


@each("function, cost", [  # rows an item of 5 features
    (leave_one_out, 6), (flips, 6), (shapley, 32), (integrated_gradients, 50),
    (gradient_x_input, 1), (lambda f, x, b, **chunk: completeness(f, x, b, x, **chunk), 2)
])
def test_neither_the_chunk_nor_other_items_matter_and_costs_are_as_documented(function, cost):
    x, b, seen = normal(4, 5), normal(4, 5, seed=1), []

    def score(z):
        seen.append(z.detach())
        return z.prod(1) > 0 if function is flips else z.prod(1) + z[:, 0].sin()

    whole = function(score, x, b)
    for chunk in (1, 7, 64, 100):
        seen.clear()
        assert torch.equal(function(score, x, b, chunk=chunk), whole)
        assert sum(map(len, seen)) == 4 * cost and max(map(len, seen)) <= chunk
        assert cost > 1 or torch.equal(torch.cat(seen), x)  # the gradient is that at x, to the bit
    assert torch.equal(torch.cat([function(score, x[[i]], b[[i]]) for i in range(4)]), whole)


def test_sixteen_features_of_a_hundred_items():
    x, w = 1 + normal(100, 16) / 10, normal(16, seed=1)  # an "and" in 16 shares, beside the affine
    close(shapley(lambda z: z @ w + z.prod(1), x, 0), w * x + x.prod(1, keepdim=True) / 16)


def test_shapley_of_a_float32_score_is_that_of_float64_rounded_once():
    x, bit, table = torch.ones(1, 7).long(), 2 ** torch.arange(7), normal(2**7).float()
    one, two = (shapley(lambda z: table[z @ bit].to(t), x, 0) for t in (torch.float, torch.double))
    assert torch.equal(one, two.float())


def test_a_baseline_may_be_a_number_or_broadcast_and_takes_the_dtype_of_x():
    x, zeros, score = normal(3, 2), torch.zeros(3, 2, dtype=torch.float64), network(2)[2]
    for method, b in product(METHODS, (0, 0.0, zeros[0], zeros[:, :1], zeros.float())):
        assert torch.equal(method(score, x, b), method(score, x, zeros))


@each("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradients_are_taken_whatever_the_caller_has_set_and_leave_no_trace(mode):
    with mode():
        x = torch.tensor([[0.3, 0.7]], requires_grad=mode is torch.enable_grad)
        for method in METHODS:
            found = method(lambda z: z @ W, x, x - 1)  # slope times 1
            torch.testing.assert_close(found, torch.tensor([[2.0, 3.0]]))
            assert not found.requires_grad and W.grad is None and x.grad is None
        assert not completeness(lambda z: z @ W, x, 0, W[None]).requires_grad


@each("call, message", [
    (lambda: shapley(total, torch.ones(1, 17), 0), "F <= 16, got F = 17"),
    (lambda: integrated_gradients(total, X, 0, n_step=0), "n_step must be at least 1, got 0"),
    (lambda: leave_one_out(total, X, 0, chunk=0), "chunk must be at least 1 row, got 0"),
    (lambda: leave_one_out(total, X[0], 0), r"x must be \(B, F\) and not empty, got \(3,\)"),
    (lambda: flips(total, X[:0], 0), r"not empty, got \(0, 3\)"),
    (lambda: shapley(total, X, X[0, :2]), r"baseline .* got \(2,\) of \S+ for \(2, 3\)"),
    (lambda: shapley(total, X, X[None]), r"baseline .* got \(1, 2, 3\)"),
    (lambda: flips(total, X.long(), 0.5), r"baseline .* torch.float32 for \(2, 3\) of torch.int64"),
    (lambda: leave_one_out(lambda z: z, X, 0), r"\(8,\) for \(8, 3\), got torch.float32 \(8, 3\)"),
    (lambda: shapley(lambda z: z.argmax(1), X, 0), "need floating point, .* got torch.int64"),
    (lambda: flips(total, X, 0), "need class ids, integer or bool, .* got torch.float32"),
    (lambda: gradient_x_input(total, X.long(), 0), "need floating point x, got torch.int64"),
    (lambda: gradient_x_input(lambda z: total(z > 0).float(), X, 0), "no gradient in x"),
    (lambda: integrated_gradients(lambda z: W * 2, X, 0, n_step=1), "no gradient in x"),
    (lambda: completeness(total, X, 0, X[0]), r"attribution is \(3,\), but x is \(2, 3\)"),
], name=lambda case: case[1])
def test_what_is_refused_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
