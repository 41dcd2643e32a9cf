"""``quadric compare``: how alike several autoencoders are, as matrices over all pairs.

    found = compare(["runs/demo", "runs/demo/twin", "someone/their-autoencoder"])
    found.measures["map_cosine"][0][1]

A place is a run, a companion's folder inside a run, or a hub id. The Gaussian measures need data:
they use the held-out activations of the first place's run, through its own input transform.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console

from quadric.autoencoders import BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.evaluation import permutation_similarity
from quadric.evaluation.similarity import (
    Moments,
    check_comparable,
    gaussian_measures,
    gaussian_products,
    input_moments,
    map_measures,
    map_product,
)
from quadric.runs.config import FILE as RUN_FILE
from quadric.runs.config import RunConfig
from quadric.runs.data import open_data
from quadric.runs.inspect import open_store
from quadric.storage import write_json

FILE = "similarity.json"
HELD_OUT_ROWS = 65_536
"""Held-out activations behind the Gaussian's moments, at most."""

MEASURES = {
    "map_cosine": "cosine of the maps X ↦ X̂",
    "map_frobenius": "the paper's Frobenius measure of the maps",
    "permutation_share": "norm explained by one partner each",
    "permutation_median_match": "median best |cos| of the forms",
    "gaussian_centred": "correlation of X̂ under the data's Gaussian",
    "gaussian_uncentred": "cosine of X̂ under the data's Gaussian",
}
"""The measures and what they say in a few words."""

Matrix = list[list[float]]


@dataclass(frozen=True)
class Comparison:
    """Similarities of several autoencoders, 1 on the diagonal."""

    names: list[str]
    """The places as they were given."""
    autoencoders: list[dict[str, Any]]
    """Of each: variant, d_sae, products, symmetric, affine, and the seed of its weights."""
    measures: dict[str, Matrix | None]
    """One matrix per measure in ``MEASURES``; None for the Gaussian ones without data."""
    gaussian_rows: int | None
    """Activations behind the Gaussian's mean and covariance; None without data."""
    gaussian_missing: str | None
    """Why there is no Gaussian measure, in words; None where there is one."""

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return asdict(self)


def compare(
    places: list[str], *, out: Path | None = None, console: Console | None = None
) -> Comparison:
    """Compare every autoencoder with every other one.

    Args:
        places: two or more runs, folders of autoencoders, or hub ids.
        out: a folder for ``similarity.json`` and ``similarity.png``; nothing is written when None.
        console: where progress is drawn.

    Raises:
        QuadricError: there are fewer than two, one cannot be loaded, or two cannot be compared.
    """
    if len(places) < 2:
        raise QuadricError(f"{len(places)} autoencoder given: a comparison needs two or more")
    models = [BilinearAutoencoder.from_pretrained(place).float() for place in places]
    for one, two in combinations(zip(places, models, strict=True), 2):
        try:
            check_comparable(one[1], two[1])
        except QuadricError as error:
            raise QuadricError(f"{one[0]} and {two[0]}: {error}") from error
    moments, rows, missing = _data_moments(places[0], models[0], console)
    found = Comparison(
        names=list(places),
        autoencoders=[_describe(model) for model in models],
        measures=_matrices(models, moments),
        gaussian_rows=rows,
        gaussian_missing=missing,
    )
    if out is not None:
        from quadric.report import figures, similarity

        write_json(out / FILE, found.as_dict())
        figures.save(similarity.heat_maps(found), out / "similarity.png")
    return found


def _matrices(
    models: list[BilinearAutoencoder], moments: Moments | None
) -> dict[str, Matrix | None]:
    count = len(models)
    found = {name: [[1.0] * count for _ in models] for name in MEASURES}
    squares = [map_product(model, model) for model in models]
    outputs = [gaussian_products(model, model, moments) for model in models] if moments else []
    for i in range(count):
        for j in range(i + 1, count):
            one, two = models[i], models[j]
            values = [
                *map_measures(map_product(one, two), squares[i], squares[j]),
                *permutation_similarity(one, two),
            ]
            if moments:
                cross = gaussian_products(one, two, moments)
                values += gaussian_measures(cross, outputs[i], outputs[j])
            for name, value in zip(MEASURES, values, strict=False):
                found[name][i][j] = found[name][j][i] = value
    without = () if moments else ("gaussian_centred", "gaussian_uncentred")
    return {name: None if name in without else matrix for name, matrix in found.items()}


def _data_moments(
    place: str, model: BilinearAutoencoder, console: Console | None
) -> tuple[Moments | None, int | None, str | None]:
    """Moments of the held-out data behind an autoencoder, their rows, or why there are none."""
    folder = Path(place)
    homes = [home for home in (folder, folder.parent) if (home / RUN_FILE).is_file()]
    if not homes:
        return None, None, f"{place} does not lie in a run, so its data is not known"
    config = RunConfig.read(homes[0])
    # Only what is already on disk: a comparison starts no language model.
    if open_store(config) is None:
        return None, None, f"the activations of {homes[0]} are not on this machine"
    data = open_data(
        config.data,
        config.harvest,
        batch_size=config.training.batch_size,
        seed=config.training.seed,
        console=console,
    )
    x = data.source.held_out(HELD_OUT_ROWS)
    if len(x) < 2:
        return None, None, f"{homes[0]} holds out {len(x)} activation: a Gaussian needs two"
    return input_moments(model, x), len(x), None


def _describe(model: BilinearAutoencoder) -> dict[str, Any]:
    config = model.config
    return {
        "variant": config.variant,
        "d_sae": config.d_sae,
        "factors": config.factors,
        "symmetric": config.symmetric,
        "affine": config.affine,
        "seed": config.seed,
    }
