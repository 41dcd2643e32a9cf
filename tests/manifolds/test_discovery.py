"""Discovery on planted circles, and its parts against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from quadric.activations.rows import MemoryRows
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.errors import QuadricError
from quadric.manifolds import files
from quadric.manifolds.candidates import candidates
from quadric.manifolds.controls import random_forms
from quadric.manifolds.discovery import LEVEL, Manifold, discover
from quadric.manifolds.matching import score
from quadric.manifolds.planted import Planted, PlantedConfig, plant
from quadric.manifolds.presence import find_points
from quadric.training import TrainingConfig, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, BilinearAutoencoder]:
    planted = plant(PlantedConfig(d=24, manifolds=("circle", "circle"), seed=1))
    config = AutoencoderConfig(d_in=24, d_sae=32, variant="composite", block=2, density_weight=0.3)
    training = TrainingConfig(steps=250, batch_size=1024, lr=0.2, product_dtype="float32")
    models = train(planted.source(1024), {"a": config}, training, tmp_path_factory.mktemp("run"))
    return planted, models["a"]


@pytest.fixture(scope="module")
def found(trained: tuple[Planted, BilinearAutoencoder]) -> list[Manifold]:
    planted, model = trained
    return discover(model, planted.sample(6000, seed=77).x)


def test_planted_circles_come_first_and_nothing_else_is_called_a_ring(
    trained: tuple[Planted, BilinearAutoencoder], found: list[Manifold]
) -> None:
    planted, _ = trained
    rings = [manifold for manifold in found if manifold.p_value <= LEVEL]
    result = score(planted.bases, [manifold.axes for manifold in rings])
    assert result.recall == 1 and max(result.best_angles) < 10
    assert [manifold.rank for manifold in rings] == list(range(1, len(rings) + 1))
    assert all(manifold.shape == "ring" for manifold in rings)
    # The stated level: at most one false ring in a hundred rows.
    assert result.false_positives <= max(1, LEVEL * len(found))


def test_noise_holds_its_level(trained: tuple[Planted, BilinearAutoencoder]) -> None:
    """An autoencoder of planted circles finds none in Gaussian activations."""
    _, model = trained
    noise = torch.randn(6000, 24, generator=torch.Generator().manual_seed(0))
    rings = [manifold for manifold in discover(model, noise) if manifold.p_value <= LEVEL]
    assert len(rings) <= 2


def test_the_same_seed_gives_the_same_table(
    trained: tuple[Planted, BilinearAutoencoder], found: list[Manifold]
) -> None:
    planted, model = trained
    again = discover(model, planted.sample(6000, seed=77).x)
    assert [(m.candidate.id, m.evidence) for m in again] == [
        (m.candidate.id, m.evidence) for m in found
    ]


def test_tokens_that_tell_where_a_circle_is_make_a_closed_class(
    trained: tuple[Planted, BilinearAutoencoder],
) -> None:
    planted, model = trained
    sample = planted.sample(6000, seed=5)
    # A token for each sixth of circle 0, one of 50 others elsewhere.
    angle = sample.parameters[:, 0, 0] % (2 * torch.pi)
    other = torch.arange(6000) % 50 + 10
    alone = sample.active[:, 0] & ~sample.active[:, 1]
    tokens = torch.where(alone, (angle / (2 * torch.pi) * 6).long().clamp(0, 5), other)
    rows = discover(model, sample.x, tokens=tokens)
    best = max(rows, key=lambda row: row.scores["token_class"].value)
    assert best.token_types is not None and set(best.token_types) <= set(range(6))
    assert best.scores["token_class"].p_value == 0.02
    assert score([planted.bases[0]], [best.axes]).best_angles[0] < 10
    assert best.scores["separation"].p_value == 0.02


def test_points_are_the_rows_of_largest_presence(
    trained: tuple[Planted, BilinearAutoencoder],
) -> None:
    planted, model = trained
    x = planted.sample(3000, seed=3).x
    chosen = candidates(model)
    y = model.transform.apply_to(x).y
    for candidate, points in zip(chosen, find_points(model, MemoryRows(x), chosen), strict=True):
        presence = (y @ candidate.axes.T).square().sum(1)
        order = presence.argsort(descending=True)
        held = presence[order].double().square().cumsum(0) <= 0.5 * presence.double().square().sum()
        expected = order[: min(1024, max(64, int(held.sum())))]
        assert abs(len(points.rows) - len(expected)) <= 1
        assert set(points.rows[:60].tolist()) == set(expected[:60].tolist())
        assert torch.allclose(points.coordinates, y[points.rows] @ candidate.axes.T, atol=1e-5)
        value = model.encode(x)[:, list(candidate.members)] @ torch.tensor(candidate.weights)
        assert torch.allclose(points.values, value[points.firing], atol=1e-4)
        sign = points.values[0].sign()
        same = value[value.sign() == sign]
        count = round((value.double().square().sum() ** 2 / value.double().pow(4).sum()).item())
        expected_count = min(1024, max(64, count), len(same))
        assert abs(len(points.firing) - expected_count) <= 0.02 * expected_count
        strongest = same.abs().topk(len(points.values)).values
        assert torch.allclose(points.values.abs(), strongest, atol=1e-4)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("variant", ["composite", "vanilla", "mixed"])
def test_candidates_can_be_rebuilt(variant: str, affine: bool) -> None:
    parts = {"composite": {"block": 3}, "mixed": {"bottleneck": 1.0}}.get(variant, {})
    config = AutoencoderConfig(d_in=9, d_sae=12, variant=variant, affine=affine, **parts)  # type: ignore[arg-type]
    model = BilinearAutoencoder(config)
    for candidate in candidates(model):
        form = model.tensor(candidate.members)
        dense = sum(
            weight * form.interaction(row)
            for weight, row in zip(candidate.weights, torch.eye(form.m), strict=True)
        )
        block = dense[:9, :9]  # type: ignore[index]
        axes = candidate.axes
        assert torch.allclose(axes @ axes.T, torch.eye(len(axes)), atol=1e-5)
        assert torch.allclose(candidate.values, (axes @ block @ axes.T).diagonal(), atol=1e-5)
        if candidate.kind == "composite" and not affine:
            assert torch.allclose(block @ axes.T, axes.T * candidate.values, atol=1e-5)


def test_the_files_are_in_the_order_of_the_table(found: list[Manifold], tmp_path: Path) -> None:
    files.write(found, [files.as_row(manifold) for manifold in found], tmp_path)
    rows, tensors = files.read(tmp_path), load_file(tmp_path / files.AXES)
    assert [row["rank"] for row in rows] == list(range(1, len(found) + 1))
    assert tensors["axes"].shape == (len(found), 3, 24) and tensors["values"].shape[1] == 3
    for row, manifold, axes, values in zip(
        rows, found, tensors["axes"], tensors["values"], strict=True
    ):
        assert row["id"] == manifold.candidate.id and row["members"]
        assert torch.equal(axes, manifold.axes) and torch.equal(values, manifold.values)
        assert row["eigenvalues"][:3] == pytest.approx(values.tolist())
        assert row["scores"]["ring"]["nulls"].keys() == {"gaussian", "random_forms"}
    text = (tmp_path / files.TABLE).read_text()
    assert "NaN" not in text and "Infinity" not in text


def test_points_and_random_forms_are_kept(
    trained: tuple[Planted, BilinearAutoencoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, model = trained
    monkeypatch.setattr("quadric.manifolds.controls.FORMS", 90)
    x = planted.sample(3000, seed=9).x
    controls = random_forms(model, MemoryRows(x), candidates(model))
    rows = discover(model, x, null=controls)
    assert [(row.candidate.id, row.evidence) for row in rows] == [
        (row.candidate.id, row.evidence) for row in discover(model, x)
    ]
    files.write_points(rows, controls, 3000, tmp_path)
    kept = files.read_points(tmp_path)
    assert kept.searched == 3000 and len(kept.forms) == len(rows)
    for row, form in zip(rows, kept.forms, strict=True):
        assert row.points is not None
        assert torch.equal(form.rows, row.points.rows)
        assert torch.equal(form.firing, row.points.firing)
        assert form.level == pytest.approx(row.points.values.median().item())
        for one, two in zip(form.responses, row.points.responses, strict=True):
            assert torch.equal(one, two)
    y = model.transform.apply_to(x).y
    ranks = [control.effective_rank for control in kept.controls]
    assert len(kept.controls) == 64 and ranks == sorted(ranks)
    measured = sorted(control.measured.effective_rank for control in controls)
    assert (ranks[0], ranks[-1]) == pytest.approx((measured[0], measured[-1]), rel=1e-5)
    clouds = [y[each.points.rows] @ each.candidate.axes.T for each in controls]
    for control in kept.controls[::9]:
        same = [p for p in clouds if p[:, :8].shape == control.coordinates.shape]
        (p,) = [p for p in same if torch.allclose(control.coordinates, p[:, :8], atol=1e-5)]
        assert torch.allclose(control.values, p.square() @ control.eigenvalues, atol=1e-5)
    damaged = (tmp_path / files.POINTS).read_bytes()
    (tmp_path / files.POINTS).write_bytes(damaged[: len(damaged) // 2])
    with pytest.raises(QuadricError, match=r"points\.safetensors"):
        files.read_points(tmp_path)
    (tmp_path / files.POINTS).unlink()
    with pytest.raises(QuadricError, match="quadric analyze"):
        files.read_points(tmp_path)


def test_every_form_is_shown_where_it_responds(
    trained: tuple[Planted, BilinearAutoencoder],
) -> None:
    planted, model = trained
    x = planted.sample(3000, seed=3).x
    chosen = candidates(model)
    random = []
    for candidate, points in zip(chosen, find_points(model, MemoryRows(x), chosen), strict=True):
        value = model.encode(x)[:, list(candidate.members)] @ torch.tensor(candidate.weights)
        shown = points.responses
        assert [len(rows) for rows in shown] == [10, 10, 10, 10]
        assert torch.allclose(value[shown.most_positive], value.topk(10).values, atol=1e-5)
        assert torch.allclose(value[shown.most_negative], -(-value).topk(10).values, atol=1e-5)
        assert value[shown.near_zero].abs().max() <= value.abs().quantile(0.02)
        random.append(frozenset(shown.random.tolist()))
    assert len(set(random)) > len(random) // 2


def test_a_few_latents_of_many_are_read_alone(
    trained: tuple[Planted, BilinearAutoencoder],
) -> None:
    planted, model = trained
    store = MemoryRows(planted.sample(2000, seed=4).x)
    chosen = candidates(model)
    for some in (chosen[3:5], chosen[-1:]):
        alone = find_points(model, store, some)
        whole = [find_points(model, store, chosen)[chosen.index(each)] for each in some]
        for one, two in zip(alone, whole, strict=True):
            assert torch.equal(one.rows, two.rows)
            assert torch.allclose(one.values, two.values, atol=1e-5)


def test_what_cannot_be_scored_says_so(trained: tuple[Planted, BilinearAutoencoder]) -> None:
    planted, model = trained
    with pytest.raises(QuadricError, match="20 activations are too few: scores need 32"):
        discover(model, planted.sample(20, seed=0).x)
    with pytest.raises(QuadricError, match="width 23 for an autoencoder of d_in 24"):
        discover(model, torch.randn(100, 23))
    with pytest.raises(QuadricError, match="quadric analyze"):
        files.read(Path("/nonexistent"))
    constant = discover(model, model.transform.mean.expand(100, 24).clone())
    assert all(row.shape == "unscored" and row.p_value == 1 for row in constant)
    assert np.isfinite([row.evidence for row in constant]).all()
