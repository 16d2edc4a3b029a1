"""Claims of the user's own, beside an experiment in a file: its list CLAIMS.

They are judged as ours are (verdicts.py). Such a claim names its experiment as the file does.
"""

from collections.abc import Iterable
from dataclasses import replace

from introspect.fields import Refused, nearest
from introspect.lab.claim import Claim
from introspect.lab.headlines import HEADLINES
from introspect.lab.quantities import Statistic
from introspect.runs.declared import find_experiment, is_own, load_own
from introspect.runs.study import Missing, Runs, Setting


def list_own_claims(settings: Iterable[Setting]) -> list[Claim]:
    """The claims in the files of these settings about their experiments, by their full names.

    Raises:
        Refused: CLAIMS is no list of claims, or a claim has the name of one of ours.
    """
    claims = []
    for name in dict.fromkeys(s.experiment for s in settings if is_own(s.experiment)):
        module, attribute = load_own(name)
        own = getattr(module, "CLAIMS", [])
        if not (isinstance(own, list) and all(isinstance(claim, Claim) for claim in own)):
            raise Refused(f"{name}: CLAIMS must be a list of introspect.lab.claim.Claim")
        if ours := [claim.name for claim in own if claim.name in HEADLINES]:
            raise Refused(f"{name}: claim {ours[0]} must have a name that is none of ours")
        claims += [guard(claim, name) for claim in own if claim.experiment == attribute]
    return claims


def guard(claim: Claim, name: str) -> Claim:
    """The claim about the experiment of this name. Where one of its numbers fails, or reads an arm
    that there is not, one line says so."""
    arms, what = find_experiment(name).arms, f"{name}: claim {claim.name}, {claim.says}"

    def guarded(number: Statistic | None) -> Statistic | None:
        def read(runs: Runs) -> float:
            try:
                return float(number(runs))
            except Missing as missing:
                if missing.args[0] in arms:  # it diverged
                    raise
                near = nearest(str(missing.args[0]), arms)
                raise Refused(f"{what}: there is no arm {missing.args[0]}{near}") from None
            except Exception as e:
                raise Refused(f"{what}: {type(e).__name__}: {' '.join(str(e).split())}") from None

        return number and read

    numbers = {key: guarded(getattr(claim, key)) for key in ("value", "also", "beside")}
    return replace(claim, experiment=name, **numbers)
