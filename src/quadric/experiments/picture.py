"""What the pictures of the experiments share: a blank figure, and one look for each variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

LOOKS = {
    "vanilla": ("#0571b0", "o"),
    "ordered": ("#e66101", "s"),
    "mixed": ("#5e3c99", "^"),
    "combined": ("#1a9641", "D"),
    "TopK SAE": ("#777777", "x"),
}
"""Colour and marker of a variant: told apart by shape as well as by colour."""


def blank(width: float, height: float) -> Figure:
    """An empty figure of a size in inches."""
    return figures.blank(width, height)


def line(
    axes: Axes, variant: str, x: Sequence[float], y: Sequence[float], label: str | None = None
) -> None:
    """One variant's points, joined."""
    colour, marker = LOOKS[variant]
    axes.plot(x, y, marker=marker, color=colour, ms=4, lw=1.3, label=label or variant)


def signed_colours() -> Colormap:
    """Blue for negative, grey for zero, orange for positive; never as pale as the paper."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = [figures.NEGATIVE, "#b8b8b8", figures.POSITIVE]
    return LinearSegmentedColormap.from_list("signed", colours)
