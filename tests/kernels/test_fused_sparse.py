"""Triton's sparse error, interpreted on a CPU, against PyTorch's in float64; and compiled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from quadric.kernels import sparse_squared_errors
from tests.kernels.interpreter import compiled, interpreted
from tests.kernels.problems import relative_error
from tests.kernels.test_sparse import Problem, held_coefficients, problem
from tests.oracles import sparse as oracle

pytest.importorskip("triton")

BOTH = pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "plain"])


def errors(
    symmetric: bool,
    k: int,
    held: int,
    product_dtype: torch.dtype = torch.float32,
    want: tuple[bool, bool] = (True, True),
) -> tuple[float, list[float | None]]:
    """Relative errors of the rows' errors, and of the gradients (absolute where exact is 0)."""
    from quadric.kernels.fused_sparse import fused_squared_errors

    p = problem(rows=3, n=130, d=37, k=k, dtype=torch.float32)
    p = p._replace(x=p.x / p.x.norm(dim=1, keepdim=True))
    fixed = held_coefficients(p, held)
    found, gradients = fused_squared_errors(
        *p,
        held=fixed,
        symmetric=symmetric,
        product_dtype=product_dtype,
        want_left=want[0],
        want_right=want[1],
    )
    left, right = (each.detach().double().requires_grad_() for each in p.factors)
    doubled = Problem(p.x.double(), left, right, p.indices)
    exact = oracle.squared_errors(
        *doubled, symmetric=symmetric, held=None if fixed is None else fixed.double()
    )
    assert found.shape == (3,)
    slopes: tuple[Tensor, ...] = (torch.zeros_like(left), torch.zeros_like(right))
    if held < k:
        slopes = torch.autograd.grad(exact.sum(), (left, right))
    compared: list[float | None] = []
    for gradient, slope in zip(gradients, slopes, strict=True):
        if gradient is None:
            compared.append(None)
        elif slope.any():
            compared.append(relative_error(gradient, slope))
        else:
            compared.append(float(gradient.abs().max()))
    return relative_error(found, exact), compared


# A block of columns is 32 in float32: one, two, a held one.
@BOTH
@pytest.mark.parametrize(("k", "held"), [(1, 0), (5, 2), (19, 19), (40, 0), (40, 33)])
def test_float32_errors_and_gradients(symmetric: bool, k: int, held: int) -> None:
    error, gradients = interpreted(errors, symmetric, k, held)
    assert error < 3e-6
    assert all(each is not None and each < 3e-6 for each in gradients)


# In bfloat16 it is 64.
@BOTH
@pytest.mark.parametrize(("k", "held"), [(5, 2), (70, 0), (70, 66)])
def test_bfloat16_products_are_within_a_hundredth(symmetric: bool, k: int, held: int) -> None:
    error, gradients = interpreted(errors, symmetric, k, held, torch.bfloat16)
    every = [error, *(each for each in gradients if each is not None)]
    assert 1e-5 < max(every) < 1e-2  # below, nothing was rounded


@BOTH
@pytest.mark.parametrize("want", [(False, False), (True, False), (False, True)])
def test_any_subset_of_the_gradients(symmetric: bool, want: tuple[bool, bool]) -> None:
    error, gradients = interpreted(errors, symmetric, 40, 3, torch.float32, want)
    assert error < 3e-6
    assert tuple(each is not None for each in gradients) == want
    assert all(each < 3e-6 for each in gradients if each is not None)


def without_rows() -> tuple[list[int], float]:
    from quadric.kernels.fused_sparse import fused_squared_errors

    p = problem(dtype=torch.float32)
    found, gradients = fused_squared_errors(
        p.x[:0],
        *p.factors,
        p.indices[:0],
        held=None,
        symmetric=True,
        product_dtype=torch.float32,
        want_left=True,
        want_right=True,
    )
    return list(found.shape), max(float(each.abs().max()) for each in gradients if each is not None)


def test_no_rows() -> None:
    assert interpreted(without_rows) == ([0], 0.0)


def of_views() -> float:
    """On arguments that are not contiguous, bfloat16 themselves, with indices of 32 bits."""
    from quadric.kernels.fused_sparse import fused_squared_errors

    p = problem(rows=4, n=23, d=10, k=5, dtype=torch.bfloat16)
    x, left, right = (each.detach().repeat_interleave(2, 1)[:, ::2] for each in (p.x, *p.factors))
    found, _ = fused_squared_errors(
        x,
        left,
        right,
        p.indices.int().T.contiguous().T,
        held=None,
        symmetric=True,
        product_dtype=torch.bfloat16,
        want_left=False,
        want_right=False,
    )
    exact = sparse_squared_errors(*(each.detach().double() for each in p[:3]), p.indices)
    return relative_error(found, exact)


def test_views_and_smaller_types() -> None:
    assert interpreted(of_views) < 1e-2


def test_it_compiles_for_a_gpu() -> None:
    """Of compute capability 9.0, on whose tensor cores it multiplies, within shared memory."""
    import triton.language as tl

    from quadric.kernels.fused_sparse import _COLUMNS, _DEPTH, _WARPS, _meet

    flags = {"SYMMETRIC": True, "WANT_LEFT": True, "WANT_RIGHT": True, "PRODUCT": tl.bfloat16}
    code = compiled(
        _meet,
        {
            "indices": "*i64",
            "x left right coefficients by_left by_right image to_left to_right": "*fp32",
        },
        flags | {"COLUMNS": _COLUMNS[torch.bfloat16], "DEPTH": _DEPTH},
        num_warps=_WARPS,
    )
    assert code.shared <= 227 * 1024
    assert "wgmma" in code.assembly
    assert "red.global" in code.assembly  # added without waiting for what was there
