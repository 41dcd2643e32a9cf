"""Three ways of finding planted manifolds, on the same activations, scored alike.

    rows = bench(FULL)          # or QUICK
    rows[0].method, rows[0].score.recall, rows[0].score.best_angles

For every superposition, noise and seed:

- **quadric**: a composite autoencoder is trained and ``discover`` ranks its manifolds; those with
  a p-value of at most ``level`` count as found, by their slices of three axes, each plane once.
- **topk**: a TopK sparse autoencoder is trained, its decoder directions are clustered by cosine,
  and the leading three principal axes of every cluster of three or more count as found.
- **pca**: the principal components, three at a time, as many slices as there are manifolds.

All three see the same transformed activations, and scores are taken in that space, in which a
planted span keeps its directions. Only PCA is told how many manifolds there are.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder, InputTransform
from quadric.baselines import TopKAutoencoder, train_topk
from quadric.manifolds.discovery import LEVEL, discover
from quadric.manifolds.matching import FOUND, Score, principal_angles, score
from quadric.manifolds.planted import Planted, PlantedConfig, plant
from quadric.training import TrainingConfig, train

AXES = 3
"""Dimensions of a found slice."""
SAMPLE_SEED = 1 << 32
"""The seed of the rows that discovery looks at, which no training batch has."""
ALIVE = 1e-3
"""A TopK latent active on a smaller share of the rows is left out of the clustering."""


@dataclass(frozen=True)
class BenchConfig:
    """Which settings are tried, and with what."""

    superpositions: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Planted dimensions per dimension of the space."""
    noises: tuple[float, ...] = (0.05, 0.3)
    """Root mean square lengths of the noise, beside manifolds and features of length 1."""
    seeds: int = 2
    """Repetitions of each setting, each with its own plants and weights."""
    manifolds: tuple[str, ...] = ("circle", "circle", "circle")
    """The kinds planted in every setting."""
    d: int = 48
    """Width of the activations."""
    expansion: float = 4 / 3
    """Composites of the bilinear autoencoder per planted dimension. Far more of them than there is
    to learn share one manifold among several, fewer must hold two things each."""
    block: int = 2
    """Products per composite."""
    density_weight: float = 0.3
    """Weight of its Hoyer density."""
    topk_latents: int = 256
    """Latents of the TopK autoencoder: enough to lay several around a circle."""
    topk_active: int = 2
    """Its latents per row."""
    topk_distance: float = 0.3
    """Cosine distance below which decoder directions join a cluster."""
    steps: int = 300
    """Training steps of both."""
    batch_size: int = 2048
    """Activations per step of both."""
    rows: int = 8192
    """Activations that discovery and PCA look at."""
    level: float = LEVEL
    """A manifold of quadric's list counts as found when its p-value is at most this."""


FULL = BenchConfig()
"""What ``quadric bench manifolds`` runs: about ten minutes on two cores."""
QUICK = BenchConfig(superpositions=(0.5, 2.0), noises=(0.05,), seeds=1)
"""Two settings, in under two minutes."""


class Found(NamedTuple):
    """What one method makes of the activations."""

    slices: list[Float[Tensor, "k d"]]
    """The subspaces it reports, best first where it ranks them."""
    errors: Float[Tensor, " rows"]
    """‖X − X̂‖²/‖X‖² of every activation."""
    null_level: float | None = None
    """Reports that chance allows, where the method says so."""


class Row(NamedTuple):
    """One method on one setting with one seed."""

    method: str
    """quadric, topk or pca."""
    superposition: float
    """The setting's superposition."""
    noise: float
    """The setting's noise."""
    seed: int
    """The seed of plants and weights."""
    score: Score
    """What was found of what is planted."""
    null_level: float | None
    """False positives that chance allows: level × forms examined. Only quadric states one."""
    product_error: float
    """‖X − X̂‖²/‖X‖² of the autoencoder, or of projecting on PCA's slices."""
    seconds: float
    """Training and discovery together."""


def bench(config: BenchConfig, console: Console | None = None) -> list[Row]:
    """Run every method on every setting; ``console`` hears of each when it is done."""
    grid = list(itertools.product(config.superpositions, config.noises, range(config.seeds)))
    rows: list[Row] = []
    for number, (superposition, noise, seed) in enumerate(grid, 1):
        planted = plant(
            PlantedConfig(
                d=config.d,
                manifolds=config.manifolds,
                superposition=superposition,
                noise=noise,
                seed=seed,
            )
        )
        rows += compare_methods(planted, config, seed)
        if console is not None:
            recalls = ", ".join(f"{row.method} {row.score.recall:.2f}" for row in rows[-3:])
            console.print(
                f"{number}/{len(grid)} superposition {superposition:g}, noise {noise:g}, "
                f"seed {seed}: recall {recalls}",
                highlight=False,
            )
    return rows


