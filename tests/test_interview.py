"""How a model is asked: packed and through ids, against its readable prompts one at a time."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from introspect import interview as module
from introspect.config import GPTConfig
from introspect.interview import Interview
from introspect.model import GPT
from introspect.runs.build import build
from introspect.runs.stages import ask_through, make_tasks, new_model
from introspect.tasks.hint import Hint
from introspect.tasks.registry import find_tasks
from introspect.tasks.verdict import Verdict
from introspect.tokenizer import ANSWER, EXPLAIN, encode, encode_words, vocab_size
from tests.several import SIZES, config

HINT = Hint(n_entity=3, n_attribute=4, n_answer=3).world(0)
# the pairs in another order than the prompts, so that the one cannot stand for the other
WORLD = replace(HINT, pairs=HINT.pairs[::-1], questions=HINT.questions[::-1])
CHANNELS = ("head", "tied", "same", "probe")
SUBJECTS = torch.tensor([5, 0, 11])


def gpt(seed=0):
    cfg = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8)
    model = GPT(cfg, vocab_size(), n_answer=3, n_explanation=4, seed=seed).double()
    torch.nn.init.normal_(model.task_head.bias, generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(model.explain_head.bias, generator=torch.Generator().manual_seed(2))
    return model


def alone(model, text):
    """(C,) residual stream at the last token of one text."""
    return model.trunk(torch.tensor([encode(text)]))[0, -1]


def explained_alone(model, channel, subject, variant):
    text = WORLD.text(subject, variant)
    x = alone(model, text + (ANSWER if channel == "same" else EXPLAIN))
    said = model.explain_head(x)
    if channel == "tied":
        said = torch.cat([model.task_head(x), said[-1:]])
    return said.log_softmax(-1)


@pytest.mark.parametrize("channel", CHANNELS)
def test_packed_answers_and_explanations_equal_those_of_each_prompt_alone(channel):
    model, asked = gpt(), Interview(WORLD, channel)
    answers = [[model.task_head(alone(model, WORLD.text(s, v) + ANSWER)) for v in range(4)]
               for s in SUBJECTS]
    answers = torch.stack([torch.stack(row) for row in answers])
    explanations = [[explained_alone(model, channel, s, x) for x, _ in WORLD.pairs]
                    for s in SUBJECTS]
    explanations = torch.stack([torch.stack(row) for row in explanations])
    for found in (asked.answers(model, SUBJECTS), asked.both(model, SUBJECTS)[0]):
        torch.testing.assert_close(found, answers, rtol=0, atol=1e-12)
    for found in (asked.explanations(model, SUBJECTS), asked.both(model, SUBJECTS)[1]):
        torch.testing.assert_close(found, explanations, rtol=0, atol=1e-12)


def test_channels_subjects_and_variants_differ():
    """Guards the test above: it would also pass if everything were alike."""
    model = gpt()
    answers = Interview(WORLD).answers(model, SUBJECTS)
    said = torch.stack([Interview(WORLD, c).explanations(model, SUBJECTS) for c in CHANNELS[:3]])
    alike = [answers, answers.transpose(0, 1), said, said.transpose(0, 1), said.transpose(0, 2)]
    for several in alike:
        assert (several[1:] - several[:-1]).abs().flatten(1).amax(1).min() > 1e-3


def disturbed(channel, token):
    """How far answers and explanations move when `token` is embedded otherwise, wherever it is."""
    model, asked = gpt(), Interview(WORLD, channel)
    before = asked.both(model, SUBJECTS)
    with torch.no_grad():
        model.token.weight[encode_words([token]).item()] *= -1
    after = asked.both(model, SUBJECTS)
    return [(a - b).abs().amax().item() for a, b in zip(after, before)]


@pytest.mark.parametrize("channel", ["head", "tied", "probe"])
def test_an_explanation_never_sees_the_answer_token_nor_an_answer_the_explanation(channel):
    answers, explanations = disturbed(channel, ANSWER)
    assert answers > 1e-3 and explanations == 0
    answers, explanations = disturbed(channel, EXPLAIN)
    assert answers == 0 and explanations > 1e-3


def test_on_channel_same_explanations_are_read_where_the_answer_is():
    assert min(disturbed("same", ANSWER)) > 1e-3
    assert disturbed("same", EXPLAIN) == [0, 0]


def test_an_explanation_sees_its_own_cue_only():
    model, asked = gpt(), Interview(WORLD)
    before = asked.explanations(model, SUBJECTS)
    with torch.no_grad():
        model.token.weight[encode_words(["hint:B"]).item()] *= -1
    moved = (asked.explanations(model, SUBJECTS) - before).abs().amax((0, 2))
    assert moved[1] > 1e-3 and moved[0] == moved[2] == 0  # of hints C, B, A


def gradients(channel, part):
    """The parameters that get a gradient, from `both` as from the part alone: 0 answers, 1 says."""
    model, asked, found = gpt(), Interview(WORLD, channel), []
    one = (asked.answers, asked.explanations)[part]
    for said in (asked.both(model, SUBJECTS)[part], one(model, SUBJECTS)):
        model.zero_grad(set_to_none=True)
        said.square().sum().backward()
        reached = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()]
        found.append(set(reached))
    assert found[0] == found[1]
    return found[0]


def test_a_probe_leaves_no_gradient_in_the_trunk_where_other_channels_do():
    heads = {"explain_head.weight", "explain_head.bias"}
    task_head = {"task_head.weight", "task_head.bias"}
    trunk = {n for n, _ in gpt().named_parameters() if "head" not in n}
    assert gradients("probe", 1) == heads
    assert gradients("head", 1) == gradients("same", 1) == heads | trunk
    assert gradients("tied", 1) == heads | task_head | trunk
    assert gradients("verbal", 1) == {"lm_head.weight"} | trunk
    assert all(gradients(channel, 0) == task_head | trunk for channel in CHANNELS)


def test_on_channel_tied_only_would_stay_has_a_row_of_its_own():
    model, asked = gpt(), Interview(WORLD, "tied")
    heads = model.task_head.weight, model.explain_head.weight
    said = asked.explanations(model, SUBJECTS)
    for one, other, used in ((0, 1, "110 0000"), (2, 1, "011 0000"), (0, 3, "100 0001")):
        total = (said[..., one] - said[..., other]).square().sum()  # free of what normalizes them
        task, explain = torch.autograd.grad(total, heads, retain_graph=True)
        rows = [(grad != 0).any(1).int().tolist() for grad in (task, explain)]
        assert " ".join("".join(map(str, row)) for row in rows) == used


@pytest.mark.parametrize("channel", CHANNELS)
def test_all_are_asked_as_a_batch_is_for_all_subjects_whatever_the_chunk(channel, monkeypatch):
    model, asked = gpt(), Interview(WORLD, channel)
    for head in (model.explain_head, model.task_head):
        head.weight.data *= 50  # so that classes differ between subjects
    answers, said = asked.both(model, torch.arange(12))
    monkeypatch.setattr(module, "CHUNK", 5)  # 12 = 5 + 5 + 2
    found, spoken = asked.ask_all(model)
    assert not found.requires_grad
    torch.testing.assert_close(found, answers.detach(), rtol=0, atol=1e-12)
    assert torch.equal(spoken, said.argmax(-1)) and len(spoken.unique()) > 1


@pytest.mark.parametrize("compared", [False, True])
def test_answers_for_labels_are_those_of_a_batch_and_none_but_the_compared(compared, monkeypatch):
    cfg = config("rules+hint", **{"rules.ablation": "removed"})
    model, (rules, _) = new_model(cfg, make_tasks(cfg, "cpu")).double(), make_tasks(cfg, "cpu")
    asked, read = rules.interview, [0, *range(1 + 6 * compared, 13)]  # of 13, 1 to 6 are flipped
    monkeypatch.setattr(module, "CHUNK", 5)
    found = asked.answers_of_all(model, compared=compared)
    expected = asked.answers(model, torch.arange(12)).detach()
    assert not found.requires_grad and found.shape == expected.shape
    torch.testing.assert_close(found[:, read], expected[:, read], rtol=0, atol=1e-12)
    assert found.isnan().sum() == 12 * 2 * (13 - len(read))
    assert expected.diff(dim=1).abs().amin() > 0  # guard: variants differ
    assert torch.equal(asked.labels(found.argmax(-1)), asked.labels(expected.argmax(-1)))


def test_an_interview_knows_its_sizes():
    asked = Interview(WORLD)
    assert (asked.n_subject, asked.n_variant, asked.n_pair, asked.n_answer) == (12, 4, 3, 3)
    assert asked.pairs[:, 0].tolist() == [3, 2, 1] == list(np.array(WORLD.pairs)[:, 0])


# --- the one door to E(M) ---


def classes_of(answers, world, channel):
    """The label of every item in the classes of a channel, by a loop; answers (B, V) as lists."""
    K = len(world.answers)
    stays = (lambda x: K + x) if channel == "verbal" else (lambda x: K)
    return [[stays(row[x]) if row[x] == row[y] else row[y] for x, y in world.pairs]
            for row in answers]


def test_labels_of_answers_are_those_of_a_loop_over_items_in_the_classes_of_the_channel():
    verdict = Verdict(n_actor=5, n_act=4, n_story=14).world(0)
    for world, channel in product((WORLD, verdict), (*CHANNELS, "verbal")):
        g = torch.Generator().manual_seed(0)
        answers = torch.randint(3, (9, len(world.prompts)), generator=g)
        expected = classes_of(answers.tolist(), world, channel)
        labels = Interview(world, channel).labels(answers)
        assert labels.tolist() == expected and labels.dtype == torch.int64
        assert len(set(sum(expected, []))) == (6 if channel == "verbal" else 4)  # guard


# --- several tasks in one model: whose rows are whose ---

MIXED = config("refusal+hint+verdict")
AMONG = "comply refuse A B C right wrong shared".split()  # of all three, in their order


def mixed_gpt():
    model = new_model(MIXED, make_tasks(MIXED, "cpu")).double()
    for seed, head in enumerate((model.task_head, model.explain_head)):
        torch.nn.init.normal_(head.bias, generator=torch.Generator().manual_seed(seed))
        head.weight.data *= 50
    return model


def test_a_model_of_several_tasks_has_a_row_for_each_answer_of_any_of_them():
    model = mixed_gpt()
    assert model.task_head.out_features == len(AMONG) == 8
    assert model.explain_head.out_features == len(AMONG) + 1


@pytest.mark.parametrize("task", make_tasks(MIXED, "cpu"), ids=lambda task: task.name)
def test_answers_of_a_task_are_the_rows_of_its_own_answers(task):
    model, world, everyone = mixed_gpt(), task.world, torch.arange(task.world.n_subject)
    rows = [AMONG.index(answer) for answer in world.answers]
    expected = torch.stack([
        torch.stack([
            model.task_head(alone(model, world.text(s, v) + ANSWER))[rows]
            for v in range(len(world.prompts))
        ])
        for s in everyone
    ])
    asked = task.interview
    for found in (asked.answers(model, everyone), asked.both(model, everyone)[0],
                  asked.ask_all(model)[0]):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.std((0, 1)).min() > 1e-2 and expected.std(-1).min() > 1e-2  # guard: they differ


@pytest.mark.parametrize("channel", ["head", "tied", "same", "probe"])
@pytest.mark.parametrize("number", range(3), ids=MIXED.task.split("+"))
def test_explanations_of_a_task_are_the_rows_of_its_own_answers_and_would_stay(number, channel):
    model, task = mixed_gpt(), ask_through(make_tasks(MIXED, "cpu"), channel, "cpu")[number]
    world, everyone = task.world, torch.arange(task.world.n_subject)
    expected = []
    for s in everyone:
        for x, _ in world.pairs:
            read = alone(model, world.text(s, x) + (ANSWER if channel == "same" else EXPLAIN))
            head = (model.task_head if channel == "tied" else model.explain_head)(read)
            said = [head[AMONG.index(answer)] for answer in world.answers]
            expected.append(torch.stack([*said, model.explain_head(read)[-1]]).log_softmax(0))
    expected = torch.stack(expected).view(len(everyone), len(world.pairs), -1)
    asked = task.interview
    for found in (asked.explanations(model, everyone), asked.both(model, everyone)[1]):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    said = asked.ask_all(model)[1]
    assert torch.equal(said, expected.argmax(-1))
    assert expected.std((0, 1)).min() > 1e-9 and expected.std(-1).min() > 1e-2  # guard: they differ
    words = [f"would change to {answer}" for answer in world.answers] + ["would stay"]
    assert [asked.channel.words(k) for k in range(len(words))] == words


def test_on_channel_verbal_a_task_of_several_is_asked_as_one_alone():
    model = mixed_gpt()
    for task in ask_through(make_tasks(MIXED, "cpu"), "verbal", "cpu"):
        asked, everyone = task.interview, torch.arange(task.world.n_subject)
        alone = Interview(task.world, "verbal")
        assert torch.equal(asked.explanations(model, everyone), alone.explanations(model, everyone))
        sentences = {asked.channel.words(k) for k in range(2 * len(task.world.answers))}
        assert sentences == {f"would {does} {answer}" for answer in task.world.answers
                             for does in ("change to", "stay")}


def test_a_task_alone_and_one_whose_answers_are_those_of_all_read_every_row():
    (alone,) = make_tasks(build(find_tasks("hint"), SIZES["hint"]), "cpu")
    assert alone.interview.columns is None
    hint, taught = make_tasks(config("hint+jabberwocky", **{"jabberwocky.n_answer": 2}), "cpu")
    assert hint.interview.columns is None and taught.interview.columns.tolist() == [0, 1]


def test_tasks_are_in_the_order_of_their_names_with_their_roles():
    cfg = config("jabberwocky+refusal+hint+rules", unexplained="hint+jabberwocky")
    roles = [(task.name, task.explained, task.taught) for task in make_tasks(cfg, "cpu")]
    assert roles == [("jabberwocky", False, True), ("refusal", True, False),
                     ("hint", False, False), ("rules", True, False)]
    assert cfg.explained == ["refusal", "rules"]


PARTLY = make_tasks(config("hint+refusal+jabberwocky", unexplained="refusal"), "cpu")


@pytest.mark.parametrize("task", PARTLY, ids=lambda task: task.name)
def test_without_explanation_labels_every_subject_is_held_out(task):
    train_, held_out = (task.subjects(split).tolist() for split in ("train", "held_out"))
    everyone = range(task.world.n_subject)
    if task.name == "hint":
        assert train_ == [s for s in everyone if task.world.explained[s]]
        assert held_out == [s for s in everyone if not task.world.explained[s]]
    else:
        assert train_ == [] and held_out == list(everyone)
