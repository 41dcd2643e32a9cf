"""The one view of activations that training has: numbered rows of equal width.

A cache on disk (:class:`quadric.activations.cache.ActivationCache`), a folder of somebody's tensors
(:class:`quadric.activations.folder.TensorFolder`) and a tensor in memory (:class:`MemoryRows`) all
answer the same few questions, so a loader needs to know none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from quadric.errors import QuadricError

_CHUNK_BYTES = 1 << 25


class Rows(Protocol):
    """Numbered activations of equal width, read in any order."""

    d_in: int
    """The width of a row."""

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def gather(self, indices: Int64[Tensor, " k"]) -> Float[Tensor, "k d"]:
        """The rows at ``indices``, in that order, as float32 on the CPU.

        Raises:
            IndexError: an index is outside 0 … len−1.
        """
        ...

    def positions(self, indices: Int64[Tensor, " k"]) -> Int64[Tensor, " k"] | None:
        """Each row's token position in its context, or None where that is not known."""
        ...

    def locate(self, index: int) -> str:
        """Where a row lies, in words, for an error message."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the rows are and where they came from, as JSON values."""
        ...


class MemoryRows:
    """A tensor as :class:`Rows`."""

    def __init__(self, tensor: Float[Tensor, "..."]) -> None:
        """Wrap activations without copying them.

        Args:
            tensor: (rows, d); or (contexts, context, d), and then positions are known.

        Raises:
            QuadricError: the tensor is not a floating-point one with 2 or 3 dimensions, or empty.
        """
        shape = tuple(tensor.shape)
        if tensor.ndim not in (2, 3) or not tensor.is_floating_point() or not tensor.numel():
            raise QuadricError(
                f"activations have shape {shape} and dtype {tensor.dtype}; expected "
                "floating-point (rows, d) or (contexts, context, d) with nothing empty"
            )
        self.d_in = shape[-1]
        self._context_size = shape[1] if tensor.ndim == 3 else None
        self._tensor = tensor.detach().reshape(-1, self.d_in)

    def __len__(self) -> int:
        """The number of rows."""
        return self._tensor.shape[0]

    def gather(self, indices: Int64[Tensor, " k"]) -> Float[Tensor, "k d"]:
        """The rows at ``indices`` as float32 on the CPU."""
        _check_bounds(indices, len(self))
        chosen = self._tensor.index_select(0, indices.to(self._tensor.device))
        return chosen.to("cpu", torch.float32)

    def positions(self, indices: Int64[Tensor, " k"]) -> Int64[Tensor, " k"] | None:
        """index mod context for a (contexts, context, d) tensor, else None."""
        return None if self._context_size is None else indices % self._context_size

    def locate(self, index: int) -> str:
        """The row number, and the context and position where known."""
        if self._context_size is None:
            return f"row {index}"
        context, position = divmod(index, self._context_size)
        return f"row {index} (context {context}, position {position})"

    def describe(self) -> dict[str, Any]:
        """Source, rows and width."""
        return {"source": "memory", "rows": len(self), "d_in": self.d_in}


class Stack:
    """Tensors one below another, read as one tall tensor; each is opened when first touched.

    The pieces are usually memory-mapped, so only the pages of the rows asked for are read.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        open_piece: Callable[[int], Tensor],
        *,
        tail: tuple[int, ...],
        dtype: torch.dtype,
    ) -> None:
        """Line up the pieces.

        Args:
            lengths: the rows of each piece.
            open_piece: gives piece i as a tensor of shape (lengths[i], *tail).
            tail: the shape of one row.
            dtype: the dtype of what :meth:`gather` returns.
        """
        self._ends = torch.tensor(list(lengths), dtype=torch.int64).cumsum(0)
        self._open_piece = open_piece
        self._pieces: dict[int, Tensor] = {}
        self._tail = tail
        self._dtype = dtype

    def __len__(self) -> int:
        """The rows of all pieces together."""
        return int(self._ends[-1])

    def gather(self, indices: Int64[Tensor, " k"]) -> Tensor:
        """The rows at ``indices``, in that order: (k, *tail).

        The indices are sorted first, so each piece is read once and from front to back.
        """
        _check_bounds(indices, len(self))
        ordered, order = indices.sort()
        edges = [0, *torch.searchsorted(ordered, self._ends).tolist()]
        parts = [
            (self._piece(number), first, last, self._start(number))
            for number, (first, last) in enumerate(pairwise(edges))
            if last > first
        ]
        # Put together and reordered in the dtype they are stored in where that is the smaller one,
        # and converted last.
        stored = {piece.dtype for piece, *_ in parts}
        narrow = len(stored) == 1 and all(d.itemsize < self._dtype.itemsize for d in stored)
        dtype = stored.pop() if narrow else self._dtype
        rows = torch.empty(len(indices), *self._tail, dtype=dtype)
        for piece, first, last, start in parts:
            local = ordered[first:last] - start
            if piece.dtype == dtype:
                torch.index_select(piece, 0, local, out=rows[first:last])
            else:
                rows[first:last] = piece.index_select(0, local)
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order))
        return rows.index_select(0, places).to(self._dtype)

    def locate(self, index: int) -> tuple[int, int]:
        """The piece that holds a row, and the row's number in that piece."""
        number = int(torch.searchsorted(self._ends, index, right=True))
        return number, index - self._start(number)

    def _start(self, number: int) -> int:
        return int(self._ends[number - 1]) if number else 0

    def _piece(self, number: int) -> Tensor:
        if number not in self._pieces:
            self._pieces[number] = self._open_piece(number)
        return self._pieces[number]


def chunks(length: int, width: int) -> Iterator[Int64[Tensor, " k"]]:
    """range(length) in runs of rows that take at most 32 MiB as float32."""
    step = max(1, _CHUNK_BYTES // (4 * width))
    for start in range(0, length, step):
        yield torch.arange(start, min(start + step, length))


def _check_bounds(indices: Tensor, length: int) -> None:
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= length):
        raise IndexError(
            f"rows {int(indices.min())} to {int(indices.max())} are not all in 0 … {length - 1}"
        )
