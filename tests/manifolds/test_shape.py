"""Statistics of clouds on shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from quadric.manifolds import shape

ANGLES = np.linspace(0, 2 * np.pi, 300, endpoint=False)
CIRCLE = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def embedded(plane: np.ndarray, axes: int, noise: float = 0.02) -> np.ndarray:
    """A planar cloud in the last two of several noisy axes."""
    cloud = generator().normal(size=(len(plane), axes)) * noise
    cloud[:, -2:] += plane
    return cloud


def test_a_circle_is_the_roundest_plane_and_its_loop_lives_long() -> None:
    found = shape.ring(embedded(CIRCLE, 5), generator())
    assert found.plane == (3, 4)
    assert found.roundness < 0.05
    assert 1.3 < found.persistence < 3**0.5


def test_ellipses_count_as_rings_and_blobs_do_not() -> None:
    stretched = embedded(CIRCLE * [9, 1], 3)
    assert shape.ring(stretched, generator()).persistence > 1.2
    blob = generator().normal(size=(300, 3))
    found = shape.ring(blob, generator())
    assert found.persistence < 0.6 and found.roundness > 0.35


@pytest.mark.parametrize("scale", [1e-3, 1, 40])
def test_statistics_ignore_scale_and_place(scale: float) -> None:
    cloud = embedded(CIRCLE, 3)
    for statistic in (
        lambda points: shape.ring(points, generator()).persistence,
        lambda points: shape.dimension(points, generator()),
        lambda points: shape.clustering(points, generator()),
    ):
        assert statistic(scale * cloud + 7) == pytest.approx(statistic(cloud), rel=1e-6)


def test_dimensions_of_known_sets() -> None:
    random = generator()
    jitter = random.uniform(0, 2 * np.pi, size=2000)
    curve = np.column_stack([np.cos(jitter), np.sin(jitter), np.cos(3 * jitter)])
    sphere = random.normal(size=(2000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    ball = random.normal(size=(2000, 3))
    found = [shape.dimension(cloud, generator()) for cloud in (curve, sphere, ball)]
    assert found == pytest.approx([1, 2, 3], abs=0.45)
    assert found[0] < found[1] < found[2]


def test_repeated_points_do_not_divide_by_zero() -> None:
    cloud = np.repeat(generator().normal(size=(40, 3)), 5, axis=0)
    assert np.isfinite(shape.dimension(cloud, generator()))
    assert shape.dimension(np.ones((50, 3)), generator()) == 0


def test_clusters_score_higher_than_a_blob() -> None:
    random = generator()
    corners = 8 * np.eye(3)[random.integers(3, size=300)]
    apart = shape.clustering(corners + random.normal(size=(300, 3)), generator())
    blob = shape.clustering(random.normal(size=(300, 3)), generator())
    assert apart > 0.5 and blob < 0.35


def test_whitening_keeps_flat_directions_flat() -> None:
    cloud = generator().normal(size=(100, 3)) * [5, 0.1, 0]
    white = shape.whitened(cloud)
    assert np.allclose(np.cov(white.T, bias=True), np.diag([1, 1, 0]), atol=1e-9)
