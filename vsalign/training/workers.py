"""The training workers (torch.distributed), alone or several: who this one is, and what all of them agree on."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.distributed as dist

from vsalign.errors import VsalignError


class Counted(Protocol):
    """What has things to learn from, over all workers."""

    pairs: int


def worker() -> tuple[int, int]:
    """This process's rank and the number of training workers; (0, 1) without torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def shared(value: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A number (1,) where the workers' collectives take it from: on the GPU with NCCL, else in memory."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.tensor([value], dtype=dtype, device=torch.cuda.current_device() if on_gpu else "cpu")


def mean_over_workers(count: int) -> float:
    """The mean of a count over the workers, on every worker."""
    _, workers = worker()
    if workers == 1:
        return float(count)
    total = shared(count, torch.int64)
    dist.all_reduce(total)
    return int(total) / workers


def require_same_pairs(stream: Counted) -> None:
    """Raise VsalignError, naming ranks and counts, unless all workers have the same number of pairs.

    Their steps would differ, and the others wait for ever for one that is done with its epoch.
    """
    _, workers = worker()
    if workers == 1:
        return
    own = shared(stream.pairs, torch.int64)
    counts = [torch.empty_like(own) for _ in range(workers)]
    dist.all_gather(counts, own)
    pairs = [int(count) for count in counts]
    if len(set(pairs)) > 1:
        shown = ", ".join(f"rank {rank}: {count}" for rank, count in enumerate(pairs))
        raise VsalignError(
            f"the workers read different numbers of pairs ({shown}): let all of them read the same, finished tables"
        )


def from_first_worker(value: float) -> float:
    """The first worker's value, on every worker."""
    rank, workers = worker()
    if workers == 1:
        return value
    told = shared(value if rank == 0 else 0.0)
    dist.broadcast(told, 0)
    return float(told)
