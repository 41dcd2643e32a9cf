"""Signs of overfitting in the picture of an eigenvector: where its energy lies, how rough it is.

Pixels that are black in nearly every training image say nothing about the class, so what an
eigenvector puts there was learned from single images (arXiv 2410.08417, figure 4 and appendix B).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.vision.data.images import Images

DARK = 0.01
"""Mean brightness below which a pixel counts as dark."""


def dark_pixels(images: Images, below: float = DARK) -> Bool[Tensor, "p"]:
    """The pixels whose mean over the images is below a brightness (of 0 to 1)."""
    return images.pixels.double().mean(dim=0) < below


def overfit_score(
    vectors: Float[Tensor, "*batch p"], dark: Bool[Tensor, "p"]
) -> Float[Tensor, "*batch"] | None:
    """Σ_dark v² / Σ v²: the share of each vector's energy in the dark pixels.

    Noise without structure has the share of pixels that are dark, ``dark.mean()``. None where no
    pixel is dark, so that there is nothing to measure; 0 for a vector of zeros.

    Raises:
        QuadricError: the vectors have another number of pixels.
    """
    if vectors.shape[-1:] != dark.shape:
        raise QuadricError(
            f"vectors have shape {tuple(vectors.shape)}, expected rows of {len(dark)} pixels"
        )
    if not dark.any():
        return None
    energy = vectors.double().square()
    total = energy.sum(dim=-1)
    return energy[..., dark].sum(dim=-1) / torch.where(total == 0, 1.0, total)


def total_variation(
    vectors: Float[Tensor, "*batch p"], shape: tuple[int, int, int]
) -> Float[Tensor, "*batch"]:
    """Σ |difference of neighbouring pixels| of v/‖v‖, along both axes of the picture and in every
    channel: the smaller, the smoother. 0 for a vector of zeros.

    Raises:
        QuadricError: the vectors do not have height · width · channels pixels.
    """
    height, width, channels = shape
    if vectors.shape[-1:] != (height * width * channels,):
        raise QuadricError(
            f"vectors have shape {tuple(vectors.shape)}, expected rows of "
            f"{height}×{width}×{channels} = {height * width * channels} pixels"
        )
    rows = torch.nn.functional.normalize(vectors.double(), dim=-1)
    grid = rows.reshape(*rows.shape[:-1], *shape)
    down = grid.diff(dim=-3).abs().sum(dim=(-3, -2, -1))
    return down + grid.diff(dim=-2).abs().sum(dim=(-3, -2, -1))
