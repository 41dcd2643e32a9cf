"""Fitted exponents, and the predicted costs against what torch counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from benchmarks.power_laws import fit
from benchmarks.predictions import Shape
from torch.utils.flop_counter import FlopCounterMode

from quadric.kernels import reconstruction_energy, sparse_squared_error, strongest_products
from quadric.kernels.sweep import BLOCK


def flop_counter() -> FlopCounterMode:
    """Torch's own, taught the products that are added in place, which it does not know."""

    def added(total: Sequence[int], a: Sequence[int], b: Sequence[int], **_: Any) -> int:
        del total
        return 2 * math.prod(a) * b[-1]

    in_place = dict.fromkeys((torch.ops.aten.addmm_, torch.ops.aten.baddbmm_), added)
    return FlopCounterMode(display=False, custom_mapping=in_place)


def test_a_power_law_is_recovered() -> None:
    law = fit([3, 5, 11, 40], [2.5 * value**1.7 for value in (3, 5, 11, 40)])
    assert law.exponent == pytest.approx(1.7) and law.factor == pytest.approx(2.5)
    assert law.end == pytest.approx(1.7) and law.deviation == pytest.approx(0, abs=1e-12)
    assert law(7) == pytest.approx(2.5 * 7**1.7)


def test_the_fit_weighs_ratios_and_not_differences() -> None:
    # Twice too much at one end and half at the other: the line turns, and no point is preferred.
    values, off = [1, 10, 100, 1000], [2, 1, 1, 0.5]
    law = fit(values, [value * error for value, error in zip(values, off, strict=True)])
    log2 = torch.tensor(2.0, dtype=torch.float64).log() / torch.tensor(10.0).log()
    # The slope of log errors (log2, 0, 0, −log2) at −1.5 … 1.5: −3·log2 / 5.
    assert law.exponent == pytest.approx(1 - 0.6 * float(log2))
    assert law.end == pytest.approx(1 - float(log2))
    residuals = [0.1, -0.3, 0.3, -0.1]  # of that line, in units of log 2
    squares = sum(each**2 for each in residuals) / 4
    assert law.deviation == pytest.approx(2 ** (squares**0.5) - 1)


def test_two_terms_have_an_exponent_at_the_end() -> None:
    costs = [1000 + value for value in (1, 10, 10**6, 10**7)]
    assert fit([1, 10, 10**6, 10**7], costs).exponent < 0.7
    assert fit([1, 10, 10**6, 10**7], costs).end == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("values", "costs"), [([4], [1.0]), ([1, 2], [0.0, 1.0])])
def test_what_has_no_logarithm_is_refused(values: list[int], costs: list[float]) -> None:
    with pytest.raises(ValueError, match="no power law"):
        fit(values, costs)


def test_dense_flops_are_those_that_torch_counts() -> None:
    shape = Shape(n=3 * BLOCK, N=37, d=19)
    g, left, right = (
        torch.randn(size).requires_grad_() for size in ((37, shape.n), (shape.n, 19), (shape.n, 19))
    )
    with flop_counter() as counter:
        reconstruction_energy(g, left, right).backward()
    # Of B blocks, diagonal tiles are made whole though half of one would do: 1/(3B) more.
    assert counter.get_total_flops() == pytest.approx(shape.flops * (1 + 1 / 9))


def test_sparse_flops_are_those_that_torch_counts() -> None:
    shape = Shape(n=1200, N=37, d=19, k=48)
    x = torch.nn.functional.normalize(torch.randn(37, 19))
    left, right = (torch.randn(1200, 19).requires_grad_() for _ in range(2))
    with flop_counter() as counter:
        active = strongest_products(x, left, right, 48)
        sparse_squared_error(x, left, right, active.indices).backward()
    # Products with vectors, of order k·d and k² a sample, are not in the prediction.
    assert shape.flops < counter.get_total_flops() < 1.04 * shape.flops


@pytest.mark.parametrize("k", [0, 32])
def test_predicted_bytes_hold_the_gradients(k: int) -> None:
    shape = Shape(n=5000, N=300, d=64, k=k)
    gradients = 4 * (2 * shape.n * shape.d + (0 if k else shape.n * shape.N))
    assert gradients < shape.bytes
    doubled = Shape(n=2 * 10**6, N=300, d=64, k=k).bytes / Shape(10**6, 300, 64, k).bytes
    assert doubled == pytest.approx(2, rel=0.02)
