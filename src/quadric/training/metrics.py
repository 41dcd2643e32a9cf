"""Metrics of finished steps, which stay on the device until somebody looks.

Reading one number off an accelerator makes the processor wait for everything queued there. So a
step leaves its numbers in a :class:`Backlog`, and :meth:`Backlog.read` fetches those of many steps
at once, averaged over the ranks. No step is left out of the log; it only gets there later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from quadric.ranks import Ranks

SECONDS = 1.0
"""A process of its own looks this often."""
STEPS = 10
"""Several ranks look together, every so many steps: their clocks differ."""


class Entry(NamedTuple):
    """A step that has been read."""

    step: int
    rows: int
    """Rows of its batch, over all ranks."""
    metrics: dict[str, float]


class Backlog:
    """What steps have left to be read."""

    def __init__(self, ranks: Ranks) -> None:
        """Start with nothing."""
        self._ranks = ranks
        self._waiting: list[tuple[int, int, dict[str, float | Tensor]]] = []
        self._looked = time.monotonic()

    def add(self, step: int, rows: int, metrics: dict[str, float | Tensor]) -> None:
        """Leave a step's numbers: those the processor knows, and tensors of one on the device."""
        self._waiting.append((step, rows, metrics))

    def due(self) -> bool:
        """Whether it is time to look."""
        if self._ranks.world > 1:
            return self._waiting[-1][0] % STEPS == STEPS - 1
        return time.monotonic() - self._looked >= SECONDS

    def read(self) -> Iterator[Entry]:
        """The steps since the last look, oldest first."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        numbers = [
            value.detach().float()
            for *_, metrics in waiting
            for value in metrics.values()
            if isinstance(value, Tensor)
        ]
        read = iter(self._ranks.mean(torch.stack(numbers)).tolist())
        self._looked = time.monotonic()
        for step, rows, metrics in waiting:
            found = {
                name: next(read) if isinstance(value, Tensor) else value
                for name, value in metrics.items()
            }
            yield Entry(step, rows, found)
