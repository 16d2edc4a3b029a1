"""One model trained by several processes: each takes its part of every batch.

    gradient of the batch = mean over processes of the gradients of their parts

All processes hold the same weights and average their gradients before every update. Distributed-
DataParallel does this too, for a module whose forward pass is run once an update; here a model is
asked up to four times in one (explanations, answers, the anchor on all subjects, a shift), so the
gradients are averaged after the backward pass, in one message. Alone, nothing happens.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from introspect.fields import Refused


def count_processes() -> tuple[int, int]:
    """(rank, size) of the processes that train this model together."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def part(batch: np.ndarray) -> np.ndarray:
    """The rows of a batch that this process takes; parts must be of one size."""
    rank, size = count_processes()
    return batch[rank::size]


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their means over processes, in place."""
    _, size = count_processes()
    if size == 1:
        return
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, mean in zip(tensors, (flat / size).split([t.numel() for t in tensors])):
        tensor.detach().copy_(mean.view_as(tensor))


@contextmanager
def joined(device: str, env: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Within the context, one of the processes that torchrun started: (rank, size); alone (0, 1).

    Threads of the group that outlive the context could abort a process that ends.
    """
    if "MASTER_ADDR" not in env or int(env.get("WORLD_SIZE", 1)) == 1:
        yield 0, 1
        return
    if device == "cuda":
        torch.cuda.set_device(int(env.get("LOCAL_RANK", 0)))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield count_processes()
    finally:
        dist.destroy_process_group()


def check_parts(sizes: Mapping[str, int], n_process: int) -> None:
    """Refuse a batch that cannot be dealt out equally: flag -> subjects of one task in a batch."""
    for flag, n in sizes.items():
        if n % n_process:
            raise Refused(
                f"--{flag}: gives each task {n} subjects an update; {n_process} processes need a "
                "multiple of their number"
            )
