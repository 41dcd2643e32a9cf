"""How much of a product over neurons is held at once.

Sums over pairs of neurons (Grams, inner products) and batches of small eigenproblems are cut into
blocks of at most :data:`BLOCK_ENTRIES` numbers, so memory does not grow with n² or with the number
of output directions. The bound is read at each call, so a program may change it.
"""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_ENTRIES = 1 << 22
"""Entries of the largest temporary a block may need (four million: 32 MiB in float64)."""


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices that cover ``range(rows)``; each times ``width`` stays below BLOCK_ENTRIES."""
    step = max(1, BLOCK_ENTRIES // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
