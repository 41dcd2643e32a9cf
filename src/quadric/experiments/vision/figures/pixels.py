"""Eigenvectors as pictures: orange for positive pixels, blue for negative ones, white for zero.

The scale is symmetric about 0 and each picture's own, because neither the length of an eigenvector
nor its overall sign means anything: only which pixels go together, and which against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


def signed_colours() -> Colormap:
    """Blue through white to orange."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = ["#023858", figures.NEGATIVE, "#ffffff", figures.POSITIVE, "#7f2704"]
    return LinearSegmentedColormap.from_list("signed pixels", colours, N=257)  # odd: zero is white


def show(
    axes: Axes, image: Tensor | Sequence[float], shape: Sequence[int], title: str | None = None
) -> None:
    """Draw one row of pixels as a picture without ticks; of channels their mean is shown.

    Args:
        axes: where.
        image: height · width · channels numbers.
        shape: height, width, channels.
        title: written above.
    """
    grid = torch.as_tensor(image, dtype=torch.float64).view(*shape).mean(dim=2)
    limit = float(grid.abs().max()) or 1.0
    axes.imshow(grid.tolist(), cmap=signed_colours(), vmin=-limit, vmax=limit)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="#bbbbbb")
    if title is not None:
        axes.set_title(title, fontsize=8)


def rounded(images: Tensor) -> list[list[float]]:
    """Rows of pixels as JSON values of unit length, with four digits after the point."""
    rows = torch.nn.functional.normalize(images.double(), dim=-1)
    return [[round(value, 4) for value in row] for row in rows.tolist()]
