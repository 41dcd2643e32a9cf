"""The picture of the annealing experiment: the curves of both copies, and how their gap goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quadric.experiments.experiment import Measured
from quadric.report.annealing import draw_curves
from quadric.report.figures import GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PUBLISHED = 0.05
"""What the gap was about, in nats."""


def draw(measured: Measured) -> Figure:
    """Held-out losses, how far the bilinear model is above its control, and β, over tokens."""
    data = measured.data
    figure = draw_curves(data)
    figure.set_figheight(5.6)
    losses, betas = figure.axes
    losses.set_title(
        f"{losses.get_title()}; gates removed at once {data['loss_abrupt']:.2f}", fontsize=10
    )
    grid = figure.add_gridspec(3, 1, height_ratios=(3, 1.5, 0.8))
    losses.set_subplotspec(grid[0])
    betas.set_subplotspec(grid[2])
    gap = figure.add_subplot(grid[1], sharex=losses)
    tokens = [point["tokens"] / 1e6 for point in data["curves"]["annealed"]]
    gap.plot(tokens, data["gaps"], "^-", color="k", ms=3, lw=1)
    gap.axhline(0, color=GREY, lw=0.6)
    gap.axhline(PUBLISHED, color=GREY, lw=0.8, ls="--", label=f"published: about {PUBLISHED:+g}")
    gap.set_ylabel("gap (nats)")
    gap.tick_params(labelbottom=False)
    gap.legend(frameon=False, fontsize=8)
    return figure
