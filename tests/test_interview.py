"""How a model is asked: packed and through ids, against its readable prompts one at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from introspect import interview as module
from introspect.config import GPTConfig
from introspect.interview import Interview
from introspect.model import GPT
from introspect.tasks.hint import Hint
from introspect.tokenizer import ANSWER, EXPLAIN, encode, encode_words, vocab_size

HINT = Hint(n_entity=3, n_attribute=4, n_answer=3).world(0)
# the pairs in another order than the prompts, so that the one cannot stand for the other
WORLD = replace(HINT, pairs=HINT.pairs[::-1], questions=HINT.questions[::-1])
CHANNELS = ("head", "tied", "same", "probe")
SUBJECTS = torch.tensor([5, 0, 11])


def gpt(seed=0):
    cfg = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8)
    model = GPT(cfg, vocab_size(), n_answer=3, n_explanation=4, seed=seed).double()
    torch.nn.init.normal_(model.task_head.bias, generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(model.explain_head.bias, generator=torch.Generator().manual_seed(2))
    return model


def alone(model, text):
    """(C,) residual stream at the last token of one text."""
    return model.trunk(torch.tensor([encode(text)]))[0, -1]


def explained_alone(model, channel, subject, variant):
    text = WORLD.text(subject, variant)
    x = alone(model, text + (ANSWER if channel == "same" else EXPLAIN))
    said = model.explain_head(x)
    if channel == "tied":
        said = torch.cat([model.task_head(x), said[-1:]])
    return said.log_softmax(-1)


@pytest.mark.parametrize("channel", CHANNELS)
def test_packed_answers_and_explanations_equal_those_of_each_prompt_alone(channel):
    model, asked = gpt(), Interview(WORLD, channel)
    answers = [[model.task_head(alone(model, WORLD.text(s, v) + ANSWER)) for v in range(4)]
               for s in SUBJECTS]
    answers = torch.stack([torch.stack(row) for row in answers])
    explanations = [[explained_alone(model, channel, s, x) for x, _ in WORLD.pairs]
                    for s in SUBJECTS]
    explanations = torch.stack([torch.stack(row) for row in explanations])
    for found in (asked.answers(model, SUBJECTS), asked.both(model, SUBJECTS)[0]):
        torch.testing.assert_close(found, answers, rtol=0, atol=1e-12)
    for found in (asked.explanations(model, SUBJECTS), asked.both(model, SUBJECTS)[1]):
        torch.testing.assert_close(found, explanations, rtol=0, atol=1e-12)


def test_channels_subjects_and_variants_differ():
    """Guards the test above: it would also pass if everything were alike."""
    model = gpt()
    answers = Interview(WORLD).answers(model, SUBJECTS)
    said = torch.stack([Interview(WORLD, c).explanations(model, SUBJECTS) for c in CHANNELS[:3]])
    alike = [answers, answers.transpose(0, 1), said, said.transpose(0, 1), said.transpose(0, 2)]
    for several in alike:
        assert (several[1:] - several[:-1]).abs().flatten(1).amax(1).min() > 1e-3


def disturbed(channel, token):
    """How far answers and explanations move when `token` is embedded otherwise, wherever it is."""
    model, asked = gpt(), Interview(WORLD, channel)
    before = asked.both(model, SUBJECTS)
    with torch.no_grad():
        model.token.weight[encode_words([token]).item()] *= -1
    after = asked.both(model, SUBJECTS)
    return [(a - b).abs().amax().item() for a, b in zip(after, before)]


@pytest.mark.parametrize("channel", ["head", "tied", "probe"])
def test_an_explanation_never_sees_the_answer_token_nor_an_answer_the_explanation(channel):
    answers, explanations = disturbed(channel, ANSWER)
    assert answers > 1e-3 and explanations == 0
    answers, explanations = disturbed(channel, EXPLAIN)
    assert answers == 0 and explanations > 1e-3


def test_on_channel_same_explanations_are_read_where_the_answer_is():
    assert min(disturbed("same", ANSWER)) > 1e-3
    assert disturbed("same", EXPLAIN) == [0, 0]


def test_an_explanation_sees_its_own_cue_only():
    model, asked = gpt(), Interview(WORLD)
    before = asked.explanations(model, SUBJECTS)
    with torch.no_grad():
        model.token.weight[encode_words(["hint:B"]).item()] *= -1
    moved = (asked.explanations(model, SUBJECTS) - before).abs().amax((0, 2))
    assert moved[1] > 1e-3 and moved[0] == moved[2] == 0  # of hints C, B, A


def gradients(channel, part):
    """The parameters that get a gradient, from `both` as from the part alone: 0 answers, 1 says."""
    model, asked, found = gpt(), Interview(WORLD, channel), []
    one = (asked.answers, asked.explanations)[part]
    for said in (asked.both(model, SUBJECTS)[part], one(model, SUBJECTS)):
        model.zero_grad(set_to_none=True)
        said.square().sum().backward()
        reached = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()]
        found.append(set(reached))
    assert found[0] == found[1]
    return found[0]


def test_a_probe_leaves_no_gradient_in_the_trunk_where_other_channels_do():
    heads = {"explain_head.weight", "explain_head.bias"}
    task_head = {"task_head.weight", "task_head.bias"}
    trunk = {n for n, _ in gpt().named_parameters() if "head" not in n}
    assert gradients("probe", 1) == heads
    assert gradients("head", 1) == gradients("same", 1) == heads | trunk
    assert gradients("tied", 1) == heads | task_head | trunk
    assert gradients("verbal", 1) == {"lm_head.weight"} | trunk
    assert all(gradients(channel, 0) == task_head | trunk for channel in CHANNELS)


def test_on_channel_tied_only_would_stay_has_a_row_of_its_own():
    model, asked = gpt(), Interview(WORLD, "tied")
    heads = model.task_head.weight, model.explain_head.weight
    said = asked.explanations(model, SUBJECTS)
    for one, other, used in ((0, 1, "110 0000"), (2, 1, "011 0000"), (0, 3, "100 0001")):
        total = (said[..., one] - said[..., other]).square().sum()  # free of what normalizes them
        task, explain = torch.autograd.grad(total, heads, retain_graph=True)
        rows = [(grad != 0).any(1).int().tolist() for grad in (task, explain)]
        assert " ".join("".join(map(str, row)) for row in rows) == used


@pytest.mark.parametrize("channel", CHANNELS)
def test_everything_is_both_for_all_subjects_whatever_the_chunk(channel, monkeypatch):
    model, asked = gpt(), Interview(WORLD, channel)
    for head in (model.explain_head, model.task_head):
        head.weight.data *= 50  # so that classes differ between subjects
    answers, said = asked.both(model, torch.arange(12))
    monkeypatch.setattr(module, "CHUNK", 5)  # 12 = 5 + 5 + 2
    found, spoken = asked.ask_all(model)
    assert not found.requires_grad
    torch.testing.assert_close(found, answers.detach(), rtol=0, atol=1e-12)
    assert torch.equal(spoken, said.argmax(-1)) and len(spoken.unique()) > 1


def test_an_interview_knows_its_sizes():
    asked = Interview(WORLD)
    assert (asked.n_subject, asked.n_variant) == (12, 4)
    assert asked.with_cue.tolist() == [3, 2, 1] == list(np.array(WORLD.pairs)[:, 0])
