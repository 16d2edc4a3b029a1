"""Does longer explanation training widen the gap? An experiment of one's own, with claims."""

from introspect.lab.claim import gap_claim, gap_difference_claim
from introspect.runs.experiment import Experiment

LENGTH = Experiment(
    question="Does longer explanation training widen the gap?",
    arms={  # arm -> the fields in which it differs from the defaults; every arm has the same seeds
        "short": {"max_steps": 200},
        "usual": {},
        "long": {"max_steps": 2000},
        "shuffled": {"label_order": "shuffled"},
    },
    words={
        "short": "a quarter of the usual updates",
        "long": "two and a half times as many updates",
        "shuffled": "control: labels of other subjects",
    },
    open="the learning rate, which is the same for all lengths.",
)
CLAIMS = [  # each the number of a seed, and the side of zero where it should be
    gap_claim("L1", "a gap after 200 updates", "LENGTH", "short"),
    gap_difference_claim("L2", "gap, 2000 updates minus 200", "LENGTH", "long", "short"),
]
