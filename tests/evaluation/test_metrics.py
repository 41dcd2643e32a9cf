"""Product-space and x-space figures and map similarity against their definitions."""

from __future__ import annotations

import pytest
import torch

from quadric.autoencoders import BilinearAutoencoder
from quadric.evaluation import (
    map_similarity,
    product_metrics,
    reconstruction_metrics,
    second_moment,
)
from tests.autoencoders.test_identities import CASES, activations, make
from tests.autoencoders.test_topk import K
from tests.autoencoders.test_topk import make as make_topk
from tests.kernels.memory import LargestTensor
from tests.oracles import autoencoders as oracle


@pytest.mark.parametrize(("variant", "symmetric", "affine"), CASES)
def test_product_metrics(variant: str, symmetric: bool, affine: bool) -> None:
    model, train, x = make(variant, symmetric, affine), activations(30, 5), activations(12)
    squares = [torch.outer(y, y) for y in (oracle.lifted_input(model, row) for row in train)]
    mean = torch.stack(squares).mean(0)
    torch.testing.assert_close(second_moment(model, train), mean)
    targets = [torch.outer(y, y) for y in (oracle.lifted_input(model, row) for row in x)]
    found = product_metrics(model, x, mean)
    ours = [oracle.error(model, row) for row in x]
    theirs = [(target - mean).pow(2).sum() / target.pow(2).sum() for target in targets]
    residual = sum(
        (t - oracle.reconstruction(model, r)).pow(2).sum() for t, r in zip(targets, x, strict=True)
    )
    total = sum((target - mean).pow(2).sum() for target in targets)
    assert found.product_error == pytest.approx(torch.stack(ours).mean().item())
    assert found.product_error_mean_predictor == pytest.approx(torch.stack(theirs).mean().item())
    assert found.product_fvu == pytest.approx((residual / total).item())
    assert found.density_samples == 12
    columns = torch.stack([oracle.latents(model, row) for row in x]).T
    density = torch.stack([oracle.density(column) for column in columns]).mean()
    assert found.density == pytest.approx(density.item())


def test_the_mean_predictor_is_the_best_constant() -> None:
    model, x = make("vanilla", True, False), activations(200)
    mean = second_moment(model, x)
    best = product_metrics(model, x, mean).product_error_mean_predictor
    noise = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double()
    for wrong in (mean + 0.05 * (noise + noise.T), 0 * mean, mean * 1.2):
        assert product_metrics(model, x, wrong).product_error_mean_predictor > best


def test_dead_latents_are_counted() -> None:
    model, x = make("vanilla", True, False), activations(50)
    assert product_metrics(model, x, second_moment(model, x)).frac_alive == 1
    model.left.data[:4] *= 1e-4
    assert product_metrics(model, x, second_moment(model, x)).frac_alive == pytest.approx(7 / 11)
    model.right.data[:4] = 0
    found = product_metrics(model, x, second_moment(model, x))
    assert found.frac_alive == pytest.approx(7 / 11) and found.density == found.density


@pytest.mark.parametrize("variant", ["vanilla", "composite", "mixed"])
def test_without_topk_every_latent_is_in_use(variant: str) -> None:
    model, x = make(variant, True, False), activations(50)
    found = product_metrics(model, x, second_moment(model, x))
    z = model.encode(x)
    share = z.abs().sum(1).square() / z.square().sum(1)
    assert found.l0 == model.d_sae and found.effective_l0 == pytest.approx(share.mean().item())


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("norm", ["unit", "none"])
def test_product_metrics_of_topk(norm: str, batch: bool) -> None:
    """As of the latents written out with their zeros."""
    model, x = make_topk(d_sae=40, norm=norm, batch_topk=batch), activations(12)
    model.left.data[-1] = 0  # where −1 would land
    if batch:
        model.loss(activations(50, 3), 0)  # learns the threshold
        model.eval()
    x[5] = model.transform.mean  # keeps nothing
    found = product_metrics(model, x, second_moment(model, x))
    z = model.encode(x)
    on = z != 0
    assert found.l0 == pytest.approx(on.sum().item() / 12)
    assert on.sum(1)[5] == 0 and (batch or found.l0 == pytest.approx(11 / 12 * K))
    assert 0.1 < found.frac_alive < 0.95
    assert found.frac_alive == pytest.approx(on.any(0).sum().item() / 40)
    share = [row.abs().sum() ** 2 / row.square().sum() if row.any() else row.sum() for row in z]
    assert found.effective_l0 == pytest.approx(torch.stack(share).mean().item())
    density = torch.stack([oracle.density(column) for column in z.T]).mean()
    assert found.density == pytest.approx(density.item())


def test_topk_is_measured_without_all_its_latents() -> None:
    model, x = make_topk(d_sae=20_000), activations(64)
    with LargestTensor() as largest:
        product_metrics(model, x, second_moment(model, x))
    assert largest.numbers <= 64 * 4096 < 64 * 20_000


def test_reconstruction_metrics() -> None:
    model, x = make("combined", True, True), activations(20)
    estimate = model(x)
    found = reconstruction_metrics(model, x)
    variance = (x - x.mean(0)).pow(2).sum()
    assert found.explained_variance == pytest.approx(
        (1 - (x - estimate).pow(2).sum() / variance).item()
    )
    assert found.mse == pytest.approx((x - estimate).pow(2).sum(-1).mean().item())
    cosines = (x * estimate).sum(-1) / x.norm(dim=-1) / estimate.norm(dim=-1)
    assert found.cossim == pytest.approx(cosines.mean().item())
    model.forward = lambda x: x  # type: ignore[method-assign]
    assert reconstruction_metrics(model, x)[:3] == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("one", "two"), [("vanilla", "composite"), ("mixed", "mixed")])
def test_map_similarity_against_the_dense_maps(one: str, two: str, affine: bool) -> None:
    first, second = make(one, True, affine), make(two, True, affine)
    for parameter in second.parameters():
        parameter.data = parameter.data.roll(1, 0) + 0.3

    def dense(model: BilinearAutoencoder) -> torch.Tensor:
        forms = torch.einsum("bn,nij->bij", oracle.mixing_matrix(model), oracle.atoms(model))
        return torch.einsum("bij,bkl->ijkl", forms, forms).flatten()

    a, b = dense(first), dense(second)
    found = map_similarity(first, second)
    assert found.cosine == pytest.approx((a @ b / a.norm() / b.norm()).item())
    expected = 2 * (a @ b).sqrt() / (a.norm() + b.norm())
    assert found.frobenius == pytest.approx(expected.item())


def test_map_similarity_sees_through_permutation_scale_and_swap() -> None:
    first, second = make("vanilla", True, False), make("vanilla", True, False)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    scale = torch.linspace(0.3, 3, 11).double()[:, None]
    second.left.data, second.right.data = (
        first.right.data[order] / scale,
        first.left.data[order] * scale,
    )
    assert map_similarity(first, second) == pytest.approx((1, 1))
    second.left.data[0] *= -1  # the sign of an atom does not matter to the map
    assert map_similarity(first, second) == pytest.approx((1, 1))
    second.left.data[0] *= 2
    assert map_similarity(first, second).cosine < 0.999
    # An affine one is compared on [x; 1], where the other predicts nothing of the constant.
    assert 0 < map_similarity(first, make("vanilla", True, True)).cosine < 0.999
