"""Runs in a stack are the runs by themselves, but for rounding, and do not depend on each other."""

import copy

import pytest
import torch

from introspect.checkpoint import newest
from introspect.cotrain import Training
from introspect.runs import stacked
from introspect.runs.build import build, make_shifted, shifted
from introspect.runs.jobs import Job, stack
from introspect.runs.stacked import Joint, Stack, kind_of, train_together
from introspect.tasks.registry import find_tasks
from introspect.terms import ask, judge
from introspect.watch import silent
from tests.cases import each
from tests.test_cotrain import CHANNELS, Run, small

TINY = dict(
    n_entity=6, n_attribute=6, n_answer=3, n_layer=2, n_head=2, n_embd=16, batch_size=16,
    max_steps=6, eval_interval=2, pretrain_steps=12, pretrain_batch_size=8, block_size=16,
    warmup_steps=3,
)  # fmt: skip
OF_EACH = [  # what runs of one kind may differ in
    dict(seed=3, learning_rate=0.01, kl_weight=0.5, n_entity=7),
    dict(seed=4, draw_seed=9, explain_weight=2.0, grad_clip=0.5, first_name=30),
    dict(seed=5, warmup_steps=2, head_steps=2, weight_decay=0.3, hint_reliability=0.6),
]
CASES = [*({"channel": name} for name in CHANNELS if name != "verbal"), {"kl_weight": 0.0},
         {"anchor": "all"},
         {"refreshed": True}, {"shift": "hint_reliability=0.1"},
         {"objective": "follow", "n_entity": 12}]  # fmt: skip
