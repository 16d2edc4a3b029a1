"""Is it dry or wet in a town in some month? The sky is seen first, and may be wrong."""

from dataclasses import dataclass

import numpy as np

from introspect.fields import option
from introspect.streams import rng
from introspect.tasks.pairs import agreeing, evidence
from introspect.tasks.world import World, with_cues
from introspect.tokenizer import names


@dataclass(frozen=True)
class Weather:
    """How likely rain is was drawn for each town and month."""

    n_town: int = option(40, "towns", 2, 256)
    n_month: int = option(40, "months", 2, 256)
    skill: float = option(0.8, "how often the sky fits the weather, else it is a coin", 0, 1)

    def world(self, seed: int) -> World:
        draw = rng(seed, "weather")
        towns, months = names()[: self.n_town], names()[256 : 256 + self.n_month]
        places = np.array([(town, month) for town in towns for month in months])  # (N, 2) words
        rain = draw.random(len(places))
        ideal, shown = evidence(np.stack([1 - rain, rain], 1), agreeing(self.skill, 2), absent=0.3)
        return with_cues(
            subjects=places,
            cues=["sunny", "cloudy"],  # what can be left out: the sky; words are free
            answers=["dry", "wet"],
            ideal=ideal,  # (N, 3, 2) P(answer) without a sky, with a sunny one, a cloudy one
            shown=shown,  # (N, 3) how often the world shows each of these
            explained=draw.random(len(places)) < 0.5,  # the others are held out
        )
