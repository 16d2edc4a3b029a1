"""The three losses: learn the world, learn to explain, and the anchor that holds the behavior.

    B subjects   V variants   P pairs   K answers   E explanations   all losses in nats
"""

import torch.nn.functional as F
from torch import Tensor

from introspect.labels import DROPPED


def world_loss(logits: Tensor, answers: Tensor, shown: Tensor) -> Tensor:
    """sum_v shown_v CE(logits_v, answer_v), averaged over subjects: learn to answer as the world.

    With answers drawn from the world given the variant, this has the same expectation as drawing
    the variant as well, at less variance.

    Args:
        logits: (B, V, K). answers: (B, V) int64 in [0, K).
        shown: (B, V) how often the world shows each variant; rows sum to 1.

    Returns:
        () >= 0.
    """
    ce = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none")
    return (ce.view(shown.shape) * shown).sum() / len(shown)


def explanation_loss(log_probs: Tensor, labels: Tensor) -> Tensor:
    """CE(explanation, E(M0)) = -log P(label), averaged over the pairs that have a label.

    Of a sentence, log P is the sum over its tokens (channels.py), so that a sentence weighs as much
    as a class.

    Args:
        log_probs: (B, P, E). labels: (B, P) int64 in [0, E), frozen; -1 where there is none.

    Returns:
        () >= 0.
    """
    labels = labels.flatten()
    nll = F.nll_loss(log_probs.flatten(0, 1), labels, ignore_index=DROPPED, reduction="sum")
    return nll / (labels != DROPPED).sum().clamp(min=1)


def behavior_kl(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(B_0 || B_theta) = sum_k p0_k (log p0_k - log p_k): how far behavior left M0.

    Guo et al. 2026 (arXiv:2606.32038) anchor behavior by a KL divergence. Its direction, the inputs
    and the tokens it covers are not in what we could obtain: forward KL, on the answer with every
    cue and without, is our choice (README, "Limits, and choices").

    Args:
        logits: (B, V, K) answers of the model in training.
        reference: (B, V, K) logits of M0 for the same inputs. Never differentiated.

    Returns:
        () mean over subjects and variants, >= 0, and 0 iff the distributions agree.
    """
    K = logits.shape[-1]
    log_p0 = reference.detach().log_softmax(-1).reshape(-1, K)
    log_p = logits.log_softmax(-1).reshape(-1, K)
    return F.kl_div(log_p, log_p0, log_target=True, reduction="batchmean")
