"""What counts for an answer, and how well scores rank it: against texts, loops and definitions."""

from itertools import product

import numpy as np
import pytest
import scipy.stats
import torch

from introspect.analysis.attribution import shapley
from introspect.analysis.recovery import (
    METHODS,
    N_STEP,
    auc,
    can_flip,
    first_counts,
    make_score,
    recovery,
    show_recoveries,
    show_recovery,
)
from introspect.config import GPTConfig, LabelConfig
from introspect.interview import Interview, RunTask
from introspect.labels import freeze
from introspect.measure import Snapshot
from introspect.model import GPT
from introspect.tasks.hint import Hint
from introspect.tasks.rules import OFF, ON, Rules
from introspect.tokenizer import ANSWER, encode, vocab_size

TASK = Rules(n_first=4, n_second=5, n_input=2)
WORLD = TASK.world(0)


def gpt(n_answer=2, seed=0):
    cfg = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=16)
    model = GPT(cfg, vocab_size(), n_answer, n_answer + 1, seed=seed).double()
    for head in (model.task_head, model.explain_head):
        head.weight.data *= 50
    if n_answer == 2:  # as many yes as no
        logits = Interview(WORLD).answers(model, torch.arange(WORLD.n_subject))
        model.task_head.bias.data[0] += (logits[..., 1] - logits[..., 0]).median()
    return model.eval().requires_grad_(False)


def part_of(world=WORLD, channel="head", among=None):
    return RunTask("rules", world, Interview(world, channel, head_answers=among), True, False)


def snapshot_of(model, channel="head"):
    part = part_of(channel=channel)
    answers, _ = part.interview.ask_all(model)
    return Snapshot(model, part, freeze(answers, answers, WORLD, LabelConfig(), 0))


def flipped(text, which):
    """A prompt with the named features turned over, by their words."""
    other = dict(zip(ON, OFF)) | dict(zip(OFF, ON))
    features = [w for w in text.split() if w in other]
    turned = {features[i] for i in which}
    return " ".join(other[w] if w in turned else w for w in text.split())


def log_odds(model, text, answer, rows=(0, 1)):
    logits = model.task_head(model.trunk(torch.tensor([encode(text + ANSWER)]))[0, -1])
    return (logits[rows[answer]] - logits[rows[1 - answer]]).item()


def test_a_score_is_the_log_odds_of_the_answer_to_the_prompt_so_flipped():
    model, subject = gpt(), 7
    corners = list(product((0.0, 1.0), repeat=6))
    for answer in (0, 1):
        found = make_score(model, part_of(), subject, answer)(torch.tensor(corners).double())
        text = WORLD.text(subject, 0)
        expected = [
            log_odds(model, flipped(text, [i for i in range(6) if not z[i]]), answer)
            for z in corners
        ]
        assert found.tolist() == pytest.approx(expected, abs=1e-12)
        assert max(expected) - min(expected) > 0.1


def test_between_its_values_a_feature_is_the_mixture_of_their_embeddings():
    model, subject, z = gpt(), 3, torch.tensor([[0.3, 1.0, 0.0, 0.7, 0.5, 0.9]]).double()
    found = make_score(model, part_of(), subject, 1)(z)
    text = WORLD.text(subject, 0)
    ids, others = encode(text + ANSWER), encode(flipped(text, range(6)) + ANSWER)
    spare = vocab_size() - 6  # rows that no word has yet
    for i in range(6):
        word, other = (model.token.weight[row[2 + i]] for row in (ids, others))
        model.token.weight.data[spare + i] = z[0, i] * word + (1 - z[0, i]) * other
    mixed = torch.tensor([[*ids[:2], *range(spare, spare + 6), ids[-1]]])
    logits = model.task_head(model.trunk(mixed)[0, -1])
    assert found.item() == pytest.approx((logits[1] - logits[0]).item(), abs=1e-12)


def test_a_score_reads_the_answers_of_its_own_task():
    model, among = gpt(n_answer=5), ("A", "yes", "B", "no", "C")
    found = make_score(model, part_of(among=among), 2, 0)(torch.ones(1, 6).double())
    expected = log_odds(model, WORLD.text(2, 0), 0, rows=(3, 1))  # "no" against "yes"
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_the_hook_does_not_stay():
    model = gpt()
    before = model.trunk(torch.tensor([[300, 301]]))
    make_score(model, part_of(), 0, 0)(torch.zeros(1, 6).double())
    assert torch.equal(model.trunk(torch.tensor([[300, 301]])), before)


