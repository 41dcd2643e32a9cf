"""Importance ordering: train every prefix of the dictionary at once, in closed form.

The loss is the mean, over prefixes p = 1 … n, of the loss of the first p atoms. An atom j
(counted from 0) is in n − j of the n prefixes and a pair (i, j) in n − max(i, j) of them, so the
mean needs no loop: the cross term of j and the Gram entry (i, j) are weighted by

    w_j = (n − j)/n      and      w_max(i, j).

A prefix's density is the mean over its latents, so latent j counts 1/p in every prefix p > j:

    v_j = (1/n) Σ_{p = j+1 … n} 1/p,       Σ_j v_j = 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def prefix_weights(n: int) -> Float[Tensor, " n"]:
    """w_j = (n − j)/n, the share of prefixes that hold atom j."""
    return (n - torch.arange(n, dtype=torch.float64)) / n


def prefix_density_weights(n: int) -> Float[Tensor, " n"]:
    """v_j, the weight of latent j's density in the mean over prefixes; sums to one."""
    shares = 1.0 / torch.arange(1, n + 1, dtype=torch.float64)
    return shares.flip(0).cumsum(0).flip(0) / n
