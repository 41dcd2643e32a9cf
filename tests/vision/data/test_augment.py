"""Augmentation: each disturbance against its definition, their order, and the randomness."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from quadric.errors import QuadricError
from quadric.vision.data.augment import AugmentConfig, augment

SHAPE = (6, 9, 2)
OFF = AugmentConfig(noise=0)
ONE_EACH = [
    AugmentConfig(noise=0, translate=0.2),
    AugmentConfig(noise=0, rotate=40),
    AugmentConfig(noise=0, blur=0.8),
    AugmentConfig(noise=0, perlin=0.5),
    AugmentConfig(noise=0, salt_pepper=0.3),
    AugmentConfig(noise=0.4),
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, shape: Sequence[int] = SHAPE) -> Tensor:
    return torch.rand(n, math.prod(shape), generator=seeded(9), dtype=torch.float64)


def blob(shape: tuple[int, int, int], down: float, across: float) -> Tensor:
    """A round spot, its middle at these pixels from the centre of the image."""
    height, width, _ = shape
    y = torch.arange(height, dtype=torch.float64) - (height - 1) / 2 - down
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2 - across
    spot = torch.exp(-(y[:, None, None] ** 2 + x[None, :, None] ** 2) / 4)
    return spot.expand(shape).reshape(1, -1)


def middles(pixels: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Where the spots are: pixels down and across from the centre."""
    grid = pixels.view(-1, *shape).sum(dim=3)
    grid = grid / grid.sum(dim=(1, 2), keepdim=True)
    y = torch.arange(shape[0]) - (shape[0] - 1) / 2
    x = torch.arange(shape[1]) - (shape[1] - 1) / 2
    return (grid.sum(dim=2) * y).sum(dim=1), (grid.sum(dim=1) * x).sum(dim=1)


def test_nothing_is_the_input_itself() -> None:
    pixels = images(3)
    assert augment(pixels, SHAPE, OFF, seeded()) is pixels


@pytest.mark.parametrize("config", ONE_EACH)
def test_randomness_comes_from_the_generator_and_the_input_stays(config: AugmentConfig) -> None:
    pixels = images(50)
    before = pixels.clone()
    first = augment(pixels, SHAPE, config, seeded(1))
    assert torch.equal(pixels, before)
    assert first.shape == pixels.shape
    assert first.dtype == pixels.dtype
    assert torch.equal(first, augment(pixels, SHAPE, config, seeded(1)))
    assert not torch.equal(first, pixels)
    other = augment(pixels, SHAPE, config, seeded(2))
    assert torch.equal(first, other) == bool(config.blur)  # blur alone draws nothing
    generator = seeded(1)
    augment(pixels, SHAPE, config, generator)
    again = augment(pixels, SHAPE, config, generator)
    assert torch.equal(first, again) == bool(config.blur)


def test_the_order_is_geometry_blur_perlin_salt_noise() -> None:
    everything = AugmentConfig(
        noise=0.4, salt_pepper=0.3, perlin=0.5, translate=0.2, rotate=0, blur=0.8
    )
    pixels, generator = images(20), seeded(3)
    expected = pixels
    for config in ONE_EACH:
        if not config.rotate:
            expected = augment(expected, SHAPE, config, generator)
    torch.testing.assert_close(augment(pixels, SHAPE, everything, seeded(3)), expected)


def test_gaussian_noise_is_absolute_and_not_clamped() -> None:
    pixels = torch.stack([torch.zeros(5000), torch.ones(5000)])
    out = augment(pixels, (50, 100, 1), AugmentConfig(noise=0.3), seeded())
    assert out.dtype == torch.float32
    for row, level in zip(out, (0.0, 1.0), strict=True):
        assert abs(row.mean() - level) < 0.02
        assert abs(row.std() - 0.3) < 0.01
        assert 0.45 < (row < level).double().mean() < 0.55
    assert abs(torch.corrcoef(out)[0, 1]) < 0.05  # every image has its own


