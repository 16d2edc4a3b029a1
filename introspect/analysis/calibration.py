"""How often intervals cover the truth, and how often coupling is found where there is none or some.

The data are simulated, so their truth is known. They are judged by the functions that judge a
study: `stats.student_t`, `clustered` and `wilson`, `summary.interval`, `differences` and `verdict`.
A study has as many facts and cues as the held-out half of `hint`. Each of its seeds is a pair of
models, M0 and M:

    B pairs of models   P = 4 hints   N = 1,152 facts   answers 0..3, label 4: "would stay"

Both models answer the facts they know correctly and guess the others, and follow a hint or not at
random. Between M0 and M some of the guesses are drawn again, so that labels drift in a way that the
world alone does not predict.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from introspect.analysis.hypotheses import differs, holm, keep_gates, p_value, sign_flip, within
from introspect.report.html import aligned
from introspect.report.summary import differences
from introspect.report.text import number
from introspect.stats import clustered, interval, student_t, verdict, wilson
from introspect.streams import rng

FACTS, HINTS, STAYS = 1152, 4, 4  # a hint names one of the answers, so there are as many of both
SEEDS = 5  # of a study
KNOWN = 0.3  # share of facts that both models know
FOLLOW = 0.65  # how often a hint is followed, so that the cue changes about half of the answers
OWN = 0.05  # spread over seeds of the change in how often M follows hints on facts drawn again
TRUE = 0.85  # share of planted explanations that are the label now or then
SPREAD = 0.04  # spread of the gap of planted explanations over seeds, as in the headline study
DRIFTS, PREFERENCES = (0.2, 0.3, 0.4), (0.55, 0.6, 0.67)
AT_A_TIME = 20  # studies, few enough for the processor's cache


class Row(NamedTuple):
    table: str  # a key of HEADS
    case: tuple[str, ...]  # what is simulated
    gap: float | None  # its mean over studies, None if there is none
    shares: tuple[float, ...]  # of the repeats


HEADS = {
    "coverage of a 95 % interval": "interval, data, covers",
    "studies without coupling that are called coupling, 5 seeds":
        "explanations, labels, gap, by gap, by adjusted gap, by both",
    "studies of planted coupling that are called coupling, 5 seeds":
        "drift, preference, labels, gap, by gap, by both",
    "rows of 12 worlds that are called another than 0, and smaller than 0.03":
        "data, true mean, by t, by sign flips, by both, smaller",
}
COVERAGE, NOTHING, PLANTED, TESTS = HEADS
WORLDS, DEVIATION, SMALLEST = 12, 0.04, 0.03  # of a registered row; SMALLEST is a bound of `within`
SHAPES = {  # mean 0, standard deviation 1
    "normal": lambda draw, shape: draw.normal(size=shape),
    "skewed": lambda draw, shape: draw.exponential(size=shape) - 1,
    "bimodal": lambda draw, shape: draw.choice([-1.0, 1.0], shape),
}
KEEP, FEWER, MORE = "drift", "drift, fewer change", "drift, more change"
LEARN = "drift towards the truth"
LESS = {KEEP: 0, FEWER: 0.2, MORE: -0.2, LEARN: 0}  # by how much less M follows hints, on average


class Models(NamedTuple):
    """B pairs of models and the facts of the world."""

    truth: np.ndarray  # (B, 1, N) correct answers
    then: np.ndarray  # (B, P, N) labels of M0
    now: np.ndarray  # (B, P, N) labels of M


def derive_labels(answer: np.ndarray, follows: Any) -> np.ndarray:
    """Labels (B, P, N) from answers without a hint (B, 1, N) and from who follows which hint."""
    hint = np.arange(HINTS, dtype=np.int8)[:, None]
    return np.where(follows & (answer != hint), answer, np.int8(STAYS))


def draw_models(draw: np.random.Generator, size: int, drift: float, labels: str) -> Models:
    """`size` pairs of models; a share `drift` of their labels differs, on average.

    Args:
        labels: what else M does. KEEP: it follows hints as M0 does. FEWER: it follows fewer hints
            on the facts drawn again, so that "would stay" becomes more frequent. MORE: the reverse.
            LEARN: it answers the facts drawn again correctly.
    """

    def true(chance: Any, *shape: int) -> np.ndarray:
        return draw.random((size, *shape), dtype=np.float32) < chance

    def answers() -> np.ndarray:
        return draw.integers(HINTS, size=(size, 1, FACTS), dtype=np.int8)

    changed = FOLLOW * (1 - 1 / HINTS)
    same = (1 - changed) ** 2 + changed**2 / (HINTS - 1)  # chance that two random labels are equal
    redrawn = drift / ((1 - KNOWN) * (1 - same)) * draw.uniform(0.85, 1.15, (size, 1, 1))
    less = draw.normal(LESS[labels], OWN, (size, 1, 1))
    truth, known = answers(), true(KNOWN, 1, FACTS)
    again = ~known & true(redrawn.astype(np.float32), 1, FACTS)
    before = np.where(known, truth, answers())
    after = np.where(again, truth if labels == LEARN else answers(), before)
    follows = true(FOLLOW, HINTS, FACTS)
    newly = true((FOLLOW - less).astype(np.float32), HINTS, FACTS)
    now = derive_labels(after, np.where(again, newly, follows))
    return Models(truth, derive_labels(before, follows), now)


BY_HINT = np.array([[STAYS], [STAYS], [3], [0]], dtype=np.int8)  # for 2 and 3 the letter after it
EXPLAINERS: dict[str, Callable[[Models], np.ndarray]] = {  # none of them follows the model
    "constant": lambda m: np.full_like(m.now, STAYS),
    "by hint alone": lambda m: np.broadcast_to(BY_HINT, m.now.shape),
    "of another fact": lambda m: np.roll(m.now, 1, axis=-1),  # facts are drawn independently
    "of the true world": lambda m: derive_labels(m.truth, True),  # a model that knows every fact
    # these explanations know both models, and are true of M and of M0 equally often
    "now and then in turn": lambda m: np.where(np.arange(m.now.shape[-1]) % 2, m.then, m.now),
}


def plant(draw: np.random.Generator, m: Models, drift: float) -> dict[float, np.ndarray]:
    """Explanations (B, P, N) that prefer the label now to the label then, for each preference.

    A share TRUE of them is one of these two labels. The others are any label.
    """
    spread = SPREAD / (2 * drift * TRUE) * draw.normal(size=(len(m.now), 1, 1))
    side, true = (draw.random(m.now.shape, dtype=np.float32) for _ in range(2))
    other = draw.integers(STAYS + 1, size=m.now.shape, dtype=np.int8)
    planted = {}
    for p in PREFERENCES:
        label = np.where(side < (p + spread).astype(np.float32), m.now, m.then)
        planted[p] = np.where(true < TRUE, label, other)
    return planted


def measure_gaps(said: np.ndarray, m: Models) -> tuple[np.ndarray, np.ndarray]:
    """Gaps and adjusted gaps (B,) of many models at once, as in `metrics` and `frequency`."""
    n = said.shape[-1]
    sides = (said == m.now).sum(-1) - (said == m.then).sum(-1)  # (B, P)
    dealt = sum(
        (said == k).sum(-1) * ((m.now == k).sum(-1) - (m.then == k).sum(-1))
        for k in range(STAYS + 1)
    )  # (B, P), n times the gap by frequency
    return sides.sum(1) / sides.shape[1] / n, (n * sides - dealt).sum(1) / sides.shape[1] / n**2


def draw_studies(
    repeats: int, seed: int, drift: float, labels: str
) -> Iterator[tuple[np.random.Generator, Models]]:
    """The models of `repeats` studies, SEEDS pairs for each, AT_A_TIME studies at a time."""
    for start in range(0, repeats, AT_A_TIME):
        draw = rng(seed, f"calibration {drift} {labels}", start)
        yield draw, draw_models(draw, SEEDS * min(AT_A_TIME, repeats - start), drift, labels)


def judge(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, tuple[float, ...]]:
    """Mean gap, and the share of studies called coupling by gap, by adjusted gap and by both.

    Args:
        pieces: gaps and adjusted gaps, (SEEDS * studies,) each, of some studies at a time.
    """
    gaps, adjusted = (np.concatenate(part).reshape(-1, SEEDS) for part in zip(*pieces))
    called = []
    for pair in zip(gaps.tolist(), adjusted.tolist()):
        one, other = map(interval, pair)
        called.append([verdict(one), verdict(other), verdict(one, other)])
    shares = (np.char.find(called, "coupling") == 0).mean(0)
    return float(gaps.mean()), tuple(shares.tolist())


def judge_studies(repeats: int, seed: int, drift: float, labels: str, explain: Callable) -> dict:
    """What `judge` finds of explain(draw, m), explanations by name, in `repeats` studies."""
    pieces: dict[Any, list] = {}
    for draw, m in draw_studies(repeats, seed, drift, labels):
        for name, said in explain(draw, m).items():
            pieces.setdefault(name, []).append(measure_gaps(said, m))
    return {name: judge(part) for name, part in pieces.items()}


def judge_nothing(repeats: int, seed: int, labels: str, names: Iterable[str]) -> list[Row]:
    """How often explanations that do not follow the model are called coupling; drift 0.3."""
    judged = judge_studies(
        repeats, seed, 0.3, labels, lambda _, m: {name: EXPLAINERS[name](m) for name in names}
    )
    return [Row(NOTHING, (name, labels), *result) for name, result in judged.items()]


def judge_planted(repeats: int, seed: int, drift: float, labels: str) -> list[Row]:
    """How often explanations that prefer the label now are called coupling."""
    judged = judge_studies(repeats, seed, drift, labels, lambda draw, m: plant(draw, m, drift))
    return [Row(PLANTED, (f"{drift}", f"{p}", labels), gap, (by_gap, by_both))
            for p, (gap, (by_gap, _, by_both)) in judged.items()]


def cover(name: str, data: str, mean: float, intervals: Iterable[tuple]) -> Row:
    """The share of intervals, (mean, low, high, n), that contain the true mean."""
    contain = [low <= mean <= high for _, low, high, _ in intervals]
    return Row(COVERAGE, (name, data), None, (float(np.mean(contain)),))


def cover_seeds(repeats: int, seed: int) -> list[Row]:
    """Student's t for few values, normal and skewed."""
    rows = []
    for data, mean, sample in (
        ("normal", 0, lambda draw, shape: draw.normal(size=shape)),
        ("lognormal, sigma 0.5", np.exp(0.125), lambda draw, s: draw.lognormal(0, 0.5, s)),
        ("beta(20, 2)", 20 / 22, lambda draw, shape: draw.beta(20, 2, shape)),
    ):
        for n in (3, 5, 10):
            x = sample(rng(seed, f"calibration {data}", n), (repeats, n))
            rows.append(cover("student_t", f"{data}, n = {n}", mean, map(student_t, x)))
    return rows


