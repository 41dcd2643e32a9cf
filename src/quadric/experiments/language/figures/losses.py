"""The picture of the losses experiment: loss added and loss recovered, by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadric.experiments.experiment import Measured
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {
    "hook_mlp_out": ("MLP outputs", figures.POSITIVE, "o"),
    "hook_resid_mid": ("residual stream before the MLP", figures.NEGATIVE, "s"),
    "mlp.hook_in": ("MLP inputs", figures.GREY, "^"),
}
"""Name, colour and marker of the places that the project's own dictionaries have."""
_OTHERS = (("#5e3c99", "D"), ("#1a9641", "v"), ("#000000", "x"))


def draw(measured: Measured) -> Figure:
    """What a dictionary at every block adds to the loss, and what of the ablation it recovers."""
    figure = figures.blank(8.8, 3.6)
    panels = figure.subplots(1, 2)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in measured.data["rows"]:
        kinds.setdefault(row["kind"], []).append(row)
    for panel, key in zip(panels, ("loss_added", "loss_recovered"), strict=True):
        _curves(panel, kinds, key)
    added, recovered = panels
    for kind, values in measured.data.get("published", {}).items():
        name, colour, marker = _look(kind, 0)
        blocks = range(1, len(values) + 1)
        added.plot(
            blocks, [100 * value for value in values], marker=marker, color=colour, ms=5, lw=1,
            ls=":", mfc="white", label=f"{name}, published", zorder=1,
        )  # fmt: skip
    added.set(title="loss added", ylabel="loss above the untouched model's (%)")
    recovered.set(title="loss recovered (0: as bad as zero)", ylabel="share of the ablation (%)")
    low, high = recovered.get_ylim()
    recovered.set_ylim(min(low, 0), max(high, 100))
    added.set_ylim(bottom=min(0, added.get_ylim()[0]))
    for panel in panels:
        panel.axhline(0, color=figures.GREY, lw=0.6)
        panel.set_xlabel("block, from 1")
        panel.locator_params(axis="x", integer=True)
        panel.title.set_fontsize(9)
    added.legend(frameon=False, fontsize=7)
    return figure


def _curves(panel: Axes, kinds: dict[str, list[dict[str, Any]]], key: str) -> None:
    """One curve per kind of hook; a place outside all blocks stands at 0."""
    place = 0
    for kind, rows in kinds.items():
        name, colour, marker = _look(kind, place)
        place += kind not in _LOOKS
        points = sorted(
            ((row["block"] + 1 if row["block"] is not None else 0), 100 * row[key])
            for row in rows
            if row[key] is not None
        )
        panel.plot(
            [block for block, _ in points], [value for _, value in points],
            marker=marker, color=colour, ms=5, lw=1.4, label=name,
        )  # fmt: skip


def _look(kind: str, place: int) -> tuple[str, str, str]:
    return _LOOKS.get(kind) or (kind, *_OTHERS[place % len(_OTHERS)])
