"""Explanations in words, against a model that writes token by token and sentences as strings.

The channels that are read from a head are in test_interview.py.
"""

from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch
import torch.nn.functional as F

import train
from introspect.channels import Heads, LogTotal, Verbal
from introspect.config import GPTConfig
from introspect.fields import Refused
from introspect.interview import Interview
from introspect.labels import explanation_labels
from introspect.losses import explanation_loss
from introspect.model import GPT
from introspect.reading import read_json, read_lines
from introspect.runs.cli import parse
from introspect.tasks.hint import Hint
from introspect.tasks.world import SENTENCES
from introspect.tokenizer import (
    ANSWER,
    EXPLAIN,
    decode,
    encode,
    encode_words,
    vocab_size,
)
from tests.tiny import TINY, run_folder

HINT = Hint(n_entity=3, n_attribute=4, n_answer=3).world(0)
# pairs and answers in another order than prompts and ids, so that one cannot stand for the other
WORLD = replace(
    HINT, pairs=HINT.pairs[::-1], questions=HINT.questions[::-1], answers=("C", "A", "B")
)
ITEMS = [(s, p) for s in range(12) for p in range(3)]
EVERYONE = torch.arange(12)
SAID = [f"would change to {a}" for a in "CAB"] + [f"would stay {a}" for a in "CAB"]  # by class


def question(subject, pair):
    return WORLD.text(subject, WORLD.pairs[pair][0]) + EXPLAIN


def hidden(model, texts):
    """(n, T, C) residual stream at every token of texts of one length, each by itself."""
    return model.trunk(torch.tensor([encode(text) for text in texts]))


def behind(model):
    """(36, 5, C) residual stream where a token of some sentence is due, behind each question."""
    asked = [[" ".join([question(*item), *words]) for item in ITEMS] for words in SENTENCES]
    return torch.stack([hidden(model, texts)[:, -1] for texts in asked], dim=1)


# the likeliest token where each is due, a row an item: every sentence, and every way to miss one
DUE = list(product(("would", "zorp"), ("change", "stay", "to"), ("to", "would"), "CABD", "CABD"))


@torch.no_grad()
def gpt(number):
    """A model to whose questions the tokens of 36 rows of DUE are the likeliest, by the choice of
    its language-model head, which is otherwise random."""
    cfg = GPTConfig(n_layer=2, n_head=2, n_embd=192, block_size=8)  # wider than 36 x 5
    model = GPT(cfg, vocab_size(), n_answer=3, n_explanation=4, seed=number).double()
    due = [DUE[(number * len(ITEMS) + i) % len(DUE)] for i in range(len(ITEMS))]
    wanted = F.one_hot(torch.from_numpy(encode_words(due)), vocab_size()).double()
    by_chance = 0.02 * torch.randn(wanted.shape, generator=torch.Generator().manual_seed(number))
    rows = torch.linalg.lstsq(behind(model).flatten(0, 1), (8 * wanted + by_chance).flatten(0, 1))
    model.lm_head.weight.copy_(rows.solution.T)
    return model


MODELS = [gpt(number) for number in range(6)]


@cache
@torch.no_grad()
def written(model, text):
    """What the model writes behind a text: the likeliest token each time, up to an answer, at most
    four tokens."""
    ids, n = encode(text), len(encode(text))
    while len(ids) < n + 4 and decode(ids[n:]).split(" ")[-1] not in WORLD.answers:
        ids.append(model.lm_head(model.trunk(torch.tensor([ids]))[0, -1]).argmax().item())
    return decode(ids[n:])


@pytest.mark.parametrize("model", MODELS, ids=range(6))
def test_what_is_said_is_what_the_model_writes_token_by_token(model):
    asked = Interview(WORLD, "verbal")
    _, said = asked.ask_all(model)
    found = [asked.channel.words(said[item].item()) for item in ITEMS]
    texts = [written(model, question(*item)) for item in ITEMS]
    assert found == [text if text in SAID else "no sentence" for text in texts]


