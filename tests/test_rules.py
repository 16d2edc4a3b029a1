"""The `rules` world: its prompts read as text and answered by rules written out once more here."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import permutations, product
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from introspect.fields import Refused
from introspect.streams import rng
from introspect.tasks.rules import KINDS, Rules
from tests.cases import each

CUES = ("big/small red/blue old/new wet/dry loud/quiet soft/hard "
        "hot/cold fast/slow light/dark round/flat sweet/sour near/far").split()
ON, OFF = zip(*(cue.split("/") for cue in CUES))
OTHER = dict(zip(ON + OFF, OFF + ON))
PLACE = {word: (i % 12, i < 12) for i, word in enumerate(ON + OFF)}  # its feature and value

SAYS = {  # kind -> (how many features it looks at, what it says of them)
    "threshold": (5, lambda a, b, c, d, e: a + b + c + d + e >= 3),
    "parity": (3, lambda a, b, c: (a + b + c) in (1, 3)),
    "and_or": (4, lambda a, b, c, d: (a and b) or (c and d)),
    "if_then": (5, lambda a, b, c, d, e: b != c if a else d != e),
}
KIND_NAMES = list(SAYS)
SMALL = Rules(n_first=3, n_second=4, n_input=3, n_rule=8)
SIZES = [(k, ablation) for k in (6, 8, 12) for ablation in ("flipped", "removed")]


def drawn_rules(task, seed):
    """(kind, features, wanted values) of each rule: nothing but its draws, in their order."""
    draw, rules = rng(seed, "rules"), []
    for i in range(task.n_rule):
        kind = KIND_NAMES[i % 4]
        n = SAYS[kind][0]
        features = draw.permutation(task.n_feature)[:n].tolist()
        rules.append((kind, features, draw.integers(2, size=n).tolist()))
    return rules


def says(rule, values):
    """Yes or no of an input, {feature: value}."""
    kind, features, wanted = rule
    return bool(SAYS[kind][1](*(values[f] == w for f, w in zip(features, wanted))))


def share_of_yes(rule, text, k):
    """How many of the inputs that fit a prompt's words get a yes."""
    told = dict(PLACE[word] for word in text.split()[2:])
    unknown = [f for f in range(k) if f not in told]
    ways = list(product((False, True), repeat=len(unknown)))
    return Fraction(sum(says(rule, told | dict(zip(unknown, way))) for way in ways), len(ways))


def topics_of(world):
    """{names of a topic: its subjects}, as read from the text."""
    found = {}
    for s in range(world.n_subject):
        found.setdefault(tuple(world.text(s, 0).split()[:2]), []).append(s)
    return found


def rules_of(world, subjects, rules):
    """Two rules that a topic's answers go by, and the confidence in the first: P(yes) is
    (1 + c) / 2 of the one and (1 - c) / 2 of the other, with c the best fit."""
    k, V = len(world.cues), len(world.prompts)
    yes = world.ideal[subjects, :, world.answers.index("yes")]
    shares = np.array([[[float(share_of_yes(rule, world.text(s, v), k)) for v in range(V)]
                        for s in subjects] for rule in rules])
    for (i, first), (j, second) in permutations(enumerate(shares), 2):
        apart = first - second
        c = 2 * ((yes - (first + second) / 2) * apart).sum() / max((apart**2).sum(), 1e-9)
        expected = (1 + c) / 2 * first + (1 - c) / 2 * second
        if 0 <= c <= 1 and np.allclose(yes, expected, rtol=0, atol=1e-12):
            return rules[i], rules[j], c
    return None


@each("kind", SAYS)
def test_a_kind_says_what_its_formula_says_and_needs_every_feature_it_looks_at(kind):
    n, formula = SAYS[kind]
    number, found = KINDS[kind]
    values = list(product((False, True), repeat=n))
    table = {row: bool(formula(*row)) for row in values}
    assert number == n and found(np.array(values)).tolist() == list(table.values())
    for i in range(n):
        assert any(table[row] != table[(*row[:i], not row[i], *row[i + 1:])] for row in values)


@each("k, number", product([6, 8, 12], range(5)))
def test_a_table_is_the_rule_of_the_features_and_values_drawn(k, number):
    """Bit i of an input's number is feature i; the fifth rule is of the first kind again."""
    draw, kind = np.random.default_rng(number), KIND_NAMES[number % 4]
    order, wanted = draw.permutation(k), draw.integers(2, size=SAYS[kind][0])
    draws = {k: order, (2, len(wanted)): wanted}
    given = SimpleNamespace(permutation=draws.get, integers=lambda high, size: draws[high, size])
    table = replace(SMALL, n_feature=k).rule(given, number)
    inputs = [{f: bool(value >> f & 1) for f in range(k)} for value in range(2**k)]
    assert table.tolist() == [says((kind, order, wanted.tolist()), values) for values in inputs]
    matter = [i for i in range(k) if (table != table[np.arange(2**k) ^ 1 << i]).any()]
    assert matter == sorted(order[:SAYS[kind][0]])


