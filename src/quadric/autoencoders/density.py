"""Hoyer density: how spread out a latent's activity is over a batch, whatever its scale.

    density_j = (‖z_:j‖₁ / ‖z_:j‖₂ − 1) / (√N − 1)  ∈ [0, 1]

It is 0 when one token carries everything and 1 when every token fires equally. Because it does
not change with the scale of a latent, penalising it never shrinks a latent to death. It does
depend on N and on the mix of tokens in the batch: compare figures at equal N on shuffled tokens.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.ranks import ALONE, Ranks


def hoyer_density(
    latents: Float[Tensor, "rows latents"], ranks: Ranks = ALONE
) -> Float[Tensor, " latents"]:
    """The density of every column; a column of zeros and a single row have density 0.

    Gradients flow to every entry except through columns that are zero. Several ``ranks`` give as
    many rows each, and the columns go through all of them.
    """
    total = torch.linalg.vector_norm(latents, ord=1, dim=0)
    length = torch.linalg.vector_norm(latents, ord=2, dim=0)
    return _over_ranks(total, length, len(latents), ranks)


def sparse_hoyer_density(
    indices: Int[Tensor, "rows k"],
    latents: Float[Tensor, "rows k"],
    n: int,
    ranks: Ranks = ALONE,
) -> Float[Tensor, " n"]:
    """The density of every column of the (rows, n) latents that have these entries and zeros.

    Entries of index −1 count as absent.
    """
    kept = indices.flatten().clamp_min(0)
    values = torch.where(indices >= 0, latents, 0).flatten()
    total = values.new_zeros(n).index_add_(0, kept, values.abs())
    square = values.new_zeros(n).index_add_(0, kept, values.square())
    return _over_ranks(total, square.sqrt(), len(latents), ranks)


def _over_ranks(total: Tensor, length: Tensor, rows: int, ranks: Ranks) -> Tensor:
    if ranks.world > 1:
        total = ranks.mean(total) * ranks.world
        square = ranks.mean(length.square()) * ranks.world
        length = torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
    return _density(total, length, rows * ranks.world)


def _density(total: Tensor, length: Tensor, rows: int) -> Tensor:
    if rows < 2:
        return torch.zeros_like(total)
    silent = length == 0
    density = (total / torch.where(silent, 1.0, length) - 1) / (rows**0.5 - 1)
    return torch.where(silent, 0.0, density)
