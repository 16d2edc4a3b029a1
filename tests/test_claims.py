"""Claims are about what is run, have words of their own, and are all there."""

from introspect.lab.claim import FAMILIES
from introspect.lab.claims import CLAIMS
from introspect.lab.headlines import HEADLINES, OVERVIEW
from introspect.lab.mechanism import STATEMENTS
from introspect.lab.objections import OBJECTIONS
from introspect.runs.experiments import CLAIMED, EXPERIMENTS
from tests.cases import each

NAMES = [f"C{i}" for i in range(1, 16)] + [f"N{i}" for i in range(1, 7)]


def test_all_claims_of_the_paper_and_ours_are_there_in_this_order():
    assert list(dict.fromkeys(claim.name for claim in CLAIMS)) == NAMES
    assert len({(c.name, c.measured, c.task) for c in CLAIMS}) == len(CLAIMS)


@each("claim", CLAIMS, lambda claim: f"{claim.name} {claim.measured}")
def test_a_claim_is_about_an_experiment_and_a_task_on_which_it_is_run(claim):
    experiment = EXPERIMENTS[claim.experiment]
    assert claim.task in (experiment.task, *experiment.more_tasks)
    assert claim.sign in (1, -1)
    assert claim.within is None or claim.within[0] < claim.within[1] and claim.sign == 1
    assert claim.family in (0, *FAMILIES) and bool(claim.family) != claim.explores
    assert claim.says and claim.paper and claim.measured


def test_every_experiment_on_every_task_has_a_claim():
    claimed = {name: EXPERIMENTS[name] for name in CLAIMED}
    run = {(name, task) for name, e in claimed.items() for task in (e.task, *e.more_tasks)}
    assert run == {(claim.experiment, claim.task) for claim in CLAIMS}


def test_every_gap_that_is_claimed_to_lean_is_held_against_the_adjusted_one():
    without = [c.measured for c in CLAIMS if c.measured.startswith("gap") and not c.also]
    agree = [f"gap where labels agree, {arm}" for arm in ("at-0.95", "at-0.85", "at-0.6")]
    assert without == [
        "gap of reg, last step - first evaluation", "gap on words that are not turned, turned-0.4",
        "gap of noise-0.7", *agree, "gap of rank-1", "gap of ideal answers about reg"]
    null = [c.measured for c in CLAIMS if c.within == (-0.03, 0.03)]
    assert null == ["gap of noise-0.7", "gap of rank-1", "adjusted gap, rivals words, reg"]


def test_no_gap_is_claimed_in_two_directions_on_the_same_arms():
    found = {}
    for claim in CLAIMS:
        found.setdefault((claim.experiment, claim.task, claim.measured), set()).add(claim.sign)
    assert all(len(signs) == 1 for signs in found.values())


def test_what_is_claimed_to_be_below_zero_is_what_is_said_to_be_lost():
    assert [(c.name, c.measured) for c in CLAIMS if c.sign == -1] == [
        ("C2", "gap of noreg"), ("C4", "gap of turned-0.4"),
        ("C7", "Self, share-1.0 - share-0.0"),
        ("C14", "gap of ideal answers about reg"),
        ("C15", "preference of shuffled for reg now - 0.5")]


def test_every_claim_has_a_sentence_and_every_row_words_of_its_own():
    assert list(HEADLINES) == NAMES and set(OVERVIEW) <= set(NAMES) and len(OVERVIEW) <= 12
    assert len({(claim.name, claim.says) for claim in CLAIMS}) == len(CLAIMS)
    assert max(len(claim.says) for claim in CLAIMS) <= 66  # they are labels of a figure
    for name, headline in HEADLINES.items():
        rows = [claim for claim in CLAIMS if claim.name == name]
        main = next(claim for claim in rows if claim.measured.startswith(headline.main))
        assert name in ("N4", "N5") or not main.explores
        assert bool(headline.main) == bool(headline.why)  # another row than the first has a reason
        assert headline.says[-1] != "." and len(headline.says) <= 70 and headline.paper


def test_claims_that_the_paper_never_made_are_known_as_such():
    ours = {claim.name for claim in CLAIMS if not claim.by_paper}
    assert {"C14", "C15", "N1", "N2", "N3", "N4", "N5", "N6"} <= ours
    assert not any(claim.by_paper for claim in CLAIMS if claim.name[0] == "N")
    assert all(claim.by_paper for claim in CLAIMS if claim.name in ("C3", "C12"))


@each("statement", STATEMENTS, lambda statement: statement.text)
def test_a_sentence_of_the_mechanism_names_rows_that_there_are_and_what_would_refute_it(statement):
    rows = [f"{claim.name} {claim.measured}" for claim in CLAIMS]
    for named in statement.rows:
        assert any(row.startswith(named) for row in rows)
    assert statement.rows
    assert statement.refuted and statement.elsewhere


@each("objection", OBJECTIONS, lambda objection: objection.text)
def test_an_objection_names_rows_that_there_are_or_says_what_is_left(objection):
    rows = [f"{claim.name} {claim.measured}" for claim in CLAIMS]
    assert all(any(row.startswith(named) for row in rows) for named in objection.rows)
    assert len(set(objection.rows)) == len(objection.rows)
    assert objection.rows or objection.rest
    assert objection.text
