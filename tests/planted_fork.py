"""A model whose fork is known, for tests: block 0 recalls a fact, block 1 hands out two copies."""

import torch
from torch import nn

from introspect.config import GPTConfig, LabelConfig
from introspect.interview import Interview, RunTask
from introspect.labels import freeze
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.tasks.hint import Hint
from introspect.tokenizer import encode_words, vocab_size

WORLD = Hint(n_entity=5, n_attribute=5).world(0)
TASK = RunTask("hint", WORLD, Interview(WORLD), explained=True, taught=False)
C, K = 40, 4
FACT, ANSWER, COPY, CUE, SEEN = (torch.arange(4 * i, 4 * i + K) for i in range(5))  # channels
STAY, PLACE, NAMES = 20, 21, 22
SCALE = 60.0  # of the answers' logits


def planted(facts=None):
    """Without norms, every token looks evenly at all up to itself.

    Block 0 has a neuron for every subject, which puts its fact at its second name. Block 1 brings
    it to the queries twice: the answer reads one copy, the explanation the other. The answer is the
    hint, or without one the fact, and every explanation is true.
    """
    facts = torch.arange(25) % K if facts is None else facts
    cfg = GPTConfig(n_layer=2, n_head=1, n_embd=C, block_size=8)
    model = GPT(cfg, vocab_size(), K, K + 1).double().requires_grad_(False)
    for p in model.parameters():
        p.zero_()
    model.norm = nn.Identity()
    for block in model.blocks:
        block.norm_1 = block.norm_2 = nn.Identity()
        block.attn.proj.weight[:] = torch.eye(C)
    first, last = model.blocks
    recall, write = nn.Linear(4 * C, K, bias=False), nn.Linear(K, C, bias=False)
    recall.weight.data.zero_(), write.weight.data.zero_()
    write.weight.data[FACT] = torch.eye(K)
    first.mlp.down = nn.Sequential(recall, write).double().requires_grad_(False)
    words = list(dict.fromkeys(WORLD.slots[:, :2].flatten()))
    model.token.weight[encode_words(words), NAMES + torch.arange(10)] = 2.0
    model.position.weight[1, PLACE] = 1.0
    for k, letter in enumerate("ABCD"):
        hint = encode_words([f"hint:{letter}"])[0]
        model.token.weight[hint, CUE[k]] = 1.0
        model.token.weight[hint, STAY] = 0.25
    first.attn.qkv.weight[2 * C + NAMES : 3 * C, NAMES:] = torch.eye(C - NAMES)
    first.attn.qkv.weight[2 * C + PLACE, PLACE] = 1.0
    first.mlp.up.weight[:25, NAMES : NAMES + 10] = -345 / 4
    first.mlp.up.weight[:25, PLACE] = 200.0
    for i, (a, b) in enumerate(WORLD.slots[:, :2]):  # 15 at this pair's second name, else below 0
        first.mlp.up.weight[i, NAMES + words.index(a)] += 30.0
        first.mlp.up.weight[i, NAMES + words.index(b)] += 10.0
        recall.weight[facts[i], i] = 1 / 15
    value = last.attn.qkv.weight[2 * C :]
    for copied in (ANSWER, COPY):
        value[copied, FACT] = 1.0
    value[CUE, CUE] = value[SEEN, CUE] = 1.0  # the cue in two copies as well
    value[STAY, STAY] = 1.0
    last.mlp.up.weight.normal_(generator=torch.Generator().manual_seed(0))
    k = torch.arange(K)
    model.task_head.weight[k, ANSWER] = SCALE
    model.task_head.weight[k, CUE] = 2 * SCALE
    model.explain_head.weight[k, COPY] = 2.0
    model.explain_head.weight[k, SEEN] = -2.0
    model.explain_head.weight[K, STAY] = 1.0
    return model


def parts(model):
    """Weights that an edit may move: the recall, before the fork, or what comes behind it."""
    first, last = model.blocks
    return {"recall": first.mlp.down[0], "late": last.mlp.down, "head": model.task_head}


def look(model, task=TASK):
    """The snapshot of a model that is its own M0, and its frozen labels."""
    reference = task.interview.ask_all(model)[0]
    frozen = freeze(reference, reference, task.world, LabelConfig(), 0)
    return Snapshot(model, task, frozen), frozen
