"""Figures of a run as PNG files: training curves, spectra, and top tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadric.errors import QuadricError
from quadric.storage import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from quadric.runs.latents import Latent

POSITIVE, NEGATIVE, GREY = "#e66101", "#0571b0", "#777777"
"""Signs are told apart by colour-blind-safe orange and blue, and never by colour alone."""


def training_curves(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
    """Product error and Hoyer density of every autoencoder over the steps of training."""
    figure = blank(9, 3.4)
    panels = figure.subplots(1, 2)
    for panel, key, title in zip(
        panels, ("error", "density"), ("product error", "Hoyer density"), strict=True
    ):
        for name in names:
            steps = [line["step"] for line in lines]
            (curve,) = panel.plot(steps, [line[f"{name}/{key}"] for line in lines], lw=1, alpha=0.5)
            held = [line for line in lines if f"{name}/held_out_{key}" in line]
            panel.plot(
                [line["step"] for line in held],
                [line[f"{name}/held_out_{key}"] for line in held],
                "o-", ms=3, lw=1.5, color=curve.get_color(), label=f"{name}, held out",
            )  # fmt: skip
        panel.set_xlabel("step")
        panel.set_title(title)
        panel.set_ylim(0, 1)
        panel.legend(frameon=False)
    return figure


def spectra(latents: Sequence[Latent], columns: int = 4) -> Figure:
    """The eigenvalues of a few latents, largest magnitude first, signs told by colour and side."""
    rows = -(-len(latents) // columns)
    figure = blank(2.3 * columns, 1.9 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[len(latents) :]:
        panel.set_axis_off()
    for panel, latent in zip(panels, latents, strict=False):
        values = latent.eigenvalues
        colours = [POSITIVE if value > 0 else NEGATIVE for value in values]
        panel.bar(range(1, len(values) + 1), values, color=colours)
        panel.axhline(0, color=GREY, lw=0.6)
        panel.set_title(f"latent {latent.id}: {_label(latent, 2)}", fontsize=8)
        panel.tick_params(labelsize=7)
    figure.supxlabel("eigenvalue, by magnitude", fontsize=8)
    return figure


def token_table(latents: Sequence[Latent]) -> Figure:
    """A table of latents: importance, rank, the tokens they respond to most, and where."""
    figure = blank(11, 0.21 * (len(latents) + 1))
    from matplotlib.transforms import Bbox

    axes = figure.subplots()
    axes.set_axis_off()
    cells = [
        [
            str(latent.id),
            f"{latent.importance:.3f}",
            f"{latent.effective_rank:.1f}",
            f"{latent.positive}+ {latent.negative}−",
            _label(latent, 6),
            _strongest(latent),
        ]
        for latent in latents
    ]
    table = axes.table(
        cells,
        colLabels=["latent", "Σλ²", "eff. rank", "signature", "top tokens", "strongest response"],
        colWidths=[0.06, 0.06, 0.08, 0.08, 0.22, 0.5],
        cellLoc="left",
        bbox=Bbox.unit(),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (row, _), cell in table.get_celld().items():
        cell.set_linewidth(0.3)
        cell.PAD = 0.02
        cell.set_text_props(weight="bold" if row == 0 else "normal")
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    return path


def _label(latent: Latent, count: int) -> str:
    """The first distinct tokens."""
    distinct = dict.fromkeys(token.token.strip() or "␣" for token in latent.top)
    return plain("  ".join(list(distinct)[:count]))


def _strongest(latent: Latent) -> str:
    """The strongest response in its context, the token in brackets."""
    if not latent.top:
        return ""
    first = latent.top[0]
    return plain(f"{first.before[-36:]}[{first.token}]{first.after[:16]}")


def plain(text: str) -> str:
    """On one line, and safe for matplotlib's mathematics mode."""
    return " ".join(text.split()).replace("$", r"\$")


def blank(width: float, height: float) -> Figure:
    """An empty figure, in inches.

    Raises:
        QuadricError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise QuadricError("figures need matplotlib: pip install 'quadric[plot]'") from error
    return Figure(figsize=(width, height), layout="constrained")
