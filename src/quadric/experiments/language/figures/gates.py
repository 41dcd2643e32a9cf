"""The picture of the gates experiment: curves over tokens and over time, and where they end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quadric.experiments.experiment import Measured
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {
    "identity": ("bilinear", figures.POSITIVE, "o", "-"),
    "relu": ("ReGLU", figures.GREY, "^", "--"),
    "silu": ("SwiGLU", figures.NEGATIVE, "s", ":"),
}
"""Name, colour, marker and line of a gate."""
_UNITS = ((1.0, "seconds"), (60.0, "minutes"), (3600.0, "hours"))


def draw(measured: Measured) -> Figure:
    """Held-out losses: same steps over tokens, same time over time, and all at the end."""
    runs = measured.data["runs"]
    same_steps = [run for run in runs if run["setting"] == "same_steps"]
    same_time = [run for run in runs if run["setting"] == "same_time"]
    figure = figures.blank(11, 4.4)
    grid = figure.add_gridspec(2, 3, width_ratios=(3, 3, 2.6), height_ratios=(2, 1))
    over_tokens = figure.add_subplot(grid[0, 0])
    apart = figure.add_subplot(grid[1, 0], sharex=over_tokens)
    over_time, ends = (figure.add_subplot(grid[:, column]) for column in (1, 2))
    longest = max(run["curve"]["seconds"][-1] for run in runs)
    scale, unit = [pair for pair in _UNITS if pair[0] <= max(1.0, longest / 3)][-1]
    for run in same_steps:
        _curve(over_tokens, run, _millions(run), run["curve"]["losses"])
    for run in same_time:
        time = [seconds / scale for seconds in run["curve"]["seconds"]]
        _curve(over_time, run, time, run["curve"]["losses"])
    for panel, shown in ((over_tokens, same_steps), (over_time, same_time)):
        panel.set_ylim(_range(shown, [run["curve"]["losses"] for run in shown]))
    _differences(apart, same_steps)
    over_tokens.set(title="the same steps", ylabel="held-out loss (nats)")
    over_tokens.tick_params(labelbottom=False)
    over_tokens.legend(frameon=False, fontsize=8)
    over_time.set(title="the same time", xlabel=f"{unit} of training")
    _ends(ends, runs)
    for panel in (over_tokens, over_time, ends):
        panel.title.set_fontsize(9)
    return figure


def _millions(run: Mapping[str, Any]) -> list[float]:
    return [tokens / 1e6 for tokens in run["curve"]["tokens"]]


def _differences(panel: Axes, same_steps: list[dict[str, Any]]) -> None:
    """Loss above the bilinear model's of the same seed, where the curves lie on each other."""
    (base,) = (run["curve"]["losses"] for run in same_steps if run["gate"] == "identity")
    apart = [
        [
            [one - other for one, other in zip(losses, zeros, strict=True)]
            for losses, zeros in zip(run["curve"]["losses"], base, strict=True)
        ]
        for run in same_steps
    ]
    for run, losses in zip(same_steps, apart, strict=True):
        _curve(panel, run, _millions(run), losses)
    panel.set_ylim(_range(same_steps, apart))
    panel.set(xlabel="million tokens", ylabel="to bilinear")


def _curve(panel: Axes, run: Mapping[str, Any], x: list[float], y: list[list[float]]) -> None:
    """The mean over seeds, their range behind it."""
    name, colour, marker, style = _LOOKS[run["gate"]]
    by_point = list(zip(*y, strict=True))
    mean = [sum(values) / len(values) for values in by_point]
    panel.plot(x, mean, style, color=colour, marker=marker, ms=3, lw=1.2, label=name)
    if len(y) > 1:
        low, high = ([pick(values) for values in by_point] for pick in (min, max))
        panel.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _range(runs: list[dict[str, Any]], curves: list[list[list[float]]]) -> tuple[float, float]:
    """Limits that show what follows the first fall: from a tenth of training on."""
    shown = [
        value
        for run, seeds in zip(runs, curves, strict=True)
        for values in seeds
        for step, value in zip(run["curve"]["steps"], values, strict=True)
        if 10 * step >= run["steps"]
    ]
    margin = 0.06 * (max(shown) - min(shown)) or 0.01
    return min(shown) - margin, max(shown) + margin


def _ends(panel: Axes, runs: list[dict[str, Any]]) -> None:
    """Final losses: a dot for each seed, a bar at their mean."""
    for run in runs:
        _, colour, marker, _ = _LOOKS[run["gate"]]
        place = list(_LOOKS).index(run["gate"]) + (3.6 if run["setting"] == "same_time" else 0)
        panel.plot([place] * len(run["losses"]), run["losses"], marker, color=colour, ms=5)
        panel.hlines(run["mean"], place - 0.32, place + 0.32, color=colour, lw=1.5)
        panel.annotate(
            f"{run['mean']:.3f}", (place, max(run["losses"])), (0, 6),
            textcoords="offset points", ha="center", fontsize=7,
        )  # fmt: skip
    panel.set_xticks(
        [place + offset for offset in (0, 3.6) for place in range(3)],
        [name for name, *_ in _LOOKS.values()] * 2,
        rotation=45, fontsize=8,
    )  # fmt: skip
    panel.axvline(2.8, color=figures.GREY, lw=0.6)
    panel.set(title="at the end: same steps | same time", xlim=(-0.6, 6.2))
    panel.margins(y=0.15)