@each("k, ablation", SIZES)
def test_every_topic_answers_all_its_prompts_by_a_rule_of_its_own(k, ablation):
    """Or another one, the less often the higher its confidence; a missing word is half of each."""
    task = replace(SMALL, n_feature=k, ablation=ablation, n_rule=4)
    world, rules = task.world(0), drawn_rules(task, 0)
    found = [rules_of(world, subjects, rules) for subjects in topics_of(world).values()]
    assert all(found) and len(found) == 12
    for which in (0, 1):
        assert len({rules[which][0] for rules in found}) > 2  # kinds
    assert len({round(c, 9) for *_, c in found}) == 12
    assert np.allclose(world.shown, 1 / (1 + 2 * k), rtol=0, atol=1e-15)


@each("k, ablation", SIZES)
def test_truth_is_what_the_rule_says_without_the_feature(k, ablation):
    """Where yes and no are equally likely without it, the first answer counts: no."""
    task = replace(SMALL, n_feature=k, ablation=ablation, n_rule=4)
    world, rules = task.world(0), drawn_rules(task, 0)
    seen = set()
    for subjects in topics_of(world).values():
        first, second, c = rules_of(world, subjects, rules)

        def likely(text):
            p, q = (float(share_of_yes(rule, text, k)) for rule in (first, second))
            return "yes" if q + (1 + c) / 2 * (p - q) > 0.5 + 1e-9 else "no"

        for s, (p, cue) in product(subjects, enumerate(world.cues)):
            full = world.text(s, 0)
            word, = set(cue.split("/")) & set(full.split())
            without = full.replace(f" {word}", f" {OTHER[word]}" if ablation == "flipped" else "")
            before, after = likely(full), likely(without)
            expected = "would stay" if before == after else f"would change to {after}"
            assert c > 1e-6 and world.explanation(world.truth[s, p]) == expected
            seen.add(expected)
    both = {"would change to no", "would change to yes"}
    assert seen == {"would stay", *both}


@each("k, ablation", SIZES)
def test_a_cue_is_a_word_that_is_flipped_or_missing(k, ablation):
    world = replace(SMALL, n_feature=k, ablation=ablation).world(0)
    words = set()
    for s in range(world.n_subject):
        full = world.text(s, 0).split()
        assert [PLACE[word][0] for word in full[2:]] == list(range(k))
        removed = [[w for w in full if w != word] for word in full[2:]]
        flipped = [[OTHER[w] if w == word else w for w in full] for word in full[2:]]
        prompts = [world.text(s, v).split() for v in range(len(world.prompts))]
        assert sorted(prompts) == sorted([full, *flipped, *removed])
        for p, ((x, y), question) in enumerate(zip(world.pairs, world.questions)):
            asked = [str(w) for w in world.slots[s, list(question[:-1])]]
            word = full[2 + p]
            assert prompts[x] == full
            if ablation == "flipped":
                assert prompts[y] == flipped[p] and asked == [*full, OTHER[word]]
            else:
                assert prompts[y] == removed[p] and asked == [*full, word]
            words.add(word)
    assert len(words) == 2 * k  # every one occurs
    assert world.answers == ("no", "yes") and world.cues == tuple(CUES[:k])


@each("n_input", [1, 5, 64])
def test_inputs_of_a_topic_differ_and_a_topic_is_on_one_side(n_input):
    world = replace(SMALL, n_input=n_input).world(0)
    topics = topics_of(world)
    assert len(topics) == 12 and world.explained.any() and not world.explained.all()
    for subjects in topics.values():
        assert len({world.text(s, 0) for s in subjects}) == len(subjects) == n_input
        assert len({bool(world.explained[s]) for s in subjects}) == 1
        assert len({*world.rests_on[subjects].flat}) == 1
    assert len({*world.rests_on.flat}) == 12


def tables_of(world):
    """{topic: what it says of all 64 inputs}, each of which is told."""
    tables = {}
    for topic, subjects in topics_of(world).items():
        table = {}
        for s in subjects:
            values = tuple(PLACE[word][1] for word in world.text(s, 0).split()[2:])
            table[values] = bool(world.ideal[s, 0, 1] > 0.5)
        assert len(table) == 64
        tables[topic] = tuple(sorted(table.items()))
    return tables


@each("seed", [0, 1])
def test_topics_go_by_all_the_rules_drawn_and_no_other_and_evenly(seed):
    task = replace(SMALL, n_first=12, n_second=13, n_input=64)
    counts = Counter(tables_of(task.world(seed)).values())
    inputs = [dict(enumerate(values)) for values in product((False, True), repeat=6)]
    assert set(counts) == {
        tuple((tuple(values.values()), says(rule, values)) for values in inputs)
        for rule in drawn_rules(task, seed)}
    assert len(counts) == 8 and scipy.stats.chisquare(list(counts.values())).pvalue > 0.001


