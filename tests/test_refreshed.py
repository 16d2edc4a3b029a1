"""Labels of the model as it is, made anew for every batch; and batches of a seed of their own."""

import copy
from functools import partial

import pytest
import torch

import train
from introspect import checkpoint, cotrain
from introspect.config import LabelConfig
from introspect.cotrain import objective
from introspect.files import read_json, read_lines
from introspect.labels import freeze
from introspect.losses import behavior_kl, explanation_loss
from introspect.runs.build import build, worlds_of
from introspect.runs.stages import make_tasks, new_model
from introspect.streams import rng
from introspect.tasks.hint import Hint
from introspect.tasks.verdict import Verdict
from tests.several import config as several
from tests.tiny import TINY, weights, without_time

SMALL = dict(
    n_entity=4, n_attribute=5, n_answer=3, n_layer=1, n_head=2, n_embd=16, block_size=16,
    batch_size=4,
)
small = partial(build, {"hint": Hint})
CHANNELS = ["head", "tied", "same", "probe", "verbal"]


def classes_of(answers, world, channel):
    """The label of every item in the classes of a channel, by a loop; answers (B, V) as lists."""
    K = len(world.answers)
    stays = (lambda x: K + x) if channel == "verbal" else (lambda x: K)
    return [[stays(row[x]) if row[x] == row[y] else row[y] for x, y in world.pairs]
            for row in answers]


class Run:
    """The loss of a small run, the model it is of, and the frozen labels that it has."""

    def __init__(self, cfg, disturb=lambda labels: labels):
        self.cfg, self.parts = cfg, make_tasks(cfg, "cpu", cfg.cotrain.channel)
        self.model, self.frozen = new_model(cfg, worlds_of(cfg)), []
        g = torch.Generator().manual_seed(1)
        for p in self.model.parameters():
            p.data.add_(torch.randn(p.shape, generator=g), alpha=0.3)
        if len(self.parts) == 1:  # no answer is preferred, or it would be given to everything
            answers, _ = self.parts[0].interview.ask_all(self.model)
            self.model.task_head.bias.data -= answers.mean((0, 1))
        for i, part in enumerate(self.parts):
            size = part.world.n_subject, len(part.world.prompts), len(part.world.answers)
            logits = torch.randn(size, generator=torch.Generator().manual_seed(i))
            labels = freeze(logits, logits, part.world, LabelConfig(), 0)
            self.frozen.append(disturb(labels))
        self.loss = objective(cfg, self.parts, self.frozen, "cpu")

    def values(self, steps=3):
        return torch.stack([self.loss(self.model, step)[0].detach() for step in range(steps)])


def other_targets(labels):
    return labels._replace(targets=(labels.targets + 1) % 4, original=(labels.original + 2) % 4,
                           target_answers=labels.target_answers.flip(0))


# --- the labels of a batch ---


@pytest.mark.parametrize("task, n_answer", [(Hint(n_entity=4, n_attribute=5, n_answer=3), 3),
                                            (Verdict(n_actor=5, n_act=4, n_story=14), 3)])
@pytest.mark.parametrize("channel", CHANNELS)
def test_current_labels_are_those_of_a_loop_over_items(task, n_answer, channel):
    name = type(task).__name__.lower()
    sizes = {f: getattr(task, f) for f in task.__dataclass_fields__ if f.startswith("n_")}
    cfg = build({name: type(task)}, sizes | dict(n_embd=16, n_head=2, block_size=16))
    (part,) = make_tasks(cfg, "cpu", channel)
    V = len(part.world.prompts)
    answers = torch.randn(9, V, n_answer, generator=torch.Generator().manual_seed(0))
    given = [[max(range(n_answer), key=logits.__getitem__) for logits in row]
             for row in answers.tolist()]
    expected = classes_of(given, part.world, channel)
    found = part.interview.labels(answers.argmax(-1))
    assert found.tolist() == expected and found.dtype == torch.int64
    assert len(set(sum(expected, []))) == (6 if channel == "verbal" else 4)  # guard: all classes
    labels = part.interview.labels(answers.requires_grad_().argmax(-1))
    assert not labels.requires_grad


# --- the loss ---


