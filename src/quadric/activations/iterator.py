"""Training batches out of any iterator of activations.

For activations that come from somewhere quadric knows nothing of::

    source = IteratorSource(lambda: my_activations(), batch_size=4096)

The iterator's own order is kept: shuffle before, where the data is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.activations.loader import position_of
from quadric.activations.screen import norm_limit, row_norms
from quadric.errors import QuadricError


class IteratorSource:
    """Rows of an iterator, cut into batches, as a :class:`quadric.activations.loader.BatchSource`.

    The first ``held_out_rows`` rows are held out and set the norm limit; the others are trained on
    in the order in which they come. To resume, the iterator is made anew and the rows that were
    used are skipped, so it must give the same rows each time.
    """

    ahead = 2
    """Batches to compute before they are asked for: one in use and one in the making."""

    def __init__(
        self,
        iterable_factory: Callable[[], Iterator[Tensor]],
        *,
        batch_size: int,
        held_out_rows: int = 4096,
        max_norm_multiple: float | None = 10.0,
    ) -> None:
        """Read the held-out rows.

        Args:
            iterable_factory: makes the iterator, from its beginning, at every call; it gives
                floating-point tensors (k, d) with any k.
            batch_size: rows in a batch.
            held_out_rows: how many of the first rows are held out.
            max_norm_multiple: rows whose norm exceeds so many medians of the held-out norms are
                dropped and counted; None for no limit.

        Raises:
            QuadricError: an argument is out of range, or the iterator gives too few rows, something
                else than (k, d), two widths, or NaN.
        """
        for name, value in (("batch_size", batch_size), ("held_out_rows", held_out_rows)):
            if value < 1:
                raise QuadricError(f"{name} is {value}, expected at least 1")
        self.batch_size = batch_size
        self._factory = iterable_factory
        self._reader = _Reader(iterable_factory)
        first = torch.cat(list(self._reader.exactly(held_out_rows)))
        norms = torch.linalg.vector_norm(first, dim=1)
        self.d_in = first.shape[1]
        self._limit = norm_limit(norms, max_norm_multiple)
        self._held_out = first[norms <= self._limit]
        self._held_out_rows = held_out_rows
        self._dropped = 0

    def next_batch(self) -> Float[Tensor, "batch d"]:
        """The next ``batch_size`` kept rows, float32.

        Raises:
            QuadricError: the iterator ends, changes width, or gives NaN.
        """
        parts: list[Tensor] = []
        missing = self.batch_size
        while missing:
            x = self._reader.at_most(missing)
            if not len(x):
                raise QuadricError(
                    f"the activations ended after {self._reader.rows} rows, {missing} short of a "
                    f"batch of {self.batch_size}: train for fewer steps, or give an iterator that "
                    "starts over"
                )
            kept = self._kept(x)
            parts.append(kept)
            missing -= len(kept)
            self._dropped += len(x) - len(kept)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def held_out(self, rows: int) -> Float[Tensor, "n d"]:
        """The first ``rows`` held-out rows, or all of them if there are fewer."""
        return self._held_out[:rows]

    def sample(self, rows: int) -> Float[Tensor, "n d"]:
        """Up to ``rows`` of the first kept training rows; the position stays.

        They come from a second iterator, which is dropped afterwards.
        """
        reader = self._again(0)
        parts = [torch.empty(0, self.d_in)]
        missing = rows
        while missing and len(x := reader.at_most(missing)):
            parts.append(self._kept(x))
            missing -= len(parts[-1])
        return torch.cat(parts)

    def state_dict(self) -> dict[str, int]:
        """``rows``: training rows taken from the iterator; ``dropped``: how many were dropped."""
        return {"rows": self._consumed, "dropped": self._dropped}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Make the iterator anew and skip the rows that were used.

        Raises:
            QuadricError: the state is damaged, or the iterator ends before its position.
        """
        consumed, dropped = position_of(state, "rows"), position_of(state, "dropped")
        self._reader = self._again(consumed)
        self._dropped = dropped

    def summary(self) -> dict[str, Any]:
        """Counts so far.

        Returns:
            ``rows`` = ``held_out_rows`` + ``tokens`` + ``dropped_tokens``: rows taken from the
            iterator, held out, trained on, and dropped by norm (``dropped_norm``, the only reason:
            positions are not known); ``norm_limit``, None without one; ``estimated`` False.
        """
        return {
            "rows": self._held_out_rows + self._consumed,
            "held_out_rows": self._held_out_rows,
            "tokens": self._consumed - self._dropped,
            "dropped_tokens": self._dropped,
            "dropped_first": 0,
            "dropped_norm": self._dropped,
            "norm_limit": self._limit if math.isfinite(self._limit) else None,
            "estimated": False,
        }

    @property
    def _consumed(self) -> int:
        return self._reader.rows - self._held_out_rows

    def _kept(self, x: Tensor) -> Tensor:
        return x[torch.linalg.vector_norm(x, dim=1) <= self._limit]

    def _again(self, consumed: int) -> _Reader:
        """A new reader that stands behind the held-out rows and ``consumed`` training rows."""
        reader = _Reader(self._factory, self.d_in)
        for _ in reader.exactly(self._held_out_rows + consumed):
            pass
        return reader


class _Reader:
    """Float32 rows out of an iterator of tensors, checked and counted."""

    def __init__(self, factory: Callable[[], Iterator[Tensor]], width: int | None = None) -> None:
        self.rows = 0
        self._chunks = iter(factory())
        self._width = width
        self._left: Tensor | None = None

    def at_most(self, count: int) -> Tensor:
        """Between 1 and ``count`` rows; none when the iterator has ended."""
        while self._left is None or not len(self._left):
            chunk = next(self._chunks, None)
            if chunk is None:
                return torch.empty(0, self._width or 0)
            self._left = self._checked(chunk)
        x, self._left = self._left[:count], self._left[count:]
        self.rows += len(x)
        return x

    def exactly(self, count: int) -> Iterator[Tensor]:
        """``count`` rows in pieces."""
        while count:
            x = self.at_most(count)
            if not len(x):
                raise QuadricError(
                    f"the activations ended after {self.rows} rows, {count} too early to hold out "
                    "or skip as many as asked"
                )
            count -= len(x)
            yield x

    def _checked(self, chunk: Tensor) -> Tensor:
        if not isinstance(chunk, Tensor) or chunk.ndim != 2 or not chunk.is_floating_point():
            seen = tuple(chunk.shape) if isinstance(chunk, Tensor) else type(chunk).__name__
            raise QuadricError(
                f"the iterator gave {seen} after row {self.rows}, expected floating-point (k, d)"
            )
        self._width = self._width or chunk.shape[1]
        if chunk.shape[1] != self._width:
            raise QuadricError(
                f"the iterator gave rows of width {chunk.shape[1]} after row {self.rows}, but of "
                f"width {self._width} before"
            )
        x = chunk.detach().float()
        row_norms(x, torch.arange(self.rows, self.rows + len(x)), "row {} of the iterator".format)
        return x
