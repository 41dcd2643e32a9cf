"""What an autoencoder starts from: Gaussian factors, and the mixing that its variant has."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.autoencoders.config import AutoencoderConfig
from quadric.autoencoders.mixing import Blocks, Dense, Mixing, Unmixed


def gaussian_rows(rows: int, width: int, generator: torch.Generator) -> Float[Tensor, "rows width"]:
    """Rows of expected norm 1, drawn in float64 so that they are the same for every type."""
    gaussian = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    scaled: Tensor = gaussian / width**0.5
    return scaled.to(torch.get_default_dtype())


def mixing_of(config: AutoencoderConfig, generator: torch.Generator) -> Mixing:
    """The mixing of a configuration."""
    if config.block is not None:
        return Blocks(config.block)
    if config.bottleneck is not None:
        return Dense(config.bottleneck_rows, config.factors, generator)
    return Unmixed()
