"""The sparse error and its gradients against matrices written out, and what it costs."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from quadric import QuadricError
from quadric.kernels import (
    reconstruction_energy,
    sparse_squared_error,
    sparse_squared_errors,
    strongest_products,
)
from tests.kernels.memory import LargestTensor
from tests.kernels.problems import relative_error
from tests.oracles import sparse as oracle

BOTH = pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "plain"])
HELD = pytest.mark.parametrize("held", [0, 2, 4], ids=["free", "some held", "all held"])
# Numbers gathered at a time: one row, three rows with a remainder, all of them.
PIECES = pytest.mark.parametrize("gathered", [1, 3 * 2 * 4 * 5, 2**24])


class Problem(NamedTuple):
    """Rows with their active atoms."""

    x: Tensor
    left: Tensor
    right: Tensor
    indices: Tensor

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        return self.left, self.right


def problem(
    rows: int = 11,
    n: int = 23,
    d: int = 5,
    k: int = 4,
    *,
    seed: int = 0,
    absent: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Problem:
    """Random rows, factors that require gradients, distinct atoms; some of them −1."""
    generator = torch.Generator().manual_seed(seed)
    x, left, right = (
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((rows, d), (n, d), (n, d))
    )
    indices = torch.rand(rows, n, generator=generator).argsort(1)[:, :k]
    if absent:
        indices = indices.where(torch.rand(rows, k, generator=generator) < 0.7, -1)
        indices[0] = -1  # a row that keeps nothing
    return Problem(x, left.requires_grad_(), right.requires_grad_(), indices)


def held_coefficients(p: Problem, h: int) -> Tensor | None:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(len(p.x), h, generator=generator, dtype=p.x.dtype) if h else None


def value_and_gradients(error: Tensor, p: Problem) -> tuple[Tensor, ...]:
    return error.detach(), *torch.autograd.grad(error, p.factors, allow_unused=True)


@BOTH
@HELD
@PIECES
def test_value_and_gradients(
    symmetric: bool, held: int, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quadric.kernels.sparse.GATHERED", gathered)
    p = problem()
    options = {"symmetric": symmetric, "held": held_coefficients(p, held)}
    found = value_and_gradients(sparse_squared_error(*p, **options), p)  # type: ignore[arg-type]
    errors = oracle.squared_errors(*p, **options)  # type: ignore[arg-type]
    assert relative_error(found[0], errors.sum()) < 1e-13
    if held == 4:
        assert not any(gradient.any() for gradient in found[1:])
        return
    for gradient, expected in zip(
        found[1:], torch.autograd.grad(errors.sum(), p.factors), strict=True
    ):
        assert relative_error(gradient, expected) < 1e-12


@BOTH
@PIECES
def test_every_row_on_its_own(
    symmetric: bool, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quadric.kernels.sparse.GATHERED", gathered)
    p = problem()
    found = sparse_squared_errors(*p, symmetric=symmetric)
    exact = oracle.squared_errors(*p, symmetric=symmetric)
    assert not found.requires_grad
    torch.testing.assert_close(found, exact.detach(), rtol=1e-12, atol=1e-12)
    assert found[0].item() == pytest.approx(p.x[0].square().sum().item() ** 2)


@BOTH
def test_with_all_atoms_it_is_the_dense_error(symmetric: bool) -> None:
    """The other kernel, which knows nothing of active atoms, gives the same training error."""
    p = problem(k=23, absent=False)

    def dense() -> Tensor:
        z = (p.x @ p.left.T) * (p.x @ p.right.T)
        energy = reconstruction_energy(z, *p.factors, symmetric=symmetric)
        return p.x.square().sum(1).square().sum() - 2 * z.square().sum() + energy

    found = value_and_gradients(sparse_squared_error(*p, symmetric=symmetric), p)
    for one, other in zip(found, value_and_gradients(dense(), p), strict=True):
        assert relative_error(one, other) < 1e-12


@BOTH
def test_gradients_fall_on_active_atoms_alone(symmetric: bool) -> None:
    p = problem(rows=3, absent=False)
    p.indices[p.indices == 0] = -1
    p.indices[1, 2] = -1
    gradients = torch.autograd.grad(sparse_squared_error(*p, symmetric=symmetric), p.factors)
    active = p.indices.unique()[1:]
    assert 0 not in active  # where −1 would have landed
    silent = torch.ones(23, dtype=torch.bool).index_fill(0, active, False)
    for gradient in gradients:
        assert gradient[active].abs().amin(1).min() > 0 and not gradient[silent].any()


def test_absent_atoms_leave_no_trace() -> None:
    p = problem(absent=False)
    padded = torch.cat([p.indices, torch.full((11, 3), -1)], dim=1)[:, [4, 0, 5, 1, 2, 6, 3]]
    wide = p._replace(indices=padded)
    found, exact = (value_and_gradients(sparse_squared_error(*q), q) for q in (wide, p))
    for one, other in zip(found, exact, strict=True):
        assert relative_error(one, other) < 1e-13


def test_held_products_change_the_gradient_and_not_the_value() -> None:
    p = problem(absent=False)
    z = (p.x[:, None] * p.left[p.indices]).sum(2) * (p.x[:, None] * p.right[p.indices]).sum(2)
    found = value_and_gradients(sparse_squared_error(*p, held=z.detach()[:, :2]), p)
    free = value_and_gradients(sparse_squared_error(*p), p)
    assert relative_error(found[0], free[0]) < 1e-13
    assert relative_error(found[1], free[1]) > 0.1
    only_held = torch.ones(23, dtype=torch.bool).index_fill(0, p.indices[:, 2:].unique(), False)
    assert only_held[p.indices[:, :2]].any() and not found[1][only_held].any()


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_any_subset_of_the_gradients(wanted: int) -> None:
    p = problem()
    exact = value_and_gradients(sparse_squared_error(*p), p)
    left, right = (f.detach().requires_grad_(wanted == i + 1) for i, f in enumerate(p.factors))
    value = sparse_squared_error(p.x, left, right, p.indices)
    assert relative_error(value, exact[0]) < 1e-14 and value.requires_grad == bool(wanted)
    if wanted:
        value.backward()
    for i, factor in enumerate((left, right)):
        if factor.grad is not None:
            assert relative_error(factor.grad, exact[i + 1]) < 1e-13
    with torch.no_grad():
        assert not sparse_squared_error(*p).requires_grad


def test_gradients_are_scaled_by_what_comes_from_above() -> None:
    p = problem()
    value, *plain = value_and_gradients(sparse_squared_error(*p), p)
    scaled = torch.autograd.grad(sparse_squared_error(*p) ** 2 / 3, p.factors)
    for one, other in zip(scaled, plain, strict=True):
        torch.testing.assert_close(one, other * 2 * value / 3)


@BOTH
@HELD
def test_bfloat16_products_are_within_a_few_hundredths(symmetric: bool, held: int) -> None:
    p = problem(rows=37, n=150, d=29, k=12, absent=False, dtype=torch.float32)
    p = p._replace(x=p.x / p.x.norm(dim=1, keepdim=True))
    options = {"symmetric": symmetric, "held": held_coefficients(p, held)}
    found, exact = (
        value_and_gradients(sparse_squared_error(*p, product_dtype=dtype, **options), p)  # type: ignore[arg-type]
        for dtype in (torch.bfloat16, None)
    )
    errors = [relative_error(a, b) for a, b in zip(found, exact, strict=True)]
    assert 1e-5 < max(errors) < 2e-2  # below, nothing was rounded
    assert all(each.dtype == torch.float32 for each in found)


@BOTH
@HELD
def test_bfloat16_products_piece_by_piece(
    symmetric: bool, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = problem(rows=13, n=40, d=9, k=6, dtype=torch.float32)
    options = {"symmetric": symmetric, "held": held_coefficients(p, held)}
    results = []
    for rows in (13, 3):
        monkeypatch.setattr("quadric.kernels.sparse.GATHERED", rows * 2 * 6 * 9)
        value = sparse_squared_error(*p, product_dtype=torch.bfloat16, **options)  # type: ignore[arg-type]
        results.append(value_and_gradients(value, p))
    for one, other in zip(*results, strict=True):
        assert relative_error(one, other) < 1e-5


def test_float32_is_as_exact_as_float32_can_be() -> None:
    p = problem(rows=37, n=150, d=29, k=12, dtype=torch.float32)
    left, right = (f.detach().double().requires_grad_() for f in p.factors)
    doubled = Problem(p.x.double(), left, right, p.indices)
    pairs = zip(
        value_and_gradients(sparse_squared_error(*p), p),
        value_and_gradients(oracle.squared_errors(*doubled).sum(), doubled),
        strict=True,
    )
    for found, exact in pairs:
        assert found.dtype == torch.float32 and relative_error(found, exact) < 3e-6


def test_nothing_is_as_large_as_the_latents_of_all_atoms() -> None:
    rows, n, d, k = 64, 6000, 6, 4
    p = problem(rows, n, d, k, absent=False)
    with LargestTensor() as largest:
        sparse_squared_error(*p).backward()
    assert largest.numbers <= max(n * d, rows * k * d) < rows * n // 8


def test_pieces_bound_what_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quadric.kernels.sparse.GATHERED", 2 * 5 * 4 * 6)
    p = problem(rows=300, n=20, d=6, k=4)
    with LargestTensor() as largest:
        sparse_squared_error(*p).backward()
    assert largest.numbers <= 300 * 6  # the rows themselves
    with LargestTensor() as largest:
        sparse_squared_errors(*p)
    assert largest.numbers <= 300 * 6


def test_nothing_to_do() -> None:
    p = problem()
    empty = Problem(p.x[:0], p.left, p.right, p.indices[:0])
    value, *gradients = value_and_gradients(sparse_squared_error(*empty), p)
    assert float(value) == 0 and not any(gradient.any() for gradient in gradients)
    assert sparse_squared_errors(*empty).shape == (0,)


def test_a_row_of_zeros_keeps_nothing_and_moves_nothing() -> None:
    p = problem()
    x = p.x.clone()
    x[4] = 0
    kept = strongest_products(x, p.left, p.right, 3).indices
    assert (kept[4] == -1).all()
    rest = torch.arange(11) != 4
    found, exact = (
        value_and_gradients(sparse_squared_error(rows, *p.factors, some), p)
        for rows, some in ((x, kept), (x[rest], kept[rest]))
    )
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other)


def test_strongest_atoms_of_an_orthonormal_basis_leave_the_rest() -> None:
    """With atoms eᵢeᵢᵀ the k strongest take the k largest x⁴ off ‖x‖⁴."""
    eye = torch.eye(6, dtype=torch.float64)
    x = problem(rows=9, d=6).x
    kept = strongest_products(x, eye, eye, 2).indices
    expected = x.square().sum(1).square() - x.pow(4).topk(2, dim=1).values.sum(1)
    torch.testing.assert_close(sparse_squared_errors(x, eye, eye, kept), expected)


def test_what_is_refused() -> None:
    p = problem()
    x, left, right, indices = p
    held = torch.zeros(11, 2, dtype=torch.float64)
    cases: list[tuple[tuple[Tensor, ...], dict[str, object], str]] = [
        ((x, left, right[:, :4], indices), {}, r"shapes \(11, 5\), \(23, 5\), \(23, 4\)"),
        ((x[:, :4], left, right, indices), {}, r"expected \(rows, d\), 2× \(n, d\)"),
        ((x, left, right, indices[:10]), {}, r"indices have shape \(10, 4\), expected \(11, k\)"),
        ((x, left, right, indices[:, :0]), {}, r"shape \(11, 0\), expected \(11, k\), k ≥ 1"),
        ((x, left, right, indices + 22), {}, r"expected −1 to 22"),
        ((x, left, right, indices - 1), {}, r"indices reach from -2"),
        ((x, left, right, indices), {"held": held[:4]}, r"held has shape \(4, 2\)"),
        ((x, left, right, indices), {"held": held[:, 0]}, r"held has shape \(11,\)"),
        ((x, left, right, indices), {"held": held.repeat(1, 3)}, r"\(11, 6\).*at most 4"),
        ((x.float(), left, right, indices), {}, r"x is torch\.float32 but left is torch\.float64"),
        ((x, left, right, indices), {"held": held.float()}, r"held is torch\.float32"),
        ((x.clone().requires_grad_(), left, right, indices), {}, "x and held get no gradient"),
        ((x, left, right, indices), {"held": held.clone().requires_grad_()}, "detach them"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(QuadricError, match=message):
            sparse_squared_error(*arguments, **options)  # type: ignore[arg-type]
    with pytest.raises(QuadricError, match=r"expected \(11, k\)"):
        sparse_squared_errors(x, left, right, indices[:10])


def test_a_second_derivative_and_a_second_pass_are_refused() -> None:
    p = problem()
    error = partial(sparse_squared_error, *p)
    with pytest.raises(QuadricError, match="no second derivative"):
        torch.autograd.grad(error(), p.left, create_graph=True)
    value = error()
    torch.autograd.grad(value, p.factors, retain_graph=True)
    with pytest.raises(QuadricError, match="differentiated twice"):
        torch.autograd.grad(value, p.factors)
