"""Statistics of a cloud of points that tell a manifold from a blob.

Each is a number that a Gaussian cloud, however stretched, gives as often as any other Gaussian
cloud of as many points: the points are whitened first. So one table of Gaussian draws serves as
null for every candidate (``quadric.manifolds.nulls``).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Cloud = Float[np.ndarray, "n k"]

RING_POINTS, CLUSTER_POINTS, DIMENSION_POINTS = 96, 192, 256
"""Points drawn for each statistic; fewer are too few, more cost and blur the comparison."""
FEWEST_POINTS = 32
"""A cloud smaller than this is not scored."""
SLICE = 3
"""Leading axes that make the slice which is drawn."""
CLUSTERS = (2, 3, 4, 6)
"""Numbers of clusters tried."""
DISCARDED = 0.1
"""Share of the largest distance ratios that the dimension leaves out, against stray points."""


class Ring(NamedTuple):
    """The roundest of all planes of axes."""

    persistence: float
    """Longest lifetime of a loop (H₁ of the Rips filtration) in units of the points' root mean
    square radius: √3 for a dense circle, about ⅓ for a Gaussian blob."""
    roundness: float
    """Standard deviation ÷ mean of the distances to the fitted circle's centre; 0 for a circle."""
    plane: tuple[int, int]
    """The two axes."""


def ring(points: Cloud, generator: np.random.Generator) -> Ring:
    """Look for a ring in every plane of two axes, whitened; the roundest is measured."""
    from ripser import ripser

    points = drawn(points, RING_POINTS, generator)
    found = []
    for pair in itertools.combinations(range(points.shape[1]), 2):
        flat = whitened(points[:, pair])
        found.append((_roundness(flat), pair, flat))
    roundness, plane, flat = min(found, key=lambda each: each[0])
    loops = ripser(flat, maxdim=1)["dgms"][1]
    radius = np.sqrt(np.square(flat).sum(1).mean())
    longest = float((loops[:, 1] - loops[:, 0]).max()) if len(loops) else 0.0
    return Ring(longest / radius, roundness, plane)


def dimension(points: Cloud, generator: np.random.Generator) -> float:
    """Intrinsic dimension of the whitened slice, by the ratio of the two nearest distances.

    Facco et al. 2017 (TwoNN): −log(1 − F(μ)) = d·log μ with μ = r₂/r₁, fitted through the origin.
    """
    from scipy.spatial import cKDTree

    cloud = whitened(drawn(points[:, :SLICE], DIMENSION_POINTS, generator))
    distances, _ = cKDTree(cloud).query(cloud, k=3)
    apart = distances[:, 1] > 0  # repeated points say nothing about the dimension
    ratios = np.sort(np.log(distances[apart, 2] / distances[apart, 1]))
    kept = ratios[: int((1 - DISCARDED) * len(ratios))]
    level = -np.log1p(-np.arange(1, len(kept) + 1) / max(1, len(ratios)))
    squares = float(np.square(kept).sum())
    return float((kept * level).sum() / squares) if squares > 0 else 0.0


def clustering(points: Cloud, generator: np.random.Generator) -> float:
    """The best mean silhouette of Ward's clusters in the whitened slice, over a few numbers."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist, squareform
    from sklearn.metrics import silhouette_score

    cloud = whitened(drawn(points[:, :SLICE], CLUSTER_POINTS, generator))
    tree, distances = linkage(cloud, "ward"), squareform(pdist(cloud))
    best = 0.0
    for count in CLUSTERS:
        labels = fcluster(tree, count, "maxclust")
        if 1 < len(np.unique(labels)) < len(cloud):
            best = max(best, float(silhouette_score(distances, labels, metric="precomputed")))
    return best


def whitened(points: Cloud) -> Cloud:
    """Mean zero and unit covariance, in the order of falling variance; flat directions stay 0."""
    centred = points - points.mean(0)
    turned, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    turned[:, lengths <= 1e-9 * lengths.max(initial=0.0)] = 0
    result: Cloud = turned * np.sqrt(len(points))
    return result


def drawn(points: Cloud, count: int, generator: np.random.Generator) -> Cloud:
    """Some of the points, without repetition."""
    order = generator.permutation(len(points))[:count]
    return np.asarray(points[order], dtype=np.float64)


def _roundness(flat: Float[np.ndarray, "n 2"]) -> float:
    """Spread of the radii around the algebraic circle fit |p|² = 2c·p + const.

    For whitened points its normal equations are diagonal: c = ½·mean(|p|² p).
    """
    centre = (np.square(flat).sum(1)[:, None] * flat).mean(0) / 2
    radii = np.linalg.norm(flat - centre, axis=1)
    return float(radii.std() / max(radii.mean(), 1e-12))
