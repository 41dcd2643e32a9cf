"""The public functions through Triton's kernels, interpreted on a CPU, and without them."""

from __future__ import annotations

from functools import partial
from unittest import mock

import pytest
import torch

from quadric.kernels import (
    reconstruction_energy,
    reference_energy,
    sparse_squared_error,
    sparse_squared_errors,
)
from quadric.kernels.backends import Backend
from tests.kernels import test_sparse as sparse
from tests.kernels.interpreter import interpreted
from tests.kernels.problems import problem, relative_error, value_and_gradients
from tests.oracles import sparse as oracle

pytest.importorskip("triton")

BOTH = pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "plain"])
TRITON = Backend("triton", "a test asks for it")


def dense(symmetric: bool, block: int | None) -> tuple[list[float], int]:
    """Relative errors of value and gradients, and the rows in a block of Triton's kernel."""
    from quadric.kernels import fused_energy as fused

    p = problem(samples=9, n=75, d=10, dtype=torch.float32)
    doubled = tuple(each.detach().double().requires_grad_() for each in p.arguments)
    exact = partial(reference_energy, symmetric=symmetric, weights=p.weights.double())
    energy = partial(reconstruction_energy, symmetric=symmetric, weights=p.weights, block=block)
    with (
        mock.patch("quadric.kernels.sweep.backend", return_value=TRITON),
        mock.patch.object(fused, "fused_energy", wraps=fused.fused_energy) as kernel,
    ):
        found = value_and_gradients(energy, p.arguments)
    pairs = zip(found, value_and_gradients(exact, doubled), strict=True)
    return [relative_error(a, b) for a, b in pairs], kernel.call_args.kwargs["size"]


@BOTH
@pytest.mark.parametrize(("block", "size"), [(None, 75), (40, 64)])
def test_the_dense_energy(symmetric: bool, block: int | None, size: int) -> None:
    errors, found = interpreted(dense, symmetric, block)
    assert max(errors) < 1e-6
    assert found == size


def active(symmetric: bool, dtype: torch.dtype) -> tuple[list[float], int]:
    """Relative errors of value, gradients and the rows' errors, and the calls of the kernel."""
    from quadric.kernels import fused_sparse as fused

    p = sparse.problem(dtype=dtype)
    held = sparse.held_coefficients(p, 2)
    assert held is not None
    left, right = (each.detach().double().requires_grad_() for each in p.factors)
    doubled = sparse.Problem(p.x.double(), left, right, p.indices)
    with (
        mock.patch("quadric.kernels.sparse.backend", return_value=TRITON),
        mock.patch.object(
            fused, "fused_squared_errors", wraps=fused.fused_squared_errors
        ) as kernel,
    ):
        error = 2 * sparse_squared_error(*p, symmetric=symmetric, held=held)
        found = (
            *sparse.value_and_gradients(error, p),
            sparse_squared_errors(*p, symmetric=symmetric),
        )
    exact = 2 * oracle.squared_errors(*doubled, symmetric=symmetric, held=held.double()).sum()
    expected = (
        *sparse.value_and_gradients(exact, doubled),
        oracle.squared_errors(*doubled, symmetric=symmetric),
    )
    pairs = zip(found, expected, strict=True)
    return [relative_error(a, b) for a, b in pairs], kernel.call_count


@BOTH
def test_the_sparse_error(symmetric: bool) -> None:
    errors, calls = interpreted(active, symmetric, torch.float32)
    assert max(errors) < 3e-6 and calls == 2


def test_float64_stays_with_pytorch() -> None:
    errors, calls = interpreted(active, True, torch.float64)
    assert max(errors) < 1e-12 and calls == 0
