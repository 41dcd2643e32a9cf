"""The pictures of the benchmarks: one function for each kind of result.

Every function takes the JSON that a benchmark wrote and gives a figure. What is quadric's own is
orange or blue, what it is compared with is grey; markers and line styles tell the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quadric.report.figures import GREY, NEGATIVE, POSITIVE, blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS = {"time": ("ms", "best", 1e-3), "memory": ("MiB", "extra_bytes", 2**20)}
"""A cost's unit, its key in a point of scaling.py, and how much of the key's unit makes one."""
PREDICTIONS = {"time": "flops", "memory": "predicted_bytes"}
MARKERS = "osD^vX"


def kernel(results: Mapping[str, Any]) -> Figure:
    """Time of a step against the number of atoms, and its share of the matrix-product rate."""
    figure = blank(11, 4.2)
    times, shares = figure.subplots(1, 2)
    sizes = [result["n"] for result in results["results"]]
    names = list(dict.fromkeys(row["name"] for r in results["results"] for row in r["rows"]))
    for name, marker in zip(names, MARKERS, strict=False):
        rows = [row for r in results["results"] for row in r["rows"] if row["name"] == name]
        n = [row["n"] for row in rows]
        look = {
            "color": GREY if "blocked" not in name else NEGATIVE if "f32" in name else POSITIVE,
            "ls": "--" if "symmetric" in name else "-",
            "marker": marker, "ms": 5, "lw": 1.3, "label": name,
        }  # fmt: skip
        times.plot(n, [row["median"] * 1e3 for row in rows], **look)
        shares.plot(n, [100 * row["matmul_share"] for row in rows], **look)
    for panel, text in ((times, "ms for one step"), (shares, "% of the matrix-product rate")):
        panel.set_xscale("log")
        at_values(panel, sizes)
        panel.set_xlabel("atoms n")
        panel.set_ylabel(text)
        panel.grid(alpha=0.25, lw=0.5)
    plain_logarithm(times)
    shares.set_ylim(0, 105)
    handles, labels = times.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    return figure


def train_step(result: Mapping[str, Any]) -> Figure:
    """Tokens a second and memory of every step at one dictionary size."""
    rows = list(reversed(result["rows"]))  # bars grow upwards
    figure = blank(11, 0.7 + 0.25 * len(rows))
    speeds, memories = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    colours = [
        {"dense": POSITIVE, "topk": NEGATIVE}.get(row["family"], GREY + "99") for row in rows
    ]
    for panel, values, title in (
        (speeds, [row["tokens_per_second"] for row in rows], "tokens per second"),
        (memories, [row["peak_bytes"] / 2**20 for row in rows], "peak memory, MiB"),
    ):
        bars = panel.barh([row["name"] for row in rows], values, color=colours, height=0.72)
        panel.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
        panel.set_title(title, fontsize=10)
        panel.margins(x=0.16, y=0.02)
        panel.tick_params(labelsize=8)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.locator_params(axis="x", nbins=5)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def scaling(sweeps: Sequence[Mapping[str, Any]]) -> Figure:
    """Time and memory of one loss against each factor, with the fitted line and the prediction."""
    figure = blank(2.9 * len(sweeps), 5.2)
    panels = figure.subplots(2, len(sweeps), squeeze=False)
    for column, sweep in zip(panels.T, sweeps, strict=True):
        for panel, cost in zip(column, UNITS, strict=True):
            draw_sweep(panel, sweep, cost)
    for panels_of_cost, (cost, (unit, _, _)) in zip(panels, UNITS.items(), strict=True):
        panels_of_cost[0].set_ylabel(f"{cost}, {unit}")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def draw_sweep(panel: Axes, sweep: Mapping[str, Any], cost: str) -> None:
    """One factor's points, their power law, and the predicted cost moved to their height."""
    _, key, unit = UNITS[cost]
    factor = sweep["factor"]
    values = [point[factor] for point in sweep["points"]]
    panel.set_xscale("log")
    at_values(panel, values)
    panel.set_xlabel(factor, fontsize=9)
    panel.grid(alpha=0.25, lw=0.5)
    laws = sweep["laws"].get(cost)
    if laws is None:
        panel.set_title("nothing measurable", fontsize=9)
        return
    measured, predicted = laws["measured"], laws["predicted"]
    panel.set_title(
        f"exponent {measured['exponent']:.2f}, predicted {predicted['exponent']:.2f}", fontsize=9
    )
    # One height for both lines: the fitted ones agree at the middle of the points.
    middle = [values[0] ** 0.5 * values[-1] ** 0.5]
    fitted, expected = (
        [law["factor"] * value ** law["exponent"] for value in [*values, *middle]]
        for law in (measured, predicted)
    )
    scale = fitted[-1] / expected[-1] / unit
    panel.plot(
        values, [scale * point[PREDICTIONS[cost]] for point in sweep["points"]],
        color=GREY, ls="--", lw=1.2, label="predicted, at the measured height",
    )  # fmt: skip
    panel.plot(
        values, [cost / unit for cost in fitted[:-1]], color=NEGATIVE, lw=1.2, label="power law"
    )
    panel.plot(
        values, [point[key] / unit for point in sweep["points"]],
        "o", ms=5, color=POSITIVE, label="measured",
    )  # fmt: skip
    plain_logarithm(panel)


def loop(results: Mapping[str, Any]) -> Figure:
    """Shares of a training step, each run's adding up to its whole."""
    rows = list(reversed(results["rows"]))
    figure = blank(9, 0.9 + 0.3 * len(rows))
    panel = figure.subplots()
    names = [f"{row['variant']}, n = {row['n']:,}, {row['optimizer']}" for row in rows]
    starts = [0.0] * len(rows)
    colours = (POSITIVE, NEGATIVE, GREY, "#cccccc")
    for part, colour in zip(results["parts"], colours, strict=True):
        shares = [max(0.0, 100 * row[part] / row["step"]) for row in rows]
        panel.barh(names, shares, left=starts, color=colour, height=0.7, label=part)
        starts = [start + share for start, share in zip(starts, shares, strict=True)]
    panel.set_xlim(0, 100)
    panel.set_xlabel("% of a step")
    panel.tick_params(labelsize=8)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure


def at_values(panel: Axes, values: Sequence[int]) -> None:
    """Ticks where measurements are, written short."""
    panel.set_xticks(values, [short(value) for value in values], minor=False, fontsize=8)
    panel.set_xticks([], minor=True)


def plain_logarithm(panel: Axes) -> None:
    """A logarithmic axis whose ticks are numbers, high enough that what hardly grows looks flat."""
    from matplotlib.ticker import LogLocator, NullLocator

    panel.set_yscale("log")
    low, high = panel.get_ylim()
    stretch = max(1, 3 / (high / low)) ** 0.5
    low, high = low / stretch, high * stretch
    panel.set_ylim(low, high)
    steps = (1, 1.5, 2, 3, 4, 6, 8) if high < 6 * low else (1, 2, 5)
    panel.yaxis.set_major_locator(LogLocator(subs=steps if high < 2000 * low else (1,)))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter("{x:,.10g}")
    panel.tick_params(axis="y", labelsize=8)


def short(value: int) -> str:
    """A power of two as 4k or 1M, any other number in full."""
    for size, letter in ((2**20, "M"), (2**10, "k")):
        if value >= size and value & (value - 1) == 0:
            return f"{value // size}{letter}"
    return f"{value:,}"
