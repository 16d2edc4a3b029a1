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
from introspect.stats import clustered
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


def test_a_column_of_ones_gives_the_clustered_mean():
    _, _, clusters, y = data()
    [found] = regress(y, np.ones((120, 1)), clusters)
    assert found == pytest.approx(clustered(y, clusters)._asdict())


def test_coefficients_are_numpys_and_their_errors_those_of_a_loop():
    _, x, clusters, y = data()
    found = regress(y, x, clusters)
    b, *_ = np.linalg.lstsq(x, y, rcond=None)
    assert [e["mean"] for e in found] == pytest.approx(b)
    names = np.unique(clusters)
    meat, bread = np.zeros((2, 2)), np.linalg.inv(x.T @ x)
    for g in names:
        s = sum(x[i] * (y[i] - x[i] @ b) for i in np.flatnonzero(clusters == g))
        meat += np.outer(s, s)
    errors = np.sqrt(np.diag(bread @ meat @ bread) * len(names) / (len(names) - 1))
    widths = np.array([e["high"] - e["low"] for e in found])
    assert widths[0] / errors[0] == pytest.approx(widths[1] / errors[1])
    assert widths[0] / errors[0] / 2 == pytest.approx(2.0452, abs=1e-3)  # t of 29


def test_intervals_cover_where_items_of_a_cluster_are_alike():
    inside = 0
    for seed in range(300):
        draw = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(40), 5)
        x = draw.normal(size=40)[clusters][:, None]  # the worst case: alike in x and in noise
        y = 0.5 * x[:, 0] + draw.normal(size=40)[clusters]
        [e] = regress(y, x, clusters)
        inside += e["low"] <= 0.5 <= e["high"]
    assert 0.89 <= inside / 300 <= 0.98


def test_what_cannot_be_told_apart_has_no_slope():
    _, x, clusters, y = data()
    for columns in (np.stack([x[:, 0], x[:, 0] * 2], axis=1), np.zeros((120, 1))):
        assert {e["mean"] for e in regress(y, columns, clusters)} == {None}
    assert regress(y, x, np.zeros(120))[0] == {"mean": None, "low": None, "high": None, "n": 1}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_planted_explanations_have_the_slopes_that_they_were_made_with(share):
    then, now = (implied_odds(logits(seed), PAIRS) for seed in (0, 1))
    bias = torch.arange(8.0).view(2, 4)  # of each cue and class: it explains nothing
    said = share * now + (1 - share) * then + bias
    found = follow_odds(said, now, then, np.arange(200), said_then=then)
    for name, slope in (("now", share), ("then", 1 - share), ("change", share)):
        assert found[name]["mean"] == pytest.approx(slope, abs=1e-9)


def test_explanations_that_know_no_model_have_no_slope():
    """The negative control."""
    then, now, said = (implied_odds(logits(seed), PAIRS) for seed in (0, 1, 2))
    found = follow_odds(said, now, then, np.arange(200), said_then=implied_odds(logits(3), PAIRS))
    assert all(e["low"] < 0 < e["high"] and abs(e["mean"]) < 0.1 for e in found.values())


def test_what_explanations_read_is_found_behind_a_readout_that_came_loose(taught):  # noqa: F811
    """They say exactly what the refitted answers imply, so nothing is left to M0 or to the own."""
    model, task, frozen = taught
    broken, pairs = loose(model), torch.tensor(task.world.pairs)
    snapshot = Snapshot(broken, task, frozen)
    restored = implied_odds(refit_answers(broken, snapshot, frozen.reference), pairs)
    asked = copy.copy(task.interview)
    asked.both = lambda m, s: (task.interview.answers(m, s), logsigmoid(restored)[s])
    snapshot.task = task._replace(interview=asked)
    found = compare_odds(broken, model, snapshot, frozen.reference)
    refitted, own = found["refitted"], found["own"]
    assert refitted["now"]["mean"] == pytest.approx(1) and abs(refitted["then"]["mean"]) < 1e-6
    assert own["now"]["mean"] < 0.3 and own["then"]["mean"] > 0.7
    assert own["now"]["n"] == len(task.subjects("held_out"))
    assert own["change"]["mean"] < 0.3
