"""Similarity of autoencoders as maps: a matrix over the density weight for the four variants.

    quadric experiment similarity --quick

Every autoencoder is compared with every other, and with a twin that starts from another seed. The
measure is the paper's, 2‖H_AB‖/(‖H_AA‖ + ‖H_BB‖), from the weights alone.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from quadric.autoencoders import BilinearAutoencoder
from quadric.evaluation.similarity import map_measures, map_product
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

GOAL = 0.98
COMPARABLE = 0.05
"""Two densities at most this far apart count as comparable."""


def measure(request: Request) -> Measured:
    """Train the grid and its twins on the same batches, and compare all weights."""
    data = grid.open_for(request)
    settings, d_in = request.settings, data.source.d_in
    names = [(variant, weight) for variant in grid.VARIANTS for weight in settings.weights]
    configs = {}
    for twin in (0, 1):
        for variant, weight in names:
            configs[f"{variant}-{weight:g}-{twin}"] = grid.configure(
                settings, d_in, variant, weight, seed=settings.seed + twin
            )
    trained = grid.train_grid(request, data, configs)
    figures = grid.figures_of(trained)
    labels = [f"{variant}-{weight:g}" for variant, weight in names]
    first = [trained.models[f"{label}-0"] for label in labels]
    second = [trained.models[f"{label}-1"] for label in labels]
    return Measured(
        {
            "origin": grid.origin(trained),
            "labels": labels,
            **similarities(first, second),
            "autoencoders": [figures[f"{label}-0"] for label in labels],
            "twins": [figures[f"{label}-1"] for label in labels],
        }
    )


def similarities(
    first: list[BilinearAutoencoder], second: list[BilinearAutoencoder]
) -> dict[str, Any]:
    """All pairs of the first list, and each of the first with its twin in the second.

    Returns:
        ``matrix`` (the paper's measure), ``cosines``, ``twin_similarity`` and ``twin_cosine``.
    """
    own = [map_product(model, model) for model in first]
    matrix = [[1.0] * len(first) for _ in first]
    cosines = [[1.0] * len(first) for _ in first]
    for i, j in combinations(range(len(first)), 2):
        found = map_measures(map_product(first[i], first[j]), own[i], own[j])
        matrix[i][j] = matrix[j][i] = found.frobenius
        cosines[i][j] = cosines[j][i] = found.cosine
    twins = [
        map_measures(map_product(a, b), product, map_product(b, b))
        for a, b, product in zip(first, second, own, strict=True)
    ]
    return {
        "matrix": matrix,
        "cosines": cosines,
        "twin_similarity": [twin.frobenius for twin in twins],
        "twin_cosine": [twin.cosine for twin in twins],
    }


def draw(measured: Measured) -> Figure:
    """The matrix, variants in blocks and weights ascending; the diagonal shows the twins."""
    data = measured.data
    labels = data["labels"]
    shown = [list(row) for row in data["matrix"]]
    for i, twin in enumerate(data["twin_similarity"]):
        shown[i][i] = twin
    size = max(4.4, 0.32 * len(labels))
    figure = picture.blank(size + 1, size)
    axes = figure.subplots()
    image = axes.imshow(shown, cmap="cividis", vmin=min(min(row) for row in shown), vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    block = len(labels) // len(grid.VARIANTS)
    for edge in range(block, len(labels), block):
        axes.axhline(edge - 0.5, color="w", lw=1)
        axes.axvline(edge - 0.5, color="w", lw=1)
    axes.set_title("map similarity (diagonal: another seed)", fontsize=9)
    figure.colorbar(image, shrink=0.8)
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether autoencoders of comparable density agree to 98 %."""
    data = measured.data
    densities = [figures["density"] for figures in data["autoencoders"]]
    pairs = [
        data["matrix"][i][j]
        for i, j in combinations(range(len(densities)), 2)
        if abs(densities[i] - densities[j]) <= COMPARABLE
    ]
    twins = data["twin_similarity"]
    everything = sorted([*pairs, *twins])
    lowest, median = everything[0], everything[len(everything) // 2]
    return Comparison(
        measured=(
            f"Twins from another seed agree to {min(twins):.3f}–{max(twins):.3f}"
            + (
                f"; {len(pairs)} pairs of other weight or variant whose densities differ by at "
                f"most {COMPARABLE} agree to {min(pairs):.3f}–{max(pairs):.3f}"
                if pairs
                else ""
            )
            + f". The median over all of them is {median:.3f}."
        ),
        agrees=lowest >= GOAL,
        rule=f"all twins and all pairs of comparable density reach {GOAL}",
        figures={
            "lowest": lowest,
            "median": median,
            "highest": everything[-1],
            "lowest_twin": min(twins),
            "highest_twin": max(twins),
            "comparable_pairs": len(pairs),
        },
    )


EXPERIMENT = Experiment(
    name="similarity",
    title="Similarity matrix over the density weight for the four variants",
    statement=("The Frobenius similarity of two autoencoders of comparable density exceeds 98 %."),
    source=PAPER,
    measure=measure,
    draw=draw,
    compare=compare,
    quick=Settings(expansion=0.5, density_weights="0,0.3,1", steps=80, batch_size=1024),
)
