"""The planted suite: what is planted is what is said to be planted."""

from __future__ import annotations

import math

import pytest
import torch

from quadric.errors import QuadricError
from quadric.manifolds.planted import SPAN, PlantedConfig, plant

KINDS = tuple(SPAN)
ROWS = 20_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifold_alone_fills_its_span_and_nothing_else(kind: str) -> None:
    config = PlantedConfig(
        d=11, manifolds=(kind,), superposition=SPAN[kind] / 11, noise=0, probability=1
    )
    planted = plant(config)
    sample = planted.sample(ROWS, seed=1)
    (basis,), x = planted.bases, sample.x.double()
    assert config.features == 0 and basis.shape == (SPAN[kind], 11)
    torch.testing.assert_close(basis @ basis.T, torch.eye(SPAN[kind]).double())
    inside = x @ basis.T
    torch.testing.assert_close(inside @ basis, x, atol=1e-6, rtol=0)
    assert x.square().sum(1).mean().item() == pytest.approx(1, abs=0.02)
    assert inside.mean(0).abs().max() < 0.03
    covariance = inside.T @ inside / ROWS
    assert torch.linalg.eigvalsh(covariance).min() > 0.08  # it needs all of its dimensions
    assert sample.active.all()


def test_points_follow_from_the_parameters() -> None:
    """Each shape's own equation, from the parameters or from the points alone."""
    config = PlantedConfig(d=40, manifolds=KINDS, superposition=18 / 40, noise=0, probability=1)
    planted = plant(config)
    sample = planted.sample(500, seed=2)
    points = {k: sample.x.double() @ b.T for k, b in zip(KINDS, planted.bases, strict=True)}
    place = {k: sample.parameters[:, i].double() for i, k in enumerate(KINDS)}
    assert set(points) == {"circle", "sphere", "torus", "helix", "moebius", "line", "clusters"}

    def same(a: torch.Tensor, b: torch.Tensor) -> None:
        torch.testing.assert_close(a, b, atol=3e-6, rtol=1e-5)

    one = torch.ones(500).double()
    same(points["circle"].norm(dim=1), one)
    same(points["circle"][:, 1].atan2(points["circle"][:, 0]).cos(), place["circle"][:, 0].cos())
    same(points["sphere"].norm(dim=1), one)
    same(points["sphere"][:, 2], place["sphere"][:, 1])
    x, y, z = (points["torus"] * 1.25**0.5).unbind(1)
    same(((x**2 + y**2).sqrt() - 1) ** 2 + z**2, 0.25 * one)
    x, y, z = (points["helix"] * (4 / 3) ** 0.5).unbind(1)
    same(x**2 + y**2, one)
    same(y, (2 * math.pi * (z + 1)).sin())
    x, y, z = (points["moebius"] * 1.25**0.5).unbind(1)
    same(((x**2 + y**2).sqrt() - 1) ** 2 + z**2, 0.25 * one)
    half = place["moebius"][:, 0] / 2  # once around is half a turn of the strip
    same(z, 0.5 * half.sin())
    same(x, (1 + 0.5 * half.cos()) * (2 * half).cos())
    same(points["line"][:, 0], place["line"][:, 0] * 3**0.5)
    corners = points["clusters"]
    assert sorted(place["clusters"][:, 0].unique().tolist()) == [0, 1, 2, 3]
    cosines = corners @ corners.T
    alike = place["clusters"][:, :1] == place["clusters"][:, 0]
    same(cosines, torch.where(alike, 1.0, -1 / 3).double())


