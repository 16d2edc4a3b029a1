"""A task of one's own, right, and what refuses it once it is not, for tests."""

from pathlib import Path

import pytest

from introspect.fields import Refused
from tests.tiny import SIZE, STEPS

ROOT = Path(__file__).parents[1]
OWN = "weather.py:Weather"
SOURCE = '''\
from dataclasses import dataclass

import numpy as np

from introspect.fields import option
from introspect.tasks.world import with_cues
from introspect.tokenizer import names


@dataclass(frozen=True)
class Weather:
    """Whether it rains; a wet place makes it likelier, a dry one less so."""

    n_place: int = option(12, "places, one name each", 2)
    strength: float = option(0.5, "how much a word tells", 0, 1)

    def world(self, seed):
        n, s = self.n_place, self.strength
        rain = np.random.default_rng(seed).random((n, 1))
        rain = np.concatenate([rain, s + (1 - s) * rain, (1 - s) * rain], axis=1)
        ideal = np.stack([1 - rain, rain], axis=2)
        shown = np.full((n, 3), 1 / 3)
        places = np.array(names()[:n])[:, None]
        return with_cues(places, ["wet", "dry"], ["no", "yes"], ideal, shown, np.arange(n) % 2 == 0)
'''
SMALL = [*SIZE, *STEPS, "--eval_interval=3", "--device=cpu"]


def refusal_of(do, *parts):
    """What refuses `do()`, in one line that has `parts`."""
    with pytest.raises(Refused) as refusal:
        do()
    line = str(refusal.value)
    assert "\n" not in line and len(line) < 250
    for part in parts:
        assert part in line, line
    return line


def edited(own, before, after):
    """The right task with one thing changed."""
    assert SOURCE.count(before) == 1
    (own / "weather.py").write_text(SOURCE.replace(before, after))
