"""Every identity of the autoencoder against the brute-force oracle, in float64, on odd shapes."""

from __future__ import annotations

import itertools

import pytest
import torch

from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder, hoyer_density
from quadric.autoencoders.density import sparse_hoyer_density
from quadric.autoencoders.ordering import prefix_density_weights, prefix_weights
from tests.oracles import autoencoders as oracle

VARIANTS = ("vanilla", "ordered", "mixed", "combined", "composite")
CASES = list(itertools.product(VARIANTS, (True, False), (True, False)))


def make(variant: str, symmetric: bool, affine: bool, **changes: object) -> BilinearAutoencoder:
    extra: dict[str, object] = {"bottleneck": 1.4} if variant in ("mixed", "combined") else {}
    extra |= {"block": 3} if variant == "composite" else {}
    config = AutoencoderConfig(
        d_in=5, d_sae=11, variant=variant, symmetric=symmetric, affine=affine, **(extra | changes)
    )
    model = BilinearAutoencoder(config).double()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    model.transform.fit(activations(50))
    return model


def activations(rows: int, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=generator, dtype=torch.float64) * 2 + 0.7


@pytest.mark.parametrize(("variant", "symmetric", "affine"), CASES)
def test_encode_is_the_quadratic_form(variant: str, symmetric: bool, affine: bool) -> None:
    model, x = make(variant, symmetric, affine), activations(6)
    expected = torch.stack([oracle.latents(model, row) for row in x])
    torch.testing.assert_close(model.encode(x), expected, rtol=1e-11, atol=1e-11)
    assert model.encode(x).shape == (6, 11)


@pytest.mark.parametrize(("variant", "symmetric", "affine"), CASES)
def test_product_error(variant: str, symmetric: bool, affine: bool) -> None:
    model, x = make(variant, symmetric, affine), activations(6)
    expected = torch.stack([oracle.error(model, row) for row in x])
    torch.testing.assert_close(model.product_error(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("variant", "symmetric", "affine"), CASES)
def test_loss_and_its_gradient(variant: str, symmetric: bool, affine: bool) -> None:
    model, x = (
        make(variant, symmetric, affine, density_weight=0.3, density_warmup=4),
        activations(7),
    )
    loss = model.loss(x, step=1)
    error, density = oracle.loss_parts(model, x)
    torch.testing.assert_close(loss.error, error, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss.density, density, rtol=1e-10, atol=1e-10)
    assert loss.density_weight == pytest.approx(0.3 * 2 / 4)
    torch.testing.assert_close(loss.total, error + 0.15 * density, rtol=1e-10, atol=1e-10)
    loss.total.backward()
    for parameter in model.parameters():
        direction = torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(1)
        ).double()
        slope = (parameter.grad * direction).sum()
        step, values = 1e-6, []
        for sign in (1, -1):
            parameter.data += sign * step * direction
            values.append(model.loss(x, step=1).total.item())
            parameter.data -= sign * step * direction
        assert slope.item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-5)


@pytest.mark.parametrize("norm", ["none", "unit", "constant"])
@pytest.mark.parametrize("scale", ["none", "dimension", "whole"])
def test_loss_under_every_transform(scale: str, norm: str) -> None:
    model = make("combined", True, True, scale=scale, norm=norm)
    error, density = oracle.loss_parts(model, activations(4))
    loss = model.loss(activations(4), step=0)
    torch.testing.assert_close(loss.error, error, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss.density, density, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("variant", "symmetric", "affine"), CASES)
