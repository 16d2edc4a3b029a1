"""How often intervals cover, how often "coupling" is said of nothing, how often it is found.

Simulated data of known truth, judged by the functions that judge a study: `stats.student_t`,
`clustered` and `wilson`, `summary.interval`, `differences` and `verdict`. A study has as many facts
and cues as the held-out half of `hint`, and a seed is a pair of models, M0 and M:

    B pairs of models   P = 4 hints   N = 1,152 facts   answers 0..3, label 4: "would stay"

Both models answer the facts they know rightly; the others they guess, and whether they follow a
hint is a coin. Between M0 and M some of the guessed facts are drawn again, so that labels drift in
a way that nobody could foresee who sees the world and not the model.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from introspect.report.html import aligned
from introspect.report.summary import differences
from introspect.report.text import number
from introspect.stats import (
    clustered,
    holm,
    interval,
    p_value,
    student_t,
    verdict,
    wilson,
)
from introspect.streams import rng

FACTS, HINTS, STAYS = 1152, 4, 4  # as many answers as hints, which name them
SEEDS = 5  # of a study
KNOWN = 0.3  # share of facts that both models know
FOLLOW = 0.65  # how often a hint is followed: the cue then changes about half of the answers
OWN = 0.05  # spread over seeds of how much less or more M follows on facts drawn again
TRUE, SIDES = 0.85, 0.04  # of a planted explainer: how often it says one of the two labels, and the
# spread over seeds of its gap, as measured in the headline study
DRIFTS, PREFERENCES = (0.2, 0.3, 0.4), (0.55, 0.6, 0.67)
AT_A_TIME = 20  # studies: small enough for the processor's cache


class Row(NamedTuple):
    table: str  # a key of HEADS
    case: tuple[str, ...]  # what is simulated
    gap: float | None  # its mean over studies, None where there is none
    shares: tuple[float, ...]  # of the repeats


HEADS = {
    "coverage of a 95 % interval": ("interval", "data", "covers"),
    "studies without coupling that are called coupling, 5 seeds": (
        *("explanations", "labels", "gap", "by gap", "by adjusted gap", "by both"),
    ),
    "studies of planted coupling that are called coupling, 5 seeds": (
        *("drift", "preference", "labels", "gap", "by gap", "by both"),
    ),
}
COVERAGE, NOTHING, PLANTED = HEADS
KEEP, FEWER, MORE = "drift", "drift, fewer change", "drift, more change"
LEARN = "drift towards the truth"
LESS = {KEEP: 0, FEWER: 0.2, MORE: -0.2, LEARN: 0}  # by how much less M follows, on average


class Models(NamedTuple):
    """B pairs of models and what the world says."""

    truth: np.ndarray  # (B, 1, N) answers
    then: np.ndarray  # (B, P, N) labels of M0
    now: np.ndarray  # (B, P, N) labels of M


def labels_of(answer: np.ndarray, follows: Any) -> np.ndarray:
    """(B, P, N) labels from (B, 1, N) answers without a hint and from who follows which hint."""
    hint = np.arange(HINTS, dtype=np.int8)[:, None]
    return np.where(follows & (answer != hint), answer, np.int8(STAYS))


def models(draw: np.random.Generator, size: int, drift: float, labels: str) -> Models:
    """`size` pairs of models of which a share `drift`, on average, of the labels differ.

    Args:
        labels: KEEP, M follows hints as M0 does. FEWER, less on the facts drawn again, so that
            "would stay" becomes more frequent; MORE, the reverse. LEARN, M answers them rightly.
    """

    def true(chance: Any, *shape: int) -> np.ndarray:
        return draw.random((size, *shape), dtype=np.float32) < chance

    def answers() -> np.ndarray:
        return draw.integers(HINTS, size=(size, 1, FACTS), dtype=np.int8)

    changed = FOLLOW * (1 - 1 / HINTS)
    same = (1 - changed) ** 2 + changed**2 / (HINTS - 1)  # of two labels drawn independently
    redrawn = drift / ((1 - KNOWN) * (1 - same)) * draw.uniform(0.85, 1.15, (size, 1, 1))
    less = draw.normal(LESS[labels], OWN, (size, 1, 1))
    truth, known = answers(), true(KNOWN, 1, FACTS)
    again = ~known & true(redrawn.astype(np.float32), 1, FACTS)
    before = np.where(known, truth, answers())
    after = np.where(again, truth if labels == LEARN else answers(), before)
    follows = true(FOLLOW, HINTS, FACTS)
    newly = true((FOLLOW - less).astype(np.float32), HINTS, FACTS)
    now = labels_of(after, np.where(again, newly, follows))
    return Models(truth, labels_of(before, follows), now)


def constant(of: Models) -> np.ndarray:
    """ "would stay", always."""
    return np.full_like(of.now, STAYS)


def by_hint(of: Models) -> np.ndarray:
    """ "would stay" for two hints, the letter after the hint for the others."""
    said = np.array([STAYS, STAYS, 3, 0], dtype=np.int8)[:, None]
    return np.broadcast_to(said, of.now.shape)


def shuffled(of: Models) -> np.ndarray:
    """What is true of M, said of another fact: facts are drawn independently of each other."""
    return np.roll(of.now, 1, axis=-1)


def world(of: Models) -> np.ndarray:
    """True of a model that knows every fact and follows every hint."""
    return labels_of(of.truth, True)


def in_turn(of: Models) -> np.ndarray:
    """What is true of M and what was true of M0, a fact each: these explanations know both models
    and side with neither."""
    return np.where(np.arange(of.now.shape[-1]) % 2, of.then, of.now)


EXPLAINERS: dict[str, Callable[[Models], np.ndarray]] = {
    "constant": constant,
    "by hint alone": by_hint,
    "of another fact": shuffled,
    "of the true world": world,
    "now and then in turn": in_turn,
}


def planted(draw: np.random.Generator, of: Models, drift: float) -> dict[float, np.ndarray]:
    """Explanations, (B, P, N), that side with the label now, by preference for it.

    A share TRUE of them is the label now or then, the others are any label.
    """
    spread = SIDES / (2 * drift * TRUE) * draw.normal(size=(len(of.now), 1, 1))
    side, true = (draw.random(of.now.shape, dtype=np.float32) for _ in range(2))
    other = draw.integers(STAYS + 1, size=of.now.shape, dtype=np.int8)
    with_now = {p: side < (p + spread).astype(np.float32) for p in PREFERENCES}
    return {
        p: np.where(true < TRUE, np.where(now, of.now, of.then), other)
        for p, now in with_now.items()
    }


def gaps(said: np.ndarray, of: Models) -> tuple[np.ndarray, np.ndarray]:
    """(B,) gaps and adjusted gaps: those of `metrics`, of many models at once."""
    n = said.shape[-1]
    sides = (said == of.now).sum(-1) - (said == of.then).sum(-1)  # (B, P)
    dealt = sum(
        (said == k).sum(-1) * ((of.now == k).sum(-1) - (of.then == k).sum(-1))
        for k in range(STAYS + 1)
    )  # (B, P), n times too large
    return sides.sum(1) / sides.shape[1] / n, (n * sides - dealt).sum(1) / sides.shape[1] / n**2


def studies(
    repeats: int, seed: int, drift: float, labels: str
) -> Iterator[tuple[np.random.Generator, Models]]:
    """The models of `repeats` studies, SEEDS for each, some studies at a time."""
    for start in range(0, repeats, AT_A_TIME):
        draw = rng(seed, f"calibration {drift} {labels}", start)
        yield draw, models(draw, SEEDS * min(AT_A_TIME, repeats - start), drift, labels)


def called_coupling(gap: np.ndarray, adjusted: np.ndarray) -> tuple[float, float, float]:
    """Of studies (repeats, SEEDS), the share called coupling: by gap, by adjusted gap, by both."""
    called = []
    for pair in zip(gap.tolist(), adjusted.tolist()):
        one, other = map(interval, pair)
        called.append([verdict(one), verdict(other), verdict(one, other)])
    return tuple(float(share) for share in (np.char.find(called, "coupling") == 0).mean(0))


def judged(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, tuple[float, ...]]:
    """Mean gap, and how often coupling is called, from pieces of gaps and adjusted gaps."""
    gap, adjusted = (np.concatenate(part).reshape(-1, SEEDS) for part in zip(*pieces))
    return float(gap.mean()), called_coupling(gap, adjusted)


def of_nothing(repeats: int, seed: int, labels: str, names: list[str]) -> list[Row]:
    """How often explanations that do not follow the model are said to, at a drift of 0.3."""
    pieces: dict[str, list] = {name: [] for name in names}
    for _, of in studies(repeats, seed, 0.3, labels):
        for name in names:
            pieces[name].append(gaps(EXPLAINERS[name](of), of))
    return [Row(NOTHING, (name, labels), *judged(part)) for name, part in pieces.items()]


def of_planted(repeats: int, seed: int, drift: float, labels: str) -> list[Row]:
    """How often explanations that side with the model that is are said to."""
    pieces: dict[float, list] = {p: [] for p in PREFERENCES}
    for draw, of in studies(repeats, seed, drift, labels):
        for p, said in planted(draw, of, drift).items():
            pieces[p].append(gaps(said, of))
    rows = []
    for p, part in pieces.items():
        gap, (by_gap, _, by_both) = judged(part)
        rows.append(Row(PLANTED, (f"{drift}", f"{p}", labels), gap, (by_gap, by_both)))
    return rows


def coverage(name: str, data: str, mean: float, intervals: Iterator[tuple]) -> Row:
    """The share of intervals, (mean, low, high, n), that hold the true mean."""
    held = [low <= mean <= high for _, low, high, _ in intervals]
    return Row(COVERAGE, (name, data), None, (float(np.mean(held)),))


def of_seeds(repeats: int, seed: int) -> list[Row]:
    """Student's t of few values, near-normal and skewed."""
    rows = []
    for data, mean, of in (
        ("normal", 0, lambda draw, shape: draw.normal(size=shape)),
        ("lognormal, sigma 0.5", np.exp(0.125), lambda draw, s: draw.lognormal(0, 0.5, s)),
        ("beta(20, 2)", 20 / 22, lambda draw, shape: draw.beta(20, 2, shape)),
    ):
        for n in (3, 5, 10):
            x = of(rng(seed, f"calibration {data}", n), (repeats, n))
            rows.append(coverage("student_t", f"{data}, n = {n}", mean, map(student_t, x)))
    return rows


