"""The whole method in one file, to be read aloud from top to bottom: `python -m introspect.single`.

Do a model's explanations follow what it was, or what it is now?

A small GPT learns facts that come with hints: this is M0. We ask, for every hint: how would M0's
answer change if the hint were removed? These labels E(M0) are computed once and stay frozen, while
a copy M of M0 is trained to say them. That training also moves M's answers, so that its own true
labels E(M) drift away. On facts that had no labels, we compare what M says with both:

    Self = P(explanation = E(M))    Orig = P(explanation = E(M0))    gap = Self - Orig

A gap above zero is *introspective coupling* (Guo et al. 2026, arXiv:2606.32038): explanations
follow the model as it is now, though no label was ever refreshed. M is trained in two arms: with an
anchor that holds its answers near M0's, where the gap should be positive, and without, negative.

This file needs nothing of the package, which does the same on a larger world, with controls.
In shapes, B is facts, K answers or hints, V = 1 + K variants of a question, C width.
"""

import argparse
import copy
import math
import statistics

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# ---- 1. A world of facts --------------------------------------------------------------------
# A fact is about a pair of names, and is one of K answers. The world gives it with probability c,
# else a guess. A hint names an answer: the world's own one with probability r, else any. So a good
# model knows some facts, guesses others in its own way, and follows hints where it is unsure.

K = 4  # answers A, B, C, D, and as many hints
SIDE = 24  # first names, and second names; each pair of them has a fact
GUESSED, LOW = 0.3, 0.1  # this share of the facts has c below LOW; all others from LOW to 1
RELIABILITY, ABSENT = 0.6, 0.3  # r, and how often there is no hint
ANSWER, EXPLAIN, HINT, NAME = 0, 1, 2, 2 + K  # tokens; those of hints and of names begin here


def make_world(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """P(a) = c [a = fact] + (1 - c) / K,   P(hint | a) = r [hint = a] + (1 - r) / K,
    P(a | hint) = P(a) P(hint | a) / P(hint).

    Returns:
        ideal (B, V, K), P(a) without a hint and with each; shown (B, V), how often training shows
        each variant; explained (B,) bool, the half of the facts that has labels.
    """
    draw, n, one = torch.Generator().manual_seed(10 * seed), SIDE * SIDE, torch.eye(K)
    fact, height = torch.randint(K, (n,), generator=draw), torch.rand(n, generator=draw)
    guessed = torch.rand(n, generator=draw) < GUESSED
    c = torch.where(guessed, LOW * height, LOW + (1 - LOW) * height)[:, None]
    prior = c * one[fact] + (1 - c) / K  # (B, K)
    joint = prior[:, None] * (RELIABILITY * one + (1 - RELIABILITY) / K)  # (B, hint, K)
    hint = joint.sum(-1, keepdim=True)  # (B, hint, 1)
    ideal = torch.cat([prior[:, None], joint / hint], dim=1)
    shown = torch.cat([torch.full((n, 1), ABSENT), (1 - ABSENT) * hint[..., 0]], dim=1)
    return ideal, shown, torch.randperm(n, generator=draw) < n // 2


def write_prompts() -> Tensor:
    """(B, 1 + 2 K, 4) tokens: all that is asked about each fact, in rows

    0           first second ANSWER              without a hint; the fourth token is never seen
    1 + k       first second hint:k ANSWER       with hint k
    1 + K + k   first second hint:k EXPLAIN      how would the answer change without hint k?
    """
    names = NAME + torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE, 2 * SIDE))
    ends = [(ANSWER, ANSWER)] + [(HINT + k, query) for query in (ANSWER, EXPLAIN) for k in range(K)]
    names = names[:, None].expand(-1, len(ends), 2)
    return torch.cat([names, torch.tensor(ends).expand(len(names), -1, -1)], dim=2)


# ---- 2. A minimal GPT with two heads --------------------------------------------------------
# One head answers, the other explains. They share the trunk, but the sequence in which the model
# explains itself never holds its answer.

N_LAYER, N_HEAD, N_EMBD = 2, 4, 48


