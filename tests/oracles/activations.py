"""What the shuffled loader should give, with everything held in lists."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from quadric.activations.permutation import Permutation, derive


def cut(rows: int, context_size: int | None, fraction: float) -> int:
    """The first held-out row: of the last ``fraction``, widened to whole contexts if possible."""
    held = max(1, min(rows - 1, round(rows * fraction)))
    first = rows - held
    if context_size:
        start = max(i for i in range(0, rows, context_size) if i <= first)
        first = start or first
    return first


def norm_limit(x: Tensor, allowed: list[int], multiple: float) -> float:
    """multiple × the lower median of the norms of the allowed rows, in float64."""
    norms = sorted(float(x[i].double().square().sum().sqrt()) for i in allowed)
    return multiple * norms[(len(norms) - 1) // 2]


def stream(length: int, seed: int, kept: set[int]) -> Iterator[tuple[int, int]]:
    """(position, row) of every kept row, epoch after epoch."""
    position = 0
    while True:
        epoch = position // length
        for row in Permutation(length, derive(seed, 0, epoch))(torch.arange(length)).tolist():
            if row in kept:
                yield position, row
            position += 1
