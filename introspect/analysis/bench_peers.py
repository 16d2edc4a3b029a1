"""Other libraries at our work, with our weights, so that they compute what we compute.

They are imported only where they are installed (extra `bench`), nanoGPT only from the file that the
user names.
"""

import hashlib
import io
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from introspect.config import GPTConfig
from introspect.fields import Refused
from introspect.model import GPT
from introspect.tasks.registry import run_user_code
from introspect.tasks.world import World
from introspect.tokenizer import vocab_size

Read = Callable[[Tensor], Tensor]  # (n, T) token ids -> (n, C) normalized, at the last token
THEIRS = {  # our module in a block -> the name that GPT-2 and nanoGPT share
    "norm_1": "ln_1",
    "attn.qkv": "attn.c_attn",
    "attn.proj": "attn.c_proj",
    "norm_2": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}


class Peers(NamedTuple):
    """The modules of other libraries, None where they are not there."""

    captum: Any = None
    transformers: Any = None
    nanogpt: Any = None


def find_peers(nanogpt: str) -> Peers:
    """Those that are installed, and nanoGPT's model.py in the file of this name."""
    captum = transformers = None
    with suppress(ImportError):
        import captum.attr as captum
    with suppress(ImportError):
        import transformers
    return Peers(captum, transformers, load_nanogpt(Path(nanogpt)) if nanogpt else None)


def describe_peers(peers: Peers) -> str:
    """Which versions are compared, and which are not there."""
    there = [name for name in ("captum", "transformers") if getattr(peers, name)]
    said = [f"{name} {version(name)}" for name in there]
    if peers.nanogpt:
        sha256 = hashlib.sha256(Path(peers.nanogpt.__file__).read_bytes()).hexdigest()
        said.append(f"nanoGPT's model.py (sha256 {sha256[:12]})")
    missing = [name for name, module in peers._asdict().items() if module is None]
    absent = f"; not there: {', '.join(missing)}" if missing else ""
    return f"peers: {', '.join(said) or 'none'}{absent}"


def load_nanogpt(path: Path) -> Any:
    """The module in nanoGPT's model.py, which the user trusts to be run."""
    if path.suffix != ".py" or not path.is_file():
        raise Refused(f"--nanogpt={path}: must be nanoGPT's model.py")
    spec = spec_from_file_location("nanogpt_model", path)
    module = module_from_spec(spec)
    run_user_code(f"--nanogpt={path}", path, lambda: spec.loader.exec_module(module))
    if not hasattr(module, "GPT") or not hasattr(module, "GPTConfig"):
        raise Refused(f"--nanogpt={path}: must define GPT and GPTConfig, as nanoGPT's does")
    return module


@torch.no_grad()
def copy_weights(model: GPT, peer: nn.Module, turned: bool) -> None:
    """Give the trunk of a peer our weights, and biases of zero. `turned`: its matrices are
    (inputs, outputs)."""
    theirs = dict(peer.named_parameters())
    for name, p in theirs.items():
        if name.endswith("bias"):
            p.zero_()
    ours = {"wte": model.token, "wpe": model.position, "ln_f": model.norm}
    for i, block in enumerate(model.blocks):
        ours |= {f"h.{i}.{name}": block.get_submodule(our) for our, name in THEIRS.items()}
    for name, module in ours.items():
        in_block = turned and name.startswith("h.") and module.weight.dim() == 2
        theirs[f"{name}.weight"].copy_(module.weight.T if in_block else module.weight)


def make_gpt2(transformers: Any, model: GPT, g: GPTConfig) -> nn.Module:
    """transformers' GPT-2 of our shape and weights; biases, which we have none of, are zero."""
    none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    kinds = dict(activation_function="gelu", bos_token_id=None, eos_token_id=None, use_cache=False)
    shape = dict(n_layer=g.n_layer, n_head=g.n_head, n_embd=g.n_embd, n_positions=g.block_size)
    config = transformers.GPT2Config(vocab_size=vocab_size(), **shape, **none, **kinds)
    peer = transformers.GPT2LMHeadModel(config).to(model.token.weight)
    copy_weights(model, peer.transformer, turned=True)
    return peer


