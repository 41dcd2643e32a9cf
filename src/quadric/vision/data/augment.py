"""Augment training images: geometric transforms, blur and noise, fresh for every batch.

These are the regularisers of arXiv 2410.08417 §4.1 and Appendix B. They apply in the order
translation and rotation → blur → Perlin noise → salt and pepper → Gaussian noise, and each costs
nothing when its field is 0.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError

_KERNEL = 5
"""Side of the blur's kernel in pixels."""
_CELLS = 4
"""Cells of Perlin noise along each side: 7 pixels wide on an image of 28."""


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly training images are disturbed; 0 leaves a disturbance out.

    Raises:
        QuadricError: a field is not finite or outside its range.
    """

    noise: float = 0.4
    """Standard deviation of Gaussian noise, in units of brightness, added to every pixel on its
    own. The result is not clamped to [0, 1]. (The root mean square of an MNIST pixel is 0.33.)"""
    salt_pepper: float = 0.0
    """Share of the pixels that are replaced, half of them by 0 and half by 1."""
    perlin: float = 0.0
    """Largest absolute value of smooth (Perlin) noise, in units of brightness; not clamped."""
    translate: float = 0.0
    """Largest shift along each axis as a share of the side; uniform, bilinear, filled with 0."""
    rotate: float = 0.0
    """Largest rotation about the centre in degrees, either way; uniform, bilinear, filled with
    0."""
    blur: float = 0.0
    """Standard deviation in pixels of a Gaussian blur with a kernel of 5×5."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        largest = {"salt_pepper": 1.0, "translate": 1.0, "rotate": 180.0}
        for field in dataclasses.fields(self):
            value, end = getattr(self, field.name), largest.get(field.name, math.inf)
            if not (math.isfinite(value) and 0 <= value <= end):
                expected = f"0 to {end:g}" if end < math.inf else "0 or more"
                raise QuadricError(f"{field.name} is {value}, expected {expected}")


def augment(
    pixels: Float[Tensor, "n p"],
    shape: tuple[int, int, int],
    config: AugmentConfig,
    generator: torch.Generator,
) -> Float[Tensor, "n p"]:
    """Disturbed copies of images; the images themselves when every field of ``config`` is 0.

    Args:
        pixels: one image a row; never changed.
        shape: height, width, channels; p is their product.
        config: what to do.
        generator: source of all randomness, on the device of ``pixels``.

    Raises:
        QuadricError: p does not fit the shape, or the generator is on another device.
    """
    height, width, channels = shape
    if pixels.ndim != 2 or pixels.shape[1] != height * width * channels:
        raise QuadricError(
            f"pixels have the shape {tuple(pixels.shape)}, expected rows of "
            f"{'×'.join(map(str, shape))} = {height * width * channels}"
        )
    if generator.device.type != pixels.device.type:
        raise QuadricError(
            f"the generator is on {generator.device}, but the pixels are on {pixels.device}"
        )
    if config.translate or config.rotate or config.blur:
        grid = pixels.view(-1, height, width, channels).movedim(3, 1)
        if config.translate or config.rotate:
            grid = _moved(grid, config, generator)
        if config.blur:
            grid = _blurred(grid, config.blur)
        pixels = grid.movedim(1, 3).reshape(len(pixels), -1)
    if config.perlin:
        smooth = _perlin(len(pixels), height, width, generator, pixels)
        pixels = pixels + config.perlin * smooth.repeat_interleave(channels, dim=1)
    if config.salt_pepper:
        pixels = _salted(pixels, channels, config.salt_pepper, generator)
    if config.noise:
        drawn = torch.empty_like(pixels).normal_(0, config.noise, generator=generator)
        pixels = drawn.add_(pixels)
    return pixels


