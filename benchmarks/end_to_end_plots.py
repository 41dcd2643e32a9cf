"""What end_to_end.py measured: times to an error, the frontier, a table and a picture.

A run's curve is its held-out error against the seconds it had trained. The time to an error is
where that curve first comes down to it, straight lines being drawn between evaluations. A run is on
the frontier if no other is at least as good in error, L0 and time, and better in one of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from quadric.errors import QuadricError
from quadric.report import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {"dense": ("#0571b0", "o"), "topk": ("#e66101", "s"), "TopK SAE": ("#777777", "^")}
"""Colour and marker of a family: told apart by shape as well as by colour."""
ERRORS = (0.8, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35)
"""The errors whose times are told."""


class Point(NamedTuple):
    """One evaluation."""

    step: int
    """Finished steps."""
    seconds: float
    """Time spent on them, evaluations left out."""
    error: float
    """Product error on held-out activations."""


@dataclass(frozen=True)
class Result:
    """One trained autoencoder."""

    name: str
    family: str
    """dense, topk or TopK SAE."""
    d_sae: int
    k: int | None
    """Latents a token keeps; None for a dense autoencoder."""
    density_weight: float | None
    """Of a dense autoencoder."""
    optimizer: str
    lr: float
    tokens: int
    """Trained on, repeats included."""
    seconds: float
    """Training alone: no data preparation, no evaluation."""
    product_error: float
    explained_variance: float
    """In the activations' own space."""
    l0: float
    """Latents that are not zero, per activation."""
    effective_l0: float
    """(Σ|z|)²/Σz², averaged over activations."""
    dead: float
    """Share of latents whose root mean square is at most 1 % of the median latent's."""
    curve: Sequence[Point]

    @property
    def used(self) -> float:
        """The L0 to compare by: exact for a sparse autoencoder, effective for a dense one."""
        return self.effective_l0 if self.k is None else self.l0

    @property
    def place(self) -> tuple[int, int, int, float]:
        """Where it stands in a list: by family, then by size."""
        family = list(LOOKS).index(self.family)
        return family, self.d_sae, self.k or 0, self.density_weight or 0.0

    @property
    def size(self) -> str:
        """What tells it from others of its family."""
        if self.k is not None:
            return f"k = {self.k}"
        penalty = f", α = {self.density_weight:g}" if self.density_weight else ""
        return f"n = {self.d_sae:,}{penalty}"