def test_only_worlds_whose_cues_are_flips_of_one_prompt_are_judged():
    assert can_flip(WORLD)
    assert not can_flip(Rules(n_first=4, n_second=5, ablation="removed").world(0))
    assert not can_flip(Hint(n_entity=3, n_attribute=3).world(0))


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_ordered_pairs_and_mann_whitneys_u(seed):
    draw = np.random.default_rng(seed)
    scores, counts = draw.integers(4, size=8).astype(float), np.arange(8) < 1 + seed
    draw.shuffle(counts)
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, x in zip(scores, counts) if x
        for b, y in zip(scores, counts) if not y
    ]
    assert auc(scores, counts) == pytest.approx(sum(pairs) / len(pairs))
    u = scipy.stats.mannwhitneyu(scores[counts], scores[~counts]).statistic
    assert auc(scores, counts) == pytest.approx(u / len(pairs))


def test_a_subject_without_both_kinds_of_features_is_not_judged():
    scores = np.arange(3.0)
    assert auc(scores, np.ones(3, bool)) is auc(scores, np.zeros(3, bool)) is None
    assert first_counts(scores, np.zeros(3, bool)) is None
    assert first_counts(scores, np.array([True, False, False])) == 0.0
    assert first_counts(np.array([2.0, 2.0, 1.0]), np.array([True, False, True])) == 0.5


@pytest.mark.parametrize("channel", ["head", "verbal"])
def test_rows_are_means_over_held_out_subjects_of_what_each_method_ranks(channel):
    model = gpt()
    snapshot = snapshot_of(model, channel)
    rows = {row.method: row for row in recovery(model, snapshot, n=1000)}
    assert list(rows) == ["explanation", *METHODS]
    held_out = WORLD.subjects("held_out")
    says = snapshot.task.interview.explanations(model, torch.from_numpy(held_out)).exp()
    judged = {"explanation": [], "Shapley": []}
    ideal = []
    for i, s in enumerate(held_out):
        plain = WORLD.text(s, 0)
        texts = [plain, *(flipped(plain, [f]) for f in range(6))]
        signs = [log_odds(model, text, 1) > 0 for text in texts]
        counts = np.array([sign != signs[0] for sign in signs[1:]])
        changes = says[i, :, :2].sum(-1).numpy()
        score = make_score(model, snapshot.task, s, int(signs[0]))
        phi = shapley(score, torch.ones(1, 6), 0.0)[0].numpy()
        judged["explanation"].append(auc(changes, counts))
        judged["Shapley"].append(auc(phi, counts))
        ideal.append(auc(changes, WORLD.truth[s] != 2))
    for name, values in judged.items():
        values = [v for v in values if v is not None]
        assert len(values) > 5
        assert rows[name].auc["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    ideal = [v for v in ideal if v is not None]
    assert rows["explanation"].auc_ideal["mean"] == pytest.approx(np.mean(ideal), abs=1e-6)


def test_leave_one_out_ranks_perfectly_by_definition_and_others_do_not():
    model = gpt(seed=1)
    rows = {row.method: row for row in recovery(model, snapshot_of(model))}
    assert rows["leave-one-out"].auc["mean"] == rows["leave-one-out"].top_1["mean"] == 1
    assert rows["gradient x input"].auc["mean"] < 1
    assert 0.2 < rows["explanation"].auc["mean"] < 0.8  # an untrained head knows nothing


def test_the_table_has_a_line_a_method():
    model = gpt()
    lines = show_recovery(recovery(model, snapshot_of(model))).splitlines()
    assert len(lines) == 2 + len(METHODS) and lines[2].startswith("leave-one-out")
    assert "1.000 [1.000, 1.000]" in lines[2]


def test_of_a_study_each_run_counts_once():
    of = [recovery(model, snapshot_of(model), n=20) for model in (gpt(seed=1), gpt(seed=2))]
    lines = [line.split() for line in show_recoveries({"reg": of, "noreg": of[:1]}).splitlines()]
    assert len(lines) == 1 + 2 * (1 + len(METHODS))
    means = [rows[0].auc["mean"] for rows in of]
    assert lines[1][:4] == ["explanation", "reg", "2", f"{np.mean(means):.3f}"]
    assert lines[6][:4] == ["explanation", "noreg", "1", f"{means[0]:.3f}"]


@pytest.mark.parametrize("ours, theirs, options", [
    ("leave-one-out", "FeatureAblation", {}), ("Shapley", "ShapleyValues", {}),
    ("integrated gradients", "IntegratedGradients", {"n_steps": N_STEP})])
def test_attributions_of_a_model_agree_with_captum(ours, theirs, options):
    captum = pytest.importorskip("captum.attr")
    score, ones = make_score(gpt(), part_of(), 11, 1), torch.ones(1, 6).double()
    expected = getattr(captum, theirs)(score).attribute(ones.clone().requires_grad_(), **options)
    found = METHODS[ours](score, ones, 0.0)
    close = 1e-5 if ours == "Shapley" else 1e-6  # Captum's is a sum over 720 orders, in float32
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=close)
    assert found.abs().max() > 0.01
