"""The topk variant: what a token keeps, its error, its way back to x; all against definitions."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder, hoyer_density
from quadric.errors import QuadricError
from quadric.evaluation.product import product_metrics, second_moment
from quadric.runs import facts
from tests.autoencoders.test_identities import activations
from tests.kernels.memory import LargestTensor
from tests.oracles import autoencoders as oracle

K = 3
KINDS = list(itertools.product((True, False), (True, False)))
# With 40 latents the atoms of a row are gathered for decoding, with 11 all of them are read.
SIZES = pytest.mark.parametrize("d_sae", [11, 40])


def make(symmetric: bool = True, affine: bool = False, **changes: object) -> BilinearAutoencoder:
    values: dict[str, object] = {"d_in": 5, "d_sae": 11, "k": K, "variant": "topk"} | changes
    config = AutoencoderConfig(symmetric=symmetric, affine=affine, **values)  # type: ignore[arg-type]
    model = BilinearAutoencoder(config).double()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    model.transform.fit(activations(50))
    return model


def kept(model: BilinearAutoencoder, row: Tensor) -> Tensor:
    """All latents of one activation, those outside the k largest set to zero."""
    z = oracle.products(model, row)
    strongest = z.abs().argsort(descending=True)[: model.config.k]
    return torch.zeros_like(z).index_copy(0, strongest, z[strongest])


def reconstruction(model: BilinearAutoencoder, row: Tensor) -> Tensor:
    """X̂, one atom after the other."""
    matrices = oracle.atoms(model)
    return sum(g * matrix for g, matrix in zip(kept(model, row), matrices, strict=True))  # type: ignore[return-value]


def error(model: BilinearAutoencoder, row: Tensor) -> Tensor:
    y = oracle.lifted_input(model, row)
    target = torch.outer(y, y)
    return (target - reconstruction(model, row)).square().sum() / target.square().sum()


@pytest.mark.parametrize(("symmetric", "affine"), KINDS)
def test_encode_keeps_the_k_strongest_products(symmetric: bool, affine: bool) -> None:
    model, x = make(symmetric, affine), activations(9)
    latents = model.encode(x)
    expected = torch.stack([kept(model, row) for row in x])
    torch.testing.assert_close(latents, expected, rtol=1e-11, atol=1e-11)
    assert ((latents != 0).sum(1) == K).all()
    active = model.encode_sparse(x.reshape(3, 3, 5))
    assert active.indices.shape == active.latents.shape == (3, 3, K)
    flat = active.indices.reshape(9, K)
    torch.testing.assert_close(active.latents.reshape(9, K), latents.gather(1, flat))
    assert (flat.diff(dim=1) > 0).all()
    assert model.encode(x[0]).shape == (11,) and model.encode(x[:0]).shape == (0, 11)


@pytest.mark.parametrize("norm", ["none", "unit", "constant"])
@pytest.mark.parametrize(("symmetric", "affine"), KINDS)
def test_product_error_and_the_loss(symmetric: bool, affine: bool, norm: str) -> None:
    model, x = make(symmetric, affine, norm=norm, scale="dimension"), activations(8)
    expected = torch.stack([error(model, row) for row in x])
    torch.testing.assert_close(model.product_error(x), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model.product_error(x.reshape(2, 4, 5)).flatten(), expected)
    for training in (True, False):
        loss = model.train(training).loss(x, step=0)
        torch.testing.assert_close(loss.error, expected.mean(), rtol=1e-10, atol=1e-10)
        assert loss.total.item() == loss.error.item() and loss.density_weight == 0
        density = torch.stack([oracle.density(c) for c in model.encode(x).T]).mean()
        torch.testing.assert_close(loss.density, density)
        torch.testing.assert_close(model.density(x), density)


@pytest.mark.parametrize(("symmetric", "affine"), KINDS)
def test_the_gradient_of_the_loss(symmetric: bool, affine: bool) -> None:
    model, x = make(symmetric, affine).eval(), activations(6)
    model.loss(x, 0).total.backward()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        for step in (1e-6, -1e-6):
            parameter.data += step * direction
            values.append(torch.stack([error(model, row) for row in x]).mean().item())
            parameter.data -= step * direction
        slope = (parameter.grad * direction).sum().item()
        assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=2e-5)


@SIZES
@pytest.mark.parametrize("symmetric", [True, False])
def test_forward_is_the_leading_eigenvector(symmetric: bool, d_sae: int) -> None:
    model, x = make(symmetric, d_sae=d_sae), activations(6)
    for row, found in zip(x, model(x), strict=True):
        matrix = reconstruction(model, row)
        values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
        expected = vectors[:, -1] * values[-1].clamp_min(0).sqrt()
        expected = expected * torch.sign(expected @ oracle.lifted_input(model, row))
        norm = (row - model.transform.mean).norm()
        torch.testing.assert_close(found, expected * norm + model.transform.mean)


@SIZES
@pytest.mark.parametrize("symmetric", [True, False])
def test_an_affine_one_decodes_linearly(symmetric: bool, d_sae: int) -> None:
    model, x = make(symmetric, True, d_sae=d_sae), activations(5)
    for row, latent in zip(x, model.encode(x), strict=True):
        matrix = reconstruction(model, row)
        block = (matrix + matrix.T)[:5, 5] / 2
        expected = block * model.transform.mean_norm + model.transform.mean
        torch.testing.assert_close(model.decode(latent), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("affine", [True, False])
def test_gathered_decoding_is_the_plain_one(affine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of few latents, of none, of all: as an autoencoder that keeps every latent has it."""
    model, x = make(True, affine, d_sae=40), activations(12)
    plain = BilinearAutoencoder(model.config.replace(variant="vanilla")).double()
    plain.load_state_dict(model.state_dict(), strict=False)
    plain.transform.fit(activations(50))
    latents = model.encode(x)
    latents[3] = 0
    latents[4, latents[4].nonzero()[1:]] = 0
    for gathered in (1, 100, 2**24):
        monkeypatch.setattr("quadric.autoencoders.model.GATHERED", gathered)
        torch.testing.assert_close(model.decode(latents, like=x), plain.decode(latents, like=x))
    every = torch.randn(12, 40, generator=torch.Generator().manual_seed(2)).double()
    torch.testing.assert_close(model.decode(every, like=x), plain.decode(every, like=x))
    assert model.decode(latents[:0], like=x[:0]).shape == (0, 5)


