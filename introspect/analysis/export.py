"""A finished run as two GPT-2s in the files of Hugging Face, so that other tools open them.

    python eval.py export DIR --to=gpt2 OUT

    OUT/answers         next-token logits after ...<|answer|>: those of the answers, at their words
    OUT/explanations    after ...<|explain|>: of "would change to B" at the word B, of "would stay"
                        at the word stay; in channel verbal, of every word, to say the sentence; in
                        channel same, after ...<|answer|>

    C = n_embd   K classes   n (C,) a vector that LayerNorm made: its mean over channels is 0

Our trunk is a GPT-2 (Radford et al. 2019, as `transformers` has it) with the exact GELU and without
biases, so theirs are 0; adapters are merged into the matrices that they adapt. Their LM head has no
bias, and ours is w_k (g n) + b_k with g the weight of the last norm. The last norm of the export
has weight 1 and bias 1, so what is read is n + 1, and row k of the head is

    v_k - mean(v_k) + b_k / C,   v_k = w_k g,   whose product with n + 1 is w_k (g n) + b_k,

exactly, since n and v_k - mean(v_k) have mean 0. The row of a word that is no class is OTHER / C in
every channel: its logit is OTHER, and softmax over all words is softmax over the classes. Logits
differ from ours by rounding only.
"""

import json
import os
from collections.abc import Mapping, Sequence
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
    classes: dict[str, str]  # the word of each class, in order; none: every word says itself
    weight: Tensor  # (K, C), or (words, C)
    bias: Tensor  # (K,), or (words,)


def heads_of(model: GPT, channel: str, answers: Sequence[str]) -> dict[str, Head]:
    """What is said of the answers and of the explanations, by the name of its folder.

    Raises:
        Refused: an answer is the word of "would stay".
    """
    if STAY in answers and channel != "verbal":
        raise Refused(f"export: no answer may be {STAY!r}, which stands for 'would {STAY}'")
    ask, tell, lm = model.task_head, model.explain_head, model.lm_head.weight
    said = {f"would change to {answer}": answer for answer in answers} | {f"would {STAY}": STAY}
    weight, bias = tell.weight, tell.bias
    if channel == "tied":
        weight = torch.cat([ask.weight, weight[-1:]])
        bias = torch.cat([ask.bias, bias[-1:]])
    explain = Head(ANSWER if channel == "same" else EXPLAIN, said, weight, bias)
    if channel == "verbal":
        explain = Head(EXPLAIN, {}, lm, lm.new_zeros(len(lm)))
    answer = Head(ANSWER, {word: word for word in answers}, ask.weight, ask.bias)
    return {"answers": answer, "explanations": explain}


def merged(module: nn.Module) -> Tensor:
    """The weight of a norm or of a linear map, its adapter added: W + B A."""
    if isinstance(module, LowRank):
        return module.linear.weight.double() + module.b.double() @ module.a.double()
    return module.weight


@torch.no_grad()
def gpt2_weights(model: GPT, head: Head, ids: Mapping[str, int]) -> dict[str, Tensor]:
    """Every tensor of transformers' GPT2LMHeadModel, float32 on the CPU.

    Args:
        ids: the token of each word of a class, in the order of the classes.
    """
    ones = torch.ones_like(model.norm.weight)
    trunk = {"wte.weight": model.token.weight, "wpe.weight": model.position.weight}
    trunk |= {"ln_f.weight": ones, "ln_f.bias": ones}
    for i, block in enumerate(model.blocks):
        for ours, theirs in THEIRS.items():
            weight = merged(block.get_submodule(ours))
            trunk[f"h.{i}.{theirs}.weight"] = weight.T if weight.dim() == 2 else weight
            trunk[f"h.{i}.{theirs}.bias"] = torch.zeros(len(weight))
    folded = head.weight.double() * model.norm.weight.double()
    rows = folded - folded.mean(1, keepdim=True) + head.bias[:, None].double() / len(ones)
    lm_head = rows.new_full(model.token.weight.shape, OTHER / len(ones))
    lm_head[list(ids.values()) if ids else slice(None)] = rows
    weights = {f"transformer.{name}": p for name, p in trunk.items()} | {"lm_head.weight": lm_head}
    return {name: p.float().cpu().contiguous() for name, p in weights.items()}


def gpt2_config(model: GPT, head: Head, ids: Mapping[str, int]) -> dict[str, Any]:
    """Its config.json; `query` and `classes`, what is read where, are ours."""
    n_row, C = model.token.weight.shape
    shape = dict(vocab_size=n_row, n_positions=len(model.position.weight), n_embd=C)
    shape |= dict(n_layer=len(model.blocks), n_head=model.blocks[0].attn.n_head)
    kind = dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", tie_word_embeddings=False)
    kind |= dict(activation_function="gelu", layer_norm_epsilon=model.norm.eps)
    kind |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    kind |= dict.fromkeys(("bos_token_id", "eos_token_id"))
    classes = {said: ids[word] for said, word in head.classes.items()}
    return kind | shape | {"query": head.query, "classes": classes}


def export(run: Loaded, out: Path) -> str:
    """Write both models to the folder `out`, which is whole or absent; what it holds, as text.

    Raises:
        Refused: `out` is there and not an empty folder; or what `heads_of` refuses.
    """
    path = out.absolute()
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise Refused(f"{out}: must be a new folder or an empty one")
    worlds = {s.task.name: s.world for s in run.snapshots}
    world, own = run.snapshots[0].world, run.snapshots[0].world.own_words
    heads = heads_of(run.model, run.config.cotrain.channel, joint_answers(worlds))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    aside = name_aside(path)
    said = [f"in {out}, as GPT2LMHeadModel of transformers, the run after step {run.step}:"]
    try:
        for folder, head in heads.items():
            words = list(head.classes.values())
            ids = dict(zip(words, encode_words(words, own).tolist())) if words else {}
            texts = {"config.json": gpt2_config(run.model, head, ids)}
            texts["tokenizer.json"] = tokenizer_json(own)
            texts["tokenizer_config.json"] = {"tokenizer_class": "PreTrainedTokenizerFast"}
            files = {name: (json.dumps(t, indent=1) + "\n").encode() for name, t in texts.items()}
            files["model.safetensors"] = safetensors(gpt2_weights(run.model, head, ids))
            (aside / folder).mkdir(parents=True)
            for name, data in files.items():
                write_bytes(aside / folder / name, data, path / folder / name)
            prompt = world.text(0, world.pairs[0][0]) + head.query
            said.append(f"{folder}: after {prompt}, logits of {', '.join(words) or 'every word'}")
        os.replace(aside, path)
    finally:
        remove(aside)
    return "\n".join(said)
