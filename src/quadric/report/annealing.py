"""The curves of a model that is made bilinear, beside its control."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadric.report.figures import GREY, NEGATIVE, POSITIVE, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = {"annealed": (POSITIVE, "o-"), "control": (NEGATIVE, "s--")}


def draw_curves(metrics: Mapping[str, Any]) -> Figure:
    """Held-out loss over tokens for both copies, β below, and their difference."""
    figure = blank(9, 4.2)
    losses, betas = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name, points in metrics["curves"].items():
        colour, style = _STYLES[name]
        tokens = [point["tokens"] / 1e6 for point in points]
        label = {"annealed": "β annealed to 0", "control": "control, β = 1"}[name]
        losses.plot(tokens, [p["loss"] for p in points], style, color=colour, ms=3, label=label)
        if name == "annealed":
            betas.plot(tokens, metrics["betas"], color=GREY)
    losses.axhline(metrics["loss_before"], color=GREY, lw=0.8, ls=":", label="before training")
    losses.set_ylabel("held-out loss (nats)")
    gap = metrics["gap"]
    losses.set_title(
        f"{Path(metrics['model']).name}: bilinear {metrics['loss_bilinear']:.3f}"
        + ("" if gap is None else f", {gap:+.3f} against the control")
    )
    losses.legend(frameon=False)
    betas.set_ylabel("β")
    betas.set_ylim(-0.05, 1.05)
    betas.set_xlabel("million tokens")
    return figure
