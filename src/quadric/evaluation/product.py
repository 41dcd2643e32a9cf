"""Figures in product space: how well X = xxᵀ is reconstructed, and how densely.

None of these is a mean squared error of x, and none is named like one. The yardstick beside every
error is the predictor that always answers the mean of X over the training data, M = E[xxᵀ]: on
activations dominated by a few directions even that constant scores far below 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders import BilinearAutoencoder, hoyer_density
from quadric.autoencoders.density import sparse_hoyer_density
from quadric.forms import lift

SILENT = 0.01
"""A latent whose root mean square is under this share of the median latent's counts as dead."""


class ProductMetrics(NamedTuple):
    """Product-space figures of an autoencoder on a fixed set of activations."""

    product_error: float
    """Mean of ‖X − X̂‖²/‖X‖²; 1 is what predicting nothing scores."""
    product_error_mean_predictor: float
    """The same for X̂ = M."""
    product_fvu: float
    """Σ‖X − X̂‖² / Σ‖X − M‖²: the share of the products' variance left unexplained."""
    density: float
    """Mean Hoyer density of the latents."""
    density_samples: int
    """The N it was measured on; densities compare at equal N only."""
    l0: float
    """Latents that are not zero per activation, averaged: k for topk, all of them otherwise."""
    effective_l0: float
    """Latents in use per activation whatever their number, (Σ|z|)²/Σz², averaged."""
    frac_alive: float
    """Share of latents whose root mean square is at least 1 % of the median latent's; for topk of
    those that were kept at least once."""


@torch.no_grad()
def second_moment(
    model: BilinearAutoencoder, x: Float[Tensor, "rows d_in"]
) -> Float[Tensor, "d d"]:
    """M = mean of xxᵀ over transformed (and, if affine, lifted) activations."""
    y = _lifted(model, x)
    return y.T @ y / len(y)


@torch.no_grad()
def product_metrics(
    model: BilinearAutoencoder,
    x: Float[Tensor, "rows d_in"],
    mean_product: Float[Tensor, "d d"],
) -> ProductMetrics:
    """Evaluate on activations that were not trained on.

    Args:
        model: the autoencoder.
        x: held-out activations.
        mean_product: M of the training data, from ``second_moment``.
    """
    y = _lifted(model, x)
    size = y.square().sum(-1).square()
    used = size > 0
    errors = model.product_error(x)
    towards_mean = ((y @ mean_product) * y).sum(-1)
    mean_errors = size - 2 * towards_mean + mean_product.square().sum()
    if model.topk is None:
        latents = model.encode(x)
        density = hoyer_density(latents)
        strength = latents.square().mean(0).sqrt()
        alive = strength > SILENT * strength.median()
    else:
        indices, latents = model.encode_sparse(x)
        density = sparse_hoyer_density(indices, latents, model.d_sae)
        alive = torch.zeros_like(density, dtype=torch.bool)
        alive[indices[indices >= 0]] = True
    concentration = latents.abs().sum(-1).square() / latents.square().sum(-1).clamp_min(1e-30)
    return ProductMetrics(
        product_error=errors[used].mean().item(),
        product_error_mean_predictor=(mean_errors[used] / size[used]).mean().item(),
        product_fvu=((errors * size).sum() / mean_errors.sum()).item(),
        density=density.mean().item(),
        density_samples=len(x),
        l0=(latents != 0).sum(-1).float().mean().item(),
        effective_l0=concentration.mean().item(),
        frac_alive=alive.float().mean().item(),
    )


def _lifted(model: BilinearAutoencoder, x: Tensor) -> Tensor:
    y = model.transform.apply_to(x.to(model.dtype)).y
    return lift(y) if model.config.affine else y
