"""Where in a model is its answer known? Linear probes of activations at a hook point.

    n subjects   D = activations of one subject   K answers

A probe is fitted on the explained subjects and judged on the held-out ones. Its target is the
model's own answer without the cue. It reads where only the subject has been seen. At the embedding
it sees the names alone, so it finds what each name carries by itself. If knowledge belongs to pairs
of names, that is next to nothing, and the answer appears after the attention that brings the names
together.

A probe shows what a linear reader could find, not what the model uses, and what it does not find
may still be there in another form. After the last block it finds nearly everything at the query by
construction, since the task head is linear as well. Accuracies are compared with the best constant.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from introspect.interview import CHUNK, RunTask
from introspect.metrics import majority_share
from introspect.model import GPT
from introspect.tokenizer import encode_words

RIDGE = 0.01  # times the mean variance of an activation: our choice, the same at every point
TOKENS = {"subject": slice(-1), "last": slice(-2, -1), "query": slice(-1, None)}


class Probe(NamedTuple):
    accuracy: float  # share of held-out subjects whose answer is predicted, 0..1
    majority: float  # the same for the best constant


@torch.no_grad()
def activations(model: GPT, part: RunTask, point: str, tokens: str) -> tuple[Tensor, Tensor]:
    """Activations at `point` while the prompt without the cue of the first pair is read alone.

    Args:
        tokens: "subject", all of the prompt but its query, side by side; "last", the last of these;
            "query", at which the answer is read.

    Returns:
        (N, D) float64 and the answers (N,), of every subject, on the model's device.

    Raises:
        ValueError: another `tokens`.
    """
    if tokens not in TOKENS:
        raise ValueError(f"tokens must be one of {(*TOKENS,)}, got {tokens!r}")
    world, columns = part.world, part.interview.columns
    prompt = list(world.prompts[world.pairs[0][1]])
    ids = torch.from_numpy(encode_words(world.slots[:, prompt], world.own_words))
    ids = ids.to(model.token.weight.device)
    seen, answers = [], []  # of each chunk
    with model.hooked(point, lambda x: seen.append(x[:, TOKENS[tokens]].flatten(1).double())):
        for chunk in ids.split(CHUNK):
            logits = model.task_head(model.trunk(chunk)[:, -1])
            answers.append((logits if columns is None else logits[:, columns]).argmax(-1))
    return torch.cat(seen), torch.cat(answers)


def ridge(x: Tensor, targets: Tensor, strength: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Weights W (D, K) and bias b (K,) that minimize sum |x W + b - y|^2 + a |W|^2.

    In closed form, for x (n, D) and targets y (n, K). a = strength * n * (mean variance of a column
    of x), so that neither the scale of x nor n matters; strength > 0. The bias is not penalized
    (Hastie, Tibshirani & Friedman 2009, section 3.4.1).
    """
    mean, center = x.mean(0), targets.mean(0)
    x, y = x - mean, targets - center
    gram = x.T @ x  # (D, D)
    a = strength * gram.diagonal().mean()
    if a == 0:  # x is constant: nothing to fit
        return torch.zeros_like(x.T @ y), center
    gram.diagonal().add_(a)
    weights = torch.linalg.solve(gram, x.T @ y)
    return weights, center - mean @ weights


def judge(x: Tensor, answers: Tensor, train: Tensor, held_out: Tensor, n_answer: int) -> Probe:
    """A ridge classifier fitted on the rows `train` of x (N, D), judged on the rows `held_out`.

    Its targets are 1 for the answer and 0 for the others; the largest prediction is its answer.
    """
    targets = torch.nn.functional.one_hot(answers, n_answer).to(x)  # (N, K)
    weights, bias = ridge(x[train], targets[train])
    right = (x[held_out] @ weights + bias).argmax(-1) == answers[held_out]
    return Probe(int(right.sum()) / len(held_out), majority_share(answers[held_out]))


def probe(model: GPT, part: RunTask, point: str, tokens: str) -> Probe:
    """How well the model's answer can be read at `point` from the `tokens` of `activations`.

    Raises:
        ValueError: other tokens, or a part without explained or without held-out subjects.
    """
    sides = [torch.from_numpy(part.subjects(split)) for split in ("train", "held_out")]
    if not all(map(len, sides)):
        raise ValueError(f"{part.name}: a probe needs explained and held-out subjects")
    x, answers = activations(model, part, point, tokens)
    return judge(x, answers, *(side.to(x.device) for side in sides), len(part.world.answers))


def where_known(model: GPT, part: RunTask) -> dict[str, float]:
    """Accuracy minus majority, -1..1, by place.

    The places are all tokens of the subject at "embed subject" and, after each block, the last of
    these, "blocks.0.resid last", and the query, "blocks.0.resid query". After the last block there
    is only the query, since nothing reads the other tokens there.
    """
    after = [f"blocks.{i}.resid" for i in range(len(model.blocks))]
    places = [("embed", "subject"), *((p, t) for p in after for t in ("last", "query"))]
    places.remove((after[-1], "last"))
    probes = {f"{point} {tokens}": probe(model, part, point, tokens) for point, tokens in places}
    return {place: p.accuracy - p.majority for place, p in probes.items()}
