"""How products become latents, and latents become the coefficients of a reconstruction.

With products z ∈ Rⁿ and a mixing matrix D, every variant reconstructs X̂ = Σ_j g_j B_j with
g = DᵀDz; they differ in D and in what is called a latent:

    Unmixed   D = I (n×n)             latents z            g = latents
    Dense     D dense, b×n, b < n     latents z            g = DᵀD latents
    Blocks    D sums blocks of rows   latents h = Dz       g = Dᵀ latents

In ``Blocks`` every coefficient is 1: D_kj B_j = sym((D_kj l_j) r_jᵀ), so any other value, sign
included, is already expressed by the length of l_j.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Unmixed(nn.Module):
    """Latents are the products themselves."""

    def latents(self, products: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
        """The products, unchanged."""
        return products

    def coefficients(self, latents: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
        """The latents, unchanged."""
        return latents


class Dense(Unmixed):
    """Latents are products; their reconstruction passes through a bottleneck of b < n rows."""

    def __init__(self, rows: int, n: int, generator: torch.Generator) -> None:
        """Start from orthonormal rows, so that DᵀD is a projection."""
        super().__init__()
        start = torch.randn(n, rows, generator=generator, dtype=torch.float64)
        orthonormal = torch.linalg.qr(start).Q.T
        self.weight = nn.Parameter(orthonormal.to(torch.get_default_dtype()).contiguous())

    def coefficients(self, latents: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
        """g = DᵀDz."""
        weight = self.weight.to(latents.dtype)
        return (latents @ weight.T) @ weight


class Blocks(nn.Module):
    """A latent is the sum of ``block`` neighbouring products: a form of rank ≤ 2·block."""

    def __init__(self, block: int) -> None:
        """``block`` is the number of products a latent sums."""
        super().__init__()
        self.block = block

    def latents(self, products: Float[Tensor, "... n"]) -> Float[Tensor, "... latents"]:
        """h_k, the sum over block k."""
        return products.reshape(*products.shape[:-1], -1, self.block).sum(-1)

    def coefficients(self, latents: Float[Tensor, "... latents"]) -> Float[Tensor, "... n"]:
        """Every product of block k gets h_k."""
        return latents.repeat_interleave(self.block, dim=-1)


Mixing = Unmixed | Dense | Blocks