def test_superposition_decides_how_much_is_planted_and_whether_it_interferes() -> None:
    kinds = ("circle", "sphere", "line")
    for superposition, features in ((0.5, 10 - 6), (1.0, 20 - 6), (2.5, 50 - 6)):
        planted = plant(PlantedConfig(d=20, manifolds=kinds, superposition=superposition))
        everything = torch.cat([*planted.bases, planted.features])
        assert planted.features.shape == (features, 20)
        torch.testing.assert_close(everything.norm(dim=1), torch.ones(6 + features).double())
        overlap = (everything @ everything.T - torch.eye(6 + features).double()).abs().max()
        assert overlap < 1e-10 if superposition <= 1 else overlap > 0.3
        assert torch.linalg.matrix_rank(everything) == min(20, 6 + features)


def test_chances_noise_and_seeds() -> None:
    config = PlantedConfig(
        d=30, manifolds=("circle", "line"), superposition=1.1, noise=0.3, probability=0.2,
        feature_probability=0.5,
    )  # fmt: skip
    planted = plant(config)
    sample = planted.sample(ROWS, seed=3)
    # With 30 features at one half no row is empty, so the chances are those asked for.
    assert sample.active.double().mean(0).tolist() == pytest.approx([0.2, 0.2], abs=0.01)
    assert sample.parameters[~sample.active].abs().max() == 0
    strengths = sample.x.double() @ torch.linalg.pinv(torch.cat([planted.features]))
    assert strengths.shape == (ROWS, 30)
    quiet = PlantedConfig(
        d=30, manifolds=("circle", "line"), superposition=0.1, noise=0.3, probability=0.2
    )
    alone = plant(quiet).sample(ROWS, seed=3)
    assert alone.active.any(1).all()  # no row is noise alone
    away = alone.x.double() @ torch.linalg.qr(torch.cat(plant(quiet).bases).T, "complete").Q[:, 3:]
    assert away.square().sum(1).mean().item() == pytest.approx(0.09 * 27 / 30, rel=0.02)
    assert torch.equal(planted.sample(50, seed=4).x, plant(config).sample(50, seed=4).x)
    assert not torch.equal(planted.sample(50, seed=4).x, planted.sample(50, seed=5).x)


def test_feature_strengths() -> None:
    planted = plant(
        PlantedConfig(d=12, manifolds=("line",), superposition=1, noise=0, probability=0.3)
    )
    strengths = planted.sample(ROWS, seed=0).x.double() @ planted.features.T
    on = strengths[strengths > 1e-4]
    assert strengths.min() > -1e-5 and 0.5 < on.min() < 0.51 and 1.49 < on.max() < 1.5
    assert planted.sample(7, seed=0).x.dtype == torch.float32


def test_the_source_is_endless_fresh_and_resumable() -> None:
    planted = plant(PlantedConfig(d=10, manifolds=("circle",), superposition=0.8))
    source = planted.source(300, seed=1)
    first = source.next_batch()
    state = source.state_dict()
    second = source.next_batch()
    assert first.shape == (300, 10) and first.dtype == torch.float32
    assert not torch.equal(first, second)
    again = planted.source(300, seed=1)
    again.load_state_dict(state)
    assert torch.equal(again.next_batch(), second)
    assert not torch.equal(planted.source(300, seed=2).next_batch(), first)
    many = planted.source(9000).next_batch()
    assert len(many.unique(dim=0)) == 9000


def test_errors() -> None:
    with pytest.raises(QuadricError, match=r"unknown manifold 'cirle'.*did you mean 'circle'"):
        PlantedConfig(manifolds=("cirle",))
    with pytest.raises(QuadricError, match=r"is 5 dimensions, the manifolds alone need 6"):
        PlantedConfig(superposition=0.1)
    with pytest.raises(QuadricError, match=r"probability is 1\.5"):
        PlantedConfig(probability=1.5)
    with pytest.raises(QuadricError, match="noise is -1"):
        PlantedConfig(noise=-1)
    with pytest.raises(QuadricError, match="too narrow"):
        PlantedConfig(d=2, manifolds=("sphere",), superposition=2)
    with pytest.raises(QuadricError, match="rows is -1"):
        plant(PlantedConfig()).sample(-1, seed=0)
