"""Reconstruction energies from atoms written out as d×d matrices, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def atoms(left: Tensor, right: Tensor, *, symmetric: bool) -> Tensor:
    """Every atom as a d×d matrix: ½(l rᵀ + r lᵀ), or l rᵀ."""
    matrices = torch.stack([torch.outer(a, b) for a, b in zip(left, right, strict=True)])
    return 0.5 * (matrices + matrices.mT) if symmetric else matrices


def sample_energies(
    g: Tensor, left: Tensor, right: Tensor, *, symmetric: bool, weights: Tensor | None = None
) -> Tensor:
    """Σ_ij g_bi g_bj ⟨B_i, B_j⟩ weights[max(i, j)] of every sample, one pair of atoms at a time."""
    matrices = atoms(left, right, symmetric=symmetric)
    total = torch.zeros(len(g), dtype=g.dtype)
    for i, first in enumerate(matrices):
        for j, second in enumerate(matrices):
            weight = 1.0 if weights is None else weights[max(i, j)]
            total = total + weight * g[:, i] * g[:, j] * (first * second).sum()
    return total


def prefix_energies(
    g: Tensor, left: Tensor, right: Tensor, share: Tensor, *, symmetric: bool
) -> Tensor:
    """Σ_p share_p ‖Σ_{j≤p} g_bj B_j‖² of every sample: the mean over prefixes of the energy."""
    parts = torch.einsum("bn,nde->bnde", g, atoms(left, right, symmetric=symmetric))
    return (parts.cumsum(1) ** 2).sum((2, 3)) @ share
