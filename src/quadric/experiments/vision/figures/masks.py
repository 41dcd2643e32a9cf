"""Pictures of the masks experiment: eigenvectors, their masks, and answers by strength."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from quadric.experiments import picture
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.figures import pixels
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def mean_curve(model: dict[str, Any], kind: str, support: str, name: str, what: str) -> list[float]:
    """A model's curve over strengths, the mean of both signs."""
    plus, minus = model["curves"][kind][support][name][what]
    return [(a + b) / 2 for a, b in zip(plus, minus, strict=True)]


def draw(measured: Measured) -> Figure:
    """A row for each noise: an eigenvector, its masks, and what masks do to the answers."""
    data = measured.data
    rows = data["pictures"]
    supports = list(data["models"][0]["curves"]["published"])
    figure = picture.blank(4.2 + 2.4 * (1 + len(supports)), 2.15 * len(rows) + 0.3)
    grid = figure.subplots(
        len(rows), 4 + len(supports), squeeze=False,
        gridspec_kw={"width_ratios": [1, 1, 1] + [1.55] * (1 + len(supports))},
    )  # fmt: skip
    titles = (f"eigenvector of {data['shown']}", "its mask, published", "its mask, exact")
    for number, (row, found) in enumerate(zip(grid, rows, strict=True)):
        for panel, image, title in zip(row[:3], found["images"], titles, strict=True):
            pixels.show(panel, image, data["shape"], None if number else title)
        row[0].set_ylabel(f"noise {found['noise']:g}", fontsize=8)
        models = [model for model in data["models"] if model["noise"] == found["noise"]]
        panels = [(row[3], "image", "accuracy", "accuracy, whole image"),
                  (row[4], "image", "target", "taken for the mask's class")]  # fmt: skip
        if "edge" in supports:
            panels.append((row[5], "edge", "accuracy", "accuracy, edge only"))
        for panel, support, what, title in panels:
            _curves(panel, data["strengths"], models, support, what)
            if number == 0:
                panel.set_title(title, fontsize=8)
            if number == len(rows) - 1:
                panel.set_xlabel("strength (std of the mask)", fontsize=8)
    grid[0][3].legend(frameon=False, fontsize=6, loc="lower left")
    return figure


def _curves(
    axes: Axes, strengths: list[float], models: list[dict[str, Any]], support: str, what: str
) -> None:
    looks = (
        ("published", "adversarial", figures.POSITIVE, "-", "mask, published"),
        ("published", "permuted", figures.GREY, "-", "permuted"),
        ("exact", "adversarial", figures.NEGATIVE, "--", "mask, exact"),
    )
    for kind, name, colour, style, label in looks:
        found = [mean_curve(model, kind, support, name, what) for model in models]
        for curve in found:
            axes.plot(strengths, curve, style, color=colour, lw=0.5, alpha=0.5)
        middle = [statistics.fmean(values) for values in zip(*found, strict=True)]
        axes.plot(strengths, middle, style, color=colour, lw=1.5, label=label)
    axes.set_ylim(0, 1)
    axes.tick_params(labelsize=7)
