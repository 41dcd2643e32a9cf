"""Where forms lie on the map, from the weights alone.

    places = layout(neighbours, overlaps)        # (forms, 2), −1 … 1

The input is a graph: every form with its nearest others by the cosine of their forms. Near means
near on the graph; distances across the map mean nothing. Up to ``MOST_BY_TSNE`` forms it is
t-SNE's, from a spectral start; of more, whose t-SNE would take minutes, neighbours attract and
strangers repel each other for a few rounds from the same start. The same graph gives the same map.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from quadric.errors import QuadricError

NEIGHBOURS = 16
"""Neighbours of a form that the map looks at."""
MOST_BY_TSNE = 20_000
FEW = 4000
"""Forms up to which one thread is quickest."""
ROUNDS, STRANGERS = 60, 8
"""Rounds of attraction and repulsion beyond that, and random pairs of a form in each."""
SEED = 0


def layout(
    neighbours: Int[np.ndarray, "n k"], overlaps: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "n 2"]:
    """Places on the map, within −1 … 1.

    Args:
        neighbours: the nearest others of every form, by number; itself where there is none.
        overlaps: their cosines; the sign does not matter.

    Raises:
        QuadricError: the two differ in shape, or a neighbour does not exist.
    """
    n = len(neighbours)
    if neighbours.shape != overlaps.shape or (
        neighbours.size and not 0 <= neighbours.min() <= neighbours.max() < n
    ):
        raise QuadricError(
            f"neighbours and overlaps of shapes {neighbours.shape} and {overlaps.shape} are no "
            f"graph of {n} forms"
        )
    if n < 4 or neighbours.shape[1] == 0:
        return _circle(n)
    neighbours, overlaps = _sorted(neighbours, overlaps)
    start = _spectral(neighbours, overlaps)
    arrange = _relaxed if n > MOST_BY_TSNE else _tsne
    places = arrange(neighbours, overlaps, start)
    return _scaled(places)


def _circle(n: int) -> Float[np.ndarray, "n 2"]:
    """A few forms: one in the middle, more around it."""
    if n < 2:
        return np.zeros((n, 2))
    angle = 2 * np.pi * np.arange(n) / n
    return 0.7 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _sorted(
    neighbours: Int[np.ndarray, "n k"], overlaps: Float[np.ndarray, "n k"]
) -> tuple[Int[np.ndarray, "n k2"], Float[np.ndarray, "n k2"]]:
    """The nearest others of every form, nearest first and all different.

    Where a form has too few, any others stand in for them, at no overlap.
    """
    n = len(neighbours)
    k = min(NEIGHBOURS, neighbours.shape[1], n - 1)
    own = neighbours == np.arange(n)[:, None]
    sizes = np.where(own, -1, np.abs(overlaps))
    order = np.argsort(-sizes, axis=1, kind="stable")[:, :k]
    ids = np.take_along_axis(neighbours, order, 1)
    sizes = np.maximum(np.take_along_axis(sizes, order, 1), 0)
    for row in np.nonzero(np.take_along_axis(own, order, 1).any(axis=1))[0].tolist():
        known = [each for each in ids[row].tolist() if each != row]
        others = ((row + step) % n for step in range(1, n))
        ids[row] = [*known, *(each for each in others if each not in known)][:k]
    return ids, sizes


def _tsne(
    neighbours: Int[np.ndarray, "n k"],
    overlaps: Float[np.ndarray, "n k"],
    start: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, "n 2"]:
    from scipy.sparse import csr_array
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    n, k = neighbours.shape
    # A row holds itself and its k neighbours, nearest first; an explicit zero counts as an edge.
    distances = np.pad(np.sqrt(2 - 2 * np.minimum(overlaps, 1)), ((0, 0), (1, 0)))
    ends = np.concatenate([np.arange(n)[:, None], neighbours], axis=1)
    graph = csr_array(
        (distances.ravel(), ends.ravel(), np.arange(0, n * (k + 1) + 1, k + 1)), shape=(n, n)
    )
    spread = start.std(axis=0)
    tsne: Any = TSNE(
        metric="precomputed",
        perplexity=max(1.0, (k - 1) / 3),
        init=1e-2 * (start / np.where(spread > 0, spread, 1)).astype(np.float32),
        random_state=SEED,
        learning_rate=max(n / 12, 50),
        max_iter=500,
    )
    # The threads of a small map wait for one another longer than they work.
    with threadpool_limits(1 if n <= FEW else None):
        found: np.ndarray = tsne.fit_transform(graph)
    return found.astype(np.float64)


def _relaxed(
    neighbours: Int[np.ndarray, "n k"],
    overlaps: Float[np.ndarray, "n k"],
    start: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, "n 2"]:
    """Places after rounds of attraction along the graph's edges and repulsion of random pairs.

    The forces are the gradients of log 1/(1 + d²) for an edge and of log(1 − 1/(1 + d²)) for a
    random pair, as in UMAP (McInnes et al. 2018), in rounds over whole columns of the graph.
    """
    generator = np.random.default_rng(SEED)
    spread = np.where(start.std(axis=0) > 0, start.std(axis=0), 1)
    places = 10 * start / spread + generator.normal(scale=0.1, size=start.shape)
    largest = overlaps.max(axis=1, keepdims=True)
    weights = overlaps / np.where(largest > 0, largest, 1)
    for round_ in range(ROUNDS):
        rate = 1 - round_ / ROUNDS
        for ends, weight in zip(neighbours.T, weights.T, strict=True):
            apart = places[ends] - places
            pull = 2 * weight / (1 + np.square(apart).sum(axis=1))
            places = places + rate * np.clip(pull[:, None] * apart, -4, 4)
        for _ in range(STRANGERS):
            apart = places - places[generator.permutation(len(places))]
            square = np.square(apart).sum(axis=1)
            push = 2 / ((1e-3 + square) * (1 + square))
            places = places + rate * np.clip(push[:, None] * apart, -4, 4)
    return places


def _spectral(
    neighbours: Int[np.ndarray, "n k"], overlaps: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "n 2"]:
    """The two leading eigenvectors of the graph's normalised adjacency after the constant one."""
    from scipy.sparse import csr_array, diags_array, eye_array
    from scipy.sparse.linalg import eigsh

    n, k = neighbours.shape
    rows = np.repeat(np.arange(n), k)
    graph = csr_array((overlaps.ravel(), (rows, neighbours.ravel())), shape=(n, n))
    # A little of everything joins pieces that have no edge between them.
    graph = graph.maximum(graph.T) + 1e-6 * eye_array(n)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    root = np.sqrt(degree)
    scaled = diags_array(1 / root) @ graph @ diags_array(1 / root)
    if n <= 512:
        _, vectors = np.linalg.eigh(scaled.toarray())
    else:
        begin = np.random.default_rng(SEED).normal(size=n)
        _, vectors = eigsh(scaled, k=3, which="LA", v0=begin, tol=1e-3, maxiter=20 * n)
    leading = vectors[:, ::-1][:, 1:3] / root[:, None]
    size = np.abs(leading).max(axis=0)
    places: np.ndarray = leading / np.where(size > 0, size, 1)
    return places


def _scaled(places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Centred and within −1 … 1, one scale for both directions."""
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    centred = places - middle
    size = np.abs(centred).max()
    scaled: np.ndarray = centred / (size if size > 0 else 1)
    return scaled
