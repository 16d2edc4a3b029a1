"""Who knows nothing of the model does not look as if they did, and what would help is said."""

import json
from functools import partial

import numpy as np
import pytest

from introspect.analysis import advice
from introspect.analysis.advice import enlarge, round_up
from introspect.analysis.lines import read
from introspect.analysis.score import score, show
from introspect.stats import side_of
from tests.cases import each
from tests.test_score import line, made_up, write

STAY, A, B = "would stay", "would change to A", "would change to B"


def drifted(n=400, seed=0, said=lambda now, then, cue, draw: STAY, towards={"x": STAY, "y": STAY}):
    """Lines whose labels drift to one label for each cue; said(now, then, cue, draw) explains."""
    draw, rows = np.random.default_rng(seed), []
    for i in range(n):
        cue = "xy"[i % 2]
        then = (STAY, A, B)[draw.integers(3)]
        now = towards[cue] if draw.random() < 0.4 else then
        rows.append(line(said(now, then, cue, draw), now, then, cue=cue, group=i // 4))
    return rows


@pytest.fixture
def shown(tmp_path):
    """What score prints of these lines, as one line of words."""
    return lambda rows: " ".join(show(read([write(tmp_path / "a", rows)])).split())


def only_run(tmp_path, rows):
    (run,) = read([write(tmp_path / "a", rows)]).runs.values()
    return run


def bare(rows, *keys):
    return [{k: v for k, v in row.items() if k not in keys} for row in rows]


@each("keys", [(), ("cue",), ("group",), ("cue", "group")])
def test_a_constant_explanation_has_a_gap_and_follows_nothing(tmp_path, shown, keys):
    rows = bare(drifted(), *keys)
    found = score(only_run(tmp_path, rows))
    assert found["gap"]["low"] > 0.15 and found["preference"]["mean"] == 1
    assert [found["adjusted gap"][key] for key in ("mean", "low", "high")] == [0, 0, 0]
    said = shown(rows)
    assert "follows neither" in said and "The gap counts for nothing: frequencies" in said
    constant = f"{found['Self']['mean']:.3f}; Self does not exceed it."
    assert f'The best constant explanation, "would stay", gets Self {constant}' in said


def test_who_knows_the_model_follows_it_and_exceeds_the_constant(shown):
    said = shown(drifted(said=lambda now, then, cue, draw: now if draw.random() < 0.8 else then))
    assert "follows now" in said and "counts for nothing" not in said
    assert "Self exceeds it." in said
    said = shown(drifted(said=lambda now, then, cue, draw: then))
    assert "follows then" in said


def test_who_knows_only_the_cue_is_found_out_where_lines_name_it(tmp_path, shown):
    towards = {"x": A, "y": B}
    rows = drifted(said=lambda now, then, cue, draw: towards[cue], towards=towards)
    assert score(only_run(tmp_path, rows))["adjusted gap"]["mean"] == 0
    said = shown(rows)
    assert "follows neither" in said and "cue by cue" in said and "knows only the cue" not in said
    unnamed = shown(bare(rows, "cue"))
    assert "follows now" in unnamed and "whatever the cues" in unnamed
    assert "Next: score three" in unnamed and 'an explainer that knows only the cue can' in unnamed


def test_no_side_is_named_where_the_gaps_are_on_two_sides(tmp_path, shown):
    """Frequencies make a gap above zero, and on each subject the explanations follow the past."""
    rows = drifted(n=4000, said=lambda now, then, cue, draw: (
        STAY if draw.random() < 0.8 else then if now != then else B))
    found = score(only_run(tmp_path, rows))
    assert side_of(found["gap"]) == 1 and side_of(found["adjusted gap"]) == -1
    said = shown(rows)
    assert "follows neither" in said and "counts for nothing" in said
    assert "more groups will hardly help: the two gaps are not on one side of zero" in said


def test_a_self_that_is_above_the_constant_by_luck_is_not_said_to_exceed_it(shown):
    rows = [line(A, now, B) for now in [A] * 26 + [STAY] * 25 + [B] * 9]
    assert "Self does not exceed it" in shown(rows)  # it is the constant
    rows[30]["explanation"] = STAY
    assert "Self is not clearly above it" in shown(rows)
    said = shown([row | {"run": run} for run in (1, 2) for row in rows])
    assert "Self is not clearly above the best constant explanation in 1, 2." in said


def test_runs_whose_gap_counts_for_nothing_are_named(tmp_path, shown):
    good = drifted(said=lambda now, then, cue, draw: now)
    both = [row | {"run": "knows"} for row in good] + [row | {"run": "says"} for row in drifted()]
    said = shown(both)
    assert "The gap of says counts for nothing" in said and "explanation in says." in said
    assert "Next: score three runs or more that differ in nothing but their seed." in said
    many = [row | {"run": k} for k in range(15) for row in drifted(n=40)]
    assert "10, 11 and 3 more counts for nothing" in shown(many)


# --- parts by class ---


def parts(tmp_path, rows):
    table = show(read([write(tmp_path / "a", rows)])).split("\n\n")[1].splitlines()
    return [row.split() for row in table]


def test_parts_by_label_and_by_class_add_up_to_both_gaps(tmp_path):
    rows = drifted(said=lambda now, then, cue, draw: (now, STAY)[draw.integers(2)])
    found = score(only_run(tmp_path, rows))
    kinds = [row | {"class": ("sea", True, 3)[i % 3]} for i, row in enumerate(rows)]
    for given, heads, names in (
        (rows, "class said now then Self Orig gap adjusted", [f'"{x}"' for x in (A, B, STAY)]),
        (kinds, "class share Self Orig gap adjusted", ['"sea"', "3", "true"]),
    ):
        head, *body = parts(tmp_path, given)
        assert " ".join(head) == heads.replace("gap", "part of gap")
        head = heads.split()
        assert [" ".join(row[: 1 - len(head)]) for row in body] == names
        for column, key in ((-2, "gap"), (-1, "adjusted gap")):
            total = sum(float(row[column]) for row in body)
            assert total == pytest.approx(found[key]["mean"], abs=0.002)


def test_a_table_of_too_many_classes_or_cues_is_left_out(tmp_path):
    rows = drifted(n=300)
    for key, n, there in (("class", 12, True), ("class", 13, False), ("cue", 100, True),
                          ("cue", 101, False)):
        given = [row | {key: i % n} for i, row in enumerate(rows)]
        assert (parts(tmp_path, given)[0][0] == "class") == there, (key, n)


# --- what to do next ---


@each("rows, says", [
    (made_up(0)[:1], "an interval needs at least 2 groups."),
    (bare(made_up(0)[:1], "group"), "an interval needs at least 2 lines."),
    ([line(A, B, B), line(B, B, B)], "no label has moved"),
    (made_up(0), "Next: score three runs or more that differ in nothing but their seed."),
    ([row | {"cue": i // 2} for i, row in enumerate(made_up(0))], "three runs or more"),
    ([row | {"cue": i} for i, row in enumerate(made_up(0))], 'let "cue" name what was left out'),
    ([line(A, A, B), line(A, B, A)] * 9, "more lines will hardly help: the two gaps are not on"),
])  # fmt: skip
def test_what_is_missing_first_is_said(shown, rows, says):
    assert says in shown(rows)


def test_a_cue_that_many_lines_share_is_not_taken_for_an_item(shown):
    assert 'let "cue"' not in shown([r | {"cue": i // 2} for i, r in enumerate(made_up(0))])


WEAK = [row | {"cue": i % 2} for i, row in enumerate(made_up(6, 80, 0.05))]  # in 20 groups


def test_with_as_many_groups_as_are_asked_for_the_intervals_exclude_zero(tmp_path, shown):
    """The same items again and again have the same gaps, and as many groups as one likes."""
    said = shown(WEAK)
    n = int(said.split("they are, about ")[1].split()[0].replace(",", ""))
    assert "groups (now 20)" in said and n == 200

    def sides(n_group):
        every = [row | {"group": g, "item": f"{g} {k}"} for g in range(n_group)
                 for k, row in enumerate(WEAK[4 * (g % 20) :][:4])]
        found = score(only_run(tmp_path, every))
        return side_of(found["gap"], found["adjusted gap"])

    assert sides(200) == 1 and sides(140) == 0


def test_a_gap_next_to_zero_is_not_said_to_need_a_number(shown, monkeypatch):
    assert "make their intervals exclude zero" in shown(WEAK)
    monkeypatch.setattr(advice, "FAR", 2)
    assert "a gap so near zero takes over 2 times as many" in shown(WEAK)


def test_the_square_root_rule_by_hand():
    estimate = partial(dict, n=10)
    assert enlarge(estimate(mean=0.1, low=-0.1, high=0.3)) == pytest.approx(4)
    assert enlarge(estimate(mean=-0.1, low=-0.15, high=-0.05)) == 1
    assert [round_up(n) for n in (9.5, 10, 99.1, 100, 101, 2000, 2001)] == [
        10, 10, 100, 100, 110, 2000, 2100]


def test_every_value_that_is_shown_is_safe_to_print(shown):
    rows = [line("\x1b[2J\ud800", "\x1b[2J\ud800", A, **{"class": "\x1b[2J"}) for _ in range(9)]
    assert "\x1b" not in shown(rows) and json.dumps("\x1b[2J") in shown(rows)
