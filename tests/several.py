"""Several tasks in one model, as small as they get, for tests."""

import torch

from introspect.interview import Interview
from introspect.runs.build import build, make_shifted, shifted
from introspect.tasks.hint import Hint
from introspect.tasks.refusal import Refusal
from introspect.tasks.registry import find_tasks
from introspect.terms import ask, draw_batches, judge, supervise

SIZES = {
    "hint": dict(n_entity=3, n_attribute=4, n_answer=3),
    "refusal": dict(n_action=3, n_object=3),
    "verdict": dict(n_actor=5, n_act=4, n_story=14),
    "rules": dict(n_first=3, n_second=4, n_input=1),
    "jabberwocky": dict(n_creature=4, n_habit=3),
}
TINY = dict(
    n_layer=1, n_head=2, n_embd=16, block_size=16, pretrain_steps=6, pretrain_batch_size=8,
    muon_learning_rate=0.05, adamw_learning_rate=0.03, teach_steps=4, max_steps=4, batch_size=4,
)


def config(task, **overrides):
    """The tiny run of several tasks."""
    sizes = {f"{t}.{k}": v for t in task.split("+") for k, v in SIZES[t].items()}
    return build(find_tasks(task), TINY | sizes | overrides)


WORLDS = [Hint(n_entity=4, n_attribute=5, explained_share=0.4).world(3),
          Refusal(n_action=3, n_object=3, first_name=9).world(3)]  # 4 pairs each, 4 and 2 answers


def saying(world, answers, explanations, channel="head"):
    """An interview in which any model gives these answers (N, V, K) and explanations (N, P)."""
    interview = Interview(world, channel)
    interview.ask_all = lambda model: (answers, explanations)
    return interview


def loss_of(cfg, tasks, frozen):
    """(model, step) -> the loss of that update and its terms, in a run of this configuration."""
    c, device = cfg.cotrain, torch.device("cpu")
    supervised = [supervise(task, labels, c, device) for task, labels in zip(tasks, frozen)]
    names = shifted(cfg.tasks, c.shift)
    moved = [
        (s, make_shifted(cfg, s.task.name, s.task.world))
        for s in supervised
        if s.task.name in names
    ]
    seed = cfg.seed if c.draw_seed is None else c.draw_seed

    def loss(model, step):
        batches = draw_batches(step, supervised, moved, c, seed, cfg.labels.refreshed)
        return judge(batches, [ask(model, batch) for batch in batches], c)

    return loss
