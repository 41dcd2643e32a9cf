"""The picture of the similarity experiment: six panels on runs, orders, sizes and sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quadric.experiments import picture
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.sizes import colours
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ORDERS = {
    "abs": ("largest |λ|", "k"),
    "pos": ("most positive λ", figures.POSITIVE),
    "neg": ("most negative λ", figures.NEGATIVE),
}
_SETS = {
    "ordered": ("same rank", "k", "-"),
    "matched": ("best matching", figures.POSITIVE, "--"),
    "subspace": ("spans", figures.NEGATIVE, ":"),
}


def draw(measured: Measured) -> Figure:
    """Same size by rank, the published average, three orders; then across sizes, and as sets."""
    data = measured.data
    shades = dict(
        zip([size["size"] for size in data["sizes"]], colours(len(data["sizes"])), strict=True)
    )
    sizes = [size for size in data["sizes"] if size["orders"]]
    figure = picture.blank(11, 6.6)
    (same, published, orders), (against, top, sets) = figure.subplots(2, 3)
    for size in sizes:
        label, colour = size["size"], shades[size["size"]]
        _curve(same, size["orders"]["abs"], colour, label)
        # Beyond its negative eigenvalues a narrow model's order ends at the most positive ones.
        negative = max(1, size["orders"]["neg"]["signed"])
        _curve(published, size["orders"]["neg"], colour, label, negative)
        counted = size["orders"]["neg"]["published"][:negative]
        published.plot(_ranks(counted), counted, color=colour, ls="--", lw=1)
    if sizes:
        _nulls(same, data, sizes[-1]["orders"]["abs"]["other_classes"])
        _three(orders, data, sizes[-1])
        for key, (label, colour, style) in _SETS.items():
            values = sizes[-1]["sets"][key]
            sets.plot(_ranks(values), values, color=colour, ls=style, label=label)
    for label, found in zip(shades, data["against"]["abs"], strict=True):
        if found is not None:
            _curve(against, found, shades[label], label)
    _matrix(top, data)
    last = sizes[-1]["size"] if sizes else ""
    titles = {
        same: "runs of one size, by |λ|",
        published: "by most negative λ (dashed: as published)",
        orders: f"three orders, size {last}",
        against: f"with runs of size {data['reference']}, by |λ|",
        sets: f"the first r together, size {last}",
    }
    for panel, title in titles.items():
        _finish(panel, title, data["sizes"], sizes)
    sets.set_xlabel("r, eigenvectors of largest |λ|")
    return figure


def _curve(
    axes: Axes, found: dict[str, Any], colour: Any, label: str, ranks: int | None = None
) -> None:
    """A mean by rank with its interval, within what a |cos| can be."""
    mean = found["mean"][:ranks]
    axes.plot(_ranks(mean), mean, color=colour, label=label)
    if found["half"] is not None:
        half = found["half"][:ranks]
        low = [max(0.0, m - h) for m, h in zip(mean, half, strict=True)]
        high = [min(1.0, m + h) for m, h in zip(mean, half, strict=True)]
        axes.fill_between(_ranks(mean), low, high, color=colour, alpha=0.1, lw=0)


def _nulls(axes: Axes, data: dict[str, Any], others: Sequence[float]) -> None:
    axes.plot(_ranks(others), others, color=figures.GREY, ls="--", label="other classes")
    axes.axhline(data["floor"], color=figures.GREY, lw=0.9, ls=":", label="random")


def _three(axes: Axes, data: dict[str, Any], size: dict[str, Any]) -> None:
    """The orders as far as their eigenvalues have the sign that leads."""
    for by, (label, colour) in _ORDERS.items():
        found = size["orders"][by]
        _curve(axes, found, colour, label, ranks=max(1, found["signed"]))
    _nulls(axes, data, size["orders"]["abs"]["other_classes"])


def _matrix(axes: Axes, data: dict[str, Any]) -> None:
    """Top eigenvectors of every size with every size; nothing where a run would meet itself."""
    labels = [size["size"] for size in data["sizes"]]
    rows = [[float("nan") if v is None else v for v in row] for row in data["top"]["abs"]]
    axes.imshow(rows, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    for i, row in enumerate(data["top"]["abs"]):
        for j, value in enumerate(row):
            text, colour = ("–", "k") if value is None else (f"{value:.2f}", "w")
            if value is not None and value > 0.6:
                colour = "k"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_title("top eigenvectors between sizes, by |λ|: mean |cos|", fontsize=9)
    axes.set(xlabel="size", ylabel="size")


def _finish(
    axes: Axes, title: str, every: Sequence[dict[str, Any]], sizes: Sequence[dict[str, Any]]
) -> None:
    axes.set_title(title, fontsize=9)
    axes.set(xlabel="rank of the eigenvector", ylabel="mean |cos|", ylim=(0, 1.02))
    axes.locator_params(axis="x", integer=True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=7)
    elif not sizes and every:
        axes.text(
            0.5, 0.5, "one run of each size", ha="center", color=figures.GREY,
            transform=axes.transAxes,
        )  # fmt: skip


def _ranks(values: Sequence[float]) -> range:
    return range(1, len(values) + 1)
