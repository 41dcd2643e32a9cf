"""The reconstruction energy of each sample on its own, for evaluation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.kernels.coefficients import diagonal_weights
from quadric.kernels.sweep import BLOCK
from quadric.kernels.tiles import block_size, check_inputs, row_blocks, tiles_class


@torch.no_grad()
def sample_energies(
    g: Float[Tensor, "samples n"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    *,
    symmetric: bool = True,
    weights: Float[Tensor, "n"] | None = None,
    block: int = BLOCK,
) -> Float[Tensor, "samples"]:
    """g_bᵀ K g_b for every sample b, without gradient and without an n×n tensor.

    K, ``weights`` and ``block`` are those of
    :func:`~quadric.kernels.blocked.reconstruction_energy`, whose value is this one's sum.
    """
    check_inputs(g, left, right, weights)
    size = block_size(len(left), block)
    tiles = tiles_class(symmetric)(
        left,
        right,
        size=size,
        product_dtype=left.dtype,
        total_dtype=left.dtype,
        want_left=False,
        want_right=False,
    )
    blocks = row_blocks(g, size, dim=1)
    row_weights = None if weights is None else row_blocks(weights, size)
    energies = torch.zeros(len(g), dtype=g.dtype, device=g.device)
    for i, rows in enumerate(blocks):
        # Off the diagonal I > J, so weights[max(i, j)] depends on the row alone.
        weighted = rows if row_weights is None else rows * row_weights[i]
        for j in range(i):
            energies += 2 * torch.linalg.vecdot(weighted @ tiles.gram(i, j), blocks[j])
        diagonal = tiles.gram(i, i)
        if row_weights is not None:
            diagonal.mul_(diagonal_weights(row_weights[i]))
        energies += torch.linalg.vecdot(rows @ diagonal, rows)
    return tiles.scale * energies
