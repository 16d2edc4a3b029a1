"""Explanations in words, against a model that writes token by token and sentences as strings.

The channels that are read from a head are in test_interview.py.
"""

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import train
from introspect.channels import Heads, Verbal
from introspect.cli import parse
from introspect.config import GPTConfig
from introspect.counterfactual import explanation_labels
from introspect.fields import Refused
from introspect.interview import Interview
from introspect.losses import explanation_loss
from introspect.model import GPT
from introspect.record import read_json
from introspect.tasks.hint import Hint
from introspect.tasks.world import SENTENCES
from introspect.tokenizer import ANSWER, EXPLAIN, decode, encode, encode_words, vocab_size
from tests.tiny import TINY

HINT = Hint(n_entity=3, n_attribute=4, n_answer=3).world(0)
# pairs and answers in another order than prompts and ids, so that the one cannot stand for the other
WORLD = replace(
    HINT, pairs=HINT.pairs[::-1], questions=HINT.questions[::-1], answers=("C", "A", "B")
)
ITEMS = [(s, p) for s in range(12) for p in range(3)]
ALL = torch.arange(12)
SAID = [f"would change to {a}" for a in "CAB"] + [f"would stay {a}" for a in "CAB"]  # by class


def question(subject, pair):
    return WORLD.text(subject, WORLD.pairs[pair][0]) + EXPLAIN


def hidden(model, text):
    """(T, C) residual stream at every token of a text."""
    return model.trunk(torch.tensor([encode(text)]))[0]


@torch.no_grad()
def gpt(seed):
    """A model that says sentences of all kinds, and as often something else.

    Each row of its language-model head points to where the residual stream is in the mean, as far
    as it differs from elsewhere, where its word is due, and by chance to somewhere else.
    """
    cfg = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8)
    model = GPT(cfg, vocab_size(), n_answer=3, n_explanation=4, seed=seed).double()
    g = torch.Generator().manual_seed(seed)
    asked = [" ".join([question(s, p), *words]) for s, p in ITEMS for words in SENTENCES]
    read = torch.stack([hidden(model, text)[-1] for text in asked]).view(len(ITEMS), 5, 16)
    places = F.normalize(read.mean(0) - read.mean((0, 1)), dim=-1)  # (5, 16)
    due = {"would": [0], "change": [1], "to": [2], "stay": [1], **dict.fromkeys("ABC", [3, 4])}
    astray = {"zorp": [0, 2], "yes": [1], "D": [3, 4]}
    model.lm_head.weight.zero_()
    for word, at in (due | astray).items():
        by_chance = torch.randn(16, generator=g, dtype=torch.float64)
        row = places[at].sum(0) + 0.4 * by_chance
        model.lm_head.weight[encode_words([word]).item()] = row
    return model


MODELS = [gpt(seed) for seed in range(5)]


@torch.no_grad()
def written(model, text):
    """What the model writes behind a text: the likeliest token each time, up to an answer, at most
    four tokens."""
    ids, n = encode(text), len(encode(text))
    while len(ids) < n + 4 and decode(ids[n:]).split(" ")[-1] not in WORLD.answers:
        ids.append(model.lm_head(model.trunk(torch.tensor([ids]))[0, -1]).argmax().item())
    return decode(ids[n:])


WRITTEN = [[written(model, question(*item)) for item in ITEMS] for model in MODELS]


@pytest.mark.parametrize("model, expected", zip(MODELS, WRITTEN), ids=range(5))
def test_what_is_said_is_what_the_model_writes_token_by_token(model, expected):
    asked = Interview(WORLD, "verbal")
    _, said = asked.everything(model)
    found = [asked.channel.words(said[item].item()) for item in ITEMS]
    assert found == [text if text in SAID else "no sentence" for text in expected]


def test_sentences_of_all_kinds_are_written_and_everything_that_is_nearly_one():
    """Guards the test above: it would also pass if only one thing were ever said."""
    counts = Counter(text for texts in WRITTEN for text in texts)
    assert all(counts[text] for text in SAID)
    others = [text.split() for text in counts if text not in SAID]
    nearly = {
        "another first word": [w for w in others if w[0] != "would"],
        "and then as due": [w for w in others if w[0] != "would" and w[1] in ("change", "stay")],
        "another second word": [w for w in others if w[0] == "would" and w[1] not in SAID[0] + "stay"],
        "another third word": [w for w in others if w[:2] == ["would", "change"] and w[2] != "to"],
        "another answer": [w for w in others if w[:3] == ["would", "change", "to"]],
        "another answer that stays": [w for w in others if w[:2] == ["would", "stay"]],
    }
    assert all(nearly.values()), nearly