def test_decoding_gathers_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quadric.autoencoders.model.GATHERED", 2 * 4 * 8 * 64)  # four rows' atoms
    model = BilinearAutoencoder(AutoencoderConfig(d_in=64, d_sae=64, k=8, variant="topk"))
    x = torch.randn(40, 64)
    latents = model.encode(x)
    with LargestTensor() as largest:
        model.decode(latents, like=x)
    assert largest.numbers <= 4 * 16 * 64 < 40 * 8 * 64  # a Lanczos basis for the four


def test_nothing_of_the_size_of_all_latents_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quadric.autoencoders.sparsity.DEAD_STEPS", 0)
    monkeypatch.setattr("quadric.autoencoders.sparsity.CANDIDATES", 100)
    model, x = make(d_sae=10_000, batch_topk=True), activations(256)
    with LargestTensor() as largest:
        model.loss(x, 0)
        loss = model.loss(x, 1)
        assert loss.total > loss.error  # dead latents are in it
        loss.total.backward()
        model.product_error(x)
        model.density(x)
    assert largest.numbers <= 256 * 4096 < 256 * 10_000


@pytest.mark.parametrize("affine", [True, False])
def test_forms(affine: bool) -> None:
    model, x = make(True, affine), activations(6)
    lifted = torch.stack([oracle.lifted_input(model, row) for row in x])
    everything = torch.stack([oracle.products(model, row) for row in x])
    torch.testing.assert_close(model.tensor()(lifted), everything)
    torch.testing.assert_close(model.tensor([9, 2])(lifted), everything[:, [9, 2]])
    torch.testing.assert_close(model.map_forms()(lifted), everything)