def make_nanogpt(module: Any, model: GPT, g: GPTConfig) -> nn.Module:
    """nanoGPT's model of our shape and weights; it has neither biases nor dropout, as ours."""
    shape = dict(n_layer=g.n_layer, n_head=g.n_head, n_embd=g.n_embd, block_size=g.block_size)
    config = module.GPTConfig(vocab_size=vocab_size(), bias=False, dropout=0.0, **shape)
    with redirect_stdout(io.StringIO()):  # it says its size
        peer = module.GPT(config)
    peer = peer.to(model.token.weight)
    copy_weights(model, peer.transformer, turned=False)
    return peer


def trunks(peers: Peers, model: GPT, g: GPTConfig) -> dict[str, tuple[Read, nn.Module]]:
    """What other libraries have for our trunk, and how it is read."""
    found: dict[str, tuple[Read, nn.Module]] = {}
    if peers.nanogpt:
        nano = make_nanogpt(peers.nanogpt, model, g)
        nano.lm_head = nn.Identity()
        found["nanoGPT"] = (lambda ids: nano(ids)[0][:, -1]), nano.transformer
    if peers.transformers:
        gpt2 = make_gpt2(peers.transformers, model, g).transformer
        found["transformers' GPT-2"] = (lambda ids: gpt2(ids)[0][:, -1]), gpt2
    return found


def captum_labels(
    captum: Any, read: Read, model: GPT, world: World, ids: Tensor
) -> tuple[Callable[[int], Tensor], int]:
    """E(M) by captum's FeatureAblation, as a function of its perturbations_per_eval, and how many
    features a row has.

    A row is a subject with one prompt x that has cues, its features are flags of the cues of x, and
    the score is the class of the answer: a - b for answer a to x and b without the cue.

    Args:
        read: (n, T) token ids -> (n, C) at the last token. ids: (B, S) tokens of the subjects.
    """
    device, B, K = ids.device, len(ids), len(world.answers)
    shown = list(dict.fromkeys(x for x, _ in world.pairs))  # X variants with cues
    without = torch.tensor([[y for x, y in world.pairs if x == v] for v in shown], device=device)
    with_cues, longest = torch.tensor(shown, device=device), max(map(len, world.prompts))
    padded = [(*s, *[0] * (longest - len(s))) for s in world.prompts]
    slots = torch.tensor(padded, device=device)  # (V, longest)
    length_of = torch.tensor([len(s) for s in world.prompts], device=device)
    (X, n_feature), answers = without.shape, []

    def answer(flags: Tensor, rows: Tensor) -> Tensor:
        """(n,) classes of the answers to rows (n,) without the features whose flag (n, F) is 0."""
        subject, x, gone = rows // X, rows % X, flags == 0
        variant = torch.where(gone.any(1), without[x, gone.int().argmax(1)], with_cues[x])
        said = torch.empty(len(rows), dtype=flags.dtype, device=device)
        for length in length_of[variant].unique().tolist():
            at = (length_of[variant] == length).nonzero()[:, 0]
            tokens = ids[subject[at, None], slots[variant[at], :length]]
            said[at] = model.task_head(read(tokens)).argmax(-1).to(said)
        answers.append(said)
        return said

    rows, flags = torch.arange(B * X, device=device), torch.ones(B * X, n_feature, device=device)

    def ablate(perturbations: int) -> Tensor:
        answers.clear()
        also = dict(baselines=0.0, additional_forward_args=(rows,))
        ablation = captum.FeatureAblation(answer)
        moved = ablation.attribute(flags, perturbations_per_eval=perturbations, **also)  # (B X, F)
        labels = torch.where(moved == 0, K, answers[0][:, None] - moved)
        return labels.long().view(B, X * n_feature)

    return ablate, n_feature