def test_the_models_say_every_sentence_and_miss_one_in_every_way():
    """Guards the test above: it would also pass if only one thing were ever said."""
    likeliest = torch.cat([model.lm_head(behind(model)).argmax(-1) for model in MODELS])
    assert {tuple(decode([i]) for i in row) for row in likeliest.tolist()} == set(DUE)
    texts = {written(model, question(*item)) for model in MODELS for item in ITEMS}
    assert set(SAID) < texts and len(texts - set(SAID)) >= 10


@pytest.mark.parametrize("model", MODELS[:2], ids=range(2))
def test_log_probs_are_sums_over_the_tokens_of_each_sentence_in_a_sequence_of_its_own(model):
    asked, expected = Interview(WORLD, "verbal"), []
    for sentence in SAID:
        ids = encode(sentence)
        read = hidden(model, [f"{question(*item)} {sentence}" for item in ITEMS])  # (36, T, C)
        log_p = model.lm_head(read[:, -1 - len(ids) : -1]).log_softmax(-1)
        expected.append(sum(log_p[:, i, token] for i, token in enumerate(ids)))
    expected = torch.stack(expected, dim=-1).view(12, 3, 6)
    for found in (asked.explanations(model, EVERYONE), asked.both(model, EVERYONE)[1]):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    total = expected.exp().sum(-1)  # of events of which one at most happens
    assert total.max() < 1 and (expected.std((0, 1)) > 1e-2).all()


@pytest.mark.parametrize("model", MODELS[:2], ids=range(2))
def test_the_loss_of_a_sentence_is_the_sum_of_the_cross_entropies_of_its_tokens(model):
    asked, losses = Interview(WORLD, "verbal"), []
    labels = torch.randint(6, (12, 3), generator=torch.Generator().manual_seed(0))
    for item in ITEMS:
        sentence = SAID[labels[item]]
        ids = torch.tensor(encode(sentence))
        (read,) = hidden(model, [f"{question(*item)} {sentence}"])
        logits = model.lm_head(read[-1 - len(ids) : -1])
        losses.append(F.cross_entropy(logits, ids, reduction="sum"))
    found = explanation_loss(asked.explanations(model, EVERYONE), labels)
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=0, atol=1e-9)


def test_log_probs_and_gradients_are_those_of_one_softmax_over_the_whole_vocabulary():
    found, verbal = [], Verbal(WORLD, "cpu")
    model = MODELS[0]
    read = behind(model).detach().unflatten(0, (12, 3))
    labels = torch.randint(6, (12, 3), generator=torch.Generator().manual_seed(0))

    def plain(hidden):
        p = model.lm_head(hidden).log_softmax(-1)
        tokens = [encode_words(said.split()) for said in SAID]
        at = {4: (0, 1, 2, 3), 3: (0, 1, 4)}  # the places of a sentence's words
        summed = [sum(p[:, :, i, t] for i, t in zip(at[len(ids)], ids)) for ids in tokens]
        return torch.stack(summed, dim=-1)

    for log_probs in (plain, lambda hidden: verbal.log_probs(model, hidden)):
        hidden = read.clone().requires_grad_()
        said = log_probs(hidden)
        loss = explanation_loss(said, labels)
        found.append((said, *torch.autograd.grad(loss, (hidden, model.lm_head.weight))))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    rows = found[0][2].abs().amax(1)
    assert rows.min() > 0 and rows.max() > 1e-3  # every word of the vocabulary has a gradient


def test_a_total_is_finite_where_a_sum_of_exponentials_is_not():
    x, weight = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1000.0], [999.0], [0.0]])
    expected = (x @ weight.T).logsumexp(-1, keepdim=True)
    assert torch.equal(LogTotal.apply(x, weight), expected) and expected.isfinite().all()


def test_a_change_is_as_probable_as_all_sentences_that_say_so():
    asked = Interview(WORLD, "verbal")
    log_probs = asked.explanations(MODELS[0], EVERYONE)
    expected = sum(log_probs[..., SAID.index(text)].exp() for text in SAID if "change" in text)
    torch.testing.assert_close(asked.channel.p_change(log_probs), expected, rtol=0, atol=1e-12)
    heads = Interview(WORLD)
    log_probs = heads.explanations(MODELS[0], EVERYONE)
    expected = log_probs[..., :3].exp().sum(-1)
    torch.testing.assert_close(heads.channel.p_change(log_probs), expected, rtol=0, atol=1e-12)


