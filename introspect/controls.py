"""What else explanations could follow: frequencies, M0's own past, the world; on held-out items."""

from collections.abc import Sequence

import torch
from torch import Tensor

from introspect.channels import labels_of
from introspect.frequency import adjusted_gap, balanced
from introspect.measure import Snapshot, share
from introspect.metrics import majority_share


def controls(snapshots: Sequence[Snapshot]) -> dict[str, float]:
    """Shares of the held-out items of the explained tasks, 0..1.

    Returns:
        own: explanations equal to M0's own label, whoever gave the labels trained on.
        ideal_self, ideal_orig: what an explainer gets who knows the world and never saw the model.
        said_change, change, change_then: explanations that say "would change"; items whose answer
            the cue changes now; and in M0.
        said_most: share of the explanation that is given most often.
        balanced: Self, each class of label counting the same.
        adjusted: the gap beyond what the frequencies of explanations and labels give.
    """
    explained = [s for s in snapshots if s.part.explained]

    def joined(of_snapshot) -> Tensor:
        return torch.cat([of_snapshot(s)[s.rows("held_out")].flatten() for s in explained])

    explanation, current = joined(lambda s: s.explanation), joined(lambda s: s.current)
    original, own = joined(lambda s: s.original), joined(lambda s: labels_of(s.channel, s.before))
    ideal = joined(lambda s: labels_of(s.channel, torch.from_numpy(s.world.ideal.argmax(-1))))

    cue = torch.cat(
        [
            torch.arange(len(s.world.pairs)).repeat(len(s.rows("held_out"))) + number * 2**16
            for number, s in enumerate(explained)
        ]
    )

    def change(of_snapshot) -> float:
        """Share of "would change": the classes below K, in every channel."""
        return share(joined(lambda s: of_snapshot(s) < len(s.world.answers)))

    return {
        "own": share(explanation == own),
        "ideal_self": share(ideal == current),
        "ideal_orig": share(ideal == original),
        "said_change": change(lambda s: s.explanation),
        "change": change(lambda s: s.current),
        "change_then": change(lambda s: labels_of(s.channel, s.before)),
        "said_most": majority_share(explanation),
        "balanced": balanced(explanation, current),
        "adjusted": adjusted_gap(explanation, current, original, cue),
    }