def test_salt_and_pepper() -> None:
    pixels = torch.full((4, 20_000), 0.5)
    config = AugmentConfig(noise=0, salt_pepper=0.3)
    out = augment(pixels, (100, 100, 2), config, seeded())
    assert set(out.unique().tolist()) == {0.0, 0.5, 1.0}
    for row in out:
        assert abs((row == 0).double().mean() - 0.15) < 0.02
        assert abs((row == 1).double().mean() - 0.15) < 0.02
    red, green = out.view(4, -1, 2).unbind(2)
    assert torch.equal(red, green)  # a pixel falls with all its channels
    whole = augment(pixels, (100, 100, 2), AugmentConfig(noise=0, salt_pepper=1), seeded())
    assert set(whole.unique().tolist()) == {0.0, 1.0}


def test_perlin_against_a_loop() -> None:
    height, width, channels = SHAPE
    out = augment(torch.zeros(3, 108).double(), SHAPE, AugmentConfig(0, perlin=0.5), seeded(4))
    angles = torch.rand(3, 25, generator=seeded(4)).view(3, 5, 5) * math.tau

    def fade(t: float) -> float:
        return t * t * t * (t * (t * 6 - 15) + 10)

    def at(image: int, row: int, column: int) -> float:
        y, x = (row + 0.5) * 4 / height, (column + 0.5) * 4 / width
        i, j = int(y), int(x)
        corner = {}
        for di in (0, 1):
            for dj in (0, 1):
                angle = float(angles[image, i + di, j + dj])
                corner[di, dj] = math.sin(angle) * (y - i - di) + math.cos(angle) * (x - j - dj)
        left = corner[0, 0] + fade(y - i) * (corner[1, 0] - corner[0, 0])
        right = corner[0, 1] + fade(y - i) * (corner[1, 1] - corner[0, 1])
        return 0.5 * math.sqrt(2) * (left + fade(x - j) * (right - left))

    expected = [
        at(image, row, column)
        for image in range(3)
        for row in range(height)
        for column in range(width)
        for _ in range(channels)
    ]
    torch.testing.assert_close(out.flatten(), torch.tensor(expected).double(), atol=1e-6, rtol=0)


def test_perlin_is_smooth_centred_and_bounded() -> None:
    out = augment(torch.zeros(2000, 784), (28, 28, 1), AugmentConfig(0, perlin=0.5), seeded()).view(
        -1, 28, 28
    )
    assert 0.35 < out.abs().max() <= 0.5
    assert abs(out.mean()) < 0.01
    step = out.diff(dim=2).square().mean() / (2 * out.square().mean())
    assert step < 0.1  # white noise has 1


def test_blur_is_a_normalised_gaussian_with_mirrored_edges() -> None:
    pixels = images(3)
    line = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    expected = np.stack(
        [
            np.stack(
                [ndimage.correlate(image[..., c], kernel, mode="mirror") for c in range(2)], axis=-1
            )
            for image in pixels.view(-1, *SHAPE).numpy()
        ]
    )
    out = augment(pixels, SHAPE, AugmentConfig(0, blur=0.8), seeded()).view(-1, *SHAPE)
    torch.testing.assert_close(out, torch.from_numpy(expected))
    with pytest.raises(
        QuadricError, match=r"2×54 pixels cannot be blurred: each side needs over 2"
    ):
        augment(pixels, (2, 54, 1), AugmentConfig(0, blur=0.8), seeded())


def test_translation_is_uniform_up_to_its_share_of_each_side() -> None:
    shape = (40, 60, 1)
    spots = blob(shape, 0, 0).expand(2000, -1)
    down, across = middles(augment(spots, shape, AugmentConfig(0, translate=0.2), seeded()), shape)
    for moved, largest in ((down, 8.0), (across, 12.0)):
        assert moved.abs().max() <= largest + 1e-6
        assert moved.min() < -0.98 * largest
        assert moved.max() > 0.98 * largest
        assert abs(moved.std() - largest / math.sqrt(3)) < 0.03 * largest
    assert abs(torch.corrcoef(torch.stack([down, across]))[0, 1]) < 0.1
    assert (down - down.round()).abs().max() > 0.4  # parts of a pixel, too


