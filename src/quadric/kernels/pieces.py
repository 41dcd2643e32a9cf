"""Passes over a large matrix, some rows at a time.

A processor reads numbers from its caches several times faster than from memory, and torch converts
mixed types through temporary copies: both want a pass of several operations to go over few rows at
a time. A GPU wants many in one launch, as long as the copies stay small beside the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Shaped
from torch import Tensor

CACHED = 2**19
"""Numbers at a time that stay in a processor's caches."""
LAUNCHED = 2**26
"""Numbers at a time for any other device."""


def cached_rows(matrix: Shaped[Tensor, "rows columns"]) -> Iterator[slice]:
    """The rows of a matrix, as many at a time as suit its device, one at least."""
    numbers = CACHED if matrix.device.type == "cpu" else LAUNCHED
    rows = max(1, numbers // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), rows):
        yield slice(start, min(start + rows, len(matrix)))