class Block(nn.Module):
    """x + softmax(Q K' / sqrt(D)) V, then x + W2 gelu(W1 x), each of a normalized x."""

    def __init__(self):
        super().__init__()
        self.norm_1, self.norm_2 = (nn.LayerNorm(N_EMBD, bias=False) for _ in range(2))
        self.qkv = nn.Linear(N_EMBD, 3 * N_EMBD, bias=False)
        self.proj = nn.Linear(N_EMBD, N_EMBD, bias=False)
        self.up = nn.Linear(N_EMBD, 4 * N_EMBD, bias=False)
        self.down = nn.Linear(4 * N_EMBD, N_EMBD, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C) in and out
        heads = self.qkv(self.norm_1(x)).unflatten(2, (3, N_HEAD, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).flatten(2))  # heads side by side again
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(NAME + 2 * SIDE, N_EMBD), nn.Embedding(4, N_EMBD)
        self.blocks = nn.Sequential(*(Block() for _ in range(N_LAYER)))
        self.norm = nn.LayerNorm(N_EMBD, bias=False)
        self.task_head, self.explain_head = nn.Linear(N_EMBD, K), nn.Linear(N_EMBD, K + 1)

    def forward(self, prompts: Tensor) -> Tensor:
        """(B, S, T) tokens of S prompts for each fact -> (B, S, T, C)."""
        x = self.token(prompts.flatten(0, 1)) + self.position.weight
        return self.norm(self.blocks(x)).unflatten(0, prompts.shape[:2])


def answers(model: GPT, prompts: Tensor) -> Tensor:
    """B(M): logits (B, V, K) of the answer without a hint and with each."""
    hidden = model(prompts[:, : 1 + K])  # (B, V, 4, C), read at ANSWER
    return model.task_head(torch.cat([hidden[:, :1, 2], hidden[:, 1:, 3]], dim=1))


def explanations(model: GPT, prompts: Tensor) -> Tensor:
    """Log-probabilities (B, K, K + 1): what the model says that removing each hint would do."""
    return model.explain_head(model(prompts[:, 1 + K :])[:, :, 3]).log_softmax(-1)


# ---- 3. Stage A: M0 learns the world. No explanation is trained here ------------------------

M0_STEPS, M0_BATCH, M0_RATE = 700, 64, 3e-3


def world_loss(logits: Tensor, drawn: Tensor, shown: Tensor) -> Tensor:
    """sum_v shown_v CE(logits_v, drawn_v), a mean over facts. (B, V, K), (B, V), (B, V) -> ()."""
    ce = F.cross_entropy(logits.flatten(0, 1), drawn.flatten(), reduction="none")
    return (ce.view(shown.shape) * shown).sum() / len(shown)


def train_m0(prompts: Tensor, ideal: Tensor, shown: Tensor, seed: int) -> GPT:
    torch.manual_seed(seed)  # initial weights
    model, draw = GPT(), torch.Generator().manual_seed(10 * seed + 1)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for step in range(M0_STEPS):
        batch = torch.randperm(len(prompts), generator=draw)[:M0_BATCH]
        drawn = torch.multinomial(ideal[batch].flatten(0, 1), 1, generator=draw)
        logits = answers(model, prompts[batch])
        loss = world_loss(logits, drawn.view(logits.shape[:2]), shown[batch])
        optimizer.zero_grad()
        loss.backward()
        up, down = 4 * (step + 1) / M0_STEPS, 2 * (1 - step / M0_STEPS)
        optimizer.param_groups[0]["lr"] = M0_RATE * min(1, up, down)
        optimizer.step()
    return model


# ---- 4. Stage B: labels are read off M0's answers, and frozen -------------------------------
def labels_of(logits: Tensor) -> Tensor:
    """E(M) of answers (B, V, K): how they would change if each hint were removed.

    (B, K): the answer without a hint, where it differs from the one with it; else K, "would stay".
    """
    without, with_hint = logits.argmax(-1).split([1, K], dim=1)
    return torch.where(with_hint == without, K, without)


# ---- 5. Stage C: a copy of M0 learns to explain itself --------------------------------------
#     loss = CE(explanation, E(M0)) + kl_weight KL(B(M0) || B(M))
# The second term is the anchor; its direction, its weight and its facts are our choice.

STEPS, BATCH, RATE = 500, 16, 2e-3
ARMS = {"reg": 1.0, "noreg": 0.0}  # kl_weight: with the anchor, and without it


def explanation_loss(log_probs: Tensor, labels: Tensor) -> Tensor:
    """-log P(label), a mean over facts and hints. (B, K, K + 1), (B, K) -> ()."""
    return F.nll_loss(log_probs.flatten(0, 1), labels.flatten())


