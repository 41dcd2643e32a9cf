"""Rows that name themselves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WIDTH = 3


def numbered(*shape: int, outliers: tuple[int, ...] = ()) -> Tensor:
    """Rows (row number, 1000, noise): a row names itself; outliers are far longer than the rest."""
    rows = math.prod(shape)
    x = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1))
    x[:, 0] = torch.arange(rows)
    x[:, 1] = 1000.0
    x[list(outliers), 1] = 1e6
    return x.reshape(*shape, WIDTH)


def names(x: Tensor) -> list[int]:
    return [int(value) for value in x[:, 0].tolist()]
