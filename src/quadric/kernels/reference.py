"""Reconstruction energy written as its definition, for tests and small problems.

It materialises the n×n Gram of the atoms and differentiates by plain autograd;
:func:`~quadric.kernels.blocked.reconstruction_energy` returns the same numbers without either.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def atom_gram(
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    *,
    symmetric: bool = True,
    weights: Float[Tensor, "n"] | None = None,
) -> Float[Tensor, "n n"]:
    """The Gram K_ij = ⟨B_i, B_j⟩ of the atoms, as an n×n matrix.

    Symmetric atoms B_i = ½(l_i r_iᵀ + r_i l_iᵀ) give K = ½[(LLᵀ)⊙(RRᵀ) + (LRᵀ)⊙(RLᵀ)];
    unsymmetrised ones, B_i = l_i r_iᵀ, give K = (LLᵀ)⊙(RRᵀ). With ``weights``, K_ij is
    multiplied by weights[max(i, j)].
    """
    gram = (left @ left.T) * (right @ right.T)
    if symmetric:
        cross = left @ right.T
        gram = 0.5 * (gram + cross * cross.T)
    if weights is not None:
        index = torch.arange(len(left), device=left.device)
        gram = gram * weights[torch.maximum(index[:, None], index[None, :])]
    return gram


def reference_energy(
    g: Float[Tensor, "samples n"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    *,
    symmetric: bool = True,
    weights: Float[Tensor, "n"] | None = None,
) -> Float[Tensor, ""]:
    """Σ_b g_bᵀ K g_b with K from :func:`atom_gram`; memory O(n²)."""
    return (g.T @ g * atom_gram(left, right, symmetric=symmetric, weights=weights)).sum()
