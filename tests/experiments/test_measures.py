"""The numbers of the experiments on synthetic values."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.evaluation import map_similarity
from quadric.experiments import frontier, grid, histogram, latent_density, manifolds, similarity
from quadric.experiments.experiment import Measured, Settings
from tests.autoencoders.test_identities import make


def test_settings_read_their_weights() -> None:
    settings = Settings(density_weights="1, 0,0.3,.3")
    assert settings.weights == (0, 0.3, 1) and settings.weight == 0.3
    assert Settings(density_weights="0,1").weight == 0
    assert Settings(expansion=1.5).products(10) == 15
    for text in ("", " , "):
        with pytest.raises(QuadricError, match="density_weights is empty"):
            Settings(density_weights=text)
    for text in ("-1", "nan", "0,inf"):
        with pytest.raises(QuadricError, match="expected 0 or more"):
            Settings(density_weights=text)
    with pytest.raises(QuadricError, match="'a,1'"):
        Settings(density_weights="a,1")
    with pytest.raises(QuadricError, match="expansion is 0"):
        Settings(expansion=0)


def test_variants_of_a_grid_share_their_size() -> None:
    settings = Settings(expansion=3, steps=40)
    configs = [grid.configure(settings, 8, variant, 0.1) for variant in grid.VARIANTS]
    assert [config.variant for config in configs] == ["vanilla", "ordered", "mixed", "combined"]
    assert {config.factors for config in configs} == {24}
    assert configs[2].bottleneck_rows == 12  # half the products, below the paper's 2·d_in = 16
    assert grid.configure(Settings(expansion=16), 8, "mixed", 0).bottleneck_rows == 16
    composite = grid.configure(settings, 8, "composite", 0.1)
    assert (composite.d_sae, composite.factors) == (6, 24)
    paper = grid.configure(settings, 8, "vanilla", 0.1, **grid.PAPER_TRANSFORM)
    assert not paper.centre and not paper.symmetric and paper.density_warmup == 10


def point(transform: str, variant: str, error: float, density: float) -> dict[str, object]:
    return {"transform": transform, "variant": variant, "product_error": error,
            "density": density, "product_error_mean_predictor": 0.7}  # fmt: skip


def test_frontier_counts_only_the_published_region() -> None:
    def of(errors: dict[str, float], density: float = 0.3) -> object:
        points = [point("paper", variant, error, density) for variant, error in errors.items()]
        points += [point("paper", variant, 0.01, 0.1) for variant in errors]  # too sparse to count
        points.append(point("quadric", "mixed", 0.5, 0.4))
        origin = {"products": 24, "d_in": 8, "steps": 7}
        return frontier.compare(Measured({"points": points, "origin": origin}))

    good = dict.fromkeys(grid.VARIANTS, 0.09)
    assert of(good).agrees is True
    assert of(good | {"mixed": 0.11}).agrees is False
    assert of(good | {"mixed": 0.11}).figures["lowest_error_paper_mixed"] == 0.11
    outside = of(good, density=0.61)
    assert outside.agrees is False and outside.figures["lowest_error_paper_vanilla"] is None
    assert "none there" in outside.measured
    assert "24 products (3 per dimension), 7 steps" in outside.measured


def test_a_histogram_counts_every_token_and_ignores_scale() -> None:
    values = torch.randn(1003, generator=torch.Generator().manual_seed(0)).double()
    found = histogram.describe(values)
    assert sum(found["counts"]) == 1003 and len(found["edges"]) == histogram.BINS + 1
    assert found["rms"] == pytest.approx(values.square().mean().sqrt().item())
    squares = values.square().sort(descending=True).values
    assert found["top_share"] == pytest.approx((squares[:10].sum() / squares.sum()).item())
    quiet = (values.abs() < 0.1 * found["rms"]).double().mean().item()
    assert found["quiet_share"] == pytest.approx(quiet)
    scaled = histogram.describe(1e6 * values)
    assert scaled["counts"] == found["counts"]
    assert scaled["density"] == pytest.approx(found["density"])
    middle = found["edges"][40], found["edges"][41]
    assert middle[0] == pytest.approx(-middle[1])
    silent = histogram.describe(torch.zeros(5))
    assert silent["density"] == 0 and silent["top_share"] is None


def test_order_correlation() -> None:
    density = torch.tensor([0.1, 0.2, 0.9, 0.95])
    assert latent_density._correlation(density) == pytest.approx(1)
    assert latent_density._correlation(density.flip(0)) == pytest.approx(-1)
    assert latent_density._correlation(torch.ones(5)) is None
    assert latent_density._correlation(torch.ones(2)) is None


def test_similarities_are_those_of_pairs() -> None:
    first = [make("vanilla", True, False), make("mixed", True, False)]
    second = [make("vanilla", True, False), make("mixed", True, False)]
    for model in second:
        model.left.data = model.left.data + 0.4
    found = similarity.similarities(first, second)
    across = map_similarity(*first)
    assert found["matrix"][0][1] == found["matrix"][1][0] == pytest.approx(across.frobenius)
    assert found["cosines"][1][0] == pytest.approx(across.cosine)
    assert found["matrix"][0][0] == 1
    for i in range(2):
        twin = map_similarity(first[i], second[i])
        assert found["twin_similarity"][i] == pytest.approx(twin.frobenius)
        assert found["twin_cosine"][i] == pytest.approx(twin.cosine)


def test_only_comparable_densities_are_compared() -> None:
    def of(middle: float, twins: list[float]) -> object:
        matrix = [[1, 0.99, 0.2], [0.99, 1, 0.2], [0.2, 0.2, 1]]
        figures = [{"density": d} for d in (0.3, middle, 0.9)]
        return similarity.compare(
            Measured({"matrix": matrix, "autoencoders": figures, "twin_similarity": twins})
        )

    assert of(0.34, [0.99, 0.99, 0.985]).agrees is True
    assert of(0.34, [0.99, 0.99, 0.985]).figures["comparable_pairs"] == 1
    assert of(0.34, [0.99, 0.97, 0.99]).agrees is False
    assert of(0.88, [0.99] * 3).agrees is False  # 0.88 and 0.9 are comparable and agree to 0.2
    assert of(0.6, [0.99] * 3).figures["comparable_pairs"] == 0


def test_a_slice_shows_its_strongest_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifolds, "POINTS", 7)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(50, 9, generator=generator)
    axes = torch.linalg.qr(torch.randn(9, 3, generator=generator)).Q.T
    values = torch.tensor([1.0, -3.0, 0.3])
    points, heights = manifolds.project(inputs, axes, values)
    assert points.shape == (14, 3)
    form = sum(v * torch.outer(a, a) for v, a in zip(values, axes, strict=True))
    every = torch.einsum("rd,de,re->r", inputs, form, inputs)
    strongest = every.abs().argsort(descending=True)[:7]
    torch.testing.assert_close(heights[:7], every[strongest])
    torch.testing.assert_close(points[:7], inputs[strongest] @ axes.T)
    assert heights[7:].abs().max() <= heights[:7].abs().min()
    few, _ = manifolds.project(inputs[:4], axes, values)
    assert len(few) == 4