TASKS = "hint+refusal+rules"
SEVERAL = {"hint.n_entity": 6, "hint.n_attribute": 6, "rules.n_first": 6, "rules.n_second": 6,
           "refusal.n_action": 6, "refusal.n_object": 6, "unexplained": "refusal",
           "batch_size": 32, "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16}  # fmt: skip


def configs(case):
    usual = [{k: v for k, v in own.items() if k not in case} for own in OF_EACH]
    return [small(TINY | own | case) for own in usual]


def start(cfg, out, double=False):
    """The training of a run with drawn weights and labels."""
    drawn = Run(cfg)
    model, frozen = drawn.model.requires_grad_(True), drawn.frozen
    if double:
        model = model.double()
        frozen = [labels._replace(reference=labels.reference.double()) for labels in frozen]
    worlds = {task.name: task.world for task in drawn.tasks}
    moved = {n: make_shifted(cfg, n, worlds[n]) for n in shifted(cfg.tasks, cfg.cotrain.shift)}
    given = cfg.seed, out / str(cfg.seed), f"seed {cfg.seed}", silent, moved, cfg.labels.refreshed
    return Training(model, drawn.tasks, frozen, cfg.cotrain, *given, "")


def update_alone(training):
    """The update of `cotrain`."""
    batches = training.draw()
    loss, terms = judge(batches, [ask(training.model, b) for b in batches], training.c)
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    training.update(loss, terms)


def vector(training):
    return torch.cat([p.detach().flatten() for p in training.model.parameters()])


def gradients(training):
    """By name, None for a weight that was not asked."""
    return {name: p.grad for name, p in training.model.named_parameters()}


def differences(cfgs, tmp_path):
    """The largest difference in a reply, and in a gradient, between a stack and its runs alone."""
    runs = [start(cfg, tmp_path, double=True) for cfg in cfgs]
    replies, alone = [], [copy.deepcopy(r) for r in runs]
    joined = Stack(runs).replies([t.draw() for t in runs])
    for training, own in zip(alone, joined):
        for batch, reply in zip(training.draw(), own, strict=True):
            for ours, theirs in zip(reply, ask(training.model, batch)):
                assert (ours is None) == (theirs is None)
                replies += [] if ours is None else [(ours - theirs).abs().max().item()]
        update_alone(training)
    Stack(runs).update()
    moved = []
    for ours, theirs in zip(map(gradients, runs), map(gradients, alone)):
        for name, g in theirs.items():
            assert (g is None) == (ours[name] is None), name
            moved += [] if g is None else [(g - ours[name]).abs().max().item()]
    return max(replies), max(moved)


@each("case", CASES, str)
def test_a_stack_replies_and_has_gradients_as_its_runs_alone(case, tmp_path):
    """In float64, so that only an error could differ."""
    assert max(differences(configs(case), tmp_path)) < 1e-9


def test_a_stack_of_several_tasks_is_its_runs_alone(tmp_path):
    cfgs = [build(find_tasks(TASKS), SEVERAL | dict(seed=seed, m0_seed=seed)) for seed in (1, 2)]
    assert len({kind_of(cfg) for cfg in cfgs} - {""}) == 1
    joint = Stack([start(cfg, tmp_path) for cfg in cfgs]).joint["hint"]
    assert joint.first == [0, 36] and joint.n_subject == 72
    assert max(differences(cfgs, tmp_path)) < 1e-9


def test_in_float32_gradients_are_the_same_within_1e_5(tmp_path):
    runs = [start(cfg, tmp_path) for cfg in configs({})]
    alone = copy.deepcopy(runs)
    Stack(runs).update()
    for training, other in zip(runs, alone):
        update_alone(other)
        for name, g in gradients(training).items():
            if g is not None:
                torch.testing.assert_close(g, gradients(other)[name], rtol=0, atol=1e-5)


INIT, REPLIES = Joint.__init__, Stack.replies


def first_is_read_for_all(joint, interviews):
    INIT(joint, interviews)
    joint.first = [0] * len(interviews)


def turned(stack, batches):
    return REPLIES(stack, batches)[::-1]


@pytest.mark.parametrize("of, name, wrong", [
    (Joint, "__init__", first_is_read_for_all), (Stack, "replies", turned)])
def test_control_a_wrong_offset_or_a_wrong_slice_would_be_seen(
    of, name, wrong, tmp_path, monkeypatch
):
    monkeypatch.setattr(of, name, wrong)
    assert min(differences(configs({}), tmp_path)) > 1e-3


def test_a_whole_training_in_a_stack_is_that_of_its_runs_alone(tmp_path):
    """In float64, where the gradient of an anchor that holds exactly is no noise for AdamW."""
    together = [start(cfg, tmp_path / "a", double=True) for cfg in configs({})]
    before = [vector(t) for t in together]
    assert train_together(together) == {}
    for training, begun, cfg in zip(together, before, configs({})):
        alone = start(cfg, tmp_path / "b", double=True)
        while alone.evaluate():
            update_alone(alone)
        assert float((vector(training) - vector(alone)).abs().max()) < 1e-7
        assert float((vector(training) - begun).abs().max()) > 1e-3  # guard
        for ours, theirs in zip(training.rows, alone.rows, strict=True):
            assert ours.keys() == theirs.keys() and ours["self"] == theirs["self"]


def test_bits_do_not_depend_on_the_company(tmp_path):
    cfgs = configs({})
    ends = {}
    for name, chosen in {"3": cfgs, "2": cfgs[1:], "turned": cfgs[::-1]}.items():
        runs = [start(cfg, tmp_path / name) for cfg in chosen]
        train_together(runs)
        ends[name] = {t.seed: vector(t) for t in runs}
    for cfg in cfgs:
        alone, plain = start(cfg, tmp_path / "alone"), start(cfg, tmp_path / "plain")
        train_together([alone])
        while plain.evaluate():
            update_alone(plain)
        for end in (end for end in ends.values() if cfg.seed in end):
            assert torch.equal(end[cfg.seed], vector(alone))
        assert not torch.equal(vector(plain), vector(alone))  # guard: rounding does show


@pytest.mark.parametrize("where", ["weight", "loss"])
def test_a_run_that_diverges_leaves_and_the_others_go_on_to_the_same_bits(
    where, tmp_path, monkeypatch
):
    def train_all(out, step):
        runs = [start(cfg, out) for cfg in configs({})]

        def poisoned(batches, replies, c):
            loss, terms = judge(batches, replies, c)
            if c is runs[1].c and runs[1].step == step:
                if where == "weight":  # seen at the end of the update, and in the next pass of all
                    runs[1].model.token.weight.data[:] = float("nan")
                else:
                    loss = loss * float("nan")
            return loss, terms

        monkeypatch.setattr(stacked, "judge", poisoned)
        return runs, train_together(runs)

    whole, none = train_all(tmp_path / "a", -1)
    runs, diverged = train_all(tmp_path / "b", 3)
    assert none == {} and list(diverged) == [runs[1]]
    said = {"weight": "seed 4: weights is not finite at step 4",
            "loss": "seed 4: loss is not finite at step 3"}  # fmt: skip
    assert said[where] in str(diverged[runs[1]])
    assert runs[1].step in (3, 4) and newest(runs[1].out / "checkpoints")[0] == 2
    for i in (0, 2):
        assert runs[i].step == 6 and torch.equal(vector(runs[i]), vector(whole[i]))


def test_runs_are_of_one_kind_by_shape_and_terms_alone():
    usual = kind_of(small(TINY))
    assert usual and {kind_of(cfg) for cfg in configs({})} == {usual}
    for same in ({"label_noise": 0.2}, {"donor": "m0_seed=7"}, {"kl_weight": 3.0}, {"m0_seed": 9},
                 {"n_entity": 9}, {"first_name": 30}, {"hint_reliability": 0.6}):  # fmt: skip
        assert kind_of(small(TINY | same)) == usual, same
    others = [{"n_embd": 32}, {"n_head": 1}, {"n_layer": 1}, {"n_answer": 4}, {"max_steps": 8},
              {"batch_size": 32, "n_entity": 12}, {"eval_interval": 3}, *CASES[1:]]  # fmt: skip
    kinds = [kind_of(small(TINY | other)) for other in others]
    assert len({usual, *kinds}) == len(others) + 1 and "" not in kinds
    nevers = [{"adapter_rank": 2}, {"anchor_reach": "head"}, {"channel": "verbal"},
              {"batch_size": 12}, {"n_embd": 24}]  # fmt: skip
    for never in nevers:
        assert kind_of(small(TINY | never)) == "", never


def test_stacks_are_of_one_kind_and_no_larger_than_asked_or_than_workers_need():
    jobs = [Job(str(i), None, None, "ab"[i % 2] if i < 8 else "") for i in range(10)]

    def names(*sizes):
        return ["".join(job.arm for job in each) for each in stack(jobs, *sizes)]

    assert names(8, 1) == ["0246", "1357", "8", "9"]
    assert names(3, 1) == ["024", "6", "135", "7", "8", "9"]
    assert names(8, 2) == ["02", "46", "13", "57", "8", "9"]
    assert names(1, 1) == list("02461357") + ["8", "9"]


def test_runs_that_are_behind_go_first_until_all_are_together(tmp_path, monkeypatch):
    runs, update, sizes = [start(cfg, tmp_path) for cfg in configs({})], Stack.update, []
    for _ in range(2):
        update_alone(runs[0])
    monkeypatch.setattr(Stack, "update", lambda s: sizes.append(len(s.trainings)) or update(s))
    assert train_together(runs) == {} and sizes == [2, 2, 3, 3, 3, 3]
