"""Passes over a large matrix, some rows at a time.

A processor reads numbers from its caches several times faster than from memory, and torch converts
mixed types through temporary copies: both want a pass of several operations to go over few rows at
a time. A GPU wants all rows in one launch.
"""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Shaped
from torch import Tensor

CACHED = 2**19
"""Numbers at a time that stay in a processor's caches."""


def cached_rows(matrix: Shaped[Tensor, "rows columns"]) -> Iterator[slice]:
    """The rows of a matrix, as many at a time as stay in a processor's caches; all on a GPU."""
    rows = max(1, CACHED // max(1, matrix.shape[1]))
    if matrix.device.type != "cpu":
        rows = max(1, len(matrix))
    for start in range(0, len(matrix), rows):
        yield slice(start, min(start + rows, len(matrix)))
