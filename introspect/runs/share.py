"""The runs of one command shared by several processes, on one machine or many, without a server.

Every process is started with the same command and the same folder. It makes the runs that fall to
it, and the one that then finds all of them finished writes the report. Where one was killed, its
command, or the same one alone, makes what is missing.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from introspect.fields import Refused


class Unfinished(Exception):
    """Runs of other processes are missing, so there is nothing to report yet. Exit code 0."""


class Share(NamedTuple):
    rank: int  # of this process, from 0
    size: int  # how many processes share the runs
    here: int = 1  # how many of them are on this machine


def find_share(env: Mapping[str, str] = os.environ) -> Share:
    """The share of this process, from the variables of torchrun, of a SLURM array, or of both.

    torchrun: RANK of WORLD_SIZE, of which LOCAL_WORLD_SIZE are on this machine. SLURM: the place of
    SLURM_ARRAY_TASK_ID among the SLURM_ARRAY_TASK_COUNT numbers of the array.

    >>> find_share({"RANK": "1", "WORLD_SIZE": "4"})
    Share(rank=1, size=4, here=1)
    >>> find_share({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3",
    ...             "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_STEP": "2"})
    Share(rank=1, size=3, here=1)

    Raises:
        Refused: a variable is no whole number, or the rank is not below the size.
    """

    def read(name: str, default: int) -> int:
        try:
            return int(env.get(name, default))
        except ValueError:
            raise Refused(f"{name}={env[name]}: must be a whole number") from None

    place = read("SLURM_ARRAY_TASK_ID", 0) - read("SLURM_ARRAY_TASK_MIN", 0)
    rank, size = read("RANK", 0), read("WORLD_SIZE", 1)
    rank += size * (place // max(1, read("SLURM_ARRAY_TASK_STEP", 1)))
    size *= read("SLURM_ARRAY_TASK_COUNT", 1)
    if not 0 <= rank < size:
        raise Refused(f"RANK={rank}: must be from 0 to {size - 1}, below WORLD_SIZE={size}")
    return Share(rank, size, max(1, read("LOCAL_WORLD_SIZE", 1)))
