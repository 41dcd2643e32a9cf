"""A gallery of eigenvectors: as JSON values, and as the picture drawn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from quadric.experiments.experiment import Measured
from quadric.experiments.vision.figures import pixels
from quadric.forms.spectrum import sign_fixed
from quadric.report import figures
from quadric.vision.files import Trained
from quadric.vision.gallery import Gallery

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

BARS = 20
"""Eigenvalues drawn at each end of a spectrum, as in the paper."""


def pictures(name: str, trained: Trained, found: Gallery, chosen: list[int]) -> dict[str, Any]:
    """What is drawn of one model, as JSON values."""
    return {
        "dataset": name,
        "shape": list(trained.model.shape),
        "classes": list(trained.model.classes),
        "first": _picture(found.positive.images[:, 0]),
        "chosen": [
            {
                "class": index,
                "values": found.values[index].tolist(),
                **{
                    f"{sign}_{what}": (
                        part.values[index].tolist()
                        if what == "values"
                        else _picture(part.images[index])
                    )
                    for sign, part in (("positive", found.positive), ("negative", found.negative))
                    for what in ("values", "images")
                },
            }
            for index in chosen
        ],
    }


def _picture(images: Tensor) -> list[list[float]]:
    """Rows for drawing: a sign means nothing, so the strongest pixel is made positive."""
    return pixels.rounded(sign_fixed(images))


def draw(measured: Measured) -> Figure:
    """Of every data set the first eigenvector of all classes, and the chosen classes in full."""
    galleries = measured.data["galleries"]
    heights = [(1.3, *[2.3] * -(-len(found["chosen"]) // 2)) for found in galleries]
    flat = [height for rows in heights for height in rows]
    figure = figures.blank(10.5, sum(flat))
    figure.set_layout_engine(None)  # a grid of pictures needs no solver, which takes seconds
    parts = iter(figure.subfigures(len(flat), 1, height_ratios=flat, squeeze=False)[:, 0])
    for found in galleries:
        _draw_first(next(parts), found)
        for start in range(0, len(found["chosen"]), 2):
            halves = next(parts).subfigures(1, 2)
            for half, entry in zip(halves, found["chosen"][start : start + 2], strict=False):
                _draw_class(half, found, entry)
    return figure


def _draw_first(part: SubFigure, found: dict[str, Any]) -> None:
    part.suptitle(f"{found['dataset']}: first positive eigenvector of each class", fontsize=9)
    panels = part.subplots(1, max(10, len(found["classes"])))
    part.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.72, wspace=0.1)
    for panel in panels[len(found["classes"]) :]:
        panel.set_axis_off()
    for panel, image, name in zip(panels, found["first"], found["classes"], strict=False):
        pixels.show(panel, image, found["shape"], figures.plain(name))


def _draw_class(part: SubFigure, found: dict[str, Any], entry: dict[str, Any]) -> None:
    k = len(entry["positive_values"])
    part.suptitle(f"class {figures.plain(found['classes'][entry['class']])}", fontsize=9)
    left = part.add_gridspec(1, 1, left=0.12, right=0.42, bottom=0.04, top=0.86)
    spectrum = part.add_subplot(left[0, 0])
    values = entry["values"]
    if len(values) > 2 * BARS:
        values = values[:BARS] + values[-BARS:]
        spectrum.axvline(BARS - 0.5, color=figures.GREY, lw=0.6, ls=":")
    colours = [figures.POSITIVE if value > 0 else figures.NEGATIVE for value in values]
    spectrum.bar(range(len(values)), values, color=colours, width=0.9)
    spectrum.axhline(0, color=figures.GREY, lw=0.6)
    spectrum.set_xticks([])
    spectrum.tick_params(labelsize=7)
    spectrum.set_ylabel("eigenvalue λ", fontsize=8)
    spectrum.spines[["top", "right", "bottom"]].set_visible(False)
    right = part.add_gridspec(
        2, k, left=0.45, right=0.99, bottom=0.03, top=0.82, wspace=0.1, hspace=0.3
    )
    for row, sign in enumerate(("positive", "negative")):
        for column, value in enumerate(entry[f"{sign}_values"]):
            panel = part.add_subplot(right[row, column])
            pixels.show(panel, entry[f"{sign}_images"][column], found["shape"], f"{value:+.2g}")
