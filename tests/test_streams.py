"""Random numbers as a function of (seed, stream, step)."""

import random
from itertools import product

import numpy as np

from introspect.streams import rng


def first(*args):
    return int(rng(*args).integers(2**63))


def test_a_stream_depends_on_its_arguments_and_on_no_other_draw():
    before = first(1, "batch", 2)
    np.random.seed(5)
    random.seed(5)
    rng(1, "batch", 2).random(100)
    assert first(1, "batch", 2) == before


def test_every_argument_matters():
    grid = list(product(range(6), ("batch", "noise", "batch "), range(6)))
    assert len({first(*args) for args in grid}) == len(grid)
    assert first(1, "batch", 2) != first(2, "batch", 1)
    assert first(1, "batch") == first(1, "batch", 0)


def test_neighboring_steps_are_not_correlated():
    """Each of 2,000 steps gives 4 uniform numbers; a correlation of independent ones is normal
    with deviation 1 / sqrt(2,000) = 0.022."""
    x = np.array([rng(0, "batch", step).random(4) for step in range(2001)])
    assert abs(np.corrcoef(x[:-1].T, x[1:].T) - np.eye(8)).max() < 5 * 0.0224


def test_numbers_are_the_same_in_every_process():
    """With the hash of a str in place of crc32 they would change with the process. From
    python -c "from introspect.streams import rng; print(rng(0, 'batch', 7).integers(1000, size=4))"
    """
    assert rng(0, "batch", 7).integers(1000, size=4).tolist() == [789, 855, 446, 641]