def test_tensor_gives_the_latents(variant: str, symmetric: bool, affine: bool) -> None:
    model, x = make(variant, symmetric, affine), activations(6)
    lifted = torch.stack([oracle.lifted_input(model, row) for row in x])
    torch.testing.assert_close(model.tensor()(lifted), model.encode(x), rtol=1e-10, atol=1e-10)
    some = [9, 2]
    torch.testing.assert_close(
        model.tensor(some)(lifted), model.encode(x)[:, some], rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(("variant", "symmetric", "affine"), CASES)
def test_any_leading_dimensions(variant: str, symmetric: bool, affine: bool) -> None:
    model, x = make(variant, symmetric, affine), activations(12)
    grid = x.reshape(2, 3, 2, 5)
    assert model.encode(grid).shape == (2, 3, 2, 11)
    torch.testing.assert_close(model.encode(grid).reshape(12, 11), model.encode(x))
    torch.testing.assert_close(model(grid).reshape(12, 5), model(x))
    torch.testing.assert_close(model.product_error(grid).flatten(), model.product_error(x))
    torch.testing.assert_close(model.loss(grid, 0).total, model.loss(x, 0).total)
    assert model(x[0]).shape == (5,)
    assert model.product_error(x[0]).shape == ()


def test_symmetrising_never_hurts() -> None:
    symmetric, plain = make("vanilla", True, False), make("vanilla", False, False)
    x = activations(40)
    assert (symmetric.product_error(x) <= plain.product_error(x) + 1e-12).all()
    assert (symmetric.product_error(x) < plain.product_error(x) - 1e-3).any()


def test_the_lift_makes_the_constant_a_latent() -> None:
    """With ‖y‖ = 1 the lifted vector has ‖ỹ‖⁴ = 4, and linear latents are l = [0; 1]."""
    model = make("vanilla", True, True)
    lifted = oracle.lifted_input(model, activations(1)[0])
    assert lifted.pow(2).sum().pow(2).item() == pytest.approx(4)
    model.left.data[0] = torch.tensor([0, 0, 0, 0, 0, 1.0])
    direction = model.right.data[0]
    expected = lifted[:5] @ direction[:5] + direction[5]
    torch.testing.assert_close(model.encode(activations(1))[0, 0], expected)


def test_a_latent_splits_into_constant_linear_and_quadratic() -> None:
    model = make("vanilla", True, True)
    y = oracle.lifted_input(model, activations(1)[0])[:5]
    left, right = model.left[4].detach(), model.right[4].detach()
    constant = left[5] * right[5]
    linear = (left[5] * right[:5] + right[5] * left[:5]) @ y
    quadratic = (left[:5] @ y) * (right[:5] @ y)
    latent = model.encode(activations(1))[0, 4]
    torch.testing.assert_close(latent, constant + linear + quadratic)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_prefix_weights_against_the_loop(n: int) -> None:
    members = torch.zeros(n, dtype=torch.float64)
    shares = torch.zeros(n, dtype=torch.float64)
    for prefix in range(1, n + 1):
        members[:prefix] += 1 / n
        shares[:prefix] += 1 / (n * prefix)
    torch.testing.assert_close(prefix_weights(n), members)
    torch.testing.assert_close(prefix_density_weights(n), shares)
    assert shares.sum().item() == pytest.approx(1)


def test_hoyer_density_extremes_and_law() -> None:
    z = torch.zeros(9, 4, dtype=torch.float64)
    z[3, 1] = -2.0
    z[:, 2] = 5.0
    z[:, 3] = torch.arange(9)
    z.requires_grad_()
    density = hoyer_density(z)
    assert density[:3].tolist() == pytest.approx([0, 0, 1])
    assert density[3].item() == pytest.approx(oracle.density(z[:, 3].detach()).item())
    torch.testing.assert_close(hoyer_density(z * -37), density)
    density.sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()
    assert hoyer_density(torch.ones(1, 3)).tolist() == [0, 0, 0]


def test_a_scale_of_rows_is_that_of_their_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    z, scale, weight = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((9, 6), (9, 1), (6,))
    )
    z[:, 2] = 0
    z.requires_grad_()
    scale = (scale.abs() + 0.1).requires_grad_()
    expected = torch.stack([oracle.density(column) for column in (scale * z).T[[0, 1, 3, 4, 5]]])
    found = hoyer_density(z, scale=scale)
    torch.testing.assert_close(found[[0, 1, 3, 4, 5]], expected)
    assert found[2] == 0 and (found - hoyer_density(z)).abs().max() > 1e-3
    exact = torch.autograd.grad((expected * weight[[0, 1, 3, 4, 5]]).sum(), (z, scale))
    gradients = torch.autograd.grad((found * weight).sum(), (z, scale))
    torch.testing.assert_close(gradients, exact)


def test_mutants_of_the_loss_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each classic slip changes the figure by far more than the tolerance used above."""
    model, x = make("combined", True, False), activations(6)
    right = model.loss(x, 0)
    place = "quadric.autoencoders.objective.prefix_weights"
    for slip in (
        lambda n: prefix_weights(n).flip(0),  # least important first
        lambda n: prefix_weights(n) - 1 / n,  # counts atoms from one
        lambda n: torch.ones(n, dtype=torch.float64),  # no order at all
    ):
        monkeypatch.setattr(place, slip)
        assert abs(model.loss(x, 0).error - right.error) > 1e-3
    monkeypatch.setattr(place, prefix_weights)
    # Averaging the densities before weighting them cancels the order.
    assert abs(hoyer_density(model.encode(x)).mean() - right.density) > 1e-3
    model.config = model.config.replace(symmetric=False)
    assert abs(model.loss(x, 0).error - right.error) > 1e-3
    model.config = model.config.replace(symmetric=True)
    model.left.data, model.right.data = model.right.data, model.left.data
    torch.testing.assert_close(model.loss(x, 0).error, right.error)  # a symmetry, not a slip
    transposed = model.mixing.weight.data
    monkeypatch.setattr(
        type(model.mixing), "coefficients", lambda _, z: z @ transposed.T @ transposed * 0.5
    )
    assert abs(model.loss(x, 0).error - right.error) > 1e-3  # a lost factor 2


def test_sparse_density_is_the_density_of_the_written_out_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    indices = torch.rand(9, 14, generator=generator).argsort(1)[:, :4]
    indices = indices.where(torch.rand(9, 4, generator=generator) < 0.8, -1)
    indices[indices == 0] = -1
    latents = torch.randn(9, 4, generator=generator, dtype=torch.float64)  # also where absent
    on = torch.where(indices >= 0, latents, 0)
    dense = torch.zeros(9, 14, dtype=torch.float64).scatter_add(1, indices.clamp_min(0), on)
    found = sparse_hoyer_density(indices, latents, 14)
    expected = torch.stack([oracle.density(column) for column in dense.T])
    torch.testing.assert_close(found, expected)
    assert found[0] == 0 and found.max() > 0.1
    assert not sparse_hoyer_density(indices[:1], latents[:1], 14).any()  # a single row
