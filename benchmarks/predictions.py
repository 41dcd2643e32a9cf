"""What the dense and the sparse loss are predicted to cost, forward and backward, in float32.

The terms are those of the kernels' docstrings, with the numbers that their algorithms give.
"""

from __future__ import annotations

from dataclasses import dataclass

from quadric.kernels.selection import BLOCK as SEARCHED
from quadric.kernels.sparse import GATHERED
from quadric.kernels.sweep import BLOCK
from quadric.kernels.tiles import block_size


@dataclass(frozen=True)
class Shape:
    """The sizes of one loss."""

    n: int
    """Atoms."""
    N: int
    """Samples."""
    d: int
    """Width."""
    k: int = 0
    """Active atoms of a sample; 0 for the dense loss, where all are."""

    @property
    def flops(self) -> float:
        """Of the matrix products.

        Dense: 3n²(N+4d). Sparse: all products of all atoms, 4Nnd; then for each sample three Grams
        of its k atoms and four products with them, 14k²d.
        """
        if not self.k:
            return 3 * self.n**2 * (self.N + 4 * self.d)
        return 4 * self.N * self.n * self.d + 14 * self.N * self.k**2 * self.d

    @property
    def bytes(self) -> float:
        """Of copies, gradients and buffers, all float32.

        Dense, n(N+7d): the gradient to g; stacked factors 3nd, totals and gradients 2nd each; six
        tiles. Sparse: three blocks of the search, N·block; or, later and in their place, gradients
        2nd, the atoms of some rows gathered, their products as much again, and six k×k matrices.
        """
        if not self.k:
            tiles = 6 * block_size(self.n, BLOCK) ** 2
            return 4 * (self.n * (self.N + 7 * self.d) + tiles)
        searched = 3 * self.N * min(self.n, SEARCHED)
        rows = min(self.N, max(1, GATHERED // (2 * self.k * self.d)))
        gathered = rows * self.k * (4 * self.d + 6 * self.k)
        return 4 * max(searched, 2 * self.n * self.d + gathered)

    @property
    def held_bytes(self) -> float:
        """Of the inputs with their gradients."""
        return 4 * (4 * self.n * self.d + self.N * (self.d if self.k else 2 * self.n))