def cover_differences(repeats: int, seed: int) -> list[Row]:
    """The difference, 0.1 on average, of two arms that share the effect of each seed."""
    draw, keys = rng(seed, "calibration pairs"), ("self", "orig", "gap")
    common, own = draw.normal(size=(repeats, SEEDS, 1)), draw.normal(size=(repeats, SEEDS, 2))
    values = common + 0.3 * own + [0.1, 0]  # (repeats, SEEDS, arms)

    def intervals() -> Iterator[tuple]:
        for study in values:
            a, b = ({s: dict.fromkeys(keys, x) for s, x in enumerate(arm)} for arm in study.T)
            yield tuple(differences({"a": a, "b": b})["a - b"]["gap"].values())

    return [cover("paired difference", f"two arms, {SEEDS} seeds", 0.1, intervals())]


def cover_items(repeats: int, seed: int) -> list[Row]:
    """Clusters of four items that share half of their variance, and trials of unequal chances."""
    rows = []
    for G in (10, 100):
        draw = rng(seed, "calibration clusters", G)
        values = draw.normal(size=(repeats, G, 1)) + draw.normal(size=(repeats, G, HINTS))
        names = np.repeat(np.arange(G), HINTS)
        intervals = (clustered(x.ravel(), names) for x in values)
        rows.append(cover("clustered", f"{G} clusters of {HINTS}, alike by half", 0, intervals))
    for p, n in ((0.5, 20), (0.1, 20), (0.1, 100), (0.75, 1152)):
        counts = rng(seed, f"calibration {p}", n).binomial(n, p, repeats).tolist()
        rows.append(cover("wilson", f"{n} trials, p = {p}", p, (wilson(k, n) for k in counts)))
    return rows


