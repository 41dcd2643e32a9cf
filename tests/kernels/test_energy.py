"""Reconstruction energy, its gradients and the samples' energies against atoms written out."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from quadric import QuadricError
from quadric.kernels import reconstruction_energy, reference_energy, sample_energies
from tests.kernels.problems import (
    brute,
    problem,
    relative_error,
    value_and_gradients,
    worst_error,
)
from tests.oracles import energy as oracle

BOTH = pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "plain"])
WEIGHTED = pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "unweighted"])
# n = 23: one block, larger than n, two even blocks, odd remainders, single rows.
BLOCKS = pytest.mark.parametrize("block", [23, 768, 12, 7, 1])


@BOTH
@WEIGHTED
def test_reference_is_the_sum_over_written_out_atoms(symmetric: bool, weighted: bool) -> None:
    p = problem()
    weights = p.weights if weighted else None
    energy = partial(reference_energy, symmetric=symmetric, weights=weights)
    assert worst_error(energy, brute(symmetric, weights), p.arguments) < 1e-12


@BOTH
@WEIGHTED
@BLOCKS
def test_blocked_is_the_sum_over_written_out_atoms(
    symmetric: bool, weighted: bool, block: int
) -> None:
    p = problem()
    weights = p.weights if weighted else None
    energy = partial(reconstruction_energy, symmetric=symmetric, weights=weights, block=block)
    assert worst_error(energy, brute(symmetric, weights), p.arguments) < 1e-12


@BOTH
@WEIGHTED
@BLOCKS
def test_sample_energies_are_the_written_out_ones(
    symmetric: bool, weighted: bool, block: int
) -> None:
    p = problem()
    weights = p.weights if weighted else None
    found = sample_energies(*p.arguments, symmetric=symmetric, weights=weights, block=block)
    exact = oracle.sample_energies(*p.arguments, symmetric=symmetric, weights=weights)
    assert not found.requires_grad
    torch.testing.assert_close(found, exact.detach(), rtol=1e-12, atol=1e-12)


@BOTH
def test_weights_are_the_mean_over_prefixes(symmetric: bool) -> None:
    p = problem()
    share = torch.rand(23, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = share.flip(0).cumsum(0).flip(0)  # prefix p holds atoms i and j when p ≥ max(i, j)
    exact = oracle.prefix_energies(*p.arguments, share, symmetric=symmetric)
    found = sample_energies(*p.arguments, symmetric=symmetric, weights=weights, block=7)
    torch.testing.assert_close(found, exact.detach(), rtol=1e-12, atol=1e-12)


@BOTH
def test_the_value_is_the_same_without_gradients(symmetric: bool) -> None:
    p = problem()
    energy = partial(reconstruction_energy, symmetric=symmetric, weights=p.weights, block=7)
    exact = brute(symmetric, p.weights)(*p.arguments)
    with torch.no_grad():
        value = energy(*p.arguments)
    assert not value.requires_grad
    assert relative_error(value, exact) < 1e-13
    assert relative_error(energy(*(x.detach() for x in p.arguments)), exact) < 1e-13


@BOTH
@pytest.mark.parametrize("wanted", range(1, 7), ids=lambda mask: f"{mask:03b}")
def test_any_subset_of_the_gradients(symmetric: bool, wanted: int) -> None:
    p = problem()
    energy = partial(reconstruction_energy, symmetric=symmetric, weights=p.weights, block=7)
    arguments = [
        x.detach().requires_grad_(bool(wanted >> k & 1)) for k, x in enumerate(p.arguments)
    ]
    value = energy(*arguments)
    torch.autograd.backward(value)
    exact, *gradients = value_and_gradients(brute(symmetric, p.weights), p.arguments)
    assert relative_error(value.detach(), exact) < 1e-13
    for argument, gradient in zip(arguments, gradients, strict=True):
        if argument.requires_grad:
            assert argument.grad is not None
            assert relative_error(argument.grad, gradient) < 1e-12
        else:
            assert argument.grad is None


@BOTH
def test_gradcheck(symmetric: bool) -> None:
    p = problem(samples=3, n=5, d=2)
    energy = partial(reconstruction_energy, symmetric=symmetric, weights=p.weights, block=2)
    assert torch.autograd.gradcheck(energy, p.arguments)


def test_gradients_are_scaled_by_what_comes_from_above() -> None:
    p = problem()
    plain = value_and_gradients(reconstruction_energy, p.arguments)
    above = value_and_gradients(lambda *x: reconstruction_energy(*x) ** 2 / 3, p.arguments)
    for gradient, scaled in zip(plain[1:], above[1:], strict=True):
        torch.testing.assert_close(scaled, gradient * 2 * plain[0] / 3)


def test_a_kept_graph_gives_the_same_gradients_again() -> None:
    p = problem()
    value = reconstruction_energy(*p.arguments, weights=p.weights, block=7)
    first = torch.autograd.grad(value, p.arguments, retain_graph=True)
    kept = [x.clone() for x in first]
    second = torch.autograd.grad(3 * value, p.arguments)
    for before, one, three in zip(kept, first, second, strict=True):
        assert torch.equal(before, one)
        torch.testing.assert_close(three, 3 * one)


def test_second_derivatives_are_refused() -> None:
    p = problem()
    with pytest.raises(QuadricError, match=r"no second derivative .* use reference_energy"):
        torch.autograd.grad(reconstruction_energy(*p.arguments), p.left, create_graph=True)


def test_a_graph_is_used_up_like_any_other() -> None:
    p = problem()
    value = reconstruction_energy(*p.arguments)
    torch.autograd.grad(value, p.left)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(value, p.left)


@BOTH
def test_float32_is_as_exact_as_float32_can_be(symmetric: bool) -> None:
    p = problem(samples=37, n=150, d=29, dtype=torch.float32)
    energy = partial(reconstruction_energy, symmetric=symmetric, weights=p.weights, block=64)
    doubled = tuple(x.detach().double().requires_grad_() for x in p.arguments)
    exact = partial(reference_energy, symmetric=symmetric, weights=p.weights.double())
    pairs = zip(
        value_and_gradients(energy, p.arguments), value_and_gradients(exact, doubled), strict=True
    )
    for found, expected in pairs:
        assert found.dtype == torch.float32
        assert relative_error(found, expected) < 2e-6


@BOTH
@WEIGHTED
def test_bfloat16_products_are_within_a_hundredth(symmetric: bool, weighted: bool) -> None:
    p = problem(samples=37, n=150, d=29, dtype=torch.float32)
    weights = p.weights if weighted else None
    energy = partial(reconstruction_energy, symmetric=symmetric, weights=weights, block=64)
    rounded = partial(energy, product_dtype=torch.bfloat16)
    error = worst_error(rounded, energy, p.arguments)
    assert 1e-4 < error < 1e-2  # below 1e-4 nothing was rounded


def test_block_sums_of_bfloat16_products_are_kept_in_float32() -> None:
    # The first tile adds 256 to each sum and every other one adds 1, which bfloat16 would lose.
    n = 40
    g = torch.ones(1, n)
    g[0, 0] = 256
    left = torch.ones(n, 1, requires_grad=True)
    value = reconstruction_energy(g, left, torch.ones(n, 1), product_dtype=torch.bfloat16, block=1)
    (gradient,) = torch.autograd.grad(value, left)
    assert float(value.detach()) == (256 + n - 1) ** 2
    assert torch.equal(gradient[:, 0], 2 * g[0] * (256 + n - 1))


def test_bfloat16_arguments_get_bfloat16_gradients() -> None:
    p = problem(samples=37, n=150, d=29, dtype=torch.bfloat16)
    doubled = tuple(x.detach().double().requires_grad_() for x in p.arguments)
    found = value_and_gradients(partial(reconstruction_energy, block=64), p.arguments)
    for one, expected in zip(found, value_and_gradients(reference_energy, doubled), strict=True):
        assert one.dtype == torch.bfloat16
        assert relative_error(one, expected) < 2e-2


def test_a_product_type_below_the_arguments_own() -> None:
    p = problem()
    single = partial(reconstruction_energy, product_dtype=torch.float32, block=7)
    found = value_and_gradients(single, p.arguments)
    assert all(x.dtype == torch.float64 for x in found)
    assert 1e-9 < worst_error(single, reconstruction_energy, p.arguments) < 1e-6


def test_no_samples_have_no_energy() -> None:
    p = problem()
    value = reconstruction_energy(p.g[:0], p.left, p.right, block=7)
    (gradient,) = torch.autograd.grad(value, p.left)
    assert float(value.detach()) == 0
    assert torch.equal(gradient, torch.zeros_like(p.left))


def test_transposed_and_strided_arguments() -> None:
    p = problem()
    strided: tuple[Tensor, ...] = (
        p.g.detach().T.contiguous().T.requires_grad_(),
        p.left.detach().repeat(1, 2)[:, :5].requires_grad_(),
        p.right.detach().repeat_interleave(2, 0)[::2].requires_grad_(),
    )
    energy = partial(reconstruction_energy, block=7)
    assert worst_error(energy, brute(True, None), strided) < 1e-12


@pytest.mark.parametrize("energy", [reconstruction_energy, sample_energies])
def test_disagreeing_arguments_are_named(energy: object) -> None:
    p = problem()
    g, left, right = (x.detach() for x in p.arguments)
    cases: list[tuple[tuple[Tensor, ...], dict[str, object], str]] = [
        ((g, left, right[:, :4]), {}, r"shapes \(23, 5\) and \(23, 4\)"),
        ((g[:, :22], left, right), {}, r"g has shape \(11, 22\), expected \(samples, 23\)"),
        ((g, left, right), {"weights": p.weights[:7]}, r"weights has shape \(7,\)"),
        ((g.float(), left, right), {}, "g is torch.float32 on cpu but left is torch.float64"),
        ((g, left, right), {"weights": p.weights.float()}, "weights is torch.float32"),
        ((g, left, right), {"block": 0}, "block is 0, expected at least 1"),
        ((g[:, :0], left[:0], right[:0]), {}, "no rows"),
        ((g.long(), left.long(), right.long()), {}, "left is torch.int64"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(QuadricError, match=message):
            energy(*arguments, **options)  # type: ignore[operator]


def test_requests_the_kernel_cannot_meet_are_refused() -> None:
    p = problem()
    with pytest.raises(QuadricError, match="weights requires a gradient"):
        reconstruction_energy(*p.arguments, weights=p.weights.requires_grad_())
    with pytest.raises(QuadricError, match=r"product_dtype is torch\.int8"):
        reconstruction_energy(*p.arguments, product_dtype=torch.int8)
