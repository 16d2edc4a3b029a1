"""The method in one file is the library's method, and needs nothing of the library."""

import ast
import copy
import math
import re
import runpy
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from introspect import single
from introspect.config import GPTConfig
from introspect.labels import explanation_labels
from introspect.losses import behavior_kl, explanation_loss, world_loss
from introspect.metrics import coupling
from introspect.model import GPT
from introspect.stats import student_t
from introspect.tasks.pairs import Facts, agreeing, evidence, fact_prior
from tests.cases import each
from tests.test_cotrain_by_hand import adamw_by_hand
from tests.test_losses import classes, normal

SOURCE = Path(single.__file__)
SMALL = dict(
    SIDE=4, K=3, NAME=5, N_LAYER=2, N_HEAD=2, N_EMBD=8, M0_STEPS=8, M0_BATCH=5, STEPS=4, BATCH=3
)
PAIRS = torch.tensor([(1 + k, 0) for k in range(4)])  # of each hint: the variants with and without


@pytest.fixture
def small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(single, name, value)


@pytest.fixture
def exact():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_it_fits_260_lines_and_imports_torch_and_the_standard_library_only():
    text = SOURCE.read_text()
    assert len(text.splitlines()) <= 260
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert not any(getattr(node, "level", 0) for node in nodes)
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"torch"}


def test_a_copy_of_the_file_runs_where_the_package_is_not(folder, monkeypatch, capsys):
    (folder / "alone.py").write_text(SOURCE.read_text())
    monkeypatch.setitem(sys.modules, "introspect", None)
    monkeypatch.setattr(sys, "argv", ["alone.py", "--seeds=11"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path("alone.py", run_name="__main__")
    assert stop.value.code == 2 and "--seeds=11" in capsys.readouterr().err


@each("seed, scale", product(range(5), [0, 1, 300]))  # equal numbers, usual ones, and sure answers
def test_losses_are_those_of_the_library(seed, scale):
    logits, reference = (normal(6, 5, 4, seed=10 * seed + i) * scale for i in (0, 1))
    said, shown = normal(6, 4, 5, seed=10 * seed + 2) * scale, normal(6, 5).softmax(-1)
    answers, labels = classes(4, 6, 5, seed=seed), classes(5, 6, 4, seed=seed)
    for ours, theirs, inputs in (
        (single.world_loss, world_loss, (logits, answers, shown)),
        (single.explanation_loss, explanation_loss, (said.log_softmax(-1), labels)),
        (single.behavior_kl, behavior_kl, (logits, reference)),
        (single.behavior_kl, behavior_kl, (logits, logits + 1)),
    ):
        torch.testing.assert_close(ours(*inputs), theirs(*inputs), rtol=1e-12, atol=1e-12)


@given(st.lists(st.lists(st.integers(0, 3), min_size=20, max_size=20), min_size=1, max_size=4))
def test_labels_are_those_of_the_library_also_of_ties(rows):
    logits = torch.tensor(rows).view(-1, 5, 4)  # among few whole numbers, many are the largest
    expected = explanation_labels(logits.argmax(-1), PAIRS, 4)
    assert torch.equal(single.labels_of(logits), expected)


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=30))
def test_measures_are_those_of_the_library(rows):
    items = torch.tensor(rows).T
    c, found = coupling(*items), single.measure(*items)
    assert found == dict(Self=c.self_match, Orig=c.orig_match, gap=c.gap, drift=c.drift)


def test_intervals_are_those_of_the_library():
    draw = np.random.default_rng(0)
    for n in range(2, 11):
        values = [1000 * x for x in draw.normal(0.2, 0.1, n)]  # so that three decimals are exact
        cell = single.estimate(values, "+").translate(str.maketrans("[],", "   ")).split()
        mean, low, high, _ = student_t(values)
        assert [float(x) for x in cell] == pytest.approx([mean, low, high], abs=3e-4 * (high - low))
        assert all(x[0] in "+-" for x in cell)


def test_the_world_answers_by_the_rule_of_the_library(exact):
    ideal, shown, explained = (part.numpy() for part in single.make_world(100))
    prior = ideal[:, 0]
    fact, confidence = prior.argmax(-1), 1 - 4 * prior.min(-1)
    expected = fact_prior(Facts(fact, confidence, explained), 4), agreeing(0.6, 4), 0.3
    np.testing.assert_allclose(prior, expected[0], rtol=0, atol=1e-12)
    for found, by_rule in zip((ideal, shown), evidence(*expected), strict=True):
        np.testing.assert_allclose(found, by_rule, rtol=0, atol=1e-12)
    n = len(fact)
    assert explained.sum() == n // 2 and 0.1 < explained[: n // 2].mean() < 0.9
    assert abs(np.bincount(fact, minlength=4) / n - 1 / 4).max() < 4 * math.sqrt(3 / 16 / n)
    for c, share in ((0.05, 0.15), (0.1, 0.3), (0.55, 0.65), (1, 1)):  # P(confidence <= c)
        spread = 4 * math.sqrt(share * (1 - share) / n)
        assert abs((confidence <= c).mean() - share) <= spread


