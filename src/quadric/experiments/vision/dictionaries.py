"""What two experiments with dictionaries share: their sizes, which one decides, and its curves.

A dictionary that spans the outputs is rebuilt exactly by its pseudo-inverse, and one whose features
are all active at once leaves nothing out: neither decides anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quadric.errors import QuadricError
from quadric.vision.dictionary import DictionaryConfig, Recovered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWS = 5
"""Random dictionaries behind a baseline."""


def configurations(
    features: str, k: int, steps: int, seed: int, *, outputs: int
) -> list[DictionaryConfig]:
    """Dictionaries of the sizes in ``features``, per output, for a layer with so many outputs.

    Raises:
        QuadricError: ``features`` holds something else than numbers, or a value is out of range.
    """
    try:
        shares = {float(part) for part in features.split(",") if part.strip()}
    except ValueError:
        shares = set()
    if not shares or any(not 0 < share <= 100 for share in shares):
        raise QuadricError(
            f"features is {features!r}, expected features per output such as 0.5,1,2"
        )
    if k < 1:
        raise QuadricError(f"k is {k}, expected 1 or more")
    sizes = sorted({max(1, round(share * outputs)) for share in shares})
    return [DictionaryConfig(size, min(k, size), steps=steps, seed=seed) for size in sizes]


def decisive(model: dict[str, Any], rank: str) -> dict[str, Any] | None:
    """A model's smallest dictionary that leaves features out of a code and does not span."""
    for entry in model["dictionaries"]:
        if entry["k"] < entry["features"] and entry[rank] < model["outputs"]:
            return dict(entry)
    return None


def averaged(found: Sequence[Recovered]) -> dict[str, float]:
    """The mean over several dictionaries."""
    return {key: statistics.fmean(getattr(one, key) for one in found) for key in Recovered._fields}


def draw_curves(
    axes: Axes, models: Sequence[dict[str, Any]], looks: Mapping[str, tuple[str, str, str]]
) -> None:
    """Loss recovered by dictionary size, one line per model and way; colour, marker and label."""
    for place, model in enumerate(models):
        entries = model["dictionaries"]
        sizes = [entry["features"] / model["outputs"] for entry in entries]
        for key, (colour, marker, label) in looks.items():
            axes.plot(
                sizes, [entry[key]["share"] for entry in entries], marker=marker, color=colour,
                ms=4, lw=1.2, alpha=0.85, label=label if place == 0 else None,
            )  # fmt: skip
    lowest = min(
        entry[key]["share"]
        for model in models for entry in model["dictionaries"] for key in looks if key != "random"
    )  # fmt: skip
    axes.axhline(1, color="#bbbbbb", lw=0.7, ls=":", zorder=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(max(-0.1, 1.35 * lowest - 0.35 - 0.05), 1.03)
    axes.set(xlabel="features per output", ylabel="share of the loss recovered")
    axes.legend(frameon=False, fontsize=7.5, loc="lower right")
