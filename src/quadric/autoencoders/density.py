"""Hoyer density: how spread out a latent's activity is over a batch, whatever its scale.

    density_j = (‖z_:j‖₁ / ‖z_:j‖₂ − 1) / (√N − 1)  ∈ [0, 1]

It is 0 when one token carries everything and 1 when every token fires equally. Because it does
not change with the scale of a latent, penalising it never shrinks a latent to death. It does
depend on N and on the mix of tokens in the batch: compare figures at equal N on shuffled tokens.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def hoyer_density(latents: Float[Tensor, "rows latents"]) -> Float[Tensor, " latents"]:
    """The density of every column; a column of zeros and a single row have density 0.

    Gradients flow to every entry except through columns that are zero.
    """
    rows = latents.shape[0]
    if rows < 2:
        return latents.new_zeros(latents.shape[1])
    total = torch.linalg.vector_norm(latents, ord=1, dim=0)
    length = torch.linalg.vector_norm(latents, ord=2, dim=0)
    silent = length == 0
    density = (total / torch.where(silent, 1.0, length) - 1) / (rows**0.5 - 1)
    return torch.where(silent, 0.0, density)