def test_classes_are_those_of_the_sentences_that_are_true_of_the_answers():
    answers = torch.randint(3, (12, 4), generator=torch.Generator().manual_seed(0))
    pairs = torch.tensor(WORLD.pairs)
    labels, with_cue = explanation_labels(answers, pairs, 3), answers[:, pairs[:, 0]]
    verbal, head = Verbal(WORLD, "cpu"), Heads("head", WORLD, None)
    classes = {channel: channel.classes(labels, with_cue) for channel in (verbal, head)}
    seen = set()
    for s, p in ITEMS:
        x, y = (WORLD.answers[answers[s, v]] for v in WORLD.pairs[p])
        sentence = f"would stay {x}" if x == y else f"would change to {y}"
        assert verbal.words(classes[verbal][s, p].item()) == sentence
        assert head.words(classes[head][s, p].item()) == ("would stay" if x == y else sentence)
        seen.add(sentence)
    assert seen == set(SAID)


def test_a_wrong_label_that_says_stay_names_the_answer_with_the_cue():
    labels, with_cue = torch.tensor([[3, 3], [1, 0]]), torch.tensor([[2, 0], [2, 1]])
    verbal = Verbal(WORLD, "cpu")
    said = [[verbal.words(k) for k in row] for row in verbal.classes(labels, with_cue).tolist()]
    assert said == [["would stay B", "would stay C"], ["would change to A", "would change to C"]]


def disturbed(words):
    """How far answers and explanations move when these words are embedded otherwise."""
    model, asked = gpt(0), Interview(WORLD, "verbal")
    before = asked.both(model, EVERYONE)
    with torch.no_grad():
        model.token.weight[encode_words(words)] *= -1
    after = asked.both(model, EVERYONE)
    return [(a - b).abs().amax().item() for a, b in zip(after, before)]


def test_a_sentence_never_sees_the_answer_token_nor_an_answer_the_sentence():
    answers, explanations = disturbed([ANSWER])
    assert answers > 1e-3 and explanations == 0
    for words in ([EXPLAIN], ["would"], ["change"], ["to"], ["stay"]):
        answers, explanations = disturbed(words)
        assert answers == 0 and explanations > 1e-3


def test_a_sentence_is_not_asked_for_behind_its_last_word():
    assert disturbed(["A", "B", "C"]) == [0, 0]


def test_a_sentence_needs_room_behind_the_longest_question():
    flags = ["anchor/reg", "--channel=verbal"]  # zorp blick hint:B<|explain|> would change to
    parse([*flags, "--block_size=7"])
    with pytest.raises(Refused, match="--block_size=6: task hint has prompts of 7 tokens"):
        parse([*flags, "--block_size=6"])
    parse(["anchor/reg", "--channel=head", "--block_size=4"])


def test_a_run_on_channel_verbal_learns_to_say_sentences(tmp_path):
    flags = ["--channel=verbal", "--max_steps=20", "--eval_interval=20", "--learning_rate=0.01"]
    assert train.main(["anchor/reg", *TINY, *flags, f"--out_dir={tmp_path}"]) == 0
    out = run_folder(tmp_path)
    first, last = read_lines(out / "metrics.jsonl", {})
    assert first["self"] == first["orig"] == 0 < min(last["self"], last["orig"])
    examples = read_json(out / "examples.json", {})["examples"]
    sentences = {f"would change to {a}" for a in "ABCD"} | {f"would stay {a}" for a in "ABCD"}
    assert {e["says"] for e in examples} & sentences
    for e in examples:
        now, without = e["now_with_cue"], e["now_without_cue"]
        true = f"would stay {now}" if now == without else f"would change to {without}"
        assert (e["says"] == true) == (e["side"] in ("now", "both"))