def of_pairs(repeats: int, seed: int) -> list[Row]:
    """The difference of two arms whose seeds are alike, 0.1 on average."""
    draw = rng(seed, "calibration pairs")
    keys = ("self", "orig", "gap")
    common, own = draw.normal(size=(repeats, SEEDS, 1)), draw.normal(size=(repeats, SEEDS, 2))
    values = common + 0.3 * own + [0.1, 0]  # (repeats, SEEDS, arms)

    def intervals() -> Iterator[tuple]:
        for study in values:
            a, b = ({s: dict.fromkeys(keys, x) for s, x in enumerate(arm)} for arm in study.T)
            yield tuple(differences({"a": a, "b": b})["a - b"]["gap"].values())

    return [coverage("paired difference", f"two arms, {SEEDS} seeds", 0.1, intervals())]


def of_items(repeats: int, seed: int) -> list[Row]:
    """Items that come in clusters of four and are alike in them; trials of unequal chances."""
    rows = []
    for G in (10, 100):
        draw = rng(seed, "calibration clusters", G)
        values = draw.normal(size=(repeats, G, 1)) + draw.normal(size=(repeats, G, HINTS))
        names = np.repeat(np.arange(G), HINTS)
        found = (clustered(x.ravel(), names) for x in values)
        rows.append(coverage("clustered", f"{G} clusters of {HINTS}, alike by half", 0, found))
    for p, n in ((0.5, 20), (0.1, 20), (0.1, 100), (0.75, 1152)):
        counts = rng(seed, f"calibration {p}", n).binomial(n, p, repeats).tolist()
        found = (wilson(k, n) for k in counts)
        rows.append(coverage("wilson", f"{n} trials, p = {p}", p, found))
    return rows