def test_evaluation() -> None:
    model, x = make(), activations(40)
    mean = second_moment(model, activations(50))
    found = product_metrics(model, x, mean)
    errors = torch.stack([error(model, row) for row in x])
    assert found.product_error == pytest.approx(errors.mean().item())
    inputs = torch.stack([oracle.lifted_input(model, row) for row in x])
    matrices = inputs[:, :, None] * inputs[:, None, :]
    variance = (matrices - mean).square().sum((1, 2))
    assert found.product_error_mean_predictor == pytest.approx(variance.mean().item())
    assert found.product_fvu == pytest.approx((errors.sum() / variance.sum()).item())
    latents = torch.stack([kept(model, row) for row in x])
    assert found.density == pytest.approx(hoyer_density(latents).mean().item())
    assert 1 <= found.effective_l0 <= K
    used = (latents != 0).any(0)
    assert found.frac_alive == pytest.approx(used.double().mean().item(), abs=1 / 11 + 1e-9)
    model.left.data[4] = 0
    assert product_metrics(model, x, mean).frac_alive <= 10 / 11 + 1e-6


def test_facts_say_how_many_are_kept() -> None:
    assert facts.of_model(make())["Latents"] == "11: single products, the 3 strongest of every row"
    shared = facts.of_model(make(batch_topk=True))
    assert shared["Latents"] == "11: single products, the 3 strongest on average"
    assert "Density penalty" not in shared


def test_a_vector_at_the_mean_has_no_error() -> None:
    model = make()
    x = torch.stack([model.transform.mean, activations(1)[0]])
    assert model.product_error(x)[0] == 0
    torch.testing.assert_close(model(x)[0], x[0])
    model.loss(x, 0).total.backward()
    assert model.left.grad is not None and model.left.grad.isfinite().all()


def test_symmetrising_never_hurts() -> None:
    x = activations(40)
    symmetric, plain = (make(kind).product_error(x) for kind in (True, False))
    assert (symmetric <= plain + 1e-12).all() and (symmetric < plain - 1e-3).any()


def test_keeping_all_is_the_vanilla_autoencoder() -> None:
    model, x = make(k=11), activations(9)
    plain = BilinearAutoencoder(model.config.replace(variant="vanilla")).double()
    plain.load_state_dict(model.state_dict(), strict=False)
    plain.transform.fit(activations(50))
    torch.testing.assert_close(model.encode(x), plain.encode(x))
    torch.testing.assert_close(model.product_error(x), plain.product_error(x))
    torch.testing.assert_close(model.loss(x, 0).error, plain.loss(x, 0).error)
    torch.testing.assert_close(model.loss(x, 0).density, plain.loss(x, 0).density)
    torch.testing.assert_close(model(x), plain(x))


def test_other_variants_have_no_sparse_latents() -> None:
    model = BilinearAutoencoder(AutoencoderConfig(d_in=5, d_sae=11))
    with pytest.raises(QuadricError, match="'vanilla' keeps every latent: use encode"):
        model.encode_sparse(torch.zeros(2, 5))
    with pytest.raises(QuadricError, match=r"\(3, 4\): the last dimension must be d_in = 5"):
        make().encode_sparse(torch.zeros(3, 4))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("batch", [True, False])
def test_forward_is_decoding_what_was_encoded(affine: bool, batch: bool) -> None:
    model, x = make(True, affine, d_sae=40, batch_topk=batch), activations(12)
    if batch:
        model.loss(activations(50, 3), 0)  # sets the threshold
    x[5] = model.transform.mean
    torch.testing.assert_close(model(x), model.decode(model.encode(x), like=x))
    torch.testing.assert_close(model(x.reshape(3, 2, 2, 5)), model(x).reshape(3, 2, 2, 5))
    assert model(x[0]).shape == (5,) and model(x[:0]).shape == (0, 5)
    with pytest.raises(QuadricError, match="d_in = 5"):
        model(x[:, :4])


def test_forward_never_holds_all_latents_of_all_rows() -> None:
    model, x = make(d_sae=20_000), activations(64)
    with LargestTensor() as largest:
        model(x)
    assert largest.numbers <= 64 * 4096 < 64 * 20_000
