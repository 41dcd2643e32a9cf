"""Singular components as a picture: strengths, accuracy when cut, and the leading ones in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadric.experiments.experiment import Measured
from quadric.experiments.vision.figures import pixels
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

LOOKS = {"hidden": (figures.POSITIVE, "products"), "classes": (figures.NEGATIVE, "classes")}


def draw(measured: Measured) -> Figure:
    """Strength and accuracy by component above; the leading components of one model each below.

    The products are those of the first model, the classes those of the last.
    """
    models = measured.data["models"]
    first, last = models[0], models[-1]
    blocks = [("hidden", first), ("classes", last)]
    heights = [2.6, *(1.1 * (1 + len(model[outputs]["values"][0])) + 0.5
                      for outputs, model in blocks)]  # fmt: skip
    figure = figures.blank(1.5 * max(5, len(first["hidden"]["values"])), sum(heights))
    figure.set_layout_engine(None)
    rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    top, *parts = rows.tolist()
    strengths, accuracies = top.subplots(1, 2)
    top.subplots_adjust(left=0.1, right=0.98, bottom=0.2, top=0.94, wspace=0.32)
    for outputs, model in blocks:
        _draw_curves(strengths, accuracies, outputs, model)
    accuracies.set_xlim(0, max(len(model[outputs]["accuracies"]) for outputs, model in blocks))
    for part, (outputs, model) in zip(parts, blocks, strict=True):
        _draw_components(part, outputs, model)
    return figure


def _draw_curves(strengths: Axes, accuracies: Axes, outputs: str, model: dict[str, Any]) -> None:
    colour, name = LOOKS[outputs]
    values, curve = model[outputs]["singular_values"], model[outputs]["accuracies"]
    label = f"{name} ({_size(model)})"
    strengths.semilogy(range(1, len(values) + 1), values, color=colour, lw=1.4)
    strengths.set_xlabel("component", fontsize=8)
    strengths.set_ylabel("singular value σ", fontsize=8)
    accuracies.plot(range(len(curve)), curve, color=colour, lw=1.4, label=label)
    accuracies.axhline(model["test_accuracy"], color=colour, lw=0.7, ls=":")
    accuracies.set_xlabel("components kept", fontsize=8)
    accuracies.set_ylabel("test accuracy", fontsize=8)
    accuracies.set_xscale("symlog", linthresh=10)
    accuracies.set_xticks([0, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    accuracies.xaxis.set_major_formatter("{x:g}")
    accuracies.minorticks_off()
    accuracies.legend(frameon=False, fontsize=7, loc="lower right")
    for axes in (strengths, accuracies):
        axes.tick_params(labelsize=7, which="both")
        axes.spines[["top", "right"]].set_visible(False)


def _size(model: dict[str, Any]) -> str:
    reads = "pixels" if model["embedding"] is None else f"an embedding of {model['embedding']}"
    return f"{model['dataset']}, {model['products']} products of {reads}"


def _draw_components(part: SubFigure, outputs: str, model: dict[str, Any]) -> None:
    found = model[outputs]
    count, k = len(found["values"]), len(found["values"][0])
    part.suptitle(
        f"leading components of the {LOOKS[outputs][1]} ({_size(model)}): what they add to each "
        "class, and their eigenvectors",
        fontsize=8,
    )
    grid = part.add_gridspec(
        1 + k, count, left=0.03, right=0.98, bottom=0.02, top=0.87, hspace=0.4, wspace=0.2
    )
    for column in range(count):
        bars = part.add_subplot(grid[0, column])
        readout = found["readout"][column]
        colours = [figures.POSITIVE if value > 0 else figures.NEGATIVE for value in readout]
        bars.bar(range(len(readout)), readout, color=colours)
        bars.axhline(0, color=figures.GREY, lw=0.6)
        bars.set_title(f"σ = {found['singular_values'][column]:.3g}", fontsize=8)
        bars.set_yticks([])
        if len(readout) <= 10:
            names = [figures.plain(name)[:5] for name in model["names"]]
            turned = 90 if max(map(len, names)) > 1 else 0
            bars.set_xticks(range(len(readout)), names, fontsize=6, rotation=turned)
        else:
            bars.set_xticks([])
        bars.tick_params(length=0, pad=1)
        bars.spines[["top", "right", "left", "bottom"]].set_visible(False)
        for row in range(k):
            panel = part.add_subplot(grid[1 + row, column])
            value = found["values"][column][row]
            pixels.show(panel, found["images"][column][row], model["shape"], f"λ = {value:+.2f}")
