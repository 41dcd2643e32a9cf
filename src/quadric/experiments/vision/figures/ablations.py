"""The ablations as a picture: the top eigenvector of one class by technique and strength."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quadric.experiments.experiment import Measured
from quadric.experiments.vision.ablation_claims import NAMES, named
from quadric.experiments.vision.figures import pixels
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE = 1.15
"""Inches of a picture."""
_COLUMNS = 5
"""Pictures in a row; the first, the reference and four noises, is the paper's figure 4."""


def draw(measured: Measured) -> Figure:
    """The reference, each technique with its strengths side by side, and combinations."""
    data = measured.data
    rows = _rows([m["used"] for m in data["models"]])
    height = len(rows) * (_SIDE + 0.45) + 0.4
    figure = figures.blank(_COLUMNS * (_SIDE + 0.5), height)
    figure.set_layout_engine(None)
    figure.suptitle(
        f"first positive eigenvector of class {figures.plain(data['label'])} ({data['dataset']}), "
        "test accuracy, and share of its energy in dark pixels",
        fontsize=9, y=1 - 0.1 / height,
    )  # fmt: skip
    grid = figure.add_gridspec(
        len(rows), _COLUMNS, left=0.01, right=0.99, bottom=0.02, top=1 - 0.7 / height,
        hspace=0.4, wspace=0.15,
    )  # fmt: skip
    for place, row in enumerate(rows):
        for column, used in enumerate(row):
            _cell(figure.add_subplot(grid[place, column]), data, used)
    return figure


def _rows(every: Sequence[dict[str, float]]) -> list[list[dict[str, float]]]:
    """Variants in rows; what belongs to one technique stays in a row where it fits."""
    kinds = list({named(used): used for used in every}.values())
    groups = [[used for used in kinds if not used]]
    for name in NAMES:
        same = [used for used in kinds if list(used) == [name]]
        groups.append(sorted(same, key=lambda used: list(used.values())))
    groups += [[used] for used in kinds if len(used) > 1]
    rows: list[list[dict[str, float]]] = [[]]
    for group in groups:
        if len(rows[-1]) + len(group) > _COLUMNS:
            rows.append([])
        for used in group:
            if len(rows[-1]) == _COLUMNS:
                rows.append([])
            rows[-1].append(used)
    return [row for row in rows if row]


def _cell(panel: Axes, data: dict[str, Any], used: dict[str, float]) -> None:
    """One variant: the picture of its first seed under its name and its figures."""
    here = [m for m in data["models"] if m["used"] == used]
    accuracy = statistics.fmean(m["accuracy"] for m in here)
    text = f"{accuracy:.1%}"
    if here[0]["overfit"] is not None:
        text += f", dark {statistics.fmean(x for m in here for x in m['overfit']):.1%}"
    pixels.show(panel, here[0]["image"], data["shape"])
    panel.set_title(f"{figures.plain(named(used))}\n{text}", fontsize=6.5)
