"""Two seeds, form by form: does one dictionary hold the other's latents in another order?

    quadric experiment permutation --quick

Two vanilla and two composite autoencoders differ in the seed of their initial weights only. Beside
the similarity of the maps stands the share that the best one-to-one matching of their forms
explains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadric.autoencoders.config import Variant
from quadric.evaluation import map_similarity, permutation_similarity
from quadric.experiments import grid, picture
from quadric.experiments.experiment import (
    FOLLOW_UP,
    Comparison,
    Experiment,
    Measured,
    Request,
    Settings,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS: tuple[Variant, ...] = ("vanilla", "composite")
MEASURES = {
    "map_similarity": "map",
    "map_cosine": "map, cosine",
    "median_match": "median best match",
    "permutation_share": "one-to-one share",
}


def measure(request: Request) -> Measured:
    """Train two seeds of each kind and compare them as maps and as dictionaries."""
    data = grid.open_for(request)
    settings = request.settings
    configs = {
        f"{kind}-{twin}": grid.configure(
            settings, data.source.d_in, kind, settings.weight, seed=settings.seed + twin
        )
        for kind in KINDS
        for twin in (0, 1)
    }
    trained = grid.train_grid(request, data, configs)
    pairs: dict[str, Any] = {}
    for kind in KINDS:
        first, second = (trained.models[f"{kind}-{twin}"].cpu() for twin in (0, 1))
        whole, forms = map_similarity(first, second), permutation_similarity(first, second)
        pairs[kind] = {
            "map_similarity": whole.frobenius,
            "map_cosine": whole.cosine,
            "permutation_share": forms.share,
            "median_match": forms.median_match,
        }
    return Measured(
        {"origin": grid.origin(trained), "pairs": pairs, "autoencoders": grid.figures_of(trained)}
    )


def draw(measured: Measured) -> Figure:
    """Bars: the maps' similarity beside that of the dictionaries."""
    figure = picture.blank(6.2, 3.3)
    axes = figure.subplots()
    for place, (kind, colour) in enumerate(zip(KINDS, ("#0571b0", "#e66101"), strict=True)):
        heights = [measured.data["pairs"][kind][key] for key in MEASURES]
        bars = axes.bar(
            [x + 0.4 * (place - 0.5) for x in range(len(MEASURES))], heights, 0.38, color=colour,
            label=kind, hatch="//" if place else None, edgecolor="w",
        )  # fmt: skip
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_xticks(range(len(MEASURES)), list(MEASURES.values()))
    axes.set(ylim=(0, 1.1), ylabel="similarity of two seeds")
    axes.legend(frameon=False, fontsize=8)
    return figure


def compare(measured: Measured) -> Comparison:
    """Whether the maps agree while the dictionaries differ."""
    pairs = measured.data["pairs"]
    shown = "; ".join(
        f"{kind}: maps {found['map_similarity']:.3f} (cosine {found['map_cosine']:.3f}), best "
        f"one-to-one matching explains {found['permutation_share']:.3f}, median best match "
        f"{found['median_match']:.3f}"
        for kind, found in pairs.items()
    )
    return Comparison(
        measured=f"Two seeds of {shown}.",
        agrees=all(found["map_cosine"] > found["permutation_share"] for found in pairs.values()),
        rule="the cosine of the maps exceeds the share of the best one-to-one matching, both kinds",
        figures={
            f"{kind} {key}": value for kind, found in pairs.items() for key, value in found.items()
        },
    )


EXPERIMENT = Experiment(
    name="permutation",
    title="Permutation share: the best one-to-one matching between two seeds",
    statement=(
        "Autoencoders recover the same input subspace although their dictionary entries differ."
    ),
    source=FOLLOW_UP,
    measure=measure,
    draw=draw,
    compare=compare,
    quick=Settings(expansion=0.5, density_weights="0.3", steps=150, batch_size=1024),
)
