"""The planted bench as a table and as a picture: where each method stops finding what is there."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from statistics import mean, median
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.table import Table

from quadric.errors import QuadricError
from quadric.manifolds.matching import FOUND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from quadric.manifolds.bench import Row

STYLES = {"quadric": ("#e66101", "o"), "topk": ("#0571b0", "s"), "pca": ("#777777", "^")}
"""Colour and marker of every method, so that neither is needed to tell them apart."""

FIGURES = (
    "recall", "precision", "F1", "false pos.", "by chance", "median angle", "largest", "seconds",
)  # fmt: skip
"""The table's columns of figures."""


class Setting(NamedTuple):
    """One method on one setting, over its seeds."""

    method: str
    """quadric, topk or pca."""
    superposition: float
    """The setting's superposition."""
    noise: float
    """The setting's noise."""
    recall: float
    """Planted manifolds found, mean."""
    precision: float
    """Found slices that are one of them, mean."""
    f1: float
    """Mean F1."""
    false_positives: float
    """Found slices near nothing planted, mean."""
    null_level: float | None
    """How many of those chance allows, mean; None for a method that does not say."""
    median_angle: float
    """Over all planted manifolds, the median of the smallest angle to a found slice, degrees."""
    largest_angle: float
    """The largest of these angles."""
    seconds: float
    """Mean duration."""


def settings(rows: Sequence[Row]) -> list[Setting]:
    """The rows of each setting as one, in the order in which they came."""
    groups: dict[tuple[float, float, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.superposition, row.noise, row.method), []).append(row)
    return [
        Setting(
            method=method,
            superposition=superposition,
            noise=noise,
            recall=mean(row.score.recall for row in group),
            precision=mean(row.score.precision for row in group),
            f1=mean(row.score.f1 for row in group),
            false_positives=mean(row.score.false_positives for row in group),
            null_level=_mean([row.null_level for row in group]),
            median_angle=median(angle for row in group for angle in row.score.best_angles),
            largest_angle=max(angle for row in group for angle in row.score.best_angles),
            seconds=mean(row.seconds for row in group),
        )
        for (superposition, noise, method), group in groups.items()
    ]


def render(found: Sequence[Setting]) -> str:
    """The table: one line per setting and method."""
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("superposition", "noise"):
        table.add_column(name, justify="right")
    table.add_column("method")
    for name in FIGURES:
        table.add_column(name, justify="right")
    previous: tuple[float, float] | None = None
    for one in found:
        place = (one.superposition, one.noise)
        shown = ("", "") if place == previous else (f"{place[0]:g}", f"{place[1]:g}")
        table.add_row(
            *shown,
            one.method,
            *(f"{value:.2f}" for value in (one.recall, one.precision, one.f1)),
            f"{one.false_positives:.1f}",
            "–" if one.null_level is None else f"{one.null_level:.1f}",
            *(f"{value:.1f}°" for value in (one.median_angle, one.largest_angle)),
            f"{one.seconds:.1f}",
        )
        previous = place
    text = StringIO()
    Console(file=text, width=110).print(table, highlight=False)
    return text.getvalue().rstrip()


def picture(found: Sequence[Setting]) -> Figure:
    """F1, recall and angles against superposition, a column of panels for every noise."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise QuadricError("figures need matplotlib: pip install 'quadric[plot]'") from error
    noises = sorted({one.noise for one in found})
    figure = Figure(figsize=(2.2 + 2.8 * len(noises), 6.6), layout="constrained")
    panels = figure.subplots(3, len(noises), squeeze=False, sharex=True, sharey="row")
    for column, noise in enumerate(noises):
        some = [one for one in found if one.noise == noise]
        panels[0, column].set_title(f"noise {noise:g}")
        panels[2, column].set_xlabel("superposition")
        for panel, field in zip(panels[:, column], ("recall", "f1", "median_angle"), strict=True):
            _lines(panel, some, field)
        panels[2, column].axhline(FOUND, color="black", lw=0.7, ls=":")
    for panel, label in zip(panels[:, 0], ("recall", "F1", "median angle (degrees)"), strict=True):
        panel.set_ylabel(label)
    for panel in panels[:2].flatten():
        panel.set_ylim(-0.05, 1.05)
    panels[2, 0].set_ylim(0, 92)
    panels[0, 0].legend(frameon=False)
    return figure


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _lines(panel: Axes, found: Sequence[Setting], field: str) -> None:
    for method, (colour, marker) in STYLES.items():
        points = sorted(
            (one.superposition, getattr(one, field)) for one in found if one.method == method
        )
        if points:
            across, up = zip(*points, strict=True)
            panel.plot(across, up, marker=marker, color=colour, label=method, lw=1.5)
