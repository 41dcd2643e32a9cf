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


def hoyer_density(latents: Float[Tensor, "rows latents"]) -> Float[Tensor, " latents"]:
    """The density of every column; a column of zeros and a single row have density 0.

    Gradients flow to every entry except through columns that are zero.
    """
    total = torch.linalg.vector_norm(latents, ord=1, dim=0)
    length = torch.linalg.vector_norm(latents, ord=2, dim=0)
    return _density(total, length, len(latents))


def sparse_hoyer_density(
    indices: Int[Tensor, "rows k"], latents: Float[Tensor, "rows k"], n: int
) -> Float[Tensor, " n"]:
    """The density of every column of the (rows, n) latents that have these entries and zeros.

    Entries of index −1 count as absent.
    """
    kept = indices.flatten().clamp_min(0)
    values = torch.where(indices >= 0, latents, 0).flatten()
    total = values.new_zeros(n).index_add_(0, kept, values.abs())
    square = values.new_zeros(n).index_add_(0, kept, values.square())
    return _density(total, square.sqrt(), len(latents))


def _density(total: Tensor, length: Tensor, rows: int) -> Tensor:
    if rows < 2:
        return torch.zeros_like(total)
    silent = length == 0
    density = (total / torch.where(silent, 1.0, length) - 1) / (rows**0.5 - 1)
    return torch.where(silent, 0.0, density)