def _moved(
    grid: Float[Tensor, "n c h w"], config: AugmentConfig, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Rotate every image about its centre by an angle a, then shift it by (s, t) sides.

    The pixel at u (from the centre, in pixels) shows what was at R(−a)(u − d) with d = (sW, tH).
    ``affine_grid`` wants this map in units of half a side, hence the ratios of the sides.
    """
    n, _, height, width = grid.shape
    drawn = torch.rand(n, 3, generator=generator, device=grid.device, dtype=grid.dtype) * 2 - 1
    angle = drawn[:, 0] * math.radians(config.rotate)
    across, down = (drawn[:, 1:] * (2 * config.translate)).unbind(1)
    cos, sin = angle.cos(), angle.sin()
    up, side = sin * (height / width), sin * (width / height)
    rows = torch.stack(
        [cos, up, -cos * across - up * down, -side, cos, side * across - cos * down], dim=1
    )
    places = F.affine_grid(rows.view(n, 2, 3), list(grid.shape), align_corners=False)
    return F.grid_sample(grid, places, mode="bilinear", padding_mode="zeros", align_corners=False)


def _blurred(grid: Float[Tensor, "n c h w"], sigma: float) -> Float[Tensor, "n c h w"]:
    """Convolve with exp(−r²/2σ²) on 5×5 pixels, normalised; edges are mirrored."""
    height, width = grid.shape[2:]
    reach = _KERNEL // 2
    if min(height, width) <= reach:
        raise QuadricError(
            f"images of {height}×{width} pixels cannot be blurred: each side needs over {reach}"
        )
    distance = torch.arange(-reach, reach + 1, device=grid.device, dtype=grid.dtype)
    weights = torch.softmax(-(distance**2) / (2 * sigma**2), dim=0)
    down, across = (_band(side, weights) for side in (height, width))
    return down.T @ (grid @ across)


def _band(side: int, weights: Float[Tensor, " k"]) -> Float[Tensor, "side side"]:
    """The matrix M of a convolution with mirrored edges: column j of M weighs the input for j."""
    reach = len(weights) // 2
    mirrored = F.pad(torch.eye(side).to(weights)[None], (reach, reach), mode="reflect")[0]
    return mirrored.unfold(1, len(weights), 1) @ weights


def _perlin(
    n: int, height: int, width: int, generator: torch.Generator, like: Tensor
) -> Float[Tensor, "n hw"]:
    """Perlin noise in [−1, 1]: every image has its own, all channels of an image share it.

    On each corner of a lattice of 4×4 cells sits a random unit vector g. A pixel at offset o (in
    cells) from a corner receives √2·f(o)·⟨g, o⟩ from each of the four corners of its cell, with f
    the product of 1 − 6|t|⁵ + 15|t|⁴ − 10|t|³ over both axes t. This is linear in g: one product.
    """
    corners = _CELLS + 1
    angle = torch.rand(n, corners * corners, generator=generator, device=like.device) * math.tau
    vectors = torch.stack([angle.sin(), angle.cos()], dim=1).flatten(1).to(like.dtype)
    return vectors @ _lattice(height, width).to(like)


def _lattice(height: int, width: int) -> Float[Tensor, "g hw"]:
    """What each component (down, across) of each corner's vector adds to each pixel."""
    down, fade_down = _offsets(height)
    across, fade_across = _offsets(width)
    fade = fade_down[:, None, :, None] * fade_across[None, :, None, :]
    parts = torch.stack([fade * down[:, None, :, None], fade * across[None, :, None, :]])
    return math.sqrt(2) * parts.flatten(0, 2).flatten(1)


def _offsets(side: int) -> tuple[Float[Tensor, "corners side"], Float[Tensor, "corners side"]]:
    """Offset of every pixel's centre from every corner, in cells, and the weight it gives."""
    centres = (torch.arange(side) + 0.5) * (_CELLS / side)
    offsets = centres - torch.arange(_CELLS + 1)[:, None]
    t = offsets.abs().clamp(max=1)
    return offsets, 1 - t**3 * (6 * t**2 - 15 * t + 10)


def _salted(
    pixels: Float[Tensor, "n p"], channels: int, share: float, generator: torch.Generator
) -> Float[Tensor, "n p"]:
    """Replace a share of the pixels, with all their channels, by 0 or by 1."""
    n, p = pixels.shape
    drawn = torch.rand(n, p // channels, generator=generator, device=pixels.device)
    drawn = drawn.repeat_interleave(channels, dim=1)
    return pixels.masked_fill(drawn < share / 2, 0.0).masked_fill(drawn >= 1 - share / 2, 1.0)
