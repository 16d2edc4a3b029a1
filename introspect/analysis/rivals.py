"""What do explainers of equal cost get, which are fitted on the same frozen labels?

Critics of self-explanation ask whether anything with the same access does as well. Three softmax
regressions (readout.fit_classifier) are fitted on the labels that the run was trained on, and are
judged on the held-out items beside the run's own explanations:

    frozen    reads M0's activations at the place where explanations are read
    current   reads the run's activations there
    words     sees which words the question has, and no model

An explainer that couples has Self > Orig, and an adjusted gap above 0 too: where one label has
become frequent, whoever says it often gains a gap without seeing anything. `frozen` cannot see what
has moved since, and `words` sees nothing of any model. `current` has the same access as the run's
own head, so it shows what the trunk offers to a linear reader, not what the run uses.

Two more readers are fitted on what is true of the run now, E(M) of the explained subjects: `state`
of its activations, `state_words` of words. They are no rivals, since they have other labels. Where
explanations were trained on shuffled labels, they tell whether the state is there and only the
channel is not. The reader of words shows how much of it needs no model.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from introspect.analysis.readout import fit_classifier
from introspect.interview import CHUNK, RunTask
from introspect.labels import DROPPED
from introspect.measure import Snapshot, measure, measure_controls
from introspect.model import GPT
from introspect.tokenizer import encode_words


@torch.no_grad()
def read_questions(model: GPT, task: RunTask) -> Tensor:
    """(N, P, C) what the explanation head reads, of every pair of all subjects."""
    seen: list[Tensor] = []
    device = model.token.weight.device
    with model.hooked("explain_head", lambda x: seen.append(x)):
        for chunk in torch.arange(task.world.n_subject, device=device).split(CHUNK):
            task.interview.explanations(model, chunk)
    return torch.cat(seen).cpu()


def list_words(task: RunTask) -> Tensor:
    """(N, P, W) which words each question has, 0 or 1; W words occur in any."""
    ids = torch.from_numpy(encode_words(task.world.slots, task.world.own_words))  # (N, S)
    _, ids = ids.unique(return_inverse=True)
    n_word = int(ids.max()) + 1
    asked = [F.one_hot(ids[:, list(q)], n_word).amax(1) for q in task.world.questions]
    return torch.stack(asked, dim=1).double()


def explain_by(x: Tensor, labels: Tensor, train: Tensor) -> Tensor:
    """(N, P) the likeliest label by a classifier of x (N, P, D).

    Args:
        labels: (N, P) of which those of the subjects `train` are fitted, but for DROPPED ones.
    """
    given = labels[train] != DROPPED
    targets = F.one_hot(labels[train][given], int(labels.max()) + 1).double()
    weights, bias = fit_classifier(x[train][given], targets)
    return (x.double() @ weights + bias).argmax(-1)


def compare_rivals(model: GPT, m0: GPT, snapshot: Snapshot) -> dict[str, Any]:
    """Self, Orig, gap, preference and adjusted gap on held-out items, of the run's own explanations
    under "own" and of its rivals under their names.

    Raises:
        ValueError: explanations are not read from the explanation head.
    """
    task = snapshot.task
    if snapshot.channel.suffixes != ((),) or snapshot.channel.name not in ("head", "probe"):
        raise ValueError("rivals are for channels head and probe")
    now, words, train = read_questions(model, task), list_words(task), snapshot.rows("train")
    said = {
        "own": snapshot.explanation,
        "frozen": explain_by(read_questions(m0, task), snapshot.targets, train),
        "current": explain_by(now, snapshot.targets, train),
        "words": explain_by(words, snapshot.targets, train),
        "state": explain_by(now, snapshot.current, train),
        "state_words": explain_by(words, snapshot.current, train),
    }
    return {name: judge(explanation, snapshot) for name, explanation in said.items()}


def judge(explanation: Tensor, snapshot: Snapshot) -> dict[str, Any]:
    """What these explanations (N, P) get where the run's own are judged."""
    judged = copy.copy(snapshot)
    judged.explanation = explanation
    measured = measure([judged], "held_out")
    kept = {key: measured[key] for key in ("self", "orig", "gap", "preference")}
    return kept | {"adjusted": measure_controls([judged])["adjusted"]}
