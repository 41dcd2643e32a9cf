"""Reconstruction energy on a GPU: small Grams that never reach memory.

The same sums as in :mod:`quadric.kernels.sweep`, over panels instead of square tiles: a block I
of rows meets all columns J ≤ I, some thousands at a time. For one panel

- cuBLAS multiplies C = G_IᵀG_J,
- a Triton kernel computes the small Grams LLᵀ, RRᵀ, LRᵀ and RLᵀ a tile at a time and, while they
  are in registers, replaces C by W⊙K and writes W⊙C⊙ each of them,
- cuBLAS multiplies these with G, L and R, and adds to the gradients' totals in float32.

C is not computed by the kernel as well. Four accumulators leave room for tiles of 128×64, through
which G would be read twice as often as through cuBLAS's own, faster than the caches can deliver;
writing and reading C instead is 4 bytes for every 2·samples flops.

The factors' rows alternate, F = [l_0; r_0; l_1; r_1; …], and so do those of the symmetric
M_(2i+a)(2j+b) = W_ij C_ij F_(2i+1−a)·F_(2j+1−b). Then both factors' gradients are one product MF,
and any range of columns is contiguous.

This file imports triton; :func:`quadric.kernels.backend` says whether it can be used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from quadric.kernels.fused_panel import fuse_panel
from quadric.kernels.tiles import Scratch, add_product

BLOCK = 2048
"""Rows in a block. A block's diagonal half is computed twice, BLOCK/n of a third of the work, and
each total is read and written once a block, 8 bytes for 2·BLOCK flops: 2048 keeps either at a few
per cent for n = 16,384, and a kernel launch far below both."""

SPAN = 16384
"""Columns in a panel: at most 5·BLOCK·SPAN numbers of scratch, 320 MiB in bfloat16."""


def fused_energy(
    g: Float[Tensor, "samples n"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    *,
    rows: Sequence[int],
    size: int,
    symmetric: bool,
    weights: Float[Tensor, "n"] | None,
    product_dtype: torch.dtype,
    want_g: bool,
    want_left: bool,
    want_right: bool,
    span: int = SPAN,
) -> tuple[Float[Tensor, ""], tuple[Tensor | None, Tensor | None, Tensor | None]]:
    """The part of row blocks I with all J ≤ I in the energy, and its gradients / (2·scale).

    The gradients are those to g, left and right, None where not wanted; scale is ½ for symmetric
    atoms and 1 for others. Both factors' gradients are computed when either is wanted.

    Args:
        g: coefficients of the atoms.
        left: first factors.
        right: second factors.
        rows: numbers of the row blocks.
        size: rows in a block, of which the last may have fewer; cuBLAS likes multiples of 64.
        symmetric: whether the atoms are ½(l rᵀ + r lᵀ) or l rᵀ.
        weights: weights of the atoms' prefixes.
        product_dtype: the type of the products, bfloat16 or float32.
        want_g: whether the gradient to g is wanted.
        want_left: whether the one to left is.
        want_right: whether the one to right is.
        span: the most columns in a panel.
    """
    panels = _Panels(
        g,
        left,
        right,
        symmetric=symmetric,
        weights=weights,
        product_dtype=product_dtype,
        scratch=(min(size, len(left)), min(span, len(left))),
        want_g=want_g,
        want_factors=want_left or want_right,
    )
    value = torch.zeros((), dtype=panels.total_dtype, device=left.device)
    for i in rows:
        own = range(i * size, min((i + 1) * size, len(left)))
        for start in range(0, own.stop, span):
            energy = panels.visit(own, range(start, min(start + span, own.stop)))
            if energy is not None:
                value += energy
    gradients = panels.gradients(want_left, want_right)
    for argument, gradient in zip((left, right, g), (*gradients[1:], gradients[0]), strict=True):
        if gradient is not None:  # E = ½⟨x, ∂E/∂x⟩ for each x: the first is as good as any
            value = torch.linalg.vecdot(argument.to(gradient.dtype), gradient).sum()
            break
    scale = 0.5 if symmetric else 1.0
    return (scale * value).to(left.dtype), gradients


class _Panels:
    """The gradients' totals, and the scratch for one panel's part in them."""

    def __init__(
        self,
        g: Tensor,
        left: Tensor,
        right: Tensor,
        *,
        symmetric: bool,
        weights: Tensor | None,
        product_dtype: torch.dtype,
        scratch: tuple[int, int],
        want_g: bool,
        want_factors: bool,
    ) -> None:
        (n, d), device = left.shape, left.device
        self.symmetric, self.want_g, self.want_factors = symmetric, want_g, want_factors
        self.weights = None if weights is None else weights.contiguous()
        self.total_dtype = torch.promote_types(left.dtype, torch.float32)
        self.g = g.to(product_dtype)
        self.factors = torch.empty(n, 2, d, dtype=product_dtype, device=device)
        for side, factor in enumerate((left, right)):
            self.factors[:, side] = factor
        self.to_g = self.to_factors = None
        if want_g:
            self.to_g = torch.zeros(g.shape, dtype=self.total_dtype, device=device)
        if want_factors:
            self.to_factors = torch.zeros(n, 2, d, dtype=self.total_dtype, device=device)
        numbers = math.prod(scratch)
        self._tile = Scratch(numbers, product_dtype, device)
        self._products = Scratch((4 if symmetric else 2) * numbers, product_dtype, device)
        larger = max(len(g) * scratch[1], 2 * d * max(scratch))
        self._partial = Scratch(larger, product_dtype, device)

    def visit(self, rows: range, columns: range) -> Tensor | None:
        """Add what a panel and its mirror image give; their energy when no gradient is wanted."""
        own, others = self.g[:, rows.start : rows.stop], self.g[:, columns.start : columns.stop]
        tile = self._tile.view(len(rows), len(columns))
        torch.mm(own.T, others, out=tile)
        products = tile  # not written, when no gradient to the factors is wanted
        if self.want_factors:
            shape = (2 * len(rows), 2 * len(columns)) if self.symmetric else (2, *tile.shape)
            products = self._products.view(*shape)
        # Triton runs on the current device.
        with torch.cuda.device_of(tile):  # type: ignore[no-untyped-call]
            fuse_panel[lambda meta: _programs(tile, meta)](
                self.factors,
                tile,
                tile if self.weights is None else self.weights,
                products,
                *tile.shape,
                rows.start,
                columns.start,
                self.factors.shape[2],
                SYMMETRIC=self.symmetric,
                WEIGHTED=self.weights is not None,
                WANT_G=self.want_g,
                WANT_FACTORS=self.want_factors,
            )
        # Columns left of the block's own: there the mirror image is another part of the sum.
        mirrored = range(columns.start, max(columns.start, min(columns.stop, rows.start)))
        if self.to_g is not None:
            self._add(self.to_g[:, rows.start : rows.stop], others, tile.T)
            if mirrored:
                total = self.to_g[:, mirrored.start : mirrored.stop]
                self._add(total, own, tile[:, : len(mirrored)])
        if self.to_factors is not None:
            self._add_to_factors(products, rows, columns, mirrored)
        if self.want_g or self.want_factors:
            return None
        mirror = tile[:, : len(mirrored)].sum(dtype=self.total_dtype)
        return tile.sum(dtype=self.total_dtype) + mirror

    def _add_to_factors(
        self, products: Tensor, rows: range, columns: range, mirrored: range
    ) -> None:
        assert self.to_factors is not None
        own, others, reflected = (
            slice(each.start, each.stop) for each in (rows, columns, mirrored)
        )
        if self.symmetric:
            pairs = [(products, self.to_factors, self.factors)]
        else:
            pairs = [
                (
                    products[side],
                    self.to_factors[:, side : side + 1],
                    self.factors[:, side : side + 1],
                )
                for side in range(2)
            ]
        for product, totals, factors in pairs:
            width = product.shape[1] // len(columns) * len(mirrored)
            self._add(totals[own].flatten(0, 1), product, factors[others].flatten(0, 1))
            if mirrored:
                mirror = product[:, :width].T
                self._add(totals[reflected].flatten(0, 1), mirror, factors[own].flatten(0, 1))

    def _add(self, total: Tensor, a: Tensor, b: Tensor) -> None:
        """``total += a @ b`` with nothing rounded on the way, where the device can."""
        if _adds_in_place(total.device, total.dtype, a.dtype):
            torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
        else:
            add_product(total, a, b, self._partial)

    def gradients(
        self, want_left: bool, want_right: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The totals for g, left and right."""
        if self.to_factors is None:
            return self.to_g, None, None
        left, right = (
            self.to_factors[:, side].contiguous() if want else None
            for side, want in enumerate((want_left, want_right))
        )
        return self.to_g, left, right


def _programs(tile: Tensor, meta: dict[str, int]) -> tuple[int]:
    down, across = (
        triton.cdiv(length, meta[name])
        for length, name in zip(tile.shape, ("ROWS", "COLUMNS"), strict=True)
    )
    return (down * across,)


@cache
def _adds_in_place(device: torch.device, total: torch.dtype, factors: torch.dtype) -> bool:
    """Whether cuBLAS adds products of ``factors`` to a ``total`` of a wider type here.

    PyTorch has the call on CUDA alone, and before 2.10 with the total in the factors' type only.
    """
    if total == factors:
        return False
    wide = torch.ones(16, 32, dtype=total, device=device)
    a, b = (torch.ones(16, 16, dtype=factors, device=device) for _ in range(2))
    some = wide[:, :16]
    try:
        torch.addmm(some, a, b, out_dtype=total, out=some)
    except (RuntimeError, TypeError):
        return False
    return bool((some == 17).all() and (wide[:, 16:] == 1).all())
