"""The map: clusters apart, neighbourhoods kept, and whatever graph it is given."""

from __future__ import annotations

import numpy as np
import pytest

from quadric.atlas.content import layout as maps
from quadric.atlas.content.layout import layout
from quadric.errors import QuadricError

Graph = tuple[np.ndarray, np.ndarray]
K = 16


def planted(clusters: int, size: int, seed: int = 0) -> tuple[np.ndarray, Graph]:
    """Unit vectors around a few orthogonal ones, and each one's nearest by cosine."""
    generator = np.random.default_rng(seed)
    centres = np.linalg.qr(generator.normal(size=(40, clusters)))[0].T
    of = np.repeat(np.arange(clusters), size)
    x = centres[of] + 0.15 * generator.normal(size=(len(of), 40))
    return of, nearest(x / np.linalg.norm(x, axis=1, keepdims=True))


def nearest(x: np.ndarray) -> Graph:
    cosines = x @ x.T
    np.fill_diagonal(cosines, 0)
    ids = np.argsort(-np.abs(cosines), axis=1, kind="stable")[:, :K]
    return ids, np.take_along_axis(cosines, ids, 1)


def neighbourhoods(places: np.ndarray, k: int = 8) -> list[set[int]]:
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return [set(row[:k].tolist()) for row in np.argsort(apart, axis=1)]


def kept(graph: Graph, places: np.ndarray) -> float:
    """Share of a form's nearest on the map that are among its nearest on the graph."""
    near = neighbourhoods(places)
    return float(
        np.mean([len(a & set(b.tolist())) / 8 for a, b in zip(near, graph[0], strict=True)])
    )


@pytest.mark.parametrize("limit", [maps.MOST_BY_TSNE, 0])
def test_planted_clusters_come_out_apart(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_BY_TSNE", limit)
    of, graph = planted(3, 40)
    places = layout(*graph)
    assert places.shape == (120, 2) and np.abs(places).max() == pytest.approx(1)
    near = neighbourhoods(places)
    same = np.mean([np.mean(of[list(others)] == of[i]) for i, others in enumerate(near)])
    assert same > 0.97


def test_near_on_the_map_is_near_on_the_graph() -> None:
    """Forms along a closed curve stay in its order, far better than by chance."""
    angle = 2 * np.pi * np.arange(150) / 150
    waves = [np.cos, np.sin]
    x = np.stack([wave(n * angle) for n in range(1, 6) for wave in waves], axis=1)
    graph = nearest(x / np.linalg.norm(x, axis=1, keepdims=True))
    generator = np.random.default_rng(0)
    assert kept(graph, layout(*graph)) > 0.9
    assert kept(graph, generator.uniform(size=(150, 2))) < 0.3


def test_the_sign_of_a_cosine_does_not_matter() -> None:
    _, (ids, overlaps) = planted(3, 20)
    assert np.array_equal(layout(ids, overlaps), layout(ids, -overlaps))


def test_the_order_of_the_forms_does_not_matter() -> None:
    of, (ids, overlaps) = planted(4, 30)
    order = np.random.default_rng(3).permutation(len(of))
    place = np.argsort(order)
    moved = layout(place[ids[order]], overlaps[order])
    straight = layout(ids, overlaps)
    assert kept((ids, overlaps), straight) == pytest.approx(
        kept((ids, overlaps), moved[place]), abs=0.05
    )
    near = neighbourhoods(moved[place])
    assert np.mean([np.mean(of[list(others)] == of[i]) for i, others in enumerate(near)]) > 0.97


def test_the_same_graph_gives_the_same_map() -> None:
    _, graph = planted(3, 30)
    assert np.array_equal(layout(*graph), layout(*graph))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_a_few_forms(n: int) -> None:
    ids, overlaps = nearest(np.linalg.qr(np.random.default_rng(n).normal(size=(9, n)))[0].T)
    places = layout(ids[:, : n - 1], overlaps[:, : n - 1])
    assert places.shape == (n, 2) and np.isfinite(places).all() and np.abs(places).max() <= 1
    assert len({tuple(place) for place in places.tolist()}) == n


@pytest.mark.parametrize("limit", [maps.MOST_BY_TSNE, 0])
def test_forms_without_any_overlap(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is near anything, and some edges only lead back to where they start."""
    monkeypatch.setattr(maps, "MOST_BY_TSNE", limit)
    ids = np.tile(np.arange(30)[:, None], (1, 5))
    places = layout(ids, np.zeros((30, 5)))
    assert np.isfinite(places).all() and np.abs(places).max() <= 1


def test_a_large_map_keeps_more_than_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_BY_TSNE", 0)
    x = np.random.default_rng(5).normal(size=(800, 4))
    graph = nearest(x / np.linalg.norm(x, axis=1, keepdims=True))
    start = maps._spectral(graph[0], np.abs(graph[1]))
    assert kept(graph, layout(*graph)) > 1.5 * kept(graph, start)


def test_the_start_is_spectral_where_a_graph_is_sparse() -> None:
    of, graph = planted(3, 300)
    start = maps._spectral(*graph)
    near = neighbourhoods(start)
    assert np.mean([np.mean(of[list(others)] == of[i]) for i, others in enumerate(near)]) > 0.97


def test_what_is_no_graph() -> None:
    with pytest.raises(QuadricError, match=r"no graph of 3 forms"):
        layout(np.array([[1], [2], [3]]), np.zeros((3, 1)))
    with pytest.raises(QuadricError, match=r"\(3, 1\) and \(3, 2\)"):
        layout(np.array([[1], [2], [0]]), np.zeros((3, 2)))