@each("seed", [3, 7])
def test_no_two_rules_are_equal(seed):
    """Of eight rules drawn one by one, these seeds give two that are equal."""
    task = replace(SMALL, n_first=10, n_second=10, n_input=64, guess_share=0.0)
    n_different = len(set(tables_of(task.world(seed)).values()))
    assert n_different == 8


def test_a_sure_topic_always_goes_by_its_rule_and_a_guessed_one_by_two_alike():
    sure = replace(SMALL, low_confidence=1.0, guess_share=0.0).world(0)
    guess = replace(SMALL, low_confidence=0.0, guess_share=1.0).world(0)
    assert set(sure.ideal[:, :7].flat) == {0.0, 1.0}  # whole prompts, flipped or not
    assert set(guess.ideal[:, :7].flat) == {0.0, 0.5, 1.0}
    assert (guess.ideal[:, :7] == sure.ideal[:, :7])[guess.ideal[:, :7] != 0.5].all()


def test_a_sure_topic_goes_by_the_rule_that_is_its_fact():
    task = replace(SMALL, low_confidence=1.0, guess_share=0.0, n_rule=4)
    world, rules = task.world(0), drawn_rules(task, 0)
    facts = task.facts(rng(0, "rules topics"), 4).answers
    for fact, subjects in zip(facts, topics_of(world).values()):
        for s in subjects:
            yes = share_of_yes(rules[fact], world.text(s, 0), 6)
            assert world.ideal[s, 0].tolist() == [1 - yes, yes]


def test_the_other_rule_of_a_topic_is_any_of_the_others_and_never_its_own():
    """Four rules tell sure topics apart, and 50-50 ones by the pair: each pair is as frequent."""
    task = Rules(n_first=40, n_second=40, n_input=64, n_rule=4, guess_share=0.0, low_confidence=1.0)
    own, half = task.world(0), replace(task, guess_share=1.0, low_confidence=0.0).world(0)
    inputs = np.array([" ".join(own.text(s, 0).split()[2:]) for s in range(own.n_subject)])
    order = inputs.reshape(1600, 64).argsort(1)
    first, mean = (np.take_along_axis(w.ideal[:, 0, 1].reshape(1600, 64), order, 1)
                   for w in (own, half))
    second = 2 * mean - first
    pairs = Counter((tuple(a), tuple(b)) for a, b in zip(first, second))
    assert len(pairs) == 12 and all(a != b for a, b in pairs)
    assert scipy.stats.chisquare(list(pairs.values())).pvalue > 0.001


def test_confidences_are_a_mixture_of_two_uniforms_and_inputs_are_uniform():
    world = Rules(n_first=48, n_second=48, n_input=1).world(0)
    c = 2 * world.ideal[:, 0].max(-1) - 1
    c = c[c < 1]  # where both rules of a topic agree, its confidence does not show
    assert len(c) > 500
    low = c < 0.1
    assert abs(low.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / len(c))
    assert scipy.stats.kstest(c[low] / 0.1, "uniform").pvalue > 0.001
    assert scipy.stats.kstest((c[~low] - 0.1) / 0.9, "uniform").pvalue > 0.001
    inputs = Counter(tuple(world.text(s, 0).split()[2:]) for s in range(world.n_subject))
    assert len(inputs) == 64 and scipy.stats.chisquare(list(inputs.values())).pvalue > 0.001


@each("rates", [dict(guess_share=0.9), dict(low_confidence=0.5)])
def test_worlds_that_differ_in_rates_only_share_rules_inputs_and_split(rates):
    here, there = SMALL.world(0), replace(SMALL, **rates).world(0)
    assert np.array_equal(here.slots, there.slots)
    assert np.array_equal(here.explained, there.explained)
    assert np.array_equal(here.ideal[:, :7] > 0.5, there.ideal[:, :7] > 0.5)  # whole prompts
    assert not np.allclose(here.ideal, there.ideal)


def test_what_is_explained_moves_nothing_but_the_questions():
    flipped, removed = (replace(SMALL, ablation=a).world(0) for a in ("flipped", "removed"))
    for field in ("slots", "ideal", "shown", "explained", "rests_on"):
        assert np.array_equal(getattr(flipped, field), getattr(removed, field))
    assert flipped.prompts == removed.prompts and flipped.cues == removed.cues
    assert not set(flipped.questions) & set(removed.questions)
    assert not set(flipped.pairs) & set(removed.pairs)


@each("wrong", [
    dict(n_feature=5), dict(n_feature=13), dict(n_rule=0), dict(n_input=0), dict(n_input=65),
    dict(ablation="both"), dict(n_first=1), dict(n_second=1), dict(guess_share=1.1)])
def test_impossible_constants_are_refused_by_name(wrong):
    with pytest.raises(Refused, match=f"^--{next(iter(wrong))}="):
        replace(SMALL, **wrong)
