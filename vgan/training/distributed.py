"""Several training processes as one: each takes its share of every batch, and all make the same updates.

The ranks draw the same numbers for the whole batch and keep their share of them, so that together they
compute what one process computes with the whole batch, up to the order of additions. Gradients are
averaged here, after each backward, and not by DistributedDataParallel: its hooks fire at the first
of the penalty's two derivatives. Batches are lists of indices, so no rank runs out of clips before another.

torchrun sets RANK, WORLD_SIZE and LOCAL_RANK, as does `process.train`, which adds the file by which
its ranks find each other.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from ..errors import ConfigError, ResumableError
from .ranks import RENDEZVOUS, check_share

TIMEOUT = timedelta(minutes=30)  # for which a rank may be busy alone: writing a checkpoint, say


class LostRankError(ResumableError):
    """Another process of the run has ended; what that one said is the cause."""


@dataclass(frozen=True)
class World:
    """This process among those of the run; all methods but `part` are called by all ranks, in the same order."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes files and decides."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """Which clips of a batch are this rank's; raises ConfigError when the ranks cannot have equally many."""
        share = check_share(batch, self.size)
        return slice(self.rank * share, (self.rank + 1) * share)

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one device and type, in place, by their means over the ranks: one message for all."""
        if self.size == 1:
            return
        with torch.no_grad(), lost_ranks():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            dist.all_reduce(flat)  # pyright: ignore[reportUnknownMemberType]
            flat /= self.size
            means = torch.split(flat, [tensor.numel() for tensor in tensors])
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean.view(tensor.shape))

    def any(self, flag: bool) -> bool:
        """Whether the flag is raised on any rank."""
        if self.size == 1:
            return flag
        raised = torch.tensor(int(flag))  # on the CPU: the device is not waited for
        with lost_ranks():
            dist.all_reduce(raised, dist.ReduceOp.MAX)  # pyright: ignore[reportUnknownMemberType]
        return bool(raised)

    def first(self, value: float) -> float:
        """What the first rank says."""
        if self.size == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64)
        with lost_ranks():
            dist.broadcast(said, src=0)
        return said.item()


ALONE = World()


@contextmanager
def lost_ranks() -> Generator[None]:
    """Turn a failed exchange into the error that says so."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostRankError(
            f"another process of this run has ended: {str(error).splitlines()[0]}", hint="The same command resumes."
        ) from error


@contextmanager
def joined(device: str) -> Generator[World]:
    """The world that the environment describes; the ranks stay connected inside.

    Args:
        device: "cuda" or "cpu"; of the networks.

    Raises:
        ConfigError: there are more processes than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    world = World(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))
    if device == "cuda":
        if world.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"process {world.local_rank + 1} has no GPU: there are {torch.cuda.device_count()}.",
                hint="Take at most as many --processes as there are GPUs.",
            )
        torch.cuda.set_device(world.local_rank)
    elif device != "cpu":
        raise ConfigError(f"several processes cannot train on device {device!r}.", hint="Take --processes 1.")
    file = os.environ.get(RENDEZVOUS)
    with lost_ranks():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
            init_method=f"file://{file}" if file else "env://",
            rank=world.rank,
            world_size=size,
            timeout=TIMEOUT,
        )
    try:
        yield world
    finally:
        dist.destroy_process_group()
