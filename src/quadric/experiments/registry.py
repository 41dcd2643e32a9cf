"""The list of experiments, one for each published figure."""

from __future__ import annotations

from quadric.errors import QuadricError, nearest
from quadric.experiments.experiment import Experiment
from quadric.experiments.frontier import EXPERIMENT as FRONTIER
from quadric.experiments.histogram import EXPERIMENT as HISTOGRAM
from quadric.experiments.latent_density import EXPERIMENT as LATENT_DENSITY
from quadric.experiments.layers import EXPERIMENT as LAYERS
from quadric.experiments.manifolds import EXPERIMENT as MANIFOLDS
from quadric.experiments.permutation import EXPERIMENT as PERMUTATION
from quadric.experiments.prefixes import EXPERIMENT as PREFIXES
from quadric.experiments.similarity import EXPERIMENT as SIMILARITY

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        FRONTIER,
        LAYERS,
        PREFIXES,
        HISTOGRAM,
        LATENT_DENSITY,
        SIMILARITY,
        PERMUTATION,
        MANIFOLDS,
    )
}


def find(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        QuadricError: there is none; the message names the nearest.
    """
    if name not in EXPERIMENTS:
        hint = nearest(name, EXPERIMENTS) or f"; there are {', '.join(EXPERIMENTS)}"
        raise QuadricError(f"no experiment {name!r}{hint}")
    return EXPERIMENTS[name]


def listing() -> list[dict[str, str]]:
    """Name, title, published statement and source of every experiment."""
    return [
        {
            "name": experiment.name,
            "title": experiment.title,
            "statement": experiment.statement,
            "source": experiment.source,
        }
        for experiment in EXPERIMENTS.values()
    ]
