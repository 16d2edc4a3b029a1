"""A family of cases in one test, which tries every case and names those that fail."""

import inspect
from functools import wraps

import pytest


def each(names, cases, name=repr):
    """Like pytest.mark.parametrize, but one test. `name`: case -> what it is called."""
    names, cases = names.split(", "), list(cases)

    def of_all(test):
        @wraps(test)
        def one_test(**fixtures):
            failed = []
            for case in cases:
                values = case if len(names) > 1 else [case]
                try:
                    test(**dict(zip(names, values, strict=True)), **fixtures)
                except (Exception, pytest.fail.Exception) as error:
                    failed.append((f"{name(case)}: {type(error).__name__}: {error}", error))
            lines = [f"{len(failed)} of {len(cases)} cases fail", *(line for line, _ in failed)]
            if failed:
                raise AssertionError("\n".join(lines)) from failed[0][1]
            assert cases

        signature = inspect.signature(test)
        kept = [p for p in signature.parameters.values() if p.name not in names]
        one_test.__signature__ = signature.replace(parameters=kept)
        return one_test

    return of_all
