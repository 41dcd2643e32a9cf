"""The price of sparsity: density against error over the density weight, for the four variants.

    quadric experiment frontier --quick

Trains each variant at each weight twice on the same batches: with the paper's own transform (raw
activations at unit norm, unsymmetrised atoms) and with quadric's (centred, symmetrised). Raw
activations of a language model share large directions, so that even a constant answer has an error
well below 1 on them; each frontier therefore stands beside its constant predictor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from quadric.experiments import grid, picture
from quadric.experiments.experiment import (
    PAPER,
    Comparison,
    Experiment,
    Measured,
    Request,
    Settings,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRANSFORMS: dict[str, dict[str, Any]] = {"paper": grid.PAPER_TRANSFORM, "quadric": {}}
LOW, HIGH, GOAL = 0.2, 0.6, 0.1
"""The published region: densities from LOW to HIGH with an error below GOAL."""


def measure(request: Request) -> Measured:
    """Train the grid and measure error and density on held-out activations."""
    data = grid.open_for(request)
    configs = {
        f"{transform}-{variant}-{weight:g}": grid.configure(
            request.settings, data.source.d_in, variant, weight, **parts
        )
        for transform, parts in TRANSFORMS.items()
        for variant in grid.VARIANTS
        for weight in request.settings.weights
    }
    trained = grid.train_grid(request, data, configs)
    figures = grid.figures_of(trained)
    points = [
        {"transform": name.partition("-")[0], **values, "curve": trained.curves[name]}
        for name, values in figures.items()
    ]
    return Measured({"origin": grid.origin(trained), "points": points})


def draw(measured: Measured) -> Figure:
    """Error over density, one panel per transform; a dashed line is the constant predictor."""
    figure = picture.blank(8.4, 3.5)
    panels = figure.subplots(1, len(TRANSFORMS), sharey=True)
    for panel, transform in zip(panels, TRANSFORMS, strict=True):
        points = [p for p in measured.data["points"] if p["transform"] == transform]
        for variant in grid.VARIANTS:
            row = sorted(of_variant(points, variant), key=lambda p: p["density"])
            picture.line(
                panel, variant, [p["density"] for p in row], [p["product_error"] for p in row]
            )
        constant = points[0]["product_error_mean_predictor"]
        panel.axhline(constant, color="k", ls="--", lw=0.8)
        panel.annotate(
            "constant predictor", (0.02, constant), textcoords="offset points", xytext=(0, 3),
            fontsize=7,
        )  # fmt: skip
        if transform == "paper":
            panel.fill_between([LOW, HIGH], 0, GOAL, color="k", alpha=0.12, lw=0)
            panel.annotate(
                "published region", ((LOW + HIGH) / 2, GOAL / 2), fontsize=7, ha="center",
                va="center",
            )  # fmt: skip
        widest = max(p["density"] for p in measured.data["points"])
        panel.set(xlim=(0, max(0.7, 1.08 * widest)), ylim=(0, 1.05))
        panel.set(xlabel="Hoyer density", title=f"{transform} input")
    panels[0].set_ylabel("product error")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether an error below 0.1 is reached at densities of 0.2 to 0.6."""
    points = [p for p in measured.data["points"] if p["transform"] == "paper"]
    constant, origin = points[0]["product_error_mean_predictor"], measured.data["origin"]
    best = {
        variant: min(
            (p["product_error"] for p in inside(of_variant(points, variant))), default=None
        )
        for variant in grid.VARIANTS
    }
    reached = [variant for variant, error in best.items() if error is not None and error < GOAL]
    own = [p for p in measured.data["points"] if p["transform"] == "quadric"]
    shown = ", ".join(
        f"{variant} {'none there' if error is None else f'{error:.3f}'}"
        for variant, error in best.items()
    )
    per = origin["products"] / origin["d_in"]
    size = f"{origin['products']} products ({per:g} per dimension), {origin['steps']} steps"
    lowest = min(own, key=lambda p: p["product_error"])
    return Comparison(
        measured=(
            f"{size}, the paper's transform: lowest errors at density {LOW} to {HIGH} {shown}; "
            f"constant predictor {constant:.3f}. With quadric's transform the lowest error is "
            f"{lowest['product_error']:.3f} at density {lowest['density']:.2f} "
            f"({lowest['variant']}), the constant predictor's "
            f"{lowest['product_error_mean_predictor']:.3f}."
        ),
        agrees=len(reached) == len(grid.VARIANTS),
        rule=f"every variant has an error below {GOAL} at some density from {LOW} to {HIGH}",
        figures={
            "constant_predictor_paper": constant,
            "constant_predictor_quadric": lowest["product_error_mean_predictor"],
            "lowest_error_quadric": lowest["product_error"],
            **{f"lowest_error_paper_{variant}": error for variant, error in best.items()},
        },
    )


def of_variant(points: Iterable[dict[str, Any]], variant: str) -> list[dict[str, Any]]:
    """The points of one variant."""
    return [point for point in points if point["variant"] == variant]


def inside(points: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points in the published range of densities."""
    return [point for point in points if LOW <= point["density"] <= HIGH]


EXPERIMENT = Experiment(
    name="frontier",
    title="Density against error for the four variants",
    statement=(
        "The error stays below 0.1 over a flat region of densities from 0.2 to 0.6 "
        "(Qwen3-0.6B-Base, layer 18, 16 products per dimension, 1,024 steps)."
    ),
    source=PAPER,
    measure=measure,
    draw=draw,
    compare=compare,
    quick=Settings(expansion=0.5, density_weights="0,0.3,1", steps=80, batch_size=1024),
)
