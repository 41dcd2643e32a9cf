"""The picture of the circuits experiment: pairs of eigenvalues, one circuit's plane, planted ones.

In a plane of cosines with v₊ and v₋ the inputs of an AND lie on the two arms, the diagonals of a
balanced circuit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadric.experiments import picture
from quadric.experiments.experiment import Measured
from quadric.experiments.language.reading import label
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ARMS = ((figures.POSITIVE, "o"), (figures.NEGATIVE, "^"))
"""Colour and marker of either arm."""


def draw(measured: Measured) -> Figure:
    """The ranked circuits, the first one's spectrum and plane, and a planted one's plane."""
    data = measured.data
    first = data["circuits"][0]
    figure = picture.blank(12, 8)
    (ranked, spectrum), (plane, planted) = figure.subplots(2, 2, height_ratios=(1, 0.95))
    _ranked(ranked, data["circuits"], data["by"])
    _spectrum(spectrum, data["spectrum"], first)
    _plane(plane, first)
    _planted(planted, data["planted"][0])
    for panel in (ranked, spectrum, plane, planted):
        panel.title.set_fontsize(9)
    return figure


def _ranked(axes: Axes, circuits: list[dict[str, Any]], by: str) -> None:
    rows = range(len(circuits))
    for sign, colour in (("positive", figures.POSITIVE), ("negative", figures.NEGATIVE)):
        axes.barh(rows, [circuit[sign] for circuit in circuits], color=colour, height=0.7)
    for row, circuit in enumerate(circuits):
        for side in (-1, 1):
            (mark,) = axes.plot([side * circuit["rest"]] * 2, [row - 0.45, row + 0.45], "k", lw=1.5)
    mark.set_label("largest of the others, ±")
    axes.axvline(0, color=figures.GREY, lw=0.6)
    names = [label(circuit["feature"], circuit["tokens"], 3) for circuit in circuits]
    axes.set_yticks(rows, names, fontsize=8)
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=6)
    axes.set(
        title=f"output features by {by}: largest and most negative eigenvalue",
        xlabel="eigenvalue",
        ylabel="output feature and its tokens",
    )
    axes.margins(y=0.12)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _spectrum(axes: Axes, values: list[float], circuit: dict[str, Any]) -> None:
    places = range(1, len(values) + 1)
    axes.axhline(0, color=figures.GREY, lw=0.6)
    axes.plot(places, values, ".", color=figures.GREY, ms=5, label="the others")
    axes.plot(places[-1], values[-1], "o", color=figures.POSITIVE, label="λ₊")
    axes.plot(places[0], values[0], "o", color=figures.NEGATIVE, label="λ₋")
    on = circuit["correlation_on"]
    correlation = "–" if on is None else f"{on:.2f}"
    axes.set(
        title=f"spectrum of feature {circuit['feature']}, outermost two: correlation {correlation}",
        xlabel="place of the eigenvalue, from most negative",
        ylabel="eigenvalue",
    )
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _lines(axes: Axes, positive: float, negative: float) -> None:
    """The arms √λ₊ v₊ ± √|λ₋| v₋ as lines through the origin, at unit length."""
    across, up = abs(positive) ** 0.5, abs(negative) ** 0.5
    size = (across**2 + up**2) ** 0.5 or 1.0
    for sign, (colour, _) in zip((1, -1), _ARMS, strict=True):
        x, y = across / size, sign * up / size
        axes.plot([-x, x], [-y, y], color=colour, lw=0.7, ls="--", zorder=0)
    axes.axhline(0, color=figures.GREY, lw=0.4, zorder=0)
    axes.axvline(0, color=figures.GREY, lw=0.4, zorder=0)
    axes.set_aspect("equal")
    axes.set(xlabel="cosine with v₊", ylabel="cosine with v₋")


def _plane(axes: Axes, circuit: dict[str, Any]) -> None:
    _lines(axes, circuit["positive"], circuit["negative"])
    for arm, (colour, marker) in enumerate(_ARMS):
        found = [feature["cosines"] for feature in circuit["inputs"] if feature["arm"] == arm]
        if found:
            axes.plot(*zip(*found, strict=True), marker, color=colour, ms=5, ls="")
    limit = 1.25 * max(abs(c) for feature in circuit["inputs"] for c in feature["cosines"])
    limit = min(1.05, limit)
    axes.set(xlim=(-1.9 * limit, 1.9 * limit), ylim=(-limit, limit))
    _name(axes, circuit["inputs"], limit)
    axes.set_title(f"input features nearest to the arms (dashed) of feature {circuit['feature']}")


def _name(axes: Axes, inputs: list[dict[str, Any]], limit: float) -> None:
    """Names beside the points, in a column on either side so that none covers another."""
    for side in (-1, 1):
        some = [feature for feature in inputs if (feature["cosines"][0] >= 0) == (side > 0)]
        some.sort(key=lambda feature: feature["cosines"][1])
        for place, feature in enumerate(some):
            height = (2 * (place + 0.5) / len(some) - 1) * 0.9 * limit
            axes.annotate(
                label(feature["feature"], feature["tokens"], 2),
                feature["cosines"],
                (side * 1.1 * limit, height),
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": figures.GREY},
            )


def _planted(axes: Axes, found: dict[str, Any]) -> None:
    _lines(axes, found["positive"], found["negative"])
    axes.plot(*zip(*found["others"], strict=True), ".", color=figures.GREY, ms=4,
              label="other features")  # fmt: skip
    for feature in found["arms"]:
        colour, marker = _ARMS[feature["arm"]]
        axes.plot(*feature["cosines"], marker, color=colour, ms=7, label="planted")
    axes.set(
        title=f"a planted circuit, rank {found['rank']} of {found['features']}: "
        f"λ {found['positive']:+.2f}, {found['negative']:+.2f}",
        xlim=(-1.7, 1.7),
        ylim=(-1.05, 1.05),
    )
    axes.legend(frameon=False, fontsize=8, loc="center right")
