"""The Gram of the atoms, one tile at a time.

The n atoms are split into row blocks. A :class:`GramTiles` computes the tile K_IJ of any pair of
blocks from the factors, keeps the small Grams that made it, and turns a tile of coefficients
C_IJ into the tile's part of the gradients of Σ C⊙K to the factors. Buffers are allocated once, so
nothing larger than a tile is created however many atoms there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.kernels.pieces import cached_rows


def check_inputs(g: Tensor, left: Tensor, right: Tensor, weights: Tensor | None) -> None:
    """Refuse coefficients, factors and weights whose shapes, types or devices disagree."""
    check_factors(left, right, g=g, weights=weights)
    if g.ndim != 2 or g.shape[1] != len(left):
        raise QuadricError(f"g has shape {tuple(g.shape)}, expected (samples, {len(left)})")


def check_factors(left: Tensor, right: Tensor, **others: Tensor | None) -> None:
    """Refuse factors whose shapes disagree, and whatever differs from them in type or device.

    ``weights`` among the others are one for each atom.
    """
    if left.ndim != 2 or left.shape != right.shape:
        shapes = f"{tuple(left.shape)} and {tuple(right.shape)}"
        raise QuadricError(f"left and right have shapes {shapes}, expected the same (n, d)")
    if len(left) == 0:
        raise QuadricError("left and right have no rows, expected at least one atom")
    weights = others.get("weights")
    if weights is not None and weights.shape != left.shape[:1]:
        raise QuadricError(f"weights has shape {tuple(weights.shape)}, expected ({len(left)},)")
    if not left.dtype.is_floating_point:
        raise QuadricError(f"left is {left.dtype}, expected a floating-point type")
    for name, tensor in ({"right": right} | others).items():
        if tensor is not None and (tensor.dtype, tensor.device) != (left.dtype, left.device):
            raise QuadricError(
                f"{name} is {tensor.dtype} on {tensor.device} but left is {left.dtype} on "
                f"{left.device}: convert one of them"
            )


def block_size(n: int, block: int, *, multiple: int = 1) -> int:
    """The size of at most ``block`` that splits n rows into blocks of about one size.

    As few blocks as there can be, their number brought up to a multiple of ``multiple``.
    """
    if block < 1:
        raise QuadricError(f"block is {block}, expected at least 1")
    blocks = -(-n // (block * multiple)) * multiple
    return -(-n // blocks)


def row_blocks(tensor: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    """Views of ``size`` consecutive rows (or of columns, ``dim=1``); the last may be smaller."""
    length = tensor.shape[dim]
    return [
        tensor.narrow(dim, start, min(size, length - start)) for start in range(0, length, size)
    ]


class Scratch:
    """A buffer that is reshaped instead of reallocated, always contiguous, made on first use."""

    def __init__(self, elements: int, dtype: torch.dtype, device: torch.device) -> None:
        """Remember how large the buffer has to be."""
        self._elements, self._dtype, self._device = elements, dtype, device
        self._flat: Tensor | None = None

    def view(self, *shape: int) -> Tensor:
        """The buffer's beginning as a contiguous tensor of this shape; contents are arbitrary."""
        if self._flat is None:
            self._flat = torch.empty(self._elements, dtype=self._dtype, device=self._device)
        return self._flat[: torch.Size(shape).numel()].view(shape)