@pytest.mark.parametrize("kl_weight", [0.0, 2.0])
@pytest.mark.parametrize("anchor", ["explained", "all"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_the_refreshed_loss_is_that_of_labels_of_the_model_now(channel, anchor, kl_weight):
    cfg = small(SMALL | dict(refreshed=True, channel=channel, anchor=anchor, kl_weight=kl_weight))
    run = Run(cfg)
    (part,), (frozen,) = run.parts, run.frozen
    for step in range(3):
        batch = rng(0, "explain", step).choice(part.subjects("train"), 4, replace=False)
        subjects = torch.from_numpy(batch)
        with torch.no_grad():
            answers = part.interview.answers(run.model, subjects)
            said = part.interview.explanations(run.model, subjects)
            labels = torch.tensor(classes_of(answers.argmax(-1).tolist(), part.world, channel))
            explanation = explanation_loss(said, labels)
            if anchor == "all":
                held = torch.from_numpy(rng(0, "anchor", step).choice(20, 4, replace=False))
                answers = part.interview.answers(run.model, held)
            kl = behavior_kl(answers, frozen.reference[held if anchor == "all" else subjects])
        total, terms = run.loss(run.model, step)
        torch.testing.assert_close(terms["explanation"], explanation)
        assert ("kl" in terms) == (kl_weight > 0)
        torch.testing.assert_close(total.detach(), explanation + kl_weight * kl)


@pytest.mark.parametrize("refreshed", [True, False])
@pytest.mark.parametrize("channel", CHANNELS)
def test_frozen_targets_matter_to_a_loss_that_is_not_refreshed_only(channel, refreshed):
    cfg = small(SMALL | dict(refreshed=refreshed, channel=channel))
    assert torch.equal(Run(cfg).values(), Run(cfg, other_targets).values()) == refreshed


@pytest.mark.parametrize("refreshed", [True, False])
@pytest.mark.parametrize("kl_weight", [0.0, 1.0])
def test_answers_of_the_model_matter_to_the_explanation_term_of_a_refreshed_loss_only(
    refreshed, kl_weight
):
    """In channel head, the task head has no part in what is said."""
    run = Run(small(SMALL | dict(refreshed=refreshed, kl_weight=kl_weight)))
    before = [run.loss(run.model, step)[1]["explanation"] for step in range(3)]
    (part,), (answers, _) = run.parts, run.parts[0].interview.ask_all(run.model)
    labels = part.interview.labels(answers.argmax(-1))
    assert len(labels.unique()) == 4  # guard: there is something to change
    run.model.task_head.weight.data.neg_()
    run.model.task_head.bias.data.neg_()
    after = [run.loss(run.model, step)[1]["explanation"] for step in range(3)]
    for a, b in zip(before, after):
        assert torch.isclose(a, b, rtol=1e-5, atol=0).item() != refreshed


@pytest.mark.parametrize("channel", ["head", "verbal", "same"])
def test_no_gradient_flows_through_the_labels(channel):
    """The gradient is that of the same labels as constants; the task head, which decides them and
    nothing else, has none."""
    run = Run(small(SMALL | dict(refreshed=True, kl_weight=0.0, channel=channel)))
    run.loss(run.model, 0)[0].backward()
    (part,) = run.parts
    assert run.model.task_head.weight.grad is None or not run.model.task_head.weight.grad.any()
    constant = copy.deepcopy(run.model)
    constant.zero_grad()
    batch = torch.from_numpy(rng(0, "explain", 0).choice(part.subjects("train"), 4, replace=False))
    answers, said = part.interview.both(constant, batch)
    labels = torch.tensor(classes_of(answers.argmax(-1).tolist(), part.world, channel))
    explanation_loss(said, labels).backward()
    for (name, p), q in zip(run.model.named_parameters(), constant.parameters()):
        if q.grad is not None and not name.startswith("task_head"):
            torch.testing.assert_close(p.grad, q.grad)


def test_labels_of_several_tasks_are_refreshed_each_and_others_are_not_needed():
    cfg = several("hint+refusal+rules", refreshed=True, unexplained="refusal", batch_size=6)
    run = Run(cfg)
    _, terms = run.loss(run.model, 0)
    draw, expected = rng(0, "explain", 0), []
    for part in (run.parts[0], run.parts[2]):
        batch = torch.from_numpy(draw.choice(part.subjects("train"), 3, replace=False))
        with torch.no_grad():
            answers, said = part.interview.both(run.model, batch)
        labels = classes_of(answers.argmax(-1).tolist(), part.world, "head")
        expected.append(explanation_loss(said, torch.tensor(labels)))
    torch.testing.assert_close(terms["explanation"], sum(expected) / 2)


# --- whole runs ---


def one(out, *flags):
    return train.main(["anchor/reg", *TINY, "--learning_rate=0.01", f"--out_dir={out}", *flags])


def end(out):
    """The bytes that a run ends in, but for time."""
    last = max((out / "checkpoints").glob("step-*"))
    result = without_time(read_json(out / "result.json", set()))
    kept = [(out / name).read_bytes() for name in ("items.jsonl", "examples.json")]
    return (last / "state.pt").read_bytes(), kept, result


class Killed(BaseException):
    pass


def stopped(out, monkeypatch, after, *flags):
    """A run killed after some updates, then started again."""
    with monkeypatch.context() as patch:
        set_rates, calls = cotrain.set_rates, iter(range(100))

        def stop(*args):
            if next(calls) == after:
                raise Killed
            set_rates(*args)

        patch.setattr(cotrain, "set_rates", stop)
        with pytest.raises(Killed):
            one(out, *flags)
    assert checkpoint.newest(out / "checkpoints")[0] == after - 1
    assert one(out, *flags) == 0


@pytest.mark.parametrize("flags", [
    (), ("--kl_weight=0",), ("--anchor=all",), ("--channel=verbal",),
    ("--channel=same", "--kl_weight=0")], ids=" ".join)
def test_a_refreshed_run_that_was_stopped_ends_in_the_same_bytes(tmp_path, monkeypatch, flags):
    assert one(tmp_path / "whole", "--refreshed=true", *flags) == 0
    stopped(tmp_path / "stopped", monkeypatch, 3, "--refreshed=true", *flags)
    assert end(tmp_path / "whole") == end(tmp_path / "stopped")
    one(tmp_path / "frozen", *flags)
    frozen, refreshed = (read_lines(tmp_path / n / "metrics.jsonl") for n in ("frozen", "whole"))
    assert without_time(frozen[0]) == without_time(refreshed[0])  # both are M0 and its labels
    assert not torch.equal(weights(tmp_path / "frozen"), weights(tmp_path / "whole"))
    hashes = {read_json(tmp_path / n / "result.json", set())["labels_sha256"]
              for n in ("frozen", "whole")}
    assert len(hashes) == 1  # Orig is about the same labels


# --- draws of co-training ---


def m0_and_labels(out):
    """Bytes of every M0 and of all labels in the cache of a run."""
    kept = [*(out / "cache").glob("m0-*/*/state.pt"), *(out / "cache").glob("labels-*/state.pt")]
    assert len({path.parents[-1] for path in kept}) == 1 < len(kept)
    return {str(path.relative_to(out)): path.read_bytes() for path in kept}


def test_another_draw_seed_draws_other_batches_of_the_same_m0_and_labels(tmp_path):
    one(tmp_path / "plain", "--seed=3")
    one(tmp_path / "same", "--seed=3", "--draw_seed=3")
    one(tmp_path / "other", "--seed=3", "--draw_seed=4")
    assert torch.equal(weights(tmp_path / "plain"), weights(tmp_path / "same"))
    assert not torch.equal(weights(tmp_path / "plain"), weights(tmp_path / "other"))
    assert m0_and_labels(tmp_path / "plain") == m0_and_labels(tmp_path / "other")
    plain, other = (read_json(tmp_path / n / "result.json", set()) for n in ("plain", "other"))
    for key in ("m0", "labels_sha256", "n_items"):
        assert plain[key] == other[key]


def test_a_draw_seed_decides_no_label_that_is_drawn(tmp_path):
    drawn = ("--label_noise=0.3", "--turned_share=0.3", "--label_order=shuffled")
    for name, flags in (("plain", ()), ("other", ("--draw_seed=4",)), ("seed", ("--seed=4",))):
        one(tmp_path / name, "--m0_seed=0", *drawn, *flags)
    plain, other, seed = (read_json(tmp_path / name / "result.json", set())["labels_sha256"]
                          for name in ("plain", "other", "seed"))
    assert plain == other != seed


@pytest.mark.parametrize("term, sets", [
    ("explanation", {}), ("kl", dict(anchor="all")), ("shift", dict(shift="hint_reliability=0.1"))])
def test_every_term_of_the_loss_draws_by_the_draw_seed(term, sets):
    def values(**seeds):
        run = Run(small(SMALL | sets | dict(m0_seed=0) | seeds))
        return torch.stack([run.loss(run.model, step)[1][term] for step in range(4)])

    assert torch.equal(values(seed=7), values(seed=0, draw_seed=7))
    assert torch.equal(values(seed=7, draw_seed=7), values(seed=7))
    assert not torch.equal(values(seed=7), values(seed=7, draw_seed=8))
    assert torch.equal(values(seed=7, draw_seed=0), values(seed=0))  # 0 is a seed too