def compare_methods(planted: Planted, config: BenchConfig, seed: int) -> Iterator[Row]:
    """Run every method on one planted world."""
    x = planted.sample(config.rows, SAMPLE_SEED).x
    methods: dict[str, Callable[[], Found]] = {
        "quadric": lambda: _quadric(planted, x, config, seed),
        "topk": lambda: _topk(planted, x, config, seed),
        "pca": lambda: _pca(x, len(planted.bases)),
    }
    for name, method in methods.items():
        started = time.monotonic()
        found = method()
        yield Row(
            method=name,
            superposition=planted.config.superposition,
            noise=planted.config.noise,
            seed=seed,
            score=score(planted.bases, found.slices),
            null_level=found.null_level,
            product_error=found.errors.mean().item(),
            seconds=time.monotonic() - started,
        )


def train_composites(planted: Planted, config: BenchConfig, seed: int) -> BilinearAutoencoder:
    """The bilinear autoencoder of the bench."""
    autoencoder = AutoencoderConfig(
        d_in=config.d,
        d_sae=round(config.expansion * planted.config.superposition * config.d),
        variant="composite",
        block=config.block,
        density_weight=config.density_weight,
        seed=seed,
    )
    training = TrainingConfig(
        steps=config.steps, batch_size=config.batch_size, eval_every=config.steps,
        product_dtype="float32", device="cpu",
    )  # fmt: skip
    source = planted.source(config.batch_size, seed)
    with tempfile.TemporaryDirectory() as folder:
        return train(source, {"main": autoencoder}, training, Path(folder))["main"]


def cluster_directions(
    directions: Float[Tensor, "latents d"], distance: float
) -> list[Float[Tensor, "3 d"]]:
    """Slices from unit directions: clusters of at least three, and their leading three axes.

    Single-linkage agglomeration by 1 − |cosine|: directions that lie around a circle are each near
    the next, not near the opposite ones.
    """
    from sklearn.cluster import AgglomerativeClustering

    if len(directions) < AXES:
        return []
    distances = (1 - (directions @ directions.T).abs()).clamp_min(0).fill_diagonal_(0)
    clustering = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="precomputed", linkage="single"
    )
    labels = torch.from_numpy(clustering.fit(distances.double().numpy()).labels_)
    clusters = (directions[labels == label].double() for label in range(clustering.n_clusters_))
    return [_leading(cluster) for cluster in clusters if len(cluster) >= AXES]


def distinct(slices: Sequence[Float[Tensor, "3 d"]]) -> list[Float[Tensor, "3 d"]]:
    """The slices that share no plane with an earlier one.

    Several forms may lie in one plane, and a group of forms beside its members: a circle alone has
    three independent forms. Two slices share a plane when two of their principal angles are less
    than ``FOUND`` degrees.
    """
    kept: list[Tensor] = []
    for slice_ in slices:
        if all(principal_angles(slice_, other)[1] > FOUND for other in kept):
            kept.append(slice_)
    return kept


def _quadric(planted: Planted, x: Tensor, config: BenchConfig, seed: int) -> Found:
    model = train_composites(planted, config, seed)
    ranked = discover(model, x, seed=seed)
    evident = [manifold.axes for manifold in ranked if manifold.p_value <= config.level]
    return Found(distinct(evident), model.product_error(x), config.level * len(ranked))


def _topk(planted: Planted, x: Tensor, config: BenchConfig, seed: int) -> Found:
    source = planted.source(config.batch_size, seed)
    model = train_topk(
        source, config.topk_latents, config.topk_active, steps=config.steps, lr=5e-3, seed=seed
    )
    slices = cluster_directions(_alive(model, x), config.topk_distance)
    return Found(distinct(slices), model.product_error(x))


@torch.no_grad()
def _alive(model: TopKAutoencoder, x: Tensor) -> Tensor:
    """The decoder directions in use."""
    return model.decoder[(model.encode(x) > 0).float().mean(0) > ALIVE]


def _pca(x: Tensor, slices: int) -> Found:
    y = InputTransform(x.shape[1], centre=True, scale="none", norm="unit").fit(x).apply_to(x).y
    components = _leading(y.double(), AXES * slices)
    inside = (y.double() @ components.T).square().sum(1)
    # ŷ = Py gives ‖yyᵀ − ŷŷᵀ‖² = 1 − ‖Py‖⁴ for a unit vector y.
    return Found(list(torch.split(components, AXES)), 1 - inside.square())


def _leading(rows: Tensor, count: int = AXES) -> Tensor:
    """The leading right singular vectors of some rows."""
    axes: Tensor = torch.linalg.svd(rows, full_matrices=False).Vh
    return axes[:count].contiguous()
