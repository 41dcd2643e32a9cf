"""Functional similarity as a picture: matrices of models, predictors, classes and training."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from quadric.experiments import picture
from quadric.experiments.experiment import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST = "images, centred"
"""The measure that stands for functional similarity where one is shown."""


def draw(measured: Measured) -> Figure:
    """Three matrices; below, the measures against agreement, and the way of training."""
    data = measured.data
    shown = {
        "weights": "cosine of the weights",
        BEST: "as functions: Gaussian with\nthe images' moments, centred",
        "agreement": "same prediction on test images",
    }
    size = min(4.6, max(2.9, 0.28 * len(data["labels"])))
    figure = picture.blank(3 * size + 1.5, 2 * size + 0.6)
    halves: Any = figure.subfigures(2, 1)
    top, bottom = halves
    panels = top.subplots(1, 3)
    for place, (panel, (name, title)) in enumerate(zip(panels, shown.items(), strict=True)):
        matrix = data["matrices"][name]
        low = min(0.0, *map(min, matrix)) if name != "agreement" else min(map(min, matrix))
        image = panel.imshow(matrix, cmap="cividis", vmin=low, vmax=1)
        labels = data["labels"]
        panel.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
        panel.set_yticks(range(len(labels)), labels if place == 0 else [], fontsize=6)
        panel.set_title(title, fontsize=8)
        top.colorbar(image, ax=panel, shrink=0.7)
    lower = bottom.subplots(1, 3 if data["training"] else 2, squeeze=False)[0]
    _draw_predictors(lower[0], data)
    _draw_classes(lower[1], data)
    if data["training"]:
        _draw_training(lower[2], data["training"])
    return figure


def _draw_predictors(axes: Axes, data: dict[str, Any]) -> None:
    """Each pair of models: how alike by a measure, and how often they agree."""
    count = len(data["labels"])
    pairs = list(combinations(range(count), 2))
    looks = {
        "weights": ("weights", "#777777", "x"),
        BEST: ("functions, Gaussian", "#e66101", "o"),
        "test images, centred": ("functions, test images", "#0571b0", "^"),
    }
    for name, (label, colour, marker) in looks.items():
        axes.plot(
            [data["matrices"][name][i][j] for i, j in pairs],
            [data["matrices"]["agreement"][i][j] for i, j in pairs],
            marker, color=colour, ms=4, mfc="none", label=label,
        )  # fmt: skip
    axes.set_xlabel("similarity of a pair of models", fontsize=8)
    axes.set_ylabel("share of equal predictions", fontsize=8)
    axes.legend(frameon=False, fontsize=7)
    axes.tick_params(labelsize=7)


def _draw_classes(axes: Axes, data: dict[str, Any]) -> None:
    """The classes' logits between seeds."""
    if data["by_class"] is None:
        axes.set_axis_off()
        return
    heights = [value or 0.0 for value in data["by_class"]]  # none where a logit does not vary
    axes.bar(range(len(heights)), heights, color="#e66101")
    axes.set_xticks(range(len(data["classes"])), data["classes"], fontsize=7, rotation=45)
    axes.set_ylim(min(0.0, *heights), 1)
    axes.set_ylabel("similarity of a class's logit\nbetween seeds, as functions", fontsize=8)
    axes.tick_params(labelsize=7)


def _draw_training(axes: Axes, training: list[dict[str, Any]]) -> None:
    """Similarity to the end of the same run and to the end of another seed's."""
    for row in training:
        first = row is training[0]
        for end, style in (("own", "-"), ("other", "--")):
            if end not in row:
                continue
            for name, colour in (("weights", "#777777"), (BEST, "#e66101")):
                kind = "weights" if name == "weights" else "functions"
                label = f"{kind}: to {'its own end' if end == 'own' else 'another seed’s end'}"
                axes.plot(
                    row["epochs"], row[end][name], style, marker="o", ms=3, lw=1.2, color=colour,
                    label=label if first else None,
                )  # fmt: skip
        axes.plot(
            row["epochs"], row["accuracy"], ":", color="#0571b0", lw=1.2,
            label="test accuracy" if first else None,
        )  # fmt: skip
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel("similarity", fontsize=8)
    axes.legend(frameon=False, fontsize=6)
    axes.tick_params(labelsize=7)