def test_stages_of_a_run_draw_other_numbers_and_seeds_other_worlds():
    worlds = [single.make_world(seed) for seed in (100, 101, 100)]
    for one, other, same in zip(*worlds):
        assert torch.equal(one, same) and not torch.equal(one, other)


def asked(fact):
    """The prompts of a fact in the small world, written out: without a hint, with each, queries."""
    first, second = 5 + fact // 4, 5 + 4 + fact % 4
    hints = [2, 3, 4]
    with_hint = [[first, second, hint, 0] for hint in hints]
    return [[first, second, 0], *with_hint], [[first, second, hint, 1] for hint in hints]


def twin_of(model):
    """The same weights in a GPT of the library."""
    twin = GPT(GPTConfig(2, 2, 8, 4), 5 + 2 * 4, 3, 4)
    mine = model.state_dict() | {"lm_head.weight": twin.lm_head.weight}
    shorter = {name: name.replace("attn.", "").replace("mlp.", "") for name in twin.state_dict()}
    twin.load_state_dict({name: mine[short] for name, short in shorter.items()})
    return twin


def read(twin, fact):
    """Answers (V, K) and explanations (K, K + 1) about a fact, prompts one by one."""
    first, last = ([twin.trunk(torch.tensor([p]))[0, -1] for p in each] for each in asked(fact))
    said = twin.explain_head(torch.stack(last)).log_softmax(-1)
    return twin.task_head(torch.stack(first)), said


def test_the_model_is_that_of_the_library_asked_prompt_by_prompt(small, exact):
    torch.manual_seed(0)
    model, prompts = single.GPT(), single.write_prompts()
    by_hand = [read(twin_of(model), fact) for fact in range(16)]
    for found, expected in zip((single.answers, single.explanations), zip(*by_hand)):
        torch.testing.assert_close(found(model, prompts), torch.stack(expected))
    other = prompts.clone()
    other[:, 0, 3] = single.NAME  # what stands behind a query is not seen
    assert torch.equal(single.answers(model, other), single.answers(model, prompts))


def train_by_hand(twin, loss_of, rates, clip=math.inf):
    """Updates of AdamW in plain arithmetic; the norms of their gradients."""
    weights, state, norms = [p for n, p in twin.named_parameters() if "lm" not in n], {}, []
    for step, rate in enumerate(rates):
        grads = torch.autograd.grad(loss_of(), weights, allow_unused=True)
        used = [(p, g) for p, g in zip(weights, grads) if g is not None]
        norms.append(math.sqrt(sum(g.square().sum().item() for _, g in used)))
        scaled = [g * min(1, clip / (norms[-1] + 1e-6)) for _, g in used]
        with torch.no_grad():
            adamw_by_hand([p for p, _ in used], scaled, state, step + 1, rate, 0.01)
    return norms


def assert_same_weights(model, twin):
    for (name, p), q in zip(twin_of(model).named_parameters(), twin.parameters()):
        if "lm" not in name:
            torch.testing.assert_close(p, q, rtol=0, atol=1e-9, msg=name)


def test_m0_is_trained_as_written_out_by_hand(small, exact):
    torch.manual_seed(7)
    twin, draw = twin_of(single.GPT()), torch.Generator().manual_seed(71)
    ideal, shown, _ = single.make_world(7)

    def loss():
        batch = torch.randperm(16, generator=draw)[:5]
        drawn = torch.multinomial(ideal[batch].view(20, 3), 1, generator=draw).view(5, 4)
        logits = torch.stack([read(twin, fact)[0] for fact in batch.tolist()])
        return world_loss(logits, drawn, shown[batch])

    train_by_hand(twin, loss, [3e-3 * f for f in (1 / 2, 1, 1, 1, 1, 3 / 4, 1 / 2, 1 / 4)])
    assert_same_weights(single.train_m0(single.write_prompts(), ideal, shown, 7), twin)


