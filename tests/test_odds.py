"""Log-odds of explanations on those of answers: by definition, and where the slopes are known."""

import copy
import math

import numpy as np
import pytest
import torch

from torch.nn.functional import logsigmoid

from introspect.analysis.odds import compare_odds, follow_odds, implied_odds, log_odds, regress
from introspect.analysis.readout import refit_answers
from introspect.measure import Snapshot
from introspect.runs.stages import ask_through
from introspect.stats import clustered, t_quantile
from tests.test_readout import loose, taught  # noqa: F401 (a fixture)

PAIRS = torch.tensor([[1, 0], [2, 0]])


def logits(seed, n=200, V=3, K=3):
    return torch.randn(n, V, K, generator=torch.Generator().manual_seed(seed)).mul(2)


def test_log_odds_are_those_of_each_class_against_all_others():
    p = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    expected = [[math.log(x / (1 - x)) for x in p[0].tolist()]]
    torch.testing.assert_close(log_odds(p.log()), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(log_odds(p.log() + 7), log_odds(p.log()))
    sure = log_odds(torch.tensor([60.0, 0.0, 0.0], dtype=torch.float64))
    assert sure[0] == pytest.approx(60 - math.log(2))  # where 1 - p is 0 in floating point


def test_implied_odds_are_those_of_labels_of_answers_that_are_drawn():
    """A sum over all pairs of answers, by the definition of a label."""
    z = logits(0, n=4)
    found = implied_odds(z, PAIRS)
    p = z.double().softmax(-1)
    for s in range(4):
        for i, (x, y) in enumerate(PAIRS.tolist()):
            q = [0.0] * 4
            for a in range(3):
                for b in range(3):
                    q[3 if a == b else b] += float(p[s, x, a] * p[s, y, b])
            assert sum(q) == pytest.approx(1)
            assert found[s, i].tolist() == pytest.approx([math.log(v / (1 - v)) for v in q])


def data(seed=0, n=120, G=30):
    draw = np.random.default_rng(seed)
    x, clusters = draw.normal(size=(n, 2)), draw.integers(G, size=n)
    return draw, x, clusters, x @ [0.7, -0.2] + draw.normal(size=G)[clusters]


def test_a_column_of_ones_gives_the_error_of_the_clustered_mean():
    _, _, clusters, y = data()
    [b], cov = regress(y, np.ones((120, 1)), clusters)
    whole = clustered(y, clusters)
    half = t_quantile(0.975, whole.n - 1) * math.sqrt(cov[0, 0])
    assert (b, b - half) == (pytest.approx(whole.mean), pytest.approx(whole.low))


def test_coefficients_are_numpys_and_their_errors_those_of_a_loop():
    _, x, clusters, y = data()
    b, cov = regress(y, x, clusters)
    np.testing.assert_allclose(b, np.linalg.lstsq(x, y, rcond=None)[0])
    names = np.unique(clusters)
    meat, bread = np.zeros((2, 2)), np.linalg.inv(x.T @ x)
    for g in names:
        s = sum(x[i] * (y[i] - x[i] @ b) for i in np.flatnonzero(clusters == g))
        meat += np.outer(s, s)
    np.testing.assert_allclose(cov, bread @ meat @ bread * len(names) / (len(names) - 1))


def test_what_cannot_be_told_apart_has_no_slope():
    _, x, clusters, y = data()
    for columns in (np.stack([x[:, 0], x[:, 0] * 2], axis=1), np.zeros((120, 1))):
        with pytest.raises(ValueError, match="need independent columns and two clusters"):
            regress(y, columns, clusters)
    then = implied_odds(logits(0), PAIRS)
    for now, facts in ((then, np.arange(200)), (implied_odds(logits(1), PAIRS), np.zeros(200))):
        found = follow_odds(then, now, then, facts)
        assert {e["mean"] for e in found.values()} == {None}
        assert {e["n"] for e in found.values()} == {len(set(facts))}


def test_intervals_cover_where_items_of_a_subject_and_subjects_of_a_fact_are_alike():
    """Slopes 2 and 1, so a share of 2 / 3; noise of a fact is the same in all its subjects."""
    inside = dict.fromkeys(("now", "then", "share"), 0)
    for seed in range(300):
        g = torch.Generator().manual_seed(seed)
        now, then, noise = torch.randn(3, 40, 2, 3, generator=g)
        facts, then = np.arange(120) // 3, 0.9 * now + 0.4 * then  # M0 is much like the model now
        now, then, noise = (x[facts] for x in (now, then, noise))
        found = follow_odds(2 * now + then + noise, now, then, facts)
        for (name, e), true in zip(found.items(), (2, 1, 2 / 3)):
            inside[name] += e["low"] <= true <= e["high"]
    assert all(0.90 <= n / 300 <= 0.98 for n in inside.values())


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_planted_explanations_have_the_slopes_that_they_were_made_with(share):
    then, now = (implied_odds(logits(seed), PAIRS) for seed in (0, 1))
    bias = torch.arange(8.0).view(2, 4)  # of each cue and class: it explains nothing
    said = 3 * (share * now + (1 - share) * then) + bias  # surer than what it says, 3 times
    found = follow_odds(said, now, then, np.arange(200))
    for name, value in (("now", 3 * share), ("then", 3 - 3 * share), ("share", share)):
        assert found[name]["mean"] == pytest.approx(value, abs=1e-9)


def test_explanations_that_know_no_model_have_no_slope():
    """The negative control."""
    then, now, said = (implied_odds(logits(seed), PAIRS) for seed in (0, 1, 2))
    found = follow_odds(said, now, then, np.arange(200))
    for name in ("now", "then"):
        assert found[name]["low"] < 0 < found[name]["high"] and abs(found[name]["mean"]) < 0.1


def test_what_explanations_read_is_found_behind_a_readout_that_came_loose(taught):  # noqa: F811
    """They say exactly what the refitted answers imply, so nothing is left to M0 or to the own."""
    model, task, frozen = taught
    broken, pairs = loose(model), torch.tensor(task.world.pairs)
    snapshot = Snapshot(broken, task, frozen)
    restored = implied_odds(refit_answers(broken, snapshot, frozen.reference), pairs)
    asked = copy.copy(task.interview)
    asked.both = lambda m, s: (task.interview.answers(m, s), logsigmoid(restored)[s])
    snapshot.task = task._replace(interview=asked)
    found = compare_odds(broken, snapshot, frozen.reference)
    refitted, own = found["refitted"], found["own"]
    assert refitted["now"]["mean"] == pytest.approx(1) and abs(refitted["then"]["mean"]) < 1e-6
    assert own["now"]["mean"] < 0.3 and own["then"]["mean"] > 0.7
    assert own["now"]["n"] == len(task.subjects("held_out"))
    assert own["share"]["high"] < 0.3
    [verbal] = ask_through([task], "verbal", "cpu")
    with pytest.raises(ValueError, match="all channels but verbal"):
        compare_odds(model, Snapshot(model, verbal, frozen), frozen.reference)