def add_product(total: Tensor, a: Tensor, b: Tensor, scratch: Scratch) -> None:
    """``total += a @ b``; the product is in the factors' type, the sum in that of ``total``."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        partial = scratch.view(*total.shape)
        torch.mm(a, b, out=partial)
        for some in cached_rows(total):
            total[some].add_(partial[some])


class GramTiles(ABC):
    """Tiles of the atoms' Gram and of the gradients to the factors, for row blocks I ≥ J.

    Args:
        left: first factors of the atoms.
        right: second factors of the atoms.
        size: rows in a block.
        product_dtype: the type of the tiles and of the products with them.
        total_dtype: the type in which tiles' gradients are summed.
        want_left: whether :meth:`accumulate` sums the gradient to ``left``.
        want_right: whether it sums the one to ``right``.
    """

    scale: float
    """K = scale × what :meth:`gram` returns; the factor is applied once, to the totals."""

    @abstractmethod
    def __init__(
        self,
        left: Float[Tensor, "n d"],
        right: Float[Tensor, "n d"],
        *,
        size: int,
        product_dtype: torch.dtype,
        total_dtype: torch.dtype,
        want_left: bool,
        want_right: bool,
    ) -> None:
        """Split the factors into blocks."""

    @abstractmethod
    def gram(self, i: int, j: int) -> Float[Tensor, "rows columns"]:
        """K_IJ / scale; keeps the small Grams from which it is made."""

    @abstractmethod
    def accumulate(self, i: int, j: int, coefficients: Float[Tensor, "rows columns"]) -> None:
        """Add the gradients of ½ Σ C⊙K / scale from tile (I, J), and from (J, I) when I ≠ J.

        C is a symmetric matrix, given by its tile (I, J). Uses up the small Grams of the last
        :meth:`gram`, which must have been for the same pair of blocks.
        """

    @abstractmethod
    def gradients(self) -> tuple[Float[Tensor, "n d"] | None, Float[Tensor, "n d"] | None]:
        """The totals for left and right; None where none was wanted."""


class PlainTiles(GramTiles):
    """K = A⊙B with A = LLᵀ and B = RRᵀ; ½ ∂/∂L = (C⊙B)L and ½ ∂/∂R = (C⊙A)R."""

    scale = 1.0

    def __init__(
        self,
        left: Float[Tensor, "n d"],
        right: Float[Tensor, "n d"],
        *,
        size: int,
        product_dtype: torch.dtype,
        total_dtype: torch.dtype,
        want_left: bool,
        want_right: bool,
    ) -> None:
        """Split the factors into blocks."""
        device = left.device
        self._factors = [row_blocks(factor.to(product_dtype), size) for factor in (left, right)]
        self._totals = [
            torch.zeros(left.shape, dtype=total_dtype, device=device) if want else None
            for want in (want_left, want_right)
        ]
        self._size = size
        self._small = [Scratch(size * size, product_dtype, device) for _ in range(2)]
        self._gram = Scratch(size * size, product_dtype, device)
        self._partial = Scratch(size * left.shape[1], product_dtype, device)

    def gram(self, i: int, j: int) -> Float[Tensor, "rows columns"]:
        """A⊙B."""
        shape = len(self._factors[0][i]), len(self._factors[0][j])
        small = [scratch.view(*shape) for scratch in self._small]
        for factor, view in zip(self._factors, small, strict=True):
            torch.mm(factor[i], factor[j].T, out=view)
        return torch.mul(*small, out=self._gram.view(*shape))

    def accumulate(self, i: int, j: int, coefficients: Float[Tensor, "rows columns"]) -> None:
        """(C⊙B)L to the total of left, (C⊙A)R to that of right."""
        others = reversed(self._small)
        for factor, total, other in zip(self._factors, self._totals, others, strict=True):
            if total is None:
                continue
            product = other.view(*coefficients.shape).mul_(coefficients)
            rows = row_blocks(total, self._size)
            add_product(rows[i], product, factor[j], self._partial)
            if i != j:
                add_product(rows[j], product.T, factor[i], self._partial)

    def gradients(self) -> tuple[Float[Tensor, "n d"] | None, Float[Tensor, "n d"] | None]:
        """The totals for left and right."""
        return self._totals[0], self._totals[1]


class SymmetricTiles(GramTiles):
    """2K = A⊙B + P⊙Q with A = LLᵀ, B = RRᵀ, P = LRᵀ and Q = RLᵀ = Pᵀ.

    The gradients are ∂/∂L = (C⊙B)L + (C⊙Q)R and ∂/∂R = (C⊙A)R + (C⊙P)L. Stacking a block's rows
    as [L; R; L] makes all four small Grams one product, [R; L]_I [R; L]_Jᵀ = [[B, Q], [P, A]], and
    with C multiplied into it both gradients one more: [[C⊙B, C⊙Q], [C⊙P, C⊙A]] [L; R]_J.
    The other side of the pair, (J, I), takes its transpose times [L; R]_I.
    """

    scale = 0.5

    def __init__(
        self,
        left: Float[Tensor, "n d"],
        right: Float[Tensor, "n d"],
        *,
        size: int,
        product_dtype: torch.dtype,
        total_dtype: torch.dtype,
        want_left: bool,
        want_right: bool,
    ) -> None:
        """Stack the factors in blocks."""
        device = left.device
        pairs = zip(row_blocks(left, size), row_blocks(right, size), strict=True)
        self._stacks = [torch.cat([rows, others, rows]).to(product_dtype) for rows, others in pairs]
        # The part of [L; R] to which gradients are wanted, in units of a block: none when equal.
        self._first, self._last = 0 if want_left else 1, 2 if want_right else 1
        parts = self._last - self._first
        self._totals = [
            torch.zeros(parts, len(rows), left.shape[1], dtype=total_dtype, device=device)
            for rows in row_blocks(left, size)
        ]
        self._small = Scratch(4 * size * size, product_dtype, device)
        self._gram = Scratch(size * size, product_dtype, device)
        self._partial = Scratch(parts * size * left.shape[1], product_dtype, device)

    def gram(self, i: int, j: int) -> Float[Tensor, "rows columns"]:
        """A⊙B + P⊙Q."""
        rows, columns = self._rows(i), self._rows(j)
        swapped_i, swapped_j = self._stacks[i][rows:], self._stacks[j][columns:]
        torch.mm(swapped_i, swapped_j.T, out=self._small.view(2 * rows, 2 * columns))
        small = self._small.view(2, rows, 2, columns)
        gram = self._gram.view(rows, columns)
        torch.mul(small[0, :, 0], small[1, :, 1], out=gram)
        return gram.addcmul_(small[0, :, 1], small[1, :, 0])

    def accumulate(self, i: int, j: int, coefficients: Float[Tensor, "rows columns"]) -> None:
        """[[C⊙B, C⊙Q], [C⊙P, C⊙A]] [L; R]_J to block I, its transpose times [L; R]_I to J."""
        first, last = self._first, self._last
        if first == last:
            return
        rows, columns = coefficients.shape
        self._small.view(2, rows, 2, columns).mul_(coefficients[None, :, None, :])
        products = self._small.view(2 * rows, 2 * columns)
        add_product(
            self._totals[i].flatten(0, 1),
            products[first * rows : last * rows],
            self._stacks[j][: 2 * columns],
            self._partial,
        )
        if i != j:
            add_product(
                self._totals[j].flatten(0, 1),
                products[:, first * columns : last * columns].T,
                self._stacks[i][: 2 * rows],
                self._partial,
            )

    def gradients(self) -> tuple[Float[Tensor, "n d"] | None, Float[Tensor, "n d"] | None]:
        """The totals for left and right, out of their stacks."""
        left = torch.cat([total[0] for total in self._totals]) if self._first == 0 else None
        right = torch.cat([total[-1] for total in self._totals]) if self._last == 2 else None
        return left, right

    def _rows(self, i: int) -> int:
        return len(self._stacks[i]) // 3


def tiles_class(symmetric: bool) -> type[GramTiles]:
    """The tiles of symmetric atoms ½(l rᵀ + r lᵀ), or of unsymmetrised ones l rᵀ."""
    return SymmetricTiles if symmetric else PlainTiles
