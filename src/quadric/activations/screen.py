"""Which rows are fit to train on: finite ones whose norm is not an outlier's.

Attention-sink tokens have norms 10 to 300 times the median, and a handful of them would own a
fourth-power loss. Rows above a stated multiple of the median norm are therefore left out, and every
loader counts and reports how many.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from quadric.errors import QuadricError


def row_norms(
    x: Float[Tensor, "n d"], indices: Int64[Tensor, " n"], locate: Callable[[int], str]
) -> Float[Tensor, " n"]:
    """‖x_i‖₂ of every row, after making sure that every entry is finite.

    Args:
        x: float32 rows.
        indices: the number of each row in its source.
        locate: where the row of a number lies, in words, for the message.

    Raises:
        QuadricError: a row holds NaN or infinity; the message names the first such row.
    """
    norms: Tensor = torch.linalg.vector_norm(x, dim=1)
    # A norm can overflow float32 although no entry does, so a suspect row is looked at in full.
    for row in torch.nonzero(~norms.isfinite()).flatten().tolist():
        bad = torch.nonzero(~x[row].isfinite()).flatten()
        if len(bad):
            where, value = locate(int(indices[row])), float(x[row, bad[0]])
            raise QuadricError(
                f"{where} holds {value} in dimension {int(bad[0])}: activations must be finite in "
                "float32; leave that row out or make it again"
            )
    return norms


def norm_limit(norms: Float[Tensor, " n"], multiple: float | None) -> float:
    """``multiple`` × median(norms), the largest norm that is kept; infinity for None.

    ``norms`` must not be empty.

    Raises:
        QuadricError: ``multiple`` is not above 0, or the median is 0 and would set no scale.
    """
    if multiple is None:
        return math.inf
    if not multiple > 0:
        raise QuadricError(
            f"max_norm_multiple is {multiple}, expected a number above 0, or none for no limit"
        )
    if not (median := float(norms.median())):
        raise QuadricError(
            "at least half of the activations are all zeros, so their median norm is 0 and gives "
            "no norm limit: check the data, or set max_norm_multiple to none"
        )
    return multiple * median
