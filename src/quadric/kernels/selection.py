"""The strongest products of every row, without holding the products of all atoms.

z_bj = (l_j·x_b)(r_j·x_b) for n atoms is an (N, n) tensor. Only the k entries of largest |z| in a
row are wanted, so atoms are read in blocks and the k best so far are merged with those of each
block: memory O(N·(block + k)), time two matrix products and one pass over the block.
"""

from __future__ import annotations

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
    dtype = product_dtype or x.dtype
    rows = x.to(dtype)
    best = found = None
    for start in range(0, n, block):
        some = slice(start, start + block)
        products = rows @ left[some].to(dtype).T
        products *= rows @ right[some].to(dtype).T
        size, place = products.abs().topk(min(k, products.shape[1]), dim=1, sorted=False)
        value, number = products.gather(1, place), place + start
        if best is not None and found is not None:
            size, value = torch.cat([best[0], size], 1), torch.cat([best[1], value], 1)
            number = torch.cat([found, number], 1)
            size, place = size.topk(min(k, size.shape[1]), dim=1, sorted=False)
            value, number = value.gather(1, place), number.gather(1, place)
        best, found = (size, value), number
    assert best is not None and found is not None
    indices, order = found.sort(dim=1)
    return Strongest(indices, best[1].gather(1, order).to(x.dtype))
