"""Axes and rows as pictures, where activations are pixels.

An axis is a direction of the transformed input y = (x − μ)/σ/ν(x). A step along it changes x by a
multiple of σ times the axis, which is the picture shown: a direction, without the mean. Pixels of
the rows are the activations themselves, from the smallest to the largest value of a sample.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from quadric.activations.rows import Rows
from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError

Shape = tuple[int, int, int]


def check_shape(shape: Shape, d_in: int) -> None:
    """Refuse a shape of another number of pixels.

    Raises:
        QuadricError: height × width × channels is not d_in.
    """
    height, width, channels = shape
    if height * width * channels != d_in:
        raise QuadricError(
            f"images of {height}×{width}×{channels} have {height * width * channels} pixels, but "
            f"the autoencoder's d_in is {d_in}"
        )


def axis_images(
    model: BilinearAutoencoder, axes: Float[Tensor, "r d_in"], shape: Shape | None
) -> Float[np.ndarray, "r h w c"] | None:
    """The axes as directions among pixels, of length 1; None where there are no images."""
    if shape is None:
        return None
    return direction_images((axes.to(model.device) * model.transform.scales).cpu(), shape)


def direction_images(
    directions: Float[Tensor, "r p"], shape: Shape
) -> Float[np.ndarray, "r h w c"]:
    """Directions among pixels as images of length 1."""
    moved = directions.double()
    moved = moved / moved.norm(dim=1, keepdim=True).clamp_min(1e-30)
    pictures: np.ndarray = moved.reshape(-1, *shape).numpy()
    return pictures


def pixel_range(x: Float[Tensor, "rows d_in"]) -> tuple[float, float]:
    """The smallest and largest value of some rows, one apart where they are equal."""
    low, high = float(x.min()), float(x.max())
    return (low, high) if high > low else (low, low + 1)


class Pixels:
    """Rows of a store as bytes."""

    def __init__(self, store: Rows, bounds: tuple[float, float]) -> None:
        """Args:
        store: the images.
        bounds: the values that become 0 and 255; others are cut off there.
        """
        self._store = store
        self.bounds = bounds

    def __call__(self, rows: np.ndarray) -> UInt8[np.ndarray, "m pixels"]:
        """The images of some rows."""
        x = self._store.gather(torch.from_numpy(np.asarray(rows, dtype=np.int64)))
        low, high = self.bounds
        shares = ((x - low) / (high - low)).clamp(0, 1)
        return (shares * 255).round().to(torch.uint8).numpy()
