"""Signed pictures: the colour scale is symmetric, and its middle is zero."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from quadric.experiments.vision.figures import pixels


def test_zero_is_white_and_the_scale_symmetric() -> None:
    axes = Figure().subplots()
    pixels.show(axes, [0.0, -4, 1, 2, 0, 0], (2, 3, 1), "title")
    image = axes.images[0]
    assert image.get_clim() == (-4, 4)
    assert image.get_array().tolist() == [[0, -4, 1], [2, 0, 0]]
    red, green, blue, _ = image.to_rgba(torch.zeros(1, 1).numpy())[0, 0]
    assert red == green == blue == pytest.approx(1, abs=0.01)
    up, down = (image.to_rgba(torch.full((1, 1), x).numpy())[0, 0] for x in (2.0, -2.0))
    assert up[0] > up[2] and down[2] > down[0]


def test_a_black_picture_and_channels_can_be_drawn() -> None:
    axes = Figure().subplots()
    pixels.show(axes, [0.0] * 6, (2, 3, 1))
    assert axes.images[0].get_clim() == (-1, 1)
    axes = Figure().subplots()
    pixels.show(axes, [1.0, 3, -1, 1], (2, 1, 2))
    assert axes.images[0].get_array().tolist() == [[2], [0]]


def test_rows_are_kept_as_unit_vectors() -> None:
    found = pixels.rounded(torch.tensor([[3.0, -4], [0, 0], [1, 1]]))
    assert found == [[0.6, -0.8], [0, 0], [0.7071, 0.7071]]
