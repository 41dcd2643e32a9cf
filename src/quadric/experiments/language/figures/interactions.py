"""The picture of the interactions experiment: histograms with a null, a block, and the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadric.experiments import picture
from quadric.experiments.experiment import Measured
from quadric.experiments.language.reading import label
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PARTS = {
    "pairs": "pairs of\nfeatures",
    "linear": "single\nfeatures",
    "constant": "constants",
    "error": "dictionary\nerror",
}


def draw(measured: Measured) -> Figure:
    """One output's cross- and self-interactions, its largest ones as a block, and the division."""
    data = measured.data
    figure = picture.blank(12, 8)
    (cross, block), (self_, parts) = figure.subplots(2, 2)
    _histogram(cross, data, "cross", "2b̃ of two features")
    cross.set_title(
        f"cross-interactions of output {data['output']}: {data['outside']} beyond all of the null"
    )
    _histogram(self_, data, "self_", "b̃ of a feature with itself")
    self_.set_title(f"self-interactions of output {data['output']}")
    _block(figure, block, data)
    _parts(parts, data["division"]["shares"], data["output"])
    for panel in (cross, block, self_, parts):
        panel.title.set_fontsize(9)
    return figure


def _histogram(axes: Axes, data: dict[str, Any], name: str, xlabel: str) -> None:
    null = f"null_{name.rstrip('_')}"
    found = data["histograms"]
    axes.stairs(found[null]["counts"], data["edges"], color=figures.POSITIVE, fill=True, alpha=0.35,
                label=f"matched null, σ {found[null]['std']:.2g}")  # fmt: skip
    axes.stairs(found[name]["counts"], data["edges"], color=figures.NEGATIVE, lw=1.2,
                label=f"dictionaries, σ {found[name]['std']:.2g}")  # fmt: skip
    limit = 1.05 * max(found[name]["largest"], found[null]["largest"])
    axes.set(xlabel=xlabel, ylabel="interactions in a bin", yscale="log", ylim=(0.7, None))
    if limit:
        axes.set_xlim(-limit, limit)
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def _block(figure: Figure, axes: Axes, data: dict[str, Any]) -> None:
    values, names = data["block_values"], data["names"]
    limit = max(abs(value) for row in values for value in row) or 1.0
    image = axes.imshow(values, cmap=picture.signed_colours(), vmin=-limit, vmax=limit)
    tokens = [label(feature, names["inputs"][str(feature)]) for feature in data["side"]]
    axes.set_xticks(range(len(tokens)), tokens, rotation=55, ha="right", fontsize=7,
                    rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(tokens)), tokens, fontsize=7)
    written = label(data["output"], names["outputs"][str(data["output"])], 3)
    axes.set_title(f"largest interactions of output {written}")
    figure.colorbar(image, ax=axes, label="b̃ (off the diagonal it counts twice)", shrink=0.8)


def _parts(axes: Axes, shares: dict[str, Any], output: int) -> None:
    looks = (
        ("all", figures.NEGATIVE, -0.2, "all outputs"),
        ("output", figures.POSITIVE, 0.2, f"output {output}"),
    )
    for name, colour, step, text in looks:
        if name in shares:
            heights = [100 * shares[name][part] for part in _PARTS]
            places = [place + step for place in range(len(_PARTS))]
            bars = axes.bar(places, heights, width=0.38, color=colour, label=text)
            texts = [f"{round(height)}" for height in heights]  # never −0
            axes.bar_label(bars, texts, fontsize=7, padding=1)
    axes.axhline(0, color=figures.GREY, lw=0.6)
    axes.margins(y=0.12)
    axes.set_xticks(range(len(_PARTS)), [*_PARTS.values()])
    axes.set(
        title="what the pre-activations are made of, where features are on",
        ylabel="share, Σ part · y / Σ y² (%)",
        xlabel="what meets in a pair",
    )
    axes.legend(frameon=False, fontsize=8)