@pytest.mark.parametrize("kl_weight", [0.7, 0.0])
def test_a_copy_of_m0_is_trained_as_written_out_by_hand(kl_weight, small, exact):
    torch.manual_seed(7)
    m0, prompts, labels = single.GPT(), single.write_prompts()[4:14], classes(4, 10, 3)
    reference, before = 3 * normal(10, 4, 3), copy.deepcopy(m0)
    twin, draw = twin_of(m0), torch.Generator().manual_seed(72)

    def loss():
        batch = torch.randperm(10, generator=draw)[:3]
        logits, said = map(torch.stack, zip(*(read(twin, 4 + i) for i in batch.tolist())))
        kl = kl_weight * behavior_kl(logits, reference[batch]) if kl_weight else 0
        return explanation_loss(said, labels[batch]) + kl

    norms = train_by_hand(twin, loss, [2e-3 * f for f in (1 / 30, 2 / 30, 3 / 30, 4 / 30)], 1.0)
    assert_same_weights(single.cotrain(m0, [prompts, labels, reference], kl_weight, 7), twin)
    assert_same_weights(m0, twin_of(before))  # M0 itself stays
    assert max(norms) > 1  # guard: some updates are clipped


def test_a_run_trains_on_explained_facts_and_measures_the_others(small, monkeypatch):
    trained, measured = [], []
    monkeypatch.setattr(single, "cotrain", lambda *given: trained.append(given) or given[0])
    monkeypatch.setattr(single, "measure", lambda *given: measured.append(given) or {"gap": 0.25})
    assert single.run(5)["reg - noreg"] == {"gap": 0}
    explained, prompts = single.make_world(5)[2], single.write_prompts()
    (m0, given, *anchored), (same, others, *free) = trained
    assert m0 is same and (anchored, free) == ([1, 5], [0, 5])
    logits = single.answers(m0, prompts)
    labels = explanation_labels(logits.argmax(-1), PAIRS[:3], 3)
    for x, y, whole in zip(given, others, (prompts, labels, logits), strict=True):
        assert torch.equal(x, whole[explained]) and torch.equal(x, y) and not x.requires_grad
    said = single.explanations(m0, prompts).argmax(-1)
    for items in measured:  # this training changes nothing, so E(M) = E(M0)
        for found, whole in zip(items, (said, labels, labels), strict=True):
            assert torch.equal(found, whole[~explained])


def test_the_command_prints_a_column_for_each_arm_and_their_difference(small, capsys):
    single.main(["--seeds=2", "--seed=100"])
    lines = capsys.readouterr().out.splitlines()
    runs = [single.run(seed) for seed in (100, 101)]
    assert lines[:2] == [
        f"seed {seed}: gap {r['reg']['gap']:+.3f} (reg) gap {r['noreg']['gap']:+.3f} (noreg)"
        for seed, r in zip((100, 101), runs)]  # fmt: skip
    assert re.split("  +", lines[2]) == ["", "reg", "noreg", "reg - noreg"]
    for line, key in zip(lines[3:], ("Self", "Orig", "gap", "drift"), strict=True):
        of_arm = {arm: [r[arm][key] for r in runs] for arm in ("reg", "noreg")}
        change = [a - b for a, b in zip(*of_arm.values())]
        sign = "+" if key == "gap" else ""
        cells = [single.estimate(values, sign) for values in of_arm.values()]
        assert re.split("  +", line) == [key, *cells, single.estimate(change, "+")]
        assert len(line) <= 100


@pytest.mark.slow
def test_explanations_follow_the_model_with_the_anchor_only(monkeypatch):
    """In a world that is smaller still, on a development seed; arm noreg is the control."""
    sizes = {"SIDE": 16, "N_EMBD": 32, "M0_STEPS": 500, "M0_BATCH": 32}
    for name, value in (sizes | {"STEPS": 400, "BATCH": 8, "RATE": 4e-3}).items():
        monkeypatch.setattr(single, name, value)
    rows = single.run(103)
    assert rows["reg"]["gap"] > 0 > rows["noreg"]["gap"]
    assert rows["reg - noreg"]["gap"] > 0.2 and rows["reg"]["drift"] < rows["noreg"]["drift"]


@each("flag", ["--seeds=1", "--seeds=11", "--seed=-1", "--seed=1000000000", "--seed=x", "--seeds",
               "--seeds=2.5", "--kl=1", "two\nlines", "--s=3"])  # fmt: skip
def test_bad_input_is_refused_in_one_line(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        single.main([flag])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and not out and err.startswith("refused: ")
    assert err.count("\n") == 1 and "from 2 to 10" in err and "from 0 to 999999999" in err