def test_translation_fills_with_black() -> None:
    out = augment(torch.ones(50, 24 * 36), (24, 36, 1), AugmentConfig(0, translate=0.5), seeded())
    assert out.min() == 0
    assert out.max() <= 1 + 1e-6
    assert (out.mean(dim=1) < 0.95).any()


def test_rotation_keeps_distances_on_an_oblong_image() -> None:
    shape = (40, 60, 2)
    spots = blob(shape, 0, 10).expand(2000, -1)
    down, across = middles(augment(spots, shape, AugmentConfig(0, rotate=60), seeded()), shape)
    torch.testing.assert_close(
        torch.hypot(down, across), torch.full((2000,), 10.0).double(), atol=0.02, rtol=0
    )
    degrees = torch.rad2deg(torch.atan2(down, across))
    assert degrees.abs().max() <= 60.1
    assert degrees.min() < -58
    assert degrees.max() > 58
    assert abs(degrees.std() - 60 / math.sqrt(3)) < 2


def test_rotation_comes_before_translation() -> None:
    """The middle of the image moves by the shift alone, whatever the angle."""
    shape = (40, 60, 1)
    spots = blob(shape, 0, 0).expand(2000, -1)
    config = AugmentConfig(0, translate=0.2, rotate=180)
    down, across = middles(augment(spots, shape, config, seeded()), shape)
    assert 7.8 < down.abs().max() <= 8.01
    assert 11.8 < across.abs().max() <= 12.01


def test_moved_images_against_interpolation() -> None:
    pixels = images(5)
    config = AugmentConfig(0, translate=0.2, rotate=50)
    out = augment(pixels, SHAPE, config, seeded(5)).view(-1, *SHAPE)
    drawn = torch.rand(5, 3, generator=seeded(5), dtype=torch.float64) * 2 - 1
    height, width, channels = SHAPE
    for image, moved, (turn, right, low) in zip(
        pixels.view(-1, *SHAPE), out, drawn.tolist(), strict=True
    ):
        angle = math.radians(50 * turn)
        y, x = np.mgrid[:height, :width].astype(float)
        y -= (height - 1) / 2 + 0.2 * low * height
        x -= (width - 1) / 2 + 0.2 * right * width
        places = [
            math.cos(angle) * y - math.sin(angle) * x + (height - 1) / 2,
            math.sin(angle) * y + math.cos(angle) * x + (width - 1) / 2,
        ]
        for channel in range(channels):
            expected = ndimage.map_coordinates(
                image[..., channel].numpy(), places, order=1, mode="grid-constant"
            )
            torch.testing.assert_close(moved[..., channel], torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("noise", -0.1, "0 or more"),
        ("noise", float("nan"), "0 or more"),
        ("perlin", float("inf"), "0 or more"),
        ("blur", -1.0, "0 or more"),
        ("salt_pepper", 1.1, "0 to 1"),
        ("translate", 1.5, "0 to 1"),
        ("rotate", 181.0, "0 to 180"),
    ],
)
def test_ranges(field: str, value: float, expected: str) -> None:
    with pytest.raises(QuadricError, match=f"^{field} is {value}, expected {expected}$"):
        AugmentConfig(**{field: value})


def test_pixels_that_do_not_fit() -> None:
    with pytest.raises(QuadricError, match=r"shape \(3, 108\), expected rows of 6×9×1 = 54"):
        augment(images(3), (6, 9, 1), AugmentConfig(), seeded())
    with pytest.raises(QuadricError, match="generator is on cpu, but the pixels are on meta"):
        augment(images(3).to("meta"), SHAPE, AugmentConfig(), seeded())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("config", ONE_EACH)
def test_on_a_gpu(config: AugmentConfig) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    pixels = images(20)
    out = augment(pixels.cuda(), SHAPE, config, generator)
    assert out.device.type == "cuda"
    if config.blur:
        torch.testing.assert_close(out.cpu(), augment(pixels, SHAPE, config, seeded()))
    else:
        assert 0.01 < (out.cpu() - pixels).std() < 1
