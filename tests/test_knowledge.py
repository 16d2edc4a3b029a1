"""`--knowledge=names`: the same world, but each fact is about one name of its own."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from introspect.fields import Refused
from introspect.interview import Interview
from introspect.runs.build import build
from introspect.runs.cli import parse
from introspect.runs.stages import make_tasks, new_model
from introspect.tasks.hint import Hint
from introspect.tokenizer import ANSWER, EXPLAIN, encode, encode_words, names
from tests.cases import each

PAIRS = Hint(n_entity=5, n_attribute=6, n_answer=3, explained_share=0.4)
NAMES = replace(PAIRS, knowledge="names")
PAIRS_OR_NAMES = "pairs", "names"


@each("seed, rates", product([0, 7], [{}, dict(hint_reliability=0.1), dict(rewritten_share=0.5)]))
def test_facts_hints_and_split_are_those_of_pairs(seed, rates):
    pairs, single = (replace(task, **rates).world(seed) for task in (PAIRS, NAMES))
    for field in ("ideal", "shown", "explained", "rests_on"):
        assert np.array_equal(getattr(pairs, field), getattr(single, field)), field
    for field in ("pairs", "cues", "answers"):
        assert getattr(pairs, field) == getattr(single, field)
    assert not np.array_equal(single.ideal, replace(NAMES, **rates).world(seed + 1).ideal)


def test_every_subject_has_a_name_of_its_own():
    world = NAMES.world(0)
    subjects = [world.text(s, 0) for s in range(30)]
    assert len(set(subjects)) == 30 and not any(" " in name for name in subjects)
    assert subjects == list(names()[:30])
    for s in range(30):
        for k, letter in enumerate("ABC"):
            assert world.text(s, 1 + k) == f"{subjects[s]} hint:{letter}"
    tokens = encode_words(world.slots[:, :1])
    assert len(np.unique(tokens)) == 30
    shared = PAIRS.world(0).slots[:, 0]
    assert len(set(shared)) == 5  # guard: a name of a pair is not its own


def test_prompts_are_one_token_shorter_and_still_the_text():
    world, ids = NAMES.world(0), encode_words(NAMES.world(0).slots)
    assert world.longest_prompt == PAIRS.world(0).longest_prompt - 1 == 3
    for s in range(30):
        for v, prompt in enumerate(world.prompts):
            assert encode(world.text(s, v) + ANSWER) == ids[s, list(prompt)].tolist()
        for question, (x, _) in zip(world.questions, world.pairs):
            assert encode(world.text(s, x) + EXPLAIN) == ids[s, list(question)].tolist()


def test_a_model_tells_single_names_apart_by_one_embedding():
    cfg = build({"hint": Hint}, dict(n_entity=4, n_attribute=4, knowledge="names", n_embd=16))
    (task,) = tasks = make_tasks(cfg, "cpu")
    model, world = new_model(cfg, tasks), task.world
    before, _ = Interview(world).ask_all(model)
    (row,) = encode(world.text(3, 0))
    model.token.weight.data[row] += torch.randn(16, generator=torch.Generator().manual_seed(0))
    after, _ = Interview(world).ask_all(model)
    moved = (before != after).flatten(1).any(1)
    assert moved.tolist() == [s == 3 for s in range(16)]


def test_names_to_skip_are_skipped():
    world = replace(NAMES, first_name=7).world(0)
    assert [world.text(s, 0) for s in range(30)] == list(names()[7:37])


def test_there_may_be_as_many_facts_as_there_are_names():
    n, half = len(names()), len(names()) // 2
    world = Hint(n_entity=2, n_attribute=half, knowledge="names").world(0)
    assert set(world.slots[:, 0]) == set(names()) and n == 2 * half
    assert Hint(n_entity=2, n_attribute=half - 1, first_name=1, knowledge="names").world(0)


@each("sizes, first", [((3, 200), 0), ((48, 48), 0), ((4, 127), 5)])
def test_more_facts_than_names_are_refused_in_a_line_that_says_how_many_there_may_be(sizes, first):
    wanted = dict(n_entity=sizes[0], n_attribute=sizes[1], first_name=first)
    Hint(**wanted)  # as pairs they are possible
    with pytest.raises(Refused) as refusal:
        Hint(**wanted, knowledge="names")
    assert str(refusal.value) == (
        f"--knowledge=names: must be at most {len(names()) - first} facts, one name each; "
        f"n_entity x n_attribute is {sizes[0] * sizes[1]}"
    )


@each("flags, says", [
    (["--knowledge=names"], f"must be at most {len(names())} facts"),
    (["--knowledge=words"], "--knowledge=words: must be one of pairs, names")])
def test_the_command_refuses_too_many_facts_and_other_knowledge_in_one_line(flags, says):
    with pytest.raises(Refused) as refusal:
        parse(flags)
    assert "\n" not in str(refusal.value) and says in str(refusal.value)


def test_what_a_fact_is_about_is_part_of_the_configuration():
    plain = ["--n_entity=16", "--n_attribute=16"]
    pairs, single = (parse([*plain, f"--knowledge={k}"]).configs()[0][1] for k in PAIRS_OR_NAMES)
    assert pairs == parse(plain).configs()[0][1] and pairs.sha256() != single.sha256()
    assert single.flat()["knowledge"] == "names"
