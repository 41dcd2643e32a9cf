"""Manifolds in their slices: points along three axes of a form, coloured by its signed value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from quadric.report.figures import NEGATIVE, POSITIVE, blank, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from quadric.manifolds.discovery import Manifold
    from quadric.manifolds.labels import Label

NAMED = 12
"""Token types written into a panel: the most frequent ones, at their mean."""
COLUMNS = 4


def grid(
    manifolds: Sequence[Manifold],
    labels: Sequence[Label],
    names: Sequence[Sequence[str] | None],
) -> Figure:
    """One 3-D panel per manifold, in the order of the table.

    Args:
        manifolds: rows of the table, with their points.
        labels: a label each.
        names: the token at every point of each, where known.
    """
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("signed", [NEGATIVE, "#aaaaaa", POSITIVE])
    rows = max(1, -(-len(manifolds) // COLUMNS))
    figure = blank(3.1 * COLUMNS, 3.1 * rows)
    for place, (manifold, label, tokens) in enumerate(zip(manifolds, labels, names, strict=True)):
        panel = figure.add_subplot(rows, COLUMNS, place + 1, projection="3d")
        title = f"{manifold.rank}. {label.label or manifold.candidate.kind}"
        panel.set_title(
            plain(title[:44]) + f"\n{manifold.shape}, ring p = {manifold.p_value:.3f}", fontsize=8
        )
        panel.tick_params(labelsize=5, pad=-2)
        if manifold.points is None or not len(manifold.points.rows):
            continue
        cloud = manifold.points.coordinates[:, :3].double().numpy()
        values = np.square(cloud) @ manifold.values.double().numpy()
        bound = float(np.abs(values).max()) or 1.0
        panel.scatter(
            *cloud.T, c=values, cmap=colours, vmin=-bound, vmax=bound, s=3, alpha=0.6, linewidths=0
        )
        if tokens is not None:
            for token, _ in Counter(tokens).most_common(NAMED):
                at = cloud[[name == token for name in tokens]].mean(0)
                panel.text(*at, plain(token), fontsize=6)
    return figure
