"""Triton's dense energy, interpreted on a CPU, against the reference in float64; and compiled."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from quadric.kernels import reference_energy
from tests.kernels.interpreter import compiled, interpreted
from tests.kernels.problems import problem, relative_error, value_and_gradients

pytest.importorskip("triton")

BOTH = pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "plain"])
WEIGHTED = pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "unweighted"])
ALL = (True, True, True)
# 3 blocks, the last one smaller; panels that end in, at and before the block's own columns.
SHAPE = {"samples": 13, "n": 75, "d": 21, "size": 32, "span": 48}


def found_and_exact(
    symmetric: bool,
    weighted: bool,
    want: tuple[bool, bool, bool],
    shares: Iterable[list[int]],
    *,
    samples: int,
    n: int,
    d: int,
    size: int,
    span: int,
    product_dtype: torch.dtype = torch.float32,
) -> tuple[list[Tensor | None], list[Tensor]]:
    """The value and the gradients to g, left and right, summed over the shares."""
    from quadric.kernels.fused_energy import fused_energy

    p = problem(samples, n, d, dtype=torch.float32)
    weights = p.weights if weighted else None
    found: list[Tensor | None] = []
    for share in shares:
        value, gradients = fused_energy(
            *(each.detach() for each in p.arguments),
            rows=share,
            size=size,
            span=span,
            symmetric=symmetric,
            weights=weights,
            product_dtype=product_dtype,
            **dict(zip(("want_g", "want_left", "want_right"), want, strict=True)),
        )
        scale = 1 if symmetric else 2  # 2 × that of the Gram
        parts = [value, *(None if each is None else scale * each for each in gradients)]
        found = (
            [a if b is None else a + b for a, b in zip(found, parts, strict=True)]
            if found
            else parts
        )
    doubled = tuple(each.detach().double().requires_grad_() for each in p.arguments)
    exact = value_and_gradients(
        lambda *arguments: reference_energy(
            *arguments, symmetric=symmetric, weights=None if weights is None else weights.double()
        ),
        doubled,
    )
    return found, list(exact)


def errors(*arguments: Any, **options: Any) -> list[float | None]:
    """Relative errors of the value and the gradients, None for a gradient that is None."""
    pairs = zip(*found_and_exact(*arguments, **options), strict=True)
    return [None if found is None else relative_error(found, exact) for found, exact in pairs]


def worst(*arguments: Any, **options: Any) -> float:
    found = interpreted(errors, *arguments, **options)
    assert None not in found
    return max(each for each in found if each is not None)


@BOTH
@WEIGHTED
def test_float32_value_and_gradients(symmetric: bool, weighted: bool) -> None:
    assert worst(symmetric, weighted, ALL, [[0, 1, 2]], **SHAPE) < 1e-6


@BOTH
@WEIGHTED
def test_bfloat16_products_are_within_a_hundredth(symmetric: bool, weighted: bool) -> None:
    error = worst(symmetric, weighted, ALL, [[0, 1, 2]], **SHAPE, product_dtype=torch.bfloat16)
    assert 1e-4 < error < 1e-2  # below 1e-4 nothing was rounded


@BOTH
@pytest.mark.parametrize(
    "shape",
    [
        {"samples": 3, "n": 1, "d": 1, "size": 1, "span": 1},
        {"samples": 1, "n": 37, "d": 50, "size": 64, "span": 128},
        {"samples": 5, "n": 11, "d": 3, "size": 3, "span": 2},
    ],
    ids=["one atom", "one block", "panels smaller than blocks"],
)
def test_odd_shapes(symmetric: bool, shape: dict[str, int]) -> None:
    blocks = range(-(-shape["n"] // shape["size"]))
    assert worst(symmetric, True, ALL, [blocks], **shape) < 1e-6


@BOTH
@pytest.mark.parametrize("wanted", range(7), ids=lambda mask: f"{mask:03b}")
def test_any_subset_of_the_gradients(symmetric: bool, wanted: int) -> None:
    want = tuple(bool(wanted >> k & 1) for k in range(3))
    value, *gradients = interpreted(errors, symmetric, True, want, [[0, 1, 2]], **SHAPE)
    assert value is not None and value < 1e-6
    assert [each is not None for each in gradients] == list(want)
    assert all(each < 1e-6 for each in gradients if each is not None)


@BOTH
def test_shares_of_the_row_blocks_add_up(symmetric: bool) -> None:
    assert worst(symmetric, True, ALL, [[0, 2], [1]], **SHAPE) < 1e-6
    alone = interpreted(errors, symmetric, True, ALL, [[1]], **SHAPE)
    assert all(each is not None and each > 0.1 for each in alone)


def test_no_samples_have_no_energy() -> None:
    found, _ = interpreted(
        found_and_exact, True, False, ALL, [[0]], samples=0, n=5, d=3, size=5, span=5
    )
    assert all(each is not None and not each.any() for each in found)


def test_configurations_fit_in_registers() -> None:
    from quadric.kernels.fused_panel import _fitting

    small, large = (
        SimpleNamespace(kwargs={"ROWS": 128, "COLUMNS": columns}, num_warps=8)
        for columns in (64, 128)
    )
    assert _fitting([small, large], {"SYMMETRIC": True}) == [small]
    assert _fitting([small, large], {}, SYMMETRIC=False) == [small, large]


@BOTH
def test_it_compiles_for_a_gpu(symmetric: bool) -> None:
    """Of compute capability 9.0, on whose tensor cores it multiplies, within shared memory."""
    from quadric.kernels.fused_panel import _configurations, _fitting, fuse_panel

    first, *others = _fitting(_configurations(), {"SYMMETRIC": symmetric})
    assert len(others) >= 3
    flags = {"SYMMETRIC": symmetric, "WEIGHTED": True, "WANT_G": True, "WANT_FACTORS": True}
    code = compiled(
        fuse_panel.fn,
        {"weights": "*fp32", "factors tile products": "*bf16"},
        flags | first.kwargs,
        num_warps=first.num_warps,
        num_stages=first.num_stages,
    )
    assert code.shared <= 227 * 1024
    assert "wgmma" in code.assembly
