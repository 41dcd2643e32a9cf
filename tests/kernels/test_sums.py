"""The sums over a batch's products, and their gradients against autograd's."""

from __future__ import annotations

from collections.abc import Iterable
from unittest import mock

import pytest
import torch
from torch import Tensor

from quadric.errors import QuadricError
from quadric.kernels import ProductSums, product_sums, reference_energy
from quadric.kernels.sweep import sweep

NAMES = ("x", "scale", "left", "right")


def inputs(dtype: torch.dtype = torch.float64, wanted: Iterable[str] = NAMES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    found = [normal(7, 5), normal(7, 1).abs() + 0.1, normal(11, 5), normal(11, 5)]
    found[2][3] = 0  # a silent atom
    return [
        each.to(dtype).requires_grad_(name in wanted)
        for name, each in zip(NAMES, found, strict=True)
    ]


def truth(arguments: list[Tensor], symmetric: bool, weights: Tensor | None) -> ProductSums:
    x, scale, left, right = arguments
    z = (x @ left.T) * (x @ right.T)
    energy = reference_energy(z, left, right, symmetric=symmetric, weights=weights)
    scaled = scale * z
    return ProductSums(energy, z.square().sum(0), scaled.abs().sum(0), scaled.square().sum(0))


def total(sums: ProductSums) -> Tensor:
    """A function of all sums with gradients of its own to each column of each."""
    generator = torch.Generator().manual_seed(1)
    columns = torch.randn(3, 11, generator=generator, dtype=torch.float64).to(sums.energy)
    parts = zip(columns, sums[1:], strict=True)
    return 0.3 * sums.energy + 2 * sum(torch.dot(weight, part) for weight, part in parts)


@pytest.fixture(params=[2**19, 22], ids=["one piece", "four pieces"])
def pieces(request: pytest.FixtureRequest) -> Iterable[None]:
    with mock.patch("quadric.kernels.pieces.CACHED", request.param):
        yield


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "plain"])
def test_sums_and_gradients(symmetric: bool, weighted: bool) -> None:
    arguments = inputs()
    weights = torch.linspace(1, 0.1, 11, dtype=torch.float64) if weighted else None
    found = product_sums(*arguments, symmetric=symmetric, weights=weights)
    expected = truth(arguments, symmetric, weights)
    torch.testing.assert_close(tuple(found), tuple(expected))
    exact = torch.autograd.grad(total(expected), arguments)
    assert all(each.abs().max() > 1 for each in exact)
    # The second backward pass finds its buffers used up.
    for last in (False, True):
        gradients = torch.autograd.grad(total(found), arguments, retain_graph=not last)
        torch.testing.assert_close(gradients, exact)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("wanted", ["x", "scale", "left", "right"])
def test_one_gradient_alone(wanted: str) -> None:
    arguments = inputs(wanted=[wanted])
    (asked,) = (each for each in arguments if each.requires_grad)
    (gradient,) = torch.autograd.grad(total(product_sums(*arguments)), asked)
    (exact,) = torch.autograd.grad(total(truth(arguments, True, None)), asked)
    torch.testing.assert_close(gradient, exact)


@pytest.mark.usefixtures("pieces")
def test_bfloat16_products_of_float32_factors() -> None:
    arguments = inputs(torch.float32)
    found = product_sums(*arguments, product_dtype=torch.bfloat16)
    exact = truth(arguments, True, None)
    for sums, expected in zip(found, exact, strict=True):
        assert sums.dtype == torch.float32
        assert 1e-6 < (sums - expected).norm() / expected.norm() < 0.01
    gradients = torch.autograd.grad(total(found), arguments)
    for gradient, expected in zip(
        gradients, torch.autograd.grad(total(exact), arguments), strict=True
    ):
        assert gradient.dtype == torch.float32
        assert 1e-6 < (gradient - expected).norm() / expected.norm() < 0.02


def test_reads_stay_in_the_product_type() -> None:
    """What a step keeps of (rows, n) arrays: two reads, and the gradient in float32."""
    x, scale, left, right = inputs(torch.float32, wanted=("left", "right"))
    found = product_sums(x, scale, left, right, product_dtype=torch.bfloat16)
    kept = found.energy.grad_fn.kept  # type: ignore[union-attr]
    assert [read.dtype for read in kept.reads] == [torch.bfloat16] * 2
    assert kept.gradients[0].dtype == torch.float32
    found.energy.backward()
    assert found.energy.grad_fn.kept is None  # type: ignore[union-attr]


def test_without_gradients_none_is_computed() -> None:
    arguments = inputs()
    with torch.no_grad(), mock.patch("quadric.kernels.sums.sweep", wraps=sweep) as watched:
        found = product_sums(*arguments)
    plan = watched.call_args.args[3]
    assert not (plan.want_g or plan.want_left or plan.want_right)
    torch.testing.assert_close(tuple(found), tuple(truth(arguments, True, None)))


def test_refusals() -> None:
    x, scale, left, right = inputs()
    with pytest.raises(QuadricError, match="no second derivative"):
        torch.autograd.grad(product_sums(x, scale, left, right).energy, left, create_graph=True)
    with pytest.raises(QuadricError, match=r"shapes \(7, 4\) and \(7, 1\), expected \(rows, 5\)"):
        product_sums(x[:, :4], scale, left, right)
    with pytest.raises(QuadricError, match=r"shapes \(7, 5\) and \(7,\)"):
        product_sums(x, scale[:, 0], left, right)
    with pytest.raises(QuadricError, match=r"x is torch\.float32 on cpu but left"):
        product_sums(x.float(), scale, left, right)
    with pytest.raises(QuadricError, match=r"product_dtype is torch\.int8"):
        product_sums(x, scale, left, right, product_dtype=torch.int8)
