"""The latents' products and their gradients against autograd's, in float64 and in bfloat16."""

from __future__ import annotations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.kernels import latent_products


def inputs(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((7, 5), (11, 5), (11, 5))
    )


@pytest.mark.parametrize("wanted", [(0, 1, 2), (1, 2), (1,), (2,), (0,)])
def test_products_and_gradients(wanted: tuple[int, ...]) -> None:
    arguments = inputs()
    for index, argument in enumerate(arguments):
        argument.requires_grad_(index in wanted)
    x, left, right = arguments
    weight = torch.arange(77.0, dtype=torch.float64).view(7, 11).sin()
    expected = (x @ left.T) * (x @ right.T)
    found = latent_products(x, left, right)
    torch.testing.assert_close(found, expected)
    asked = [arguments[index] for index in wanted]
    truth = torch.autograd.grad((expected * weight).sum(), asked)
    for gradient, exact in zip(
        torch.autograd.grad((found * weight).sum(), asked), truth, strict=True
    ):
        torch.testing.assert_close(gradient, exact)


def test_bfloat16_products_of_float32_factors() -> None:
    x, left, right = inputs(torch.float32)
    found = latent_products(x, left, right, product_dtype=torch.bfloat16)
    assert found.dtype == torch.float32
    exact = (x @ left.T) * (x @ right.T)
    assert 1e-6 < (found - exact).norm() / exact.norm() < 0.01
    # Of bfloat16 reads the product is made in float32, not rounded again.
    assert not torch.equal(found, found.to(torch.bfloat16).float())
    gradients = torch.autograd.grad(found.square().sum(), (x, left, right))
    truth = torch.autograd.grad(exact.square().sum(), (x, left, right))
    for gradient, expected in zip(gradients, truth, strict=True):
        assert gradient.dtype == torch.float32
        assert 1e-6 < (gradient - expected).norm() / expected.norm() < 0.02


def test_no_second_derivative() -> None:
    x, left, right = inputs()
    with pytest.raises(QuadricError, match="no second derivative"):
        torch.autograd.grad(latent_products(x, left, right).sum(), left, create_graph=True)
