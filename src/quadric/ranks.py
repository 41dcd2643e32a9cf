"""The processes of one run: a single one, or several that torchrun started.

    with join("auto", shards=4) as ranks:      # ranks.rank of ranks.world
        ...

The ranks form a grid. Each row of ``shards`` neighbours holds one copy of the dictionary between
them; the rows are copies of each other. Batches are divided over all of them.

Losses are written for the convention of PyTorch's data parallelism: every rank computes a loss of
its own rows, and the gradients are *averaged*. A batch statistic that is not a plain mean over rows
goes through :meth:`Ranks.mean`, whose gradient is what makes that average exact.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from quadric.errors import Followed, QuadricError

T = TypeVar("T")

_LOST = ("connection closed", "connection reset", "broken pipe", "timed out", "socket", "nccl")
"""What collectives say when another rank is gone."""
_PARTING = 0.5
"""Seconds."""


class Ranks:
    """This process among those of its run.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        shards: how many share one copy of the dictionary.
        device: where this rank computes.
    """

    def __init__(
        self, rank: int = 0, world: int = 1, mesh: DeviceMesh | None = None, device: str = "auto"
    ) -> None:
        """A rank; of a world of one unless there is a mesh of (copies, shards)."""
        self.rank, self.world, self.mesh, self.device = rank, world, mesh, device
        self.shards = 1 if mesh is None else mesh.size(1)

    @property
    def leads(self) -> bool:
        """Whether this rank writes files and speaks to the user."""
        return self.rank == 0

    @property
    def sharing(self) -> dist.ProcessGroup | None:
        """The ranks that hold one copy of the dictionary with this one; None if it has its own."""
        return None if self.mesh is None or self.shards == 1 else self.mesh.get_group(1)

    def mean(self, x: Tensor) -> Tensor:
        """The mean over ranks of equal shapes; its gradient is that of the ranks' own losses."""
        if self.world == 1:
            return x
        mean: Tensor = _Mean.apply(x, self.world)  # type: ignore[no-untyped-call]
        return mean

    def largest(self, x: Tensor) -> Tensor:
        """The elementwise maximum over ranks, without gradient."""
        found = x.detach().clone()
        if self.world > 1:
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return found

    def gathered(self, x: Tensor) -> Tensor:
        """The rows of all ranks, rank by rank and without gradient; each has as many."""
        if self.world == 1:
            return x.detach()
        rows = x.new_empty(self.world * len(x), *x.shape[1:])
        dist.all_gather([*rows.chunk(self.world)], x.detach().contiguous())
        return rows

    def every(self, value: T) -> list[T]:
        """A small Python value of each rank."""
        values: list[Any] = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def agree(self, error: QuadricError | None) -> None:
        """Stop every rank if one has an error: the first of those raises it.

        Raises:
            QuadricError: ``error``, or on the other ranks :class:`Followed`.
        """
        messages = self.every(None if error is None else str(error))
        for rank, message in enumerate(messages):
            if message is not None:
                if error is not None and rank == self.rank:
                    raise error
                raise Followed(message)

    def together(self, act: Callable[[], T]) -> T:
        """What ``act`` returns here, once it has worked on every rank; it must not speak to them.

        Raises:
            QuadricError: ``act`` raised it, on any rank; see :meth:`agree`.
        """
        try:
            value = act()
        except QuadricError as error:
            self.agree(error)
            raise
        self.agree(None)
        return value

    def lead(self, act: Callable[[], T]) -> T:
        """What ``act`` returns on rank 0, on every rank; the others wait for it.

        Raises:
            QuadricError: ``act`` raised it; on the other ranks as :class:`Followed`.
        """
        if self.world == 1:
            return act()
        outcome: list[Any] = [None, None]
        if self.leads:
            try:
                outcome[0] = act()
            except QuadricError as error:
                dist.broadcast_object_list([None, str(error)])
                raise
        dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise Followed(outcome[1])
        result: T = outcome[0]
        return result

    @contextmanager
    def watched(self, consequence: str) -> Iterator[None]:
        """Turn the failure of a collective into one line that says what happened.

        Args:
            consequence: what it means for the user, a part of the message.

        Raises:
            QuadricError: another rank stopped or cannot be reached.
        """
        try:
            yield
        except RuntimeError as error:
            reason = str(error)
            lost = any(sign in reason.lower() for sign in _LOST)
            if self.world == 1 or not (lost or isinstance(error, dist.DistError)):
                raise
            raise QuadricError(
                f"rank {self.rank} of {self.world} stops, because it lost another rank "
                f"(killed, out of memory, or its machine is gone); {consequence}"
            ) from error


ALONE = Ranks()
"""A run of one process."""


def launched() -> bool:
    """Whether torchrun, or something that speaks like it, started this process."""
    return all(os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"))


@contextmanager
def join(device: str = "auto", shards: int = 1) -> Iterator[Ranks]:
    """Meet the other ranks of this run; a process that was started alone is :data:`ALONE`.

    Ranks on accelerators take one each, in the order of their local numbers, and talk through its
    own library (NCCL on CUDA); ranks on CPUs talk through gloo.

    Args:
        device: "auto", "cpu", or the kind of accelerator.
        shards: ranks that share one copy of the dictionary.

    Raises:
        QuadricError: the number of ranks is no multiple of ``shards``, or the device is not there.
    """
    if not launched() or int(os.environ["WORLD_SIZE"]) == 1:
        if shards != 1:
            raise QuadricError(
                f"dictionary_shards is {shards}, but this run is one process: start it with "
                f"torchrun --nproc-per-node {shards} -m quadric …"
            )
        yield Ranks(device=device)
        return
    world = int(os.environ["WORLD_SIZE"])
    if shards < 1 or world % shards:
        raise QuadricError(f"dictionary_shards is {shards}, expected a divisor of {world} ranks")
    kind = _kind(device)
    if kind != "cpu":
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("gloo" if kind == "cpu" else None)
    try:
        mesh = init_device_mesh(
            kind, (world // shards, shards), mesh_dim_names=("copies", "shards")
        )
        ranks = Ranks(dist.get_rank(), world, mesh, kind)
        with ranks.watched("start all of them again"):
            yield ranks
    except QuadricError:
        # torchrun sends SIGTERM to every rank as soon as one has ended. This one is ending too, and
        # must live to say why.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    finally:
        dist.destroy_process_group()
        # Gloo's threads may still hold the tensors of the last exchange. One that lets go of them
        # while the interpreter ends aborts the process, so they are given the time here.
        time.sleep(_PARTING)


def _kind(device: str) -> str:
    if device != "auto":
        return device.partition(":")[0]
    found = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if found is None else found.type


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, world: int) -> Tensor:
        del ctx
        mean = x.detach().clone()
        dist.all_reduce(mean)
        return mean.div_(world)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """The ranks' gradients are averaged afterwards, which is the mean's own gradient."""
        del ctx
        return upstream, None
