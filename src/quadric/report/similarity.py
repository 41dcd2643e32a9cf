"""A comparison of autoencoders as heat maps and as text."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from quadric.errors import QuadricError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from quadric.runs.compare import Comparison

COLUMNS = 3
ANNOTATED = 8
"""Up to so many autoencoders, every cell carries its number."""
TITLES = {
    "map_cosine": "map cosine",
    "map_frobenius": "Frobenius measure",
    "permutation_share": "permutation share",
    "permutation_median_match": "median best match",
    "gaussian_centred": "Gaussian, centred",
    "gaussian_uncentred": "Gaussian, uncentred",
}
"""Short titles of the measures."""


def heat_maps(comparison: Comparison) -> Figure:
    """One panel per measure, all on the scale from 0 to 1; numbers stand in the cells of few."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise QuadricError("figures need matplotlib: pip install 'quadric[plot]'") from error
    measures = {name: matrix for name, matrix in comparison.measures.items() if matrix}
    columns = min(COLUMNS, len(measures))
    rows = -(-len(measures) // columns)
    side = 1.8 + 0.32 * len(comparison.names)
    figure = Figure(figsize=((side + 0.3) * columns + 1.5, side * rows + 1), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flatten()[len(measures) :]:
        panel.set_axis_off()
    names = _short(comparison.names)
    for panel, (name, matrix) in zip(panels.flatten(), measures.items(), strict=False):
        image = _draw(panel, matrix)
        panel.set_title(TITLES[name], fontsize=9)
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
        panel.set_yticks(range(len(names)), names, fontsize=7)
    figure.colorbar(image, ax=panels, shrink=0.6, label="similarity")
    return figure


def render(comparison: Comparison) -> str:
    """The comparison as text: a letter per autoencoder, then one line per pair."""
    letters = [_letter(place) for place in range(len(comparison.names))]
    text = StringIO()
    console = Console(file=text, width=120)
    for letter, name, facts in zip(letters, comparison.names, comparison.autoencoders, strict=True):
        kind = f"{facts['variant']}, d_sae {facts['d_sae']}, {facts['factors']} products"
        console.print(f"{letter}  {name}  ({kind})", highlight=False, markup=False)
    console.print()
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("")
    measures = {name: matrix for name, matrix in comparison.measures.items() if matrix}
    for name in measures:
        table.add_column(TITLES[name], justify="right")
    for i, first in enumerate(letters):
        for j in range(i + 1, len(letters)):
            values = [f"{matrix[i][j]:.3f}" for matrix in measures.values()]
            table.add_row(f"{first} – {letters[j]}", *values)
    console.print(table)
    if comparison.gaussian_rows is None:
        note = f"no Gaussian measures: {comparison.gaussian_missing}"
    else:
        note = f"Gaussian of {comparison.gaussian_rows:,} held-out activations of A"
    console.print(f"\n{note}", highlight=False, markup=False)
    return text.getvalue().rstrip()


def _draw(panel: Axes, matrix: list[list[float]]) -> AxesImage:
    image = panel.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
    if len(matrix) <= ANNOTATED:
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                colour = "white" if value < 0.6 else "black"
                panel.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
    return image


def _short(names: list[str]) -> list[str]:
    """The names without the folders that all of them share, and safe for mathematics mode."""
    parts = [name.rstrip("/").split("/") for name in names]
    shared = 0
    while all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return ["/".join(part[shared:]).replace("$", r"\$") for part in parts]


def _letter(place: int) -> str:
    """A, B, …, Z, A1, B1, …"""
    return chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "")
