"""Ranks that are threads of this process: the same conversation without starting processes."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from quadric.errors import Followed, QuadricError
from quadric.ranks import Ranks

T = TypeVar("T")


class ThreadRanks(Ranks):
    """One of several threads that meet at a barrier."""

    def __init__(self, rank: int, said: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(rank, len(said), device="cpu")
        self._said, self._barrier = said, barrier

    def every(self, value: T) -> list[T]:
        self._said[self.rank] = copy.deepcopy(value)
        self._barrier.wait()
        said = list(self._said)
        self._barrier.wait()
        return said

    def largest(self, x: Tensor) -> Tensor:
        return torch.stack(self.every(x)).amax(dim=0)

    def lead(self, act: Callable[[], T]) -> T:
        outcome: tuple[Any, QuadricError | None] = (None, None)
        if self.leads:
            try:
                outcome = (act(), None)
            except QuadricError as error:
                outcome = (None, error)
        value, error = self.every(outcome)[0]
        if error is not None:
            raise error if self.leads else Followed(str(error))
        result: T = value
        return result


def on_threads(world: int, act: Callable[[Ranks], T]) -> list[T | QuadricError]:
    """What ``act`` returns, or the error it raises, on every rank."""
    said: list[Any] = [None] * world
    barrier = threading.Barrier(world, timeout=30)

    def one(rank: int) -> T | QuadricError:
        try:
            return act(ThreadRanks(rank, said, barrier))
        except QuadricError as error:
            return error
        except BaseException:
            barrier.abort()  # or the others would wait for this one
            raise

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(one, range(world)))
