"""Known classes in the plane in which they are best ordered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from quadric.manifolds.calendar import AnswerKey
from quadric.report.figures import GREY, blank, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from quadric.runs.calendar import Finding

Drawn = tuple["Finding", Float[np.ndarray, "n r"], Int[np.ndarray, " n"], AnswerKey]


def draw(drawn: Sequence[Drawn]) -> Figure:
    """A panel per class: its points, and its members' names at their means, joined in order."""
    figure = blank(4.2 * len(drawn), 4.2)
    for panel, (finding, points, places, key) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True
    ):
        if key.cyclic:
            axes = finding.order_axes
        else:
            first = finding.order_axes[0]
            axes = [first, next(axis for axis in (1, 2, 3) if axis != first)]
        flat = points[:, [axis - 1 for axis in axes]]
        colours = places / max(1, key.places - 1)
        cmap = "twilight" if key.cyclic else "viridis"
        panel.scatter(*flat.T, c=colours, cmap=cmap, vmin=0, vmax=1, s=6, alpha=0.5, linewidths=0)
        present = [place for place in range(key.places) if (places == place).sum() >= 3]
        means = np.array([flat[places == place].mean(0) for place in present])
        line = np.concatenate([means, means[:1]]) if key.cyclic else means
        panel.plot(*line.T, color=GREY, lw=0.8)
        for place, mean in zip(present, means, strict=True):
            panel.annotate(key.names[place][:5], mean, fontsize=8, ha="center")
        panel.set_title(
            f"{key.name}: rank {finding.rank} of {finding.of}\n"
            f"{plain(finding.label[:40])}\norder {finding.order:.2f}, shuffled "
            f"{finding.order_null:.2f}, p = {finding.order_p_value:.3f}",
            fontsize=8,
        )
        panel.set_xlabel(f"axis {axes[0]}", fontsize=8)
        panel.set_ylabel(f"axis {axes[1]}", fontsize=8)
        panel.tick_params(labelsize=6)
    return figure
