"""A made-up table of claims, with a row of each kind of verdict."""

from dataclasses import replace

from introspect.lab.claims import CLAIMS
from introspect.lab.tables import as_dict
from introspect.lab.verdicts import Row, judge
from introspect.runs.experiments import EXPERIMENTS
from introspect.runs.study import Setting
from introspect.stats import interval

NOISE = Setting("noise", "hint")
ARMS = list(EXPERIMENTS["noise"].arms)


def row(claim, values, adjusted=0.01, also=None) -> Row:
    estimate = interval(values)
    p = adjusted / 2
    verdict = judge(claim, estimate, also, p, None, adjusted)
    beside = interval([0.3, 0.4, 0.5]) if claim.beside else None
    values = dict(enumerate(values))
    return Row(claim, NOISE, values, estimate, also, beside, p, 1.0, adjusted, verdict)


CLAIM = replace(next(c for c in CLAIMS if c.name == "C5"), also=None)
OTHER = replace(CLAIM, name="C15", says="a | b", paper="<none>", beside=CLAIM.value)
ROWS = [
    row(CLAIM, [0.1, 0.11, 0.12] * 2),
    row(OTHER, [0.1, -0.2, 0.3] * 2, 0.4),
    row(replace(CLAIM, name="N1"), [-0.1, -0.11, -0.12] * 2, 0.0001),
    row(replace(CLAIM, name="N1", says="c", explores=True), [0.1, 0.11, 0.12] * 2),
]
FAMILIES = {"1": 0, "2": 1, "3": 2}
TABLE = {"seeds": [*range(6)], "families": FAMILIES, "rows": [as_dict(r) for r in ROWS]}
TABLE["registered"] = ""