def training_curve(lines: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    """The curve of one autoencoder from the metric log of a run that trained it alone.

    The log's clock runs during evaluations. A step that ended in one counts as long as the median
    of the others. The first point is the error on the first batch, before any step.

    Raises:
        QuadricError: every step ended in an evaluation, so that none shows how long a step takes.
    """
    key = f"{name}/held_out_error"
    ends = [0.0, *(line["seconds"] for line in lines)]
    durations = [after - before for before, after in pairwise(ends)]
    plain = [duration for duration, line in zip(durations, lines, strict=True) if key not in line]
    if not plain:
        raise QuadricError(f"all {len(lines)} steps were evaluated: raise eval_every above 1")
    usual, seconds = statistics.median(plain), 0.0
    points = [Point(0, 0.0, lines[0][f"{name}/error"])]
    for duration, line in zip(durations, lines, strict=True):
        seconds += usual if key in line else duration
        if key in line:
            points.append(Point(line["step"] + 1, seconds, line[key]))
    return points


def seconds_to(curve: Sequence[Point], error: float) -> float | None:
    """When the curve first comes down to an error; None where it never does."""
    if curve[0].error <= error:
        return curve[0].seconds
    for before, after in pairwise(curve):
        if after.error <= error:
            share = (before.error - error) / (before.error - after.error)
            return before.seconds + share * (after.seconds - before.seconds)
    return None


def frontier(results: Sequence[Result]) -> list[str]:
    """The names of those that no other beats in error, L0 and time together."""
    costs = [(each.product_error, each.used, each.seconds) for each in results]
    return [
        result.name
        for result, own in zip(results, costs, strict=True)
        if not any(
            other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in costs
        )
    ]


def comparison(results: Sequence[Result], compared: tuple[int, int]) -> dict[str, Any] | None:
    """The topk autoencoder of one k against the best dense one of one size, if both were trained.

    ``dense_error_after`` is how long topk takes to the dense one's last error.
    """
    size, k = compared
    dense = [each for each in results if each.family == "dense" and each.d_sae == size]
    topk = [each for each in results if each.family == "topk" and each.k == k]
    if not dense or not topk:
        return None
    best = min(dense, key=lambda each: each.product_error)
    return {
        "topk": topk[0].name,
        "dense": best.name,
        "topk_error": topk[0].product_error,
        "dense_error": best.product_error,
        "no_worse": topk[0].product_error <= best.product_error,
        "topk_seconds": topk[0].seconds,
        "dense_seconds": best.seconds,
        "dense_error_after": seconds_to(topk[0].curve, best.product_error),
    }


def sentence(found: Mapping[str, Any]) -> str:
    """The comparison in words."""
    after = found["dense_error_after"]
    reached = "" if after is None else f", and reaches the dense one's error after {after:.0f} s"
    return (
        f"{found['topk']} is {'no worse' if found['no_worse'] else 'WORSE'} than {found['dense']}: "
        f"error {found['topk_error']:.3f} in {found['topk_seconds']:.0f} s against "
        f"{found['dense_error']:.3f} in {found['dense_seconds']:.0f} s{reached}"
    )


def results_table(results: Sequence[Result], mean_predictor: float) -> Table:
    """Error, L0 and time of every run."""
    first = results[0]
    table = Table(
        title=f"{first.tokens:,} training tokens each; the mean predictor's error is "
        f"{mean_predictor:.3f}",
        caption="L0: exact where k is given, else effective. Explained variance: in x-space; all "
        "take the norm from x, bilinear ones its sign too. ★ none is as good in error, L0 and time",
    )
    table.add_column("")
    headings = ("n", "optimiser", "error", "L0", "eff. L0", "expl. var.", "dead", "s", "tok/s", "★")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    best = frontier(results)
    for each in results:
        table.add_row(
            f"{each.family}, {each.size}",
            f"{each.d_sae:,}",
            f"{each.optimizer} {each.lr:g}",
            f"{each.product_error:.3f}",
            f"{each.used:.0f}",
            f"{each.effective_l0:.0f}",
            f"{each.explained_variance:.3f}",
            f"{each.dead:.1%}",
            f"{each.seconds:.0f}",
            f"{each.tokens / each.seconds:,.0f}",
            "★" if each.name in best else "",
        )
    return table


def times_table(results: Sequence[Result]) -> Table:
    """Seconds of training until the held-out error first comes down to each of ERRORS."""
    table = Table(title="seconds of training to an error", caption="– not reached")
    table.add_column("")
    for error in ERRORS:
        table.add_column(f"{error:g}", justify="right", no_wrap=True)
    for each in results:
        times = [seconds_to(each.curve, error) for error in ERRORS]
        cells = ["–" if time is None else f"{time:.3g}" for time in times]
        table.add_row(f"{each.family}, {each.size}", *cells)
    return table


def picture(results: Sequence[Result]) -> Figure:
    """Error against L0, and error against the seconds of training."""
    figure = figures.blank(11, 4.8)
    left, right = figure.subplots(1, 2)
    for each in results:
        colour, marker = LOOKS[each.family]
        style = "--" if each.density_weight else "-"
        # Before the first evaluation there is only the start, which a logarithm cannot show.
        shown = each.curve[1:]
        right.plot(
            [point.seconds for point in shown], [point.error for point in shown],
            color=colour, lw=1.1, alpha=0.7, ls=style,
        )  # fmt: skip
        for panel, x in ((left, each.used), (right, each.seconds)):
            panel.plot(
                x, each.product_error, marker, ms=5.5, color=colour, zorder=3,
                fillstyle="none" if each.density_weight else "full",
            )  # fmt: skip
        side = -1 if each.family == "TopK SAE" or each.density_weight else 1
        left.annotate(
            each.size, (each.used, each.product_error), textcoords="offset points",
            xytext=(-4, 6 * side), va="bottom" if side > 0 else "top", rotation=40 * side,
            fontsize=7, color=colour,
        )  # fmt: skip
    for family, (colour, marker) in LOOKS.items():
        plain = [each for each in results if each.family == family and not each.density_weight]
        plain.sort(key=lambda each: each.used)
        left.plot(
            [each.used for each in plain], [each.product_error for each in plain],
            color=colour, marker=marker, ms=5.5, lw=1.2, label=family,
        )  # fmt: skip
    _axes(left, "L0 (exact; effective for dense)", 1.05)
    _axes(right, "seconds of training", min(1.05, max(p.error for r in results for p in r.curve)))
    left.legend(frameon=False, fontsize=8, loc="upper right")
    return figure


def _axes(panel: Axes, label: str, top: float) -> None:
    """A logarithmic axis with plain numbers, and errors from zero upwards."""
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set(xlabel=label, ylabel="product error, held out", ylim=(0, top))
    panel.margins(x=0.12)
    panel.grid(alpha=0.25, lw=0.5)
