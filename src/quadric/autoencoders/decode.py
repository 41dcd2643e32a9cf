"""From a reconstructed interaction matrix back to an activation.

An autoencoder reconstructs X = xxᵀ as X̂ = Σ_j g_j B_j, with B_j = ½(l_j r_jᵀ + r_j l_jᵀ). Two ways
lead back to x, and neither ever forms a d×d matrix:

- with the constant coordinate (lifted input [x; 1]) the last row of X̂ is itself an estimate of x,
  linear in g and with the right sign: x̂ = ½ Σ_j g_j (b_j l_j + a_j r_j), a_j and b_j being the
  constants of l_j and r_j;
- without it, X̂ ≈ xxᵀ is read through its leading eigenpair, x̂ = ±√λ v. Products do not change
  when x becomes −x, so the sign is not in the latents: it has to come from elsewhere.

Factors are shared by all rows, (n, d), or gathered for each, (rows, k, d), where few are active.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

KRYLOV_STEPS = 16
"""Lanczos steps per token."""
SPARSE = 8
"""Atoms are gathered where a row's latents are at least so many times fewer than all."""


def few_active(latents: Float[Tensor, "rows n"]) -> int:
    """The most latents that a row has, 0 where reading all atoms is cheaper than gathering them."""
    if not len(latents):
        return 0
    most = int((latents != 0).sum(1).max())
    return most if SPARSE * most <= latents.shape[1] else 0


def estimate(
    coefficients: Float[Tensor, "rows n"],
    left: Float[Tensor, "*rows n d"],
    right: Float[Tensor, "*rows n d"],
    *,
    affine: bool,
    like: Float[Tensor, "rows d"] | None,
) -> Float[Tensor, "rows d"]:
    """The activations of reconstructions, with the signs of ``like`` where it is needed.

    Args:
        coefficients: of the atoms.
        left: first factors of the atoms.
        right: second factors of the atoms.
        affine: whether the factors end in a constant.
        like: what the estimates should point along; where None the largest entry is positive.
    """
    if affine:
        return linear_part(coefficients, left, right)
    found = leading_vector(coefficients, left, right, start=like)
    if like is None:
        return found
    agree = (found * like).sum(-1, keepdim=True)
    return torch.where(agree < 0, -found, found)


def linear_part(
    coefficients: Float[Tensor, "rows n"],
    left: Float[Tensor, "*rows n d_plus_1"],
    right: Float[Tensor, "*rows n d_plus_1"],
) -> Float[Tensor, "rows d"]:
    """x̂ = ½ Σ_j g_j (b_j l_j + a_j r_j) for factors whose last column is the constant."""
    columns = left[..., -1:] * right[..., :-1] + right[..., -1:] * left[..., :-1]
    return _combined(coefficients, 0.5 * columns)


def leading_vector(
    coefficients: Float[Tensor, "rows n"],
    left: Float[Tensor, "*rows n d"],
    right: Float[Tensor, "*rows n d"],
    start: Float[Tensor, "rows d"] | None = None,
    steps: int = KRYLOV_STEPS,
) -> Float[Tensor, "rows d"]:
    """√λ·v for the largest eigenvalue λ of each row's X̂; zero where no eigenvalue is positive.

    A Lanczos iteration with full re-orthogonalisation, one Krylov space per row, in which X̂ acts
    as v ↦ ½ Σ_j g_j (l_j (r_j·v) + r_j (l_j·v)) at a cost of O(n·d) per row and step. ``start``
    (for example x itself) only speeds it up. The sign of the result makes its largest entry
    positive.
    """
    rows, d = coefficients.shape[0], left.shape[-1]
    steps = min(steps, d)
    if start is None:
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(d, generator=generator).to(coefficients).expand(rows, d)
    tiny = torch.finfo(coefficients.dtype).tiny
    vector = start / start.norm(dim=-1, keepdim=True).clamp_min(tiny)
    basis = coefficients.new_zeros(rows, steps, d)
    small = coefficients.new_zeros(rows, steps, steps)
    for step in range(steps):
        basis[:, step] = vector
        image = _act(coefficients, left, right, vector)
        small[:, step] = torch.einsum("rkd,rd->rk", basis, image)
        # Twice is enough: one pass of Gram–Schmidt leaves rounding behind, two do not.
        for _ in range(2):
            overlap = torch.einsum("rkd,rd->rk", basis, image)
            image = image - torch.einsum("rk,rkd->rd", overlap, basis)
        length = image.norm(dim=-1, keepdim=True)
        # Where the Krylov space is exhausted the remaining basis vectors stay zero.
        vector = torch.where(length > 1e-6, image / length.clamp_min(tiny), 0.0)
    values, vectors = torch.linalg.eigh(small.tril() + small.tril(-1).mT)
    leading = torch.einsum("rk,rkd->rd", vectors[..., -1], basis)
    leading = leading / leading.norm(dim=-1, keepdim=True).clamp_min(tiny)
    biggest = leading.gather(1, leading.abs().argmax(-1, keepdim=True))
    sign = torch.where(biggest < 0, -1.0, 1.0)
    found: Tensor = leading * sign * values[:, -1:].clamp_min(0).sqrt()
    return found


def _act(
    coefficients: Float[Tensor, "rows n"],
    left: Float[Tensor, "*rows n d"],
    right: Float[Tensor, "*rows n d"],
    vector: Float[Tensor, "rows d"],
) -> Float[Tensor, "rows d"]:
    """X̂v for every row."""
    towards_left = coefficients * _read(vector, right)
    towards_right = coefficients * _read(vector, left)
    return 0.5 * (_combined(towards_left, left) + _combined(towards_right, right))


def _read(vector: Tensor, factor: Tensor) -> Tensor:
    """(rows, n): each row's vector with its factors."""
    return vector @ factor.T if factor.ndim == 2 else (factor @ vector[..., None])[..., 0]


def _combined(coefficients: Tensor, factor: Tensor) -> Tensor:
    """(rows, d): each row's combination of its factors."""
    return coefficients @ factor if factor.ndim == 2 else (coefficients[:, None] @ factor)[:, 0]
