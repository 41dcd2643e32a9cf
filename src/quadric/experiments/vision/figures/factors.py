"""The figure on shared products: curves, agreement of searches, and the products as pictures."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from quadric.experiments import picture
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.figures import pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "shared": ("shared products", "#e66101", "o"),
    "hosvd": ("eigen-terms of the HOSVD", "#5e3c99", "s"),
    "eigen": ("eigen-terms of each class", "#0571b0", "^"),
}
"""Name, colour and marker of each way to choose products."""


def draw(measured: Measured) -> Figure:
    """Curves by number of products, agreement of searches, and the leading products."""
    data = measured.data
    figure = picture.blank(9, 6.4)
    halves: Any = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    panels = halves[0].subplots(1, 3)
    for axes, key, label in (
        (panels[0], "explained", "share of the tensor explained"),
        (panels[1], "accuracy", "test accuracy"),
    ):
        _draw_curves(axes, data, key, label)
    _draw_agreement(panels[2], data)
    rows = halves[1].subplots(3, len(data["pictures"]), height_ratios=[1, 1, 0.7], squeeze=False)
    for place, product in enumerate(data["pictures"]):
        pixels.show(rows[0][place], product["left"], data["shape"], f"product {place + 1}")
        pixels.show(rows[1][place], product["right"], data["shape"])
        axes = rows[2][place]
        colours = ["#e66101" if value > 0 else "#0571b0" for value in product["classes"]]
        axes.bar(range(len(colours)), product["classes"], color=colours)
        axes.axhline(0, color="#777777", lw=0.6)
        axes.set_ylim(-1.05, 1.05)
        axes.set_xticks(range(len(colours)), data["classes"], fontsize=5 if place else 6)
        axes.set_yticks([])
    for row, label in enumerate(("l", "r", "read by\nclass")):
        rows[row][0].set_ylabel(label, fontsize=8)
    return figure


def _draw_curves(axes: Axes, data: dict[str, Any], key: str, label: str) -> None:
    for method, (name, colour, marker) in LOOKS.items():
        for space, style in (("input", "-"), ("hidden", ":")):
            curves = data["curves"][space][method]
            mean = [fmean(values) for values in zip(*(c[key] for c in curves), strict=True)]
            axes.plot(
                data["ranks"], mean, style, marker=marker, color=colour, ms=4, lw=1.3,
                mfc=colour if space == "input" else "none",
                label=name if space == "input" else None,
            )  # fmt: skip
    if key == "accuracy":
        axes.axhline(fmean(data["accuracy"]), color="#777777", lw=0.8)
        axes.text(data["ranks"][0], fmean(data["accuracy"]), "whole model", fontsize=6, va="bottom")
        axes.legend(
            frameon=False, fontsize=6, loc="lower right", title="solid: in pixels\ndotted: hidden",
            title_fontsize=6,
        )  # fmt: skip
    axes.set_xlabel("products", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.set_ylim(0, 1.05)
    axes.tick_params(labelsize=7)


def _draw_agreement(axes: Axes, data: dict[str, Any]) -> None:
    looks = {
        "within": ("random starts of one model", "#e66101", "o"),
        "across": ("models of other seeds", "#5e3c99", "s"),
        "chance": ("random products", "#777777", "x"),
    }
    for key, (label, colour, marker) in looks.items():
        values = data["restarts"][key]
        if values is not None:
            axes.plot(
                range(1, len(values) + 1), values, marker=marker, ms=4, color=colour, label=label
            )
    axes.set_ylim(0, 1.05)
    axes.set_xlabel(f"product of {data['rank']}, best match first", fontsize=8)
    axes.set_ylabel("cosine with its match", fontsize=8)
    axes.legend(frameon=False, fontsize=6)
    axes.tick_params(labelsize=7)
