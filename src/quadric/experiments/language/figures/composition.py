"""The picture of the composition experiment: what is explained, by how many pairs, and of what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadric.experiments.experiment import Measured
from quadric.experiments.language.reading import label
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OURS, _NULL = figures.NEGATIVE, figures.POSITIVE
_LOWEST = -1.0
"""R² below this is drawn in the last bin."""


def draw(measured: Measured) -> Figure:
    """R² with its null, pairs needed, overlaps; spectra, one latent's points and its pairs."""
    data = measured.data
    figure = figures.blank(12, 7)
    (explained, pairs, inside), (spectra, points, made) = figure.subplots(2, 3)
    _explained(explained, data)
    _by_pairs(pairs, data)
    _inside(inside, data)
    _spectra(spectra, data)
    _points(points, data["shown"])
    _pairs(made, data["shown"])
    for panel in (explained, pairs, inside, spectra, points, made):
        panel.title.set_fontsize(9)
    return figure


def _explained(axes: Axes, data: dict[str, Any]) -> None:
    edges = [_LOWEST + 0.1 * place for place in range(21)]
    for key, colour, text in (
        ("r2", _OURS, "input dictionary"), ("null_r2", _NULL, "the same, rotated (null)")
    ):  # fmt: skip
        values = [max(value, _LOWEST) for value in data[key] if value is not None]
        axes.hist(values, bins=edges, color=colour, alpha=0.7, label=text)
    axes.axvline(0, color=figures.GREY, lw=0.8, ls="--")
    axes.set(
        title="output latents explained by all pairs of input latents",
        xlabel=f"R² on held-out tokens (below {_LOWEST:g} in the first bin)",
        ylabel="output latents",
    )
    axes.legend(frameon=False, fontsize=8, loc="center")


def _by_pairs(axes: Axes, data: dict[str, Any]) -> None:
    for row in data["latents"]:
        axes.plot(data["pairs"], row["by_pairs"], color=figures.GREY, lw=0.5, alpha=0.5)
    columns = zip(*(row["by_pairs"] for row in data["latents"]), strict=True)
    middle = [_median([value for value in column if value is not None]) for column in columns]
    axes.plot(data["pairs"], middle, "o-", ms=3, color=_OURS, label="median")
    whole = _median([row["pearson"] for row in data["latents"] if row["pearson"] is not None])
    axes.axhline(whole, color=_OURS, lw=0.8, ls="--", label="all pairs, median")
    axes.set(
        title=f"the {len(data['latents'])} output latents that vary most",
        xlabel="largest pairs of input latents kept",
        ylabel="correlation with the measured latent",
        xscale="log",
        ylim=(min(0.0, *(_least(row["by_pairs"]) for row in data["latents"])), 1.02),
    )
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _inside(axes: Axes, data: dict[str, Any]) -> None:
    labels = (
        ("span", "in the span of\nthe input forms"),
        ("kept", "kept by the input\nautoencoder"),
        ("cosine", "largest |cosine|\nwith one form"),
    )
    for place, (what, _) in enumerate(labels):
        for side, key, colour in ((-0.18, "overlap", _OURS), (0.18, "null", _NULL)):
            values = [max(row[key][what], _LOWEST) for row in data["latents"]]
            offsets = [0.1 * (2 * i / max(1, len(values) - 1) - 1) for i in range(len(values))]
            axes.plot(
                [place + side + offset for offset in offsets], values, "." if side < 0 else "x",
                color=colour, ms=4, label=None if place else {"overlap": "input dictionary",
                                                              "null": "rotated (null)"}[key],
            )  # fmt: skip
    axes.axhline(0, color=figures.GREY, lw=0.8, ls="--")
    axes.set_xticks(range(len(labels)), [text for _, text in labels], fontsize=8)
    axes.set(title="the forms that output latents read", ylabel="share of ‖Q‖², or |cosine|")
    axes.set_ylim(top=1.05)
    axes.legend(frameon=False, fontsize=8)


def _spectra(axes: Axes, data: dict[str, Any]) -> None:
    for row in data["latents"]:
        largest = abs(row["quartic"][0]) or 1.0
        places = range(1, len(row["quartic"]) + 1)
        values = [value / largest for value in row["quartic"]]
        axes.plot(places, [abs(v) for v in values], color=figures.GREY, lw=0.5, alpha=0.6)
        for sign, colour, marker in ((1, _NULL, "o"), (-1, _OURS, "s")):
            kept = [(p, abs(v)) for p, v in zip(places, values, strict=True) if v * sign > 0]
            axes.plot([p for p, _ in kept], [v for _, v in kept], marker, color=colour, ms=3)
    axes.plot([], [], "o", color=_NULL, ms=3, label="positive")
    axes.plot([], [], "s", color=_OURS, ms=3, label="negative")
    axes.set(
        title="output latents as forms on symmetric matrices",
        xlabel="eigenvalue, largest |λ| first",
        ylabel="|λ| / largest |λ|",
        ylim=(0, 1.05),
    )
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)


def _points(axes: Axes, shown: dict[str, Any]) -> None:
    values = shown["measured"] + shown["predicted"]
    ends = [min(values), max(values)]
    axes.plot(ends, ends, color=figures.GREY, lw=0.8, ls="--", label="equal")
    axes.plot(shown["predicted"], shown["measured"], ".", color=_OURS, ms=3, alpha=0.6)
    axes.set(
        title=f"output latent {label(shown['latent'], shown['names'], 3)}, a point is a token",
        xlabel="from all pairs of input latents",
        ylabel="measured",
    )
    axes.legend(frameon=False, fontsize=8)


def _pairs(axes: Axes, shown: dict[str, Any]) -> None:
    rows = sorted(shown["pairs"], key=lambda row: row["size"])
    colours = [_NULL if row["weight"] > 0 else _OURS for row in rows]
    axes.barh(range(len(rows)), [row["size"] for row in rows], color=colours)
    texts = [
        " × ".join(
            "1" if one is None else label(one, shown["inputs"][str(one)])
            for one in (row["first"], row["second"])
        )
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), texts, fontsize=7)
    axes.set(
        title=f"pairs that make latent {shown['latent']} (blue: weight < 0)",
        xlabel="root mean square of w·z·z over tokens",
    )


def _median(values: list[float]) -> float:
    from statistics import median

    return median(values) if values else 0.0


def _least(values: list[float | None]) -> float:
    return min((value for value in values if value is not None), default=0.0)
