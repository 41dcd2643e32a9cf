"""Figures in the activations' own space, with the names sparse-autoencoder tools give them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder


class ReconstructionMetrics(NamedTuple):
    """x-space figures of ``forward`` on a fixed set of activations."""

    explained_variance: float
    """1 − Σ‖x − x̂‖² / Σ‖x − mean x‖²."""
    cossim: float
    """Mean cosine of x and x̂."""
    cossim_centred: float
    """The same after subtracting the mean of x from both: what is right beyond the mean."""
    mse: float
    """Mean over activations of ‖x − x̂‖²."""
    l2_ratio: float
    """Mean of ‖x̂‖/‖x‖."""


@torch.no_grad()
def reconstruction_metrics(
    model: BilinearAutoencoder, x: Float[Tensor, "rows d_in"]
) -> ReconstructionMetrics:
    """Evaluate ``forward``, whose sign and norm come from x unless the autoencoder is affine."""
    x = x.to(model.dtype)
    estimate = model(x)
    mean = x.mean(0)
    residual = (x - estimate).square().sum(-1)
    return ReconstructionMetrics(
        explained_variance=(1 - residual.sum() / (x - mean).square().sum()).item(),
        cossim=torch.cosine_similarity(x, estimate, dim=-1).mean().item(),
        cossim_centred=torch.cosine_similarity(x - mean, estimate - mean, dim=-1).mean().item(),
        mse=residual.mean().item(),
        l2_ratio=(estimate.norm(dim=-1) / x.norm(dim=-1).clamp_min(1e-30)).mean().item(),
    )
