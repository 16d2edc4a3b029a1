"""A world that fails or contradicts the protocol is refused by the name of its part."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from introspect.tasks.registry import make_world
from introspect.tasks.world import with_cues
from tests.cases import each
from tests.own import refusal_of

GOOD = with_cues(
    [["zorp"], ["vultum"], ["vulter"], ["kelfow"]], ["wet", "dry"], ["no", "yes"],
    np.full((4, 3, 2), 0.5), np.full((4, 3), 1 / 3), np.arange(4) < 2,
)  # slots: name, wet, dry, <|answer|>, <|explain|>


def with_slot(subject, slot, word):
    slots = GOOD.slots.copy()
    slots[subject, slot] = word
    return slots


def moved(share, at, by):
    share = share.copy()
    share[at] += by
    return share


WORLD_WRONG = [
    ("slots", dict(slots=GOOD.slots[0]), "must be an (N, S) array of words, got <U11 (5,)"),
    ("slots", dict(slots=GOOD.slots.tolist()), "must be an (N, S) array of words, got list"),
    ("slots", dict(slots=GOOD.slots[:0]), "must be an (N, S) array of words, got <U11 (0, 5)"),
    ("slots", dict(slots=with_slot(2, 0, "so dry")),
     "must be words, each a text without a space, got 'so dry'"),
    ("slots", dict(slots=with_slot(2, 0, "")), "each a text without a space, got ''"),
    ("slots", dict(slots=with_slot(2, 0, "a\nb")), "a text without a space, got 'a\\nb'"),
    ("slots", dict(slots=with_slot(2, 0, "\ud800")), "without a space, got '\\ud800'"),
    ("slots", dict(slots=np.arange(20).reshape(4, 5)), "a text without a space, got int64 ()"),
    ("slots", dict(slots=with_slot(3, 0, "zorp")), "must differ between subjects"),
    ("prompts", dict(prompts=()), "must be at least one sequence of slots, got none"),
    ("prompts", dict(prompts=((0, 3), (0, 1, 3), ())), "must be slots from 0 to 4, got ()"),
    ("prompts", dict(prompts=((0, 3), (0, 5, 3), (0, 2, 3))), "slots from 0 to 4, got (0, 5, 3)"),
    ("prompts", dict(prompts=((0, 3), (0, 1, 3), (0, -3, 3))), "from 0 to 4, got (0, -3, 3)"),
    ("prompts", dict(prompts=((0, 3), (0, 1), (0, 2, 3))),
     "must end in a slot that holds <|answer|>, got (0, 1)"),
    ("prompts", dict(prompts=((0, 4), (0, 1, 3), (0, 2, 3))), "holds <|answer|>, got (0, 4)"),
    ("prompts", dict(slots=with_slot(3, 3, "wet")), "holds <|answer|>, got (0, 3)"),
    ("questions", dict(questions=()), "must be at least one sequence of slots, got none"),
    ("questions", dict(questions=((0, 1, 4), (0, 2, 3))), "holds <|explain|>, got (0, 2, 3)"),
    ("questions", dict(questions=((0, 1, 4), (0, 2, 9))), "slots from 0 to 4, got (0, 2, 9)"),
    ("pairs, cues", dict(pairs=GOOD.pairs[:1]), "must be as many as questions, 2, got 1 and 2"),
    ("pairs, cues", dict(cues=("wet",)), "must be as many as questions, 2, got 2 and 1"),
    ("pairs", dict(pairs=((1, 0), (3, 0))), "two different variants from 0 to 2, got (3, 0)"),
    ("pairs", dict(pairs=((1, 0), (2, -1))), "two different variants from 0 to 2, got (2, -1)"),
    ("pairs", dict(pairs=((1, 0), (2, 3))), "two different variants from 0 to 2, got (2, 3)"),
    ("pairs", dict(pairs=((1, 0), (-1, 0))), "two different variants from 0 to 2, got (-1, 0)"),
    ("pairs", dict(pairs=((1, 0), (2, 2))), "two different variants from 0 to 2, got (2, 2)"),
    ("answers", dict(answers=("no",)), "must be at least two different words, got ('no',)"),
    ("answers", dict(answers=("no", "no")), "at least two different words, got ('no', 'no')"),
    ("answers", dict(answers=("no", 3)), "must be words, each a text without a space, got int"),
    ("answers", dict(answers=("no", "yes no")), "each a text without a space, got 'yes no'"),
    ("ideal", dict(ideal=GOOD.ideal[:, :2]),
     "must be an array of shape (4, 3, 2), got float64 (4, 2, 2)"),
    ("ideal", dict(ideal=GOOD.ideal.tolist()), "must be an array of shape (4, 3, 2), got list"),
    ("ideal", dict(ideal=GOOD.ideal * 0.99), "must be probabilities, which sum to 1"),
    ("ideal", dict(ideal=GOOD.ideal + [-0.6, 0.6]), "must be probabilities, which sum to 1"),
    ("ideal", dict(ideal=moved(GOOD.ideal, (3, 2), np.nan)), "must be probabilities"),
    ("shown", dict(shown=GOOD.shown[:, 0]), "must be an array of shape (4, 3), got float64 (4,)"),
    ("shown", dict(shown=None), "must be an array of shape (4, 3), got NoneType"),
    ("shown", dict(shown=moved(GOOD.shown, (1, 1), 0.1)), "must be probabilities"),
    ("shown", dict(shown=GOOD.shown + [-0.5, 0.25, 0.25]), "must be probabilities"),
    ("explained", dict(explained=GOOD.explained.astype(int)),
     "must be a bool array of shape (4,), got int64 (4,)"),
    ("explained", dict(explained=GOOD.explained[:3]), "shape (4,), got bool (3,)"),
    ("explained", dict(explained=GOOD.explained.tolist()), "shape (4,), got list"),
    ("explained", dict(explained=np.ones(4, bool)), "true for some of the 4 subjects and false"),
    ("explained", dict(explained=np.zeros(4, bool)), "true for some of the 4 subjects and false"),
    ("rests_on", dict(rests_on=np.array([[0], [1], [1], [2]])),
     "fact 1 must not be behind explained and held-out subjects"),
    ("rests_on", dict(rests_on=np.array([[0, 1], [2, 3], [4, 5], [6, 0]])), "fact 0 must not be"),
    ("rests_on", dict(rests_on=np.arange(4)), "must be an (4, F) array, got int64 (4,)"),
    ("rests_on", dict(rests_on=np.arange(3)[:, None]), "must be an (4, F) array, got int64 (3, 1)"),
]


@each("part, wrong, says", WORLD_WRONG, lambda case: f"{case[0]} {case[2]}")
def test_a_world_that_contradicts_the_protocol_is_refused_by_the_name_of_its_part(
    part, wrong, says
):
    task = SimpleNamespace(world=lambda seed: replace(GOOD, **wrong))
    line = refusal_of(lambda: make_world("own.py:Own", task, 0), says)
    assert line.startswith(f"task own.py:Own: {part}: ")


@each("right", [
    {},
    dict(pairs=((0, 1), (2, 1))),
    dict(prompts=(*GOOD.prompts[:2], (0, 2, 1, 3))),
    dict(rests_on=np.array([[0, 1], [0, 0], [4, 5], [6, 5]])),
    dict(explained=np.arange(4) == 3),
    dict(ideal=moved(GOOD.ideal, (0, 0), [0.5, -0.5]) + 1e-10),
    dict(shown=np.tile([1.0, 0, 0], (4, 1))),
    dict(answers=("comply", "zorp")),
    dict(answers=("perhaps", "é"), slots=with_slot(2, 0, "snow")),
])
def test_a_world_at_the_ends_of_what_is_allowed_is_not_refused(right):
    world = replace(GOOD, **right)
    assert make_world("own.py:Own", SimpleNamespace(world=lambda seed: world), 0) is world