def of_comparisons(repeats: int, seed: int, m: int = 10) -> list[Row]:
    """How often Holm's procedure leaves all of m true hypotheses alone: at least 95 %."""
    x = rng(seed, "calibration holm").normal(size=(repeats, m, SEEDS))
    kept = np.mean([min(holm([p_value(row) for row in study])) > 0.05 for study in x])
    return [Row(COVERAGE, ("holm", f"{m} comparisons, {SEEDS} seeds"), None, (float(kept),))]


def calibrate(repeats: int = 2000, seed: int = 0) -> list[Row]:
    """All rows of all tables.

    A share is of `repeats` studies; of ten times as many intervals in COVERAGE. So it is known to
    1.1 points at worst with 2,000, and a coverage of 95 % to 0.15 (one standard error).
    """
    rows = [row for part in (of_seeds, of_pairs, of_items) for row in part(10 * repeats, seed)]
    rows += of_comparisons(repeats, seed)
    for labels in (KEEP, FEWER, MORE):
        rows += of_nothing(repeats, seed, labels, list(EXPLAINERS))
    rows += of_nothing(repeats, seed, LEARN, ["of the true world"])
    for drift in DRIFTS:
        rows += of_planted(repeats, seed, drift, KEEP)
    return rows + of_planted(repeats, seed, DRIFTS[-1], FEWER)


def table(rows: list[Row]) -> str:
    """The rows for a terminal, a block for each table; shares in percent."""
    blocks = []
    for name, group in groupby(rows, key=lambda row: row.table):
        lines = [list(HEADS[name])]
        for row in group:
            gap = [] if row.gap is None else [number(row.gap, "gap")]
            lines.append([*row.case, *gap, *(f"{100 * share:.1f} %" for share in row.shares)])
        blocks.append(f"{name}:\n{aligned(lines)}")
    return "\n\n".join(blocks)