def behavior_kl(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(B(M0) || B(M)) = sum_k p0_k (log p0_k - log p_k), a mean over facts and variants."""
    log_p, log_p0 = logits.log_softmax(-1), reference.log_softmax(-1)
    return (log_p0.exp() * (log_p0 - log_p)).sum(-1).mean()


def cotrain(m0: GPT, given: list[Tensor], kl_weight: float, seed: int) -> GPT:
    """A copy of M0, trained on `given`: prompts, frozen labels (B, K), M0's logits (B, V, K)."""
    prompts, labels, reference = given
    model, draw = copy.deepcopy(m0), torch.Generator().manual_seed(10 * seed + 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for step in range(STEPS):
        batch = torch.randperm(len(prompts), generator=draw)[:BATCH]
        asked = prompts[batch]
        loss = explanation_loss(explanations(model, asked), labels[batch])
        if kl_weight:
            loss = loss + kl_weight * behavior_kl(answers(model, asked), reference[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 30)
        optimizer.step()
    return model


# ---- 6. On facts without labels: does M say what it is, or what it was? ---------------------
def measure(explanation: Tensor, current: Tensor, original: Tensor) -> dict[str, float]:
    """Shares of items; class ids of one shape. `drift` bounds the gap: |gap| <= drift."""
    now, then, moved = explanation == current, explanation == original, current != original
    Self, Orig, drift = (share.double().mean().item() for share in (now, then, moved))
    return {"Self": Self, "Orig": Orig, "gap": Self - Orig, "drift": drift}


def run(seed: int) -> dict[str, dict[str, float]]:
    """Measures of both arms, and their difference; arms share world, M0, labels and batches."""
    (ideal, shown, explained), prompts, rows = make_world(seed), write_prompts(), {}
    m0 = train_m0(prompts, ideal, shown, seed)
    reference = answers(m0, prompts).detach()
    original, held_out = labels_of(reference), ~explained  # E(M0), frozen
    given = [each[explained] for each in (prompts, original, reference)]
    for arm, kl_weight in ARMS.items():
        model = cotrain(m0, given, kl_weight, seed)
        current = labels_of(answers(model, prompts[held_out]))  # E(M)
        said = explanations(model, prompts[held_out]).argmax(-1)
        rows[arm] = measure(said, current, original[held_out])
    rows["reg - noreg"] = {k: rows["reg"][k] - rows["noreg"][k] for k in rows["reg"]}
    return rows


# ---- 7. The table ---------------------------------------------------------------------------
def estimate(values: list[float], sign: str) -> str:
    """mean [95 % interval] of n = 2 to 10 values: mean +- t_{n-1} s / sqrt(n), Student's t."""
    n, mean = len(values), statistics.mean(values)
    t = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262][n - 2]
    half = t * statistics.stdev(values) / math.sqrt(n)
    return f"{mean:{sign}.3f} [{mean - half:{sign}.3f}, {mean + half:{sign}.3f}]"


def table(runs: list[dict[str, dict[str, float]]]) -> str:
    lines = [["", *runs[0]]]
    for key in runs[0]["reg"]:
        signs = {arm: "+" if key == "gap" or arm not in ARMS else "" for arm in runs[0]}
        cells = (estimate([rows[arm][key] for rows in runs], signs[arm]) for arm in runs[0])
        lines.append([key, *cells])
    return "\n".join(("{:7}" + "{:25}" * 3).format(*line).rstrip() for line in lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("single", description="Both arms, over some seeds.")
    allowed = "--seeds is a whole number from 2 to 10, --seed one from 0 to 999999999"
    parser.error = lambda text: parser.exit(2, f"refused: {' '.join(text.split())}; {allowed}\n")
    parser.add_argument("--seeds", type=int, default=3, help="how many, 2 to 10; default: 3")
    parser.add_argument("--seed", type=int, default=0, help="the first of them; default: 0")
    given, runs = parser.parse_args(argv), []
    if not (2 <= given.seeds <= 10 and 0 <= given.seed < 10**9):
        parser.error(f"--seeds={given.seeds} --seed={given.seed}")
    torch.set_num_threads(1)  # the matrices are too small to share
    for seed in range(given.seed, given.seed + given.seeds):
        runs.append(run(seed))
        print(f"seed {seed}:", *(f"gap {runs[-1][a]['gap']:+.3f} ({a})" for a in ARMS), flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()
