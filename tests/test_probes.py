"""Linear probes: closed form against numpy, data that a line can and cannot tell, built worlds."""

import numpy as np
import pytest
import torch

from introspect.analysis import probes
from introspect.analysis.probes import activations, judge, probe, ridge, where_known
from introspect.config import GPTConfig
from introspect.interview import Interview, RunTask
from introspect.metrics import majority_share
from introspect.model import GPT
from introspect.tasks.hint import Hint
from introspect.tasks.rules import Rules
from introspect.tasks.world import with_cues
from introspect.tokenizer import ANSWER, encode, encode_words, names, vocab_size

HINT = Hint(n_entity=6, n_attribute=8, n_answer=3).world(0)


def gpt(n_answer=3, n_layer=2, n_embd=16):
    cfg = GPTConfig(n_layer=n_layer, n_head=2, n_embd=n_embd, block_size=16)
    model = GPT(cfg, vocab_size(), n_answer, n_answer + 1).double()
    model.task_head.weight.data *= 50
    return model.eval().requires_grad_(False)


def part_of(world=HINT, explained=True, among=None):
    return RunTask("a task", world, Interview(world, head_answers=among), explained, False)


def data(n=40, d=5, k=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(n, d, generator=draw, dtype=torch.float64) + 7
    return x, torch.randn(n, k, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("strength", [1e-9, 0.01, 2.0])
def test_ridge_is_least_squares_with_rows_for_the_penalty(strength):
    x, y = data()
    weights, bias = ridge(x, y, strength)
    X = x.numpy()
    a = strength * len(X) * X.var(0).mean()
    rows = np.concatenate([np.c_[X, np.ones(40)], np.c_[np.sqrt(a) * np.eye(5), np.zeros(5)]])
    solved = np.linalg.lstsq(rows, np.r_[y.numpy(), np.zeros((5, 3))], rcond=None)[0]
    np.testing.assert_allclose(np.r_[weights.numpy(), bias.numpy()[None]], solved, atol=1e-9)


def test_neither_the_scale_of_the_data_nor_their_number_matters():
    x, y = data()
    weights, bias = ridge(x, y)
    twice = ridge(torch.cat([x, x]), torch.cat([y, y]))
    for other, times in ((ridge(100 * x, y), 100), (twice, 1)):
        torch.testing.assert_close(other[0] * times, weights, rtol=0, atol=1e-12)
        torch.testing.assert_close(other[1], bias, rtol=0, atol=1e-12)


def test_more_columns_than_rows_and_none_that_vary():
    x, y = data(n=8, d=30)
    weights, bias = ridge(x, y, 1e-9)
    torch.testing.assert_close(x @ weights + bias, y, rtol=0, atol=1e-5)
    weights, bias = ridge(torch.full((8, 4), 7.0).double(), y)
    assert weights.shape == (4, 3) and not weights.any()
    torch.testing.assert_close(bias, y.mean(0))


def halves(n):
    return torch.arange(n).chunk(2)


def test_linear_data_are_told_and_shuffled_ones_are_not():
    x, _ = data(n=2000)
    kinds = (x[:, 0] > 8).long() + (x[:, 0] > 5)  # three stretches of a line
    onehot = torch.nn.functional.one_hot(kinds, 3).double() @ data(n=3, d=4, seed=2)[0] + 5
    told = judge(onehot, kinds, *halves(2000), 3)
    assert told.accuracy == 1 and told.majority == majority_share(kinds[1000:]) < 0.5
    shuffled = kinds[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    told = judge(onehot, shuffled, *halves(2000), 3)
    assert abs(told.accuracy - told.majority) < 0.05


def test_it_is_fitted_on_one_side_and_judged_on_the_other():
    x = torch.eye(2).repeat(10, 1).double()  # two kinds in turn, opposite answers on the two sides
    answers = torch.tensor([0, 1] * 5 + [1, 0] * 5)
    train, held_out = halves(20)
    assert judge(x, answers, train, held_out, 2) == (0, 0.5)
    assert judge(x, answers, held_out, held_out, 2) == (1, 0.5)
    assert judge(x, answers, train, torch.arange(8, 12), 2) == (0.5, 0.5)
    assert judge(x, torch.tensor([0, 1] * 5 + [2] * 10), train, held_out, 3) == (0, 1)


@pytest.mark.parametrize("point", ["embed", "blocks.0.mlp.down",
                                   "blocks.1.resid"])
@pytest.mark.parametrize("tokens, rows", [("subject", [0, 1]), ("last", [1]), ("query", [2])])
def test_activations_are_those_of_each_prompt_without_the_cue(monkeypatch, point, tokens, rows):
    monkeypatch.setattr(probes, "CHUNK", 10)
    model = gpt()
    found, answers = activations(model, part_of(), point, tokens)
    assert found.dtype == torch.float64 and len(found) == len(answers) == 48
    for subject in (0, 9, 10, 47):
        kept = []
        with model.hooked(point, kept.append):
            hidden = model.trunk(torch.tensor([encode(HINT.text(subject, 0) + ANSWER)]))[0, -1]
        expected = torch.cat([kept[0][0, i] for i in rows])
        torch.testing.assert_close(found[subject], expected, rtol=0, atol=1e-12)
        assert answers[subject] == model.task_head(hidden).argmax()
    assert len(answers.unique()) > 1
    assert not activations(model.requires_grad_(True), part_of(), point, tokens)[0].requires_grad
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_answers_are_those_of_the_interview_and_of_its_own_task():
    among = ("yes", "C", "A", "no", "B")
    model = gpt(n_answer=5)
    for part, variant in (
        (part_of(among=among), 0), (part_of(Rules(n_first=4, n_second=5, n_input=2).world(0)), 1)
    ):
        if part.interview.columns is None:
            model = gpt(n_answer=2)
        _, answers = activations(model, part, "embed", "last")
        logits, _ = part.interview.ask_all(model)
        assert torch.equal(answers, logits[:, variant].argmax(-1))


def test_a_probe_takes_the_explained_subjects_to_fit_and_the_others_to_judge():
    model, part = gpt(), part_of()
    x, answers = activations(model, part, "blocks.0.resid", "last")
    sides = [torch.from_numpy(HINT.subjects(split)) for split in ("train", "held_out")]
    assert probe(model, part, "blocks.0.resid", "last") == judge(x, answers, *sides, 3)
    assert judge(x, answers, *sides, 3) != judge(x, answers, *sides[::-1], 3)


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="tokens must be one of .* got 'cue'"):
        activations(gpt(), part_of(), "embed", "cue")
    with pytest.raises(ValueError, match="a task: a probe needs explained"):
        probe(gpt(), part_of(explained=False), "embed", "last")


def table(words):
    """A world of subjects of these words, (N, W), two cues, four answers."""
    N = len(words)
    uniform = np.full((N, 3, 4), 1 / 4)
    explained = np.arange(N) % 2 == 0
    return with_cues(words, ["light", "dark"], "ABCD", uniform, np.full((N, 3), 1 / 3), explained)


def reader(words, facts, at):
    """A model whose answer is a fact of the subject, in a row of the embedding or over a pair.

    Without norms, every token looks evenly at all up to itself. The fact of a pair is fetched by
    the neuron of that pair, behind the first attention.
    """
    vocabulary = list(dict.fromkeys(words.flatten()))
    C = 2 * len(vocabulary)
    cfg = GPTConfig(n_layer=2, n_head=1, n_embd=C, block_size=8)
    model = GPT(cfg, vocab_size(), 4, 5).double().requires_grad_(False)
    for p in model.parameters():
        p.zero_()
    model.norm = torch.nn.Identity()
    for block in model.blocks:
        block.norm_1 = block.norm_2 = torch.nn.Identity()
        block.attn.proj.weight[:] = torch.eye(C)
    first, last = model.blocks
    ids = encode_words(vocabulary)
    if at == "embedding":
        model.token.weight[ids, torch.from_numpy(facts)] = 1.0
        last.attn.qkv.weight[2 * C :] = torch.eye(C)
        model.task_head.weight[:, :4] = torch.eye(4)
        return model
    own = 4 + torch.arange(len(vocabulary))  # channels of the names
    model.token.weight[ids, own] = 2.0
    model.position.weight[1, -1] = 1.0  # the second name, which after looking holds a + 3 b
    first.attn.qkv.weight[2 * C :] = torch.eye(C)
    first.mlp.up.weight[: len(words), own[0] : own[-1] + 1] = -345 / 4
    first.mlp.up.weight[: len(words), -1] = 200.0
    for i, (a, b) in enumerate(words):  # 15 at this pair's second name, -15 and less elsewhere
        first.mlp.up.weight[i, own[vocabulary.index(a)]] += 30.0
        first.mlp.up.weight[i, own[vocabulary.index(b)]] += 10.0
        first.mlp.down.weight[facts[i], i] = 1.0
    last.attn.qkv.weight[2 * C : 2 * C + 4, :4] = torch.eye(4)
    model.task_head.weight[:, :4] = torch.eye(4)
    return model


def test_a_fact_in_an_embedding_of_its_own_is_known_from_the_start():
    words = np.array(names()[:48])[:, None]
    facts = np.random.default_rng(0).integers(4, size=48)
    model, part = reader(words, facts, "embedding"), part_of(table(words))
    found = probe(model, part, "embed", "subject")
    assert found.accuracy == 1 and found.majority < 0.5
    assert found == probe(model, part, "embed", "last")  # a subject of one token
    known = where_known(model, part)
    assert list(known) == [
        "embed subject", "blocks.0.resid last", "blocks.0.resid query", "blocks.1.resid query"]
    assert known["embed subject"] == 1 - found.majority == known["blocks.1.resid query"]
    assert known["blocks.0.resid query"] <= 0  # the query has not looked yet


def test_a_fact_of_a_pair_is_known_only_behind_what_brings_the_names_together():
    words = np.array([(a, b) for a in names()[:8] for b in names()[256:264]])
    facts = np.random.default_rng(1).integers(4, size=64)
    model, part = reader(words, facts, "pair"), part_of(table(words))
    answers = activations(model, part, "embed", "subject")[1]
    assert (answers.numpy() == facts).all()
    known = where_known(model, part)
    assert abs(known["embed subject"]) < 0.2
    share = majority_share(answers[1::2])
    assert known["blocks.0.resid last"] == known["blocks.1.resid query"] == 1 - share > 0.5
    assert known["blocks.0.resid query"] <= 0


def test_where_known_is_deterministic():
    model, part = gpt(), part_of()
    assert where_known(model, part) == where_known(model, part)
