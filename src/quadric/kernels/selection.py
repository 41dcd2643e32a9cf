"""The strongest products of every row, without holding the products of all atoms.

z_bj = (l_j·x_b)(r_j·x_b) for n atoms is an (N, n) tensor. Only the k entries of largest |z| in a
row are wanted, so atoms are read in blocks and the k best so far are merged with those of each
block: memory O(N·(block + k)), time two matrix products and a few passes over the block.

Little of a block is ever sorted. Its atoms form groups, and only the largest |z| of each is found:
the k strongest atoms lie in the k groups of largest maximum, and once k atoms are known, in those
groups whose maximum is above the weakest of them, which are ever fewer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError

BLOCK = 4096
"""Atoms in a block."""


class Strongest(NamedTuple):
    """The k strongest atoms of every row, in ascending order of their numbers."""

    indices: Int[Tensor, "rows k"]
    """Their numbers; −1 where the product is zero, as every product of a zero row is."""
    products: Float[Tensor, "rows k"]
    """z of each, in the inputs' type and to the precision of ``product_dtype``."""


@torch.no_grad()
def strongest_products(
    x: Float[Tensor, "rows d"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    k: int,
    *,
    product_dtype: torch.dtype | None = None,
    block: int = BLOCK,
) -> Strongest:
    """The k atoms of largest |(l_j·x)(r_j·x)| for every row.

    At a tie any of the tied atoms may be taken.

    Args:
        x: the rows.
        left: first factors of the atoms.
        right: second factors of the atoms.
        k: how many of them.
        product_dtype: the type of the matrix products; ``x``'s own when None.
        block: atoms that are read at a time.

    Raises:
        QuadricError: shapes disagree, ``k`` is not in 1…n, or ``block`` is below 1.
    """
    n = len(left)
    if left.ndim != 2 or left.shape != right.shape or x.ndim != 2 or x.shape[1] != left.shape[1]:
        shapes = ", ".join(str(tuple(t.shape)) for t in (x, left, right))
        raise QuadricError(f"x, left and right have shapes {shapes}, expected (rows, d), 2× (n, d)")
    if not 1 <= k <= n:
        raise QuadricError(f"k is {k}, expected 1 to {n}, the number of atoms")
    if block < 1:
        raise QuadricError(f"block is {block}, expected at least 1")
    rows = x.to(product_dtype or x.dtype)
    found = x.new_empty(len(x), 0, dtype=torch.int64)
    values = sizes = rows.new_empty(len(x), 0)
    buffers = [rows.new_empty(len(x) * min(n, block)) for _ in range(3)]
    for start in range(0, n, block):
        atoms = [factor[start : start + block].to(rows.dtype) for factor in (left, right)]
        products, other, size = (_shaped(buffer, len(x), len(atoms[0])) for buffer in buffers)
        torch.mm(rows, atoms[0].T, out=products)
        torch.mm(rows, atoms[1].T, out=other)
        torch.abs(products.mul_(other), out=size)
        place = _promising(size, k, sizes if sizes.shape[1] == k else None)
        found = torch.cat([found, place + start], 1)
        values = torch.cat([values, products.gather(1, place)], 1)
        sizes, kept = values.abs().topk(min(k, values.shape[1]), dim=1, sorted=False)
        values, found = values.gather(1, kept), found.gather(1, kept)
    indices, order = torch.where(values == 0, -1, found).sort(dim=1)
    return Strongest(indices, values.gather(1, order).to(x.dtype))


def _promising(
    size: Float[Tensor, "rows block"], k: int, known: Float[Tensor, "rows k"] | None
) -> Int[Tensor, "rows few"]:
    """Places among which are all that belong to the k largest of this block and those known.

    Groups are as many as one would sort in the second pass, so that neither is longer.
    """
    width = size.shape[1]
    members = next(m for m in range(max(1, math.isqrt(width // k)), 0, -1) if width % m == 0)
    groups = width // members
    peaks = size.view(len(size), members, groups).amax(1)  # atoms j, j + groups, … are a group
    few = min(k, groups)
    if known is not None and len(size):
        # Not a comparison with >, for NaN shall be seen.
        above = (peaks <= known.amin(1, keepdim=True)).logical_not_()
        few = min(few, int(above.sum(1).max()))
    best = peaks.topk(few, dim=1, sorted=False).indices
    return (best[:, :, None] + torch.arange(0, width, groups, device=size.device)).flatten(1)


def _shaped(buffer: Tensor, rows: int, columns: int) -> Tensor:
    return buffer[: rows * columns].view(rows, columns)