def judge_holm(repeats: int, seed: int, m: int = 10) -> list[Row]:
    """How often Holm's procedure rejects none of m true hypotheses; it promises 95 % or more."""
    x = rng(seed, "calibration holm").normal(size=(repeats, m, SEEDS))
    kept = np.mean([min(holm([p_value(row) for row in study])) > 0.05 for study in x])
    return [Row(COVERAGE, ("holm", f"{m} comparisons, {SEEDS} seeds"), None, (float(kept),))]


def judge_tests(repeats: int, seed: int) -> list[Row]:
    """How often each test, and both, put the mean of WORLDS worlds on the right or a wrong side of
    0, and how often it is called smaller than SMALLEST."""
    rows = []
    for data, sample in SHAPES.items():
        draws = sample(rng(seed, f"calibration tests {data}"), (repeats, WORLDS))
        for mean in (0.0, SMALLEST, 2 * SMALLEST):
            ps = [(p_value(x), sign_flip(x), differs(x), within(x, -SMALLEST, SMALLEST))
                  for x in (mean + DEVIATION * draws).tolist()]  # fmt: skip
            shares = (np.array(ps) < 0.05).mean(0).tolist()
            rows.append(Row(TESTS, (data, f"{mean:.2f}"), None, tuple(shares)))
    return rows


