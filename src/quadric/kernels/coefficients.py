"""The samples' side of the reconstruction energy, one tile at a time.

A :class:`CoefficientTiles` computes the tile of W⊙GᵀG that meets a tile of the atoms' Gram, and
sums the gradient to g. W_ij = weights[max(i, j)] is never applied to a tile off the diagonal:
there I > J, so it depends on the row alone and scales a block of g, or of g's gradient, instead.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.kernels.tiles import Scratch, add_product, row_blocks


def diagonal_weights(weights: Float[Tensor, "rows"]) -> Float[Tensor, "rows rows"]:
    """weights[max(i, j)] for a tile on the diagonal."""
    index = torch.arange(len(weights), device=weights.device)
    return weights[torch.maximum(index[:, None], index[None, :])]


class CoefficientTiles:
    """Tiles of W⊙GᵀG and the gradient to g, for row blocks I ≥ J visited row by row.

    Args:
        g: coefficients of the atoms.
        weights: weights of the atoms' prefixes, or None for ones.
        size: rows in a block.
        product_dtype: the type of the tiles and of the products with them.
        total_dtype: the type in which tiles' gradients are summed.
        want_gradient: whether :meth:`accumulate` sums the gradient.
    """

    gradient: Float[Tensor, "samples n"] | None
    """The total of G(W⊙K), half the energy's gradient; complete after the last row."""

    def __init__(
        self,
        g: Float[Tensor, "samples n"],
        weights: Float[Tensor, "n"] | None,
        *,
        size: int,
        product_dtype: torch.dtype,
        total_dtype: torch.dtype,
        want_gradient: bool,
    ) -> None:
        """Split the coefficients into blocks."""
        self._blocks = row_blocks(g.to(product_dtype), size, dim=1)
        self._weights = None if weights is None else row_blocks(weights, size)
        self._correlation = Scratch(size * size, product_dtype, g.device)
        self._partial = Scratch(len(g) * size, product_dtype, g.device)
        self.gradient = None
        self._totals: list[Tensor] = []
        if want_gradient:
            self.gradient = torch.zeros(g.shape, dtype=total_dtype, device=g.device)
            self._totals = row_blocks(self.gradient, size, dim=1)
        self._weighted = self._blocks[0]
        self._diagonal: Tensor | None = None

    def __len__(self) -> int:
        """The number of blocks."""
        return len(self._blocks)

    def start_row(self, i: int) -> None:
        """Move to row block I; its tiles J = 0 … I come next, in this order."""
        self._weighted = block = self._blocks[i]
        if self._weights is not None:
            self._weighted = (block * self._weights[i]).to(block.dtype)
            self._diagonal = diagonal_weights(self._weights[i]).to(block.dtype)

    def correlate(self, i: int, j: int) -> Float[Tensor, "rows columns"]:
        """W_IJ ⊙ G_IᵀG_J, in a buffer that the next call overwrites."""
        rows = self._blocks[i] if i == j else self._weighted
        columns = self._blocks[j]
        tile = self._correlation.view(rows.shape[1], columns.shape[1])
        torch.mm(rows.T, columns, out=tile)
        return tile.mul_(self._diagonal) if i == j and self._diagonal is not None else tile

    def accumulate(self, i: int, j: int, gram: Float[Tensor, "rows columns"]) -> None:
        """Add G_J(W⊙K)_JI to block I and, when I ≠ J, G_I(W⊙K)_IJ to block J; uses up K_IJ."""
        if self.gradient is None:
            return
        if i != j:
            # Block I receives only from its own row so far, whose weights follow at its end.
            add_product(self._totals[i], self._blocks[j], gram.T, self._partial)
            add_product(self._totals[j], self._weighted, gram, self._partial)
            return
        if self._weights is not None and self._diagonal is not None:
            self._totals[i].mul_(self._weights[i])
            gram = gram.mul_(self._diagonal)
        add_product(self._totals[i], self._blocks[i], gram, self._partial)
