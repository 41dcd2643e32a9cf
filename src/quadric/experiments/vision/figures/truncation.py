"""The picture of the truncation experiment: errors by rank, ranks needed, baselines, the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadric.experiments import picture
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.sizes import colours
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 40
"""Ranks of the first panel."""


def draw(measured: Measured) -> Figure:
    """Errors by rank and size, the eigenvectors needed, the baselines, and the bound."""
    sizes, handful = measured.data["sizes"], measured.data["handful"]
    figure = picture.blank(8.8, 6.6)
    (by_rank, needed), (baselines, bound) = figure.subplots(2, 2)
    for size, colour in zip(sizes, colours(len(sizes)), strict=True):
        error = [100 * value for value in size["error"][: _SHOWN + 1]]
        by_rank.plot(range(len(error)), error, color=colour, label=size["size"])
        if size["half"] is not None:
            half = [100 * value for value in size["half"]]
            low = [max(e - h, 0.01) for e, h in zip(error, half, strict=False)]
            high = [e + h for e, h in zip(error, half, strict=False)]
            by_rank.fill_between(range(len(error)), low, high, color=colour, alpha=0.2, lw=0)
        by_rank.axhline(100 * size["error"][-1], color=colour, lw=0.7, ls=":")
        needed.plot([size["size"]] * size["runs"], size["first"], "o", color=colour, ms=5)
    by_rank.set(
        title="error by eigenvectors kept (dotted: whole model)",
        xlabel="eigenvectors per class, largest |λ| first",
        ylabel="test error (%)",
        yscale="log",
        ylim=(max(0.1, 60 * min(size["error"][-1] for size in sizes)), 100),
    )
    _plain_percent(by_rank)
    by_rank.legend(title="size", frameon=False, fontsize=8, title_fontsize=8)
    needed.axhline(handful, color=figures.GREY, lw=0.8, ls="--", label="a handful")
    needed.legend(frameon=False, fontsize=8)
    needed.set(
        title=f"eigenvectors for the whole model's error + {measured.data['tolerance']:g} point",
        xlabel="size (a dot is a run)",
        ylabel="eigenvectors per class",
        ylim=(0, 1.15 * max(handful, *(max(size["first"]) for size in sizes))),
    )
    _draw_middle(baselines, bound, sizes[(len(sizes) - 1) // 2])
    for panel in (by_rank, needed, baselines, bound):
        panel.title.set_fontsize(9)
    for panel in (by_rank, baselines, bound):
        panel.locator_params(axis="x", integer=True)
    needed.locator_params(axis="y", integer=True)
    return figure


def _draw_middle(baselines: Axes, bound: Axes, size: dict[str, Any]) -> None:
    ranks = range(size["width"] + 1)
    looks = (
        ("error", "largest |λ|", "k", "-"),
        ("random", "random", figures.NEGATIVE, "--"),
        ("smallest", "smallest |λ|", figures.POSITIVE, ":"),
    )
    for key, label, colour, style in looks:
        errors = [100 * value for value in size[key]]
        baselines.plot(ranks, errors, color=colour, ls=style, label=label)
    baselines.set(
        title=f"which eigenvectors are kept (size {size['size']})",
        xlabel="eigenvectors per class",
        ylabel="test error (%)",
        ylim=(0, 100),
    )
    baselines.legend(frameon=False, fontsize=8, loc=(0.12, 0.12))
    inner = ranks[:-1]  # at k = d nothing is missing, which a logarithm cannot show
    bound.plot(inner, size["bound"][:-1], color=figures.GREY, ls="--", label="bound |λ| · ‖h‖²")
    bound.plot(inner, size["worst"][:-1], color="k", label="worst test image")
    bound.set(
        title=f"largest error of a logit (size {size['size']})",
        xlabel="eigenvectors per class, largest |λ| first",
        ylabel="error of a logit",
        yscale="log",
    )
    bound.legend(frameon=False, fontsize=8)


def _plain_percent(axes: Axes) -> None:
    """Percentages on a logarithmic axis as plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    axes.yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 5, 10, 20, 50, 100]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