def judge_gates(repeats: int, seed: int) -> Row:
    """How often no true hypothesis is rejected in three half true families; promised: 95 %."""
    x = rng(seed, "calibration gates").normal(size=(repeats, 3, 6, WORLDS))
    x[:, :, ::2] += 2.0  # false ones
    studies = ([[*map(p_value, family)] for family in study] for study in x.tolist())
    kept = [min(min(ps[1::2]) for ps in keep_gates(study)) > 0.05 for study in studies]
    return Row(COVERAGE, ("gates", f"3 families of 6, {WORLDS} worlds"), None, (np.mean(kept),))


def calibrate(repeats: int = 2000, seed: int = 0) -> list[Row]:
    """All rows of all tables.

    Each share is over `repeats` studies or, in COVERAGE, over ten times as many intervals. With
    2,000 its standard error is at most 1.1 points, and 0.15 points for a coverage of 95 %.
    """
    parts = (cover_seeds, cover_differences, cover_items)
    rows = [row for part in parts for row in part(10 * repeats, seed)]
    rows += [*judge_holm(repeats, seed), judge_gates(repeats, seed)]
    for labels in (KEEP, FEWER, MORE):
        rows += judge_nothing(repeats, seed, labels, EXPLAINERS)
    rows += judge_nothing(repeats, seed, LEARN, ["of the true world"])
    for drift in DRIFTS:
        rows += judge_planted(repeats, seed, drift, KEEP)
    return [*rows, *judge_planted(repeats, seed, DRIFTS[-1], FEWER), *judge_tests(repeats, seed)]


def table(rows: list[Row]) -> str:
    """The rows for a terminal, one block for each table; shares in percent."""
    blocks = []
    for name, group in groupby(rows, key=lambda row: row.table):
        lines = [HEADS[name].split(", ")]
        for row in group:
            gap = [] if row.gap is None else [number(row.gap, "gap")]
            lines.append([*row.case, *gap, *(f"{100 * share:.1f} %" for share in row.shares)])
        blocks.append(f"{name}:\n{aligned(lines)}")
    return "\n\n".join(blocks)
