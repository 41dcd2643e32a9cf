"""The singular value decomposition between a tensor's outputs and its forms.

Matricise the symmetric m×d×d tensor to m×d²: B = Σ_i σ_i u_i ⊗ q_i, with orthonormal output
directions u_i and orthonormal forms q_i. The Gram G = BBᵀ is known in closed form from the factors,
so its eigendecomposition gives σ and u, and q_i = Q_{u_i}/σ_i stays factored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms.gram import gram
from quadric.forms.spectrum import sign_fixed

if TYPE_CHECKING:
    from quadric.forms.tensor import BilinearTensor


class Hosvd(NamedTuple):
    """B = Σ_i singular_values[i] · directions[i] ⊗ forms_i."""

    singular_values: Float[Tensor, "r"]
    """σ_i, descending and positive."""
    directions: Float[Tensor, "r m"]
    """u_i as orthonormal rows; the largest entry in absolute value is positive."""
    forms: BilinearTensor
    """q_i as the r outputs of a tensor with the same factors; orthonormal, so of unit norm."""


@torch.no_grad()
def hosvd(tensor: BilinearTensor, rank: int | None = None) -> Hosvd:
    """The leading singular triples of the tensor's outputs, at most ``rank`` of them.

    Computed in float64 through the Gram, whose rounding of n·ε·σ_1² drowns small σ². The list ends
    at σ_1·n·√ε, so that the last σ² kept still holds to about one part in n; a zero tensor has an
    empty list. Not differentiable.

    Raises:
        QuadricError: ``rank`` is not in 1…m.
    """
    if rank is not None and not 1 <= rank <= tensor.m:
        raise QuadricError(f"rank is {rank}, expected 1 to {tensor.m}, the number of outputs")
    exact = tensor.to(dtype=torch.float64)
    squares, columns = torch.linalg.eigh(gram(exact))
    singular = squares.flip(0).clamp(min=0).sqrt()
    floor = singular[:1] * tensor.n * torch.finfo(torch.float64).eps ** 0.5
    kept = int((singular > floor).sum())
    kept = kept if rank is None else min(kept, rank)
    directions = sign_fixed(columns.mT.flip(0)[:kept])
    normalised = directions / singular[:kept, None]
    out = normalised if exact.out is None else normalised @ exact.out
    return Hosvd(
        singular_values=singular[:kept].to(tensor.dtype),
        directions=directions.to(tensor.dtype),
        forms=replace(tensor, out=out.to(tensor.dtype)),
    )
