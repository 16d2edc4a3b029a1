"""A finished run as two GPT-2s in the files of Hugging Face, so that other tools open them.

    python eval.py export DIR --to=gpt2 OUT

    OUT/answers         next-token logits after ...<|answer|>: those of the answers, at their words
    OUT/explanations    after ...<|explain|> (in channel same, <|answer|>): of "would change to B"
                        at the word B, of "would stay" at the word stay; in channel verbal, of every
                        word, to say the sentence

    C = n_embd   K classes   n (C,) a vector that LayerNorm made: its mean over channels is 0

Our trunk is a GPT-2 (Radford et al. 2019, as `transformers` has it) with the exact GELU and without
biases, so theirs are 0; adapters are merged into the matrices that they adapt. Their LM head has no
bias, and ours is w_k (g n) + b_k with g the weight of the last norm. The last norm of the export
has weight 1 and bias 1, so what is read is n + 1, and row k of the head is

    v_k - mean(v_k) + b_k / C,   v_k = w_k g,   whose product with n + 1 is w_k (g n) + b_k,

up to rounding, since n and v_k - mean(v_k) have mean 0. The row of a word that is no class is
OTHER / C throughout: its logit is OTHER, and softmax over all words is softmax over the classes.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from introspect.adapters import LowRank
from introspect.analysis.bench_peers import THEIRS
from introspect.analysis.formats import safetensors, tokenizer_json
from introspect.fields import Refused
from introspect.files import name_aside, remove, remove_leftovers, write_bytes
from introspect.model import GPT
from introspect.runs.load import Loaded
from introspect.tasks.registry import joint_answers
from introspect.tokenizer import ANSWER, EXPLAIN, encode_words

OTHER = -1e4  # logit of a word that is no class: our choice, finite in half precision too
STAY = "stay"  # the word of "would stay"


class Head(NamedTuple):
    """What one of the exported models says, and where it is read."""

    query: str  # the token at which it is read
    classes: dict[str, int]  # the token of each class, in order; none: every word says itself
    weight: Tensor  # (K, C), or (words, C)
    bias: Tensor  # (K,), or (words,)


def heads_of(
    model: GPT, channel: str, answers: Sequence[str], own: Sequence[str] = ()
) -> dict[str, Head]:
    """What is said of the answers and of the explanations, by the name of its folder.

    Args:
        own: words beyond the vocabulary (World.own_words).

    Raises:
        Refused: an answer is the word of "would stay".
    """
    if STAY in answers and channel != "verbal":
        raise Refused(f"export: no answer may be {STAY!r}, which stands for 'would {STAY}'")
    ask, tell, lm = model.task_head, model.explain_head, model.lm_head.weight
    *tokens, stay = encode_words([*answers, STAY], own).tolist()
    said = {f"would change to {answer}": token for answer, token in zip(answers, tokens)}
    said[f"would {STAY}"] = stay
    explain = Head(ANSWER if channel == "same" else EXPLAIN, said, tell.weight, tell.bias)
    if channel == "tied":
        both = [torch.cat([a, b[-1:]]) for a, b in zip(ask.parameters(), tell.parameters())]
        explain = Head(EXPLAIN, said, *both)
    if channel == "verbal":
        explain = Head(EXPLAIN, {}, lm, lm.new_zeros(len(lm)))
    answer = Head(ANSWER, dict(zip(answers, tokens)), ask.weight, ask.bias)
    return {"answers": answer, "explanations": explain}


def merged(module: nn.Module) -> Tensor:
    """The weight of a norm or of a linear map, its adapter added: W + B A."""
    if isinstance(module, LowRank):
        return module.linear.weight.double() + module.b.double() @ module.a.double()
    return module.weight


@torch.no_grad()
def gpt2_weights(model: GPT, head: Head) -> dict[str, Tensor]:
    """Every tensor of transformers' GPT2LMHeadModel, float32 on the CPU."""
    ln = dict.fromkeys(("ln_f.weight", "ln_f.bias"), one := torch.ones_like(model.norm.weight))
    trunk = ln | {"wte.weight": model.token.weight, "wpe.weight": model.position.weight}
    for i, block in enumerate(model.blocks):
        for ours, theirs in THEIRS.items():
            weight = merged(block.get_submodule(ours))
            trunk[f"h.{i}.{theirs}.weight"] = weight.T if weight.dim() == 2 else weight
            trunk[f"h.{i}.{theirs}.bias"] = torch.zeros(len(weight))
    folded = head.weight.double() * model.norm.weight.double()
    rows = folded - folded.mean(1, keepdim=True) + head.bias[:, None].double() / len(one)
    lm_head = rows.new_full(model.token.weight.shape, OTHER / len(one))
    lm_head[list(head.classes.values()) or slice(None)] = rows
    weights = {f"transformer.{name}": p for name, p in trunk.items()} | {"lm_head.weight": lm_head}
    return {name: p.float().cpu().contiguous() for name, p in weights.items()}


def gpt2_config(model: GPT, head: Head) -> dict[str, Any]:
    """Its config.json; `query` and `classes`, what is read where, are ours."""
    n_row, C = model.token.weight.shape
    none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    none |= dict.fromkeys(("bos_token_id", "eos_token_id"))
    shape = dict(vocab_size=n_row, n_positions=len(model.position.weight), n_embd=C)
    shape |= dict(n_layer=len(model.blocks), n_head=model.blocks[0].attn.n_head)
    kind = dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", tie_word_embeddings=False)
    kind |= dict(activation_function="gelu", layer_norm_epsilon=model.norm.eps)
    return kind | shape | none | {"query": head.query, "classes": head.classes}


def export(run: Loaded, out: Path) -> str:
    """Write both models to the folder `out`, which is whole or absent; what it holds, as text.

    Raises:
        Refused: `out` is there and not an empty folder; or what `heads_of` refuses.
    """
    path = Path(os.path.realpath(out))
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise Refused(f"{out}: must be a new folder or an empty one")
    world, own = run.snapshots[0].world, run.snapshots[0].world.own_words
    answers = joint_answers({s.task.name: s.world for s in run.snapshots})
    heads = heads_of(run.model, run.config.cotrain.channel, answers, own)
    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    tokenizer = {"tokenizer.json": tokenizer_json(own), "tokenizer_config.json": kind}
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    aside = name_aside(path)
    said = [f"in {out}, as GPT2LMHeadModel of transformers, the run after step {run.step}:"]
    try:
        for folder, head in heads.items():
            texts = {"config.json": gpt2_config(run.model, head)} | tokenizer
            files = {name: (json.dumps(t, indent=1) + "\n").encode() for name, t in texts.items()}
            files["model.safetensors"] = safetensors(gpt2_weights(run.model, head))
            (aside / folder).mkdir(parents=True)
            for name, data in files.items():
                write_bytes(aside / folder / name, data, path / folder / name)
            prompt = world.text(0, world.pairs[0][0]) + head.query
            said.append(f"{folder}: after {prompt}, logits of {', '.join(head.classes or ['all'])}")
        os.replace(aside, path)
    finally:
        remove(aside)
    return "\n".join(said)
