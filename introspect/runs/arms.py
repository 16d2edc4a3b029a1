"""Parts that arms of several experiments are made of."""

from collections.abc import Callable
from typing import Any

from introspect.runs.experiment import SPARSE, Experiment, Fields

OTHER = 1000  # + the seed of a world: the seed of other models, orders and batches in it


def dial(name: str, values: list[Any], key: str) -> dict[str, Fields]:
    """An arm for each value of one field.

    >>> dial("noise", [0.1, 0.3], "label_noise")
    {'noise-0.1': {'label_noise': 0.1}, 'noise-0.3': {'label_noise': 0.3}}
    """
    return {f"{name}-{value}": {key: value} for value in values}


FAMILY = "n_layer=3", "n_embd=96", "pretrain_steps=800"  # what the paper calls another family
SHUFFLED = {"shuffled": {"label_order": "shuffled"}}  # the control of every experiment


def other(field: str, *more: str) -> Callable[[int], str]:
    """A donor in each world that differs in the seed of this field, and in these others."""
    return lambda world: ",".join([f"{field}={OTHER + world}", *more])


CHANNELS = {name: {"channel": name} for name in ("tied", "same", "verbal", "probe")}
# as many facts as there are names, and a regime in which pairs couple nonetheless
FEW_FACTS = {"n_entity": 16, "n_attribute": 32, "max_steps": 400, "batch_size": 16}
FEW_FACTS |= {"learning_rate": 2e-3}


def objectives(
    objective: str, tasks: tuple[str, ...], strengths: tuple[float, ...] = (0.0, 1.0)
) -> Experiment:
    """A concurrent objective at several strengths, each beside a twin without explanations."""
    task, *more_tasks = tasks
    arms = dial("strength", list(strengths), "objective_strength")
    twins = {f"twin-{s}": {"objective_strength": s, "explain_weight": 0.0} for s in strengths}
    return Experiment(
        question=f"Do explanations track an objective, {objective} the cue, that moves the policy "
        "while the labels stay?",
        arms=arms | twins | SHUFFLED,
        base={**SPARSE, "objective": objective, "objective_strength": 0.0, "learning_rate": 2e-3},
        task=task,
        more_tasks=tuple(more_tasks),
        axis="objective_strength",
        open="which weights the objective moves. It is trained on half of the held-out subjects, "
        "and the other half is measured, so that it acts by generalization. One rate, at which "
        "objectives were tracked on seeds 100-101. Labels were not shuffled while an objective "
        "asks for something new, which at strength 0 it does not.",
    )
