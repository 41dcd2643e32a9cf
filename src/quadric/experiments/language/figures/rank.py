"""The picture of the rank experiment: distributions, curves, sensitivity, one feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadric.experiments import picture
from quadric.experiments.experiment import Measured
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OURS, _NULL, _ALL = figures.NEGATIVE, figures.POSITIVE, "k"


def draw(measured: Measured) -> Figure:
    """Correlations over features by rank, beside the null; one feature's points."""
    data = measured.data
    figure = picture.blank(10, 7)
    (spread, curves), (sensitivity, scatter) = figure.subplots(2, 2)
    _spread(spread, data)
    _curves(curves, data)
    _sensitivity(sensitivity, data)
    _scatter(scatter, data["scatter"])
    for panel in (spread, curves, sensitivity, scatter):
        panel.title.set_fontsize(9)
    return figure


def _spread(axes: Axes, data: dict[str, Any]) -> None:
    """Mirrored histograms at the shown ranks: the features on the left, the null on the right."""
    places = range(len(data["shown"]))
    bins = len(data["histograms"]["active"][0])
    centres = [-1 + (2 * i + 1) / bins for i in range(bins)]
    looks = (("active", _OURS, -1, "eigenvectors"), ("null", _NULL, 1, "random frames (null)"))
    for name, colour, side, text in looks:
        for place, counts in zip(places, data["histograms"][name], strict=True):
            widest = max(counts) or 1
            axes.barh(
                centres,
                [side * 0.42 * count / widest for count in counts],
                height=2 / bins,
                left=place + 0.02 * side,
                color=colour,
                label=text if place == 0 else None,
            )
    axes.axhline(data["high"], color=figures.GREY, lw=0.8, ls="--")
    axes.set(
        title=f"{data['sampled']} features on at {data['minimum']} or more tokens",
        xlabel="rank (bars: features, each side scaled by its fullest bin)",
        ylabel="correlation where the feature is on",
        ylim=(-1.4, 1.02),
    )
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    axes.set_xticks(places, [str(rank) for rank in data["shown"]])
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _curves(axes: Axes, data: dict[str, Any]) -> None:
    looks = (
        ("active", _OURS, "-", "feature on"),
        ("everywhere", _ALL, "--", "all tokens, before TopK"),
        ("null", _NULL, ":", "feature on, random frames"),
    )
    for name, colour, style, text in looks:
        curve = data["curves"][name]
        ranks = range(1, len(curve["mean"]) + 1)
        axes.plot(ranks, curve["mean"], color=colour, ls=style, label=text)
        if name != "everywhere":
            axes.fill_between(ranks, curve["low"], curve["high"], color=colour, alpha=0.15, lw=0)
    axes.axhline(data["high"], color=figures.GREY, lw=0.8, ls="--")
    axes.set(
        title="mean over features (bands: quartiles)",
        xlabel=f"rank, of {data['full_rank']}",
        ylabel="correlation",
        xscale="log",
        ylim=(min(0.0, *data["curves"]["null"]["low"]) - 0.35, 1.02),  # the legend's place
    )
    ticks = [rank for rank in (1, 2, 4, 8, 16, 32, 64) if rank <= len(ranks)]
    axes.set_xticks(ticks, [str(rank) for rank in ticks])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _sensitivity(axes: Axes, data: dict[str, Any]) -> None:
    looks = (("1", _NULL, "s--", "one eigenvector"), ("2", _OURS, "o-", "two eigenvectors"))
    rows = []
    for rank, colour, style, text in looks:
        rows = [row for row in data["sensitivity"].get(rank, []) if row["features"]]
        shares = [100 * row["high"] for row in rows]
        axes.plot(range(len(rows)), shares, style, color=colour, ms=4, label=text)
    axes.set_xticks(
        range(len(rows)), [f"{row['minimum']:g}\n({row['features']:g})" for row in rows]
    )
    axes.set(
        title=f"features with a correlation above {data['high']:g}",
        xlabel="on at so many tokens or more (features left)",
        ylabel="share of features (%)",
        ylim=(-2, 102),
    )
    axes.legend(frameon=False, fontsize=8)


def _scatter(axes: Axes, scatter: dict[str, Any]) -> None:
    looks = (("off", figures.GREY, ".", "off"), ("on", _OURS, "o", "on (TopK keeps it)"))
    for name, colour, marker, text in looks:
        if scatter[name]:
            guesses, values = zip(*scatter[name], strict=True)
            axes.scatter(guesses, values, s=9, marker=marker, color=colour, alpha=0.6, lw=0,
                         label=text)  # fmt: skip
    ends = [bound for limits in (axes.get_xlim(), axes.get_ylim()) for bound in limits]
    line = (min(ends), max(ends))
    axes.plot(line, line, color="k", lw=0.6, ls=":", scalex=False, scaley=False)
    axes.locator_params(axis="x", nbins=6)
    axes.set(
        title=f"feature {scatter['feature']}, the one of median correlation (dotted: equal)",
        xlabel=f"approximation of rank {scatter['rank']}",
        ylabel="measured value before TopK",
    )
    axes.legend(frameon=False, fontsize=8)
