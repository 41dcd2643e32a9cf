"""The bench's own parts: clustering of directions, PCA's slices, and the summary over seeds."""

from __future__ import annotations

import math

import pytest
import torch

from quadric.manifolds import bench
from quadric.manifolds.matching import angle_to, score
from quadric.manifolds.planted import PlantedConfig, plant
from quadric.report import planted as report

D = 20


def around(count: int, plane: tuple[int, int], span: float = 2 * math.pi) -> torch.Tensor:
    """Unit directions evenly around a circle, or an arc, of a coordinate plane."""
    angles = torch.arange(count) * span / count
    directions = torch.zeros(count, D)
    directions[:, plane[0]], directions[:, plane[1]] = angles.cos(), angles.sin()
    return directions


def test_directions_around_a_circle_are_one_cluster() -> None:
    lone = torch.eye(D)[10:]
    directions = torch.cat([around(9, (0, 1)), lone, around(11, (4, 7))])
    slices = bench.cluster_directions(directions, 0.3)
    assert len(slices) == 2 and all(found.shape == (3, D) for found in slices)
    result = score([torch.eye(D)[:2], torch.eye(D)[[4, 7]]], slices)
    assert result.recall == 1 and max(result.best_angles) < 1e-4
    # Three directions 60° apart are no chain at this distance, and pairs are no cluster.
    assert bench.cluster_directions(around(3, (0, 1), math.pi), 0.3) == []
    assert len(bench.cluster_directions(around(3, (0, 1), math.pi), 0.6)) == 1
    assert bench.cluster_directions(torch.eye(D)[:2], 0.3) == []


def test_a_plane_counts_once() -> None:
    basis = torch.linalg.qr(torch.randn(D, 8)).Q.T
    first, beside, turned = basis[:3], basis[[0, 1, 5]], basis[[0, 6, 7]]
    kept = bench.distinct([first, first.flip(0), beside, turned, basis[3:6]])
    torch.testing.assert_close(torch.stack(kept), torch.stack([first, turned, basis[3:6]]))


def test_pca_finds_what_has_the_largest_variance() -> None:
    x = torch.randn(4000, D, generator=torch.Generator().manual_seed(0))
    x[:, :3] *= 10
    slices, errors, _ = bench._pca(x, 2)
    assert [found.shape for found in slices] == [(3, D), (3, D)]
    assert angle_to(slices[0], torch.eye(D)[:3].double()) < 2
    y = x - x.mean(0)
    y = y / y.norm(dim=1, keepdim=True)
    basis = torch.cat(slices).float()
    estimate = y @ basis.T @ basis
    pairs = zip(y, estimate, strict=True)
    expected = [(torch.outer(a, a) - torch.outer(b, b)).square().sum() for a, b in pairs]
    torch.testing.assert_close(errors.float(), torch.stack(expected), atol=1e-4, rtol=1e-3)


def test_the_summary_over_seeds_and_its_pictures() -> None:
    planes = list(torch.linalg.qr(torch.randn(D, 6)).Q.T.reshape(3, 2, D))
    complete, empty = score(planes, planes), score(planes, [])
    common = {"superposition": 1.0, "noise": 0.1, "product_error": 0.5, "null_level": None}
    rows = [
        bench.Row(method="quadric", seed=0, score=complete, seconds=1.0, **common),
        bench.Row(method="topk", seed=0, score=empty, seconds=5.0, **common),
        bench.Row(method="quadric", seed=1, score=empty, seconds=3.0, **common),
    ]
    first, second = report.settings(rows)
    assert (first.method, first.recall, first.f1, first.seconds) == ("quadric", 0.5, 0.5, 2.0)
    assert first.median_angle == pytest.approx(45, abs=1e-3) and first.largest_angle == 90
    assert (second.method, second.recall, second.false_positives) == ("topk", 0, 0)
    text = report.render([first, second])
    assert "quadric" in text and "0.50" in text and "90.0°" in text
    axes = report.picture([first, second]).axes
    assert [line.get_ydata()[0] for line in axes[0].lines] == [0.5, 0]


def test_composites_of_the_bench_hold_planted_circles() -> None:
    """One small world: every circle lies in the three leading axes of one composite."""
    config = bench.BenchConfig(d=24, superpositions=(0.6,), steps=150, batch_size=1024, rows=512)
    planted = plant(PlantedConfig(d=24, manifolds=("circle",) * 2, superposition=0.6, seed=1))
    model = bench.train_composites(planted, config, seed=1)
    assert model.d_sae == round(4 / 3 * 0.6 * 24)
    _, axes = model.tensor().eigh_many(None, 3)
    result = score(planted.bases, list(axes))
    assert result.recall == 1, result.best_angles
