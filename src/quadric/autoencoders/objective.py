"""The training loss of variants that keep every latent: the mean error plus the density penalty.

The error of row b, which has length 1, is 1 − 2 g_b·z_b + g_bᵀ K g_b. In ordered variants the mean
over all prefixes of the dictionary only weights the terms (:mod:`quadric.autoencoders.ordering`).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders.config import AutoencoderConfig
from quadric.autoencoders.density import density_of_sums, hoyer_density
from quadric.autoencoders.loss import Loss, warmed_up
from quadric.autoencoders.mixing import Mixing, Unmixed
from quadric.autoencoders.ordering import prefix_density_weights, prefix_weights
from quadric.kernels import latent_products, product_sums, reconstruction_energy
from quadric.ranks import ALONE, Ranks


def dense_loss(
    x: Float[Tensor, "rows d"],
    scale: Float[Tensor, "rows 1"],
    left: Float[Tensor, "n d"],
    right: Float[Tensor, "n d"],
    mixing: Mixing,
    config: AutoencoderConfig,
    step: int,
    *,
    product_dtype: torch.dtype | None = None,
    ranks: Ranks = ALONE,
) -> Loss:
    """The loss of a batch and its parts.

    Args:
        x: rows of length 1.
        scale: the latents' scale in each row, for their density.
        left: first factors.
        right: second factors.
        mixing: how products become latents and latents become coefficients.
        config: the other choices.
        step: the training step, from 0; the penalty warms up over ``density_warmup`` steps.
        product_dtype: the type of the large matrix products.
        ranks: who else has rows of this batch.
    """
    weights = prefix_weights(len(left)).to(left) if config.ordered else None
    if type(mixing) is Unmixed:
        sums = product_sums(
            x,
            scale,
            left,
            right,
            symmetric=config.symmetric,
            weights=weights,
            product_dtype=product_dtype,
            group=ranks.sharing,
        )
        energy, columns = sums.energy, sums.squares
        densities = density_of_sums(sums.sizes, sums.scaled_squares, len(x), ranks)
    else:
        products = latent_products(x, left, right, product_dtype=product_dtype)
        latents = mixing.latents(products)
        coefficients = mixing.coefficients(latents)
        energy = reconstruction_energy(
            coefficients,
            left,
            right,
            symmetric=config.symmetric,
            weights=weights,
            product_dtype=product_dtype,
            group=ranks.sharing,
        )
        columns = (coefficients * products).sum(0)
        densities = hoyer_density(latents, ranks, scale=scale)
    cross = columns.sum() if weights is None else columns @ weights
    error = 1 + (energy - 2 * cross) / len(x)
    if config.ordered:
        densities = densities * (config.d_sae * prefix_density_weights(config.d_sae).to(densities))
    density = densities.mean()
    weight = config.penalty * warmed_up(step, config.density_warmup)
    return Loss(error + weight * density, error, density, weight)
