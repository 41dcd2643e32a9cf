"""Sparse reconstructions from matrices written out, one row and one atom at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.oracles.energy import atoms


def squared_errors(
    x: Tensor,
    left: Tensor,
    right: Tensor,
    indices: Tensor,
    *,
    symmetric: bool = True,
    held: Tensor | None = None,
) -> Tensor:
    """‖X_b − Σ_{j∈A_b} g_bj B_j‖² of every row, g = z or held; autograd may follow.

    Held atoms are constants, as are their coefficients.
    """
    matrices = atoms(left, right, symmetric=symmetric)
    errors = []
    for b, row in enumerate(x):
        rest = torch.outer(row, row)
        for column, j in enumerate(indices[b].tolist()):
            if j < 0:
                continue
            if held is not None and column < held.shape[1]:
                rest = rest - held[b, column] * matrices[j].detach()
            else:
                rest = rest - (left[j] @ row) * (right[j] @ row) * matrices[j]
        errors.append(rest.square().sum())
    return torch.stack(errors)
