"""What the kernel promises about memory and work, counted operation by operation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from quadric.kernels import reconstruction_energy, reference_energy, sample_energies
from quadric.kernels.sweep import BLOCK
from tests.kernels.problems import problem


class Costs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the elements of the largest tensor made and the flops of matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.largest = max(self.largest, leaf.numel())
        if func._overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm_):
            a, b = args[-2:]
            self.flops += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        return result


def test_no_tensor_grows_with_the_square_of_n() -> None:
    n = 20_000
    p = problem(samples=8, n=n, d=4, dtype=torch.float32)
    with Costs() as costs:
        torch.autograd.backward(reconstruction_energy(*p.arguments, weights=p.weights))
        sample_energies(*p.arguments, symmetric=False, weights=p.weights)
    assert all(x.grad is not None for x in p.arguments)
    assert costs.largest <= 4 * BLOCK**2 < n**2 / 4


def test_the_count_would_notice_a_gram() -> None:
    p = problem(n=1000, dtype=torch.float32)
    with Costs() as costs:
        torch.autograd.backward(reference_energy(*p.arguments))
    assert costs.largest == 1000**2


@pytest.mark.parametrize(("symmetric", "grams"), [(True, 4), (False, 2)])
def test_work_is_three_n_squared(symmetric: bool, grams: int) -> None:
    samples, n, d, block = 13, 200, 7, 10
    p = problem(samples=samples, n=n, d=d, dtype=torch.float32)
    with Costs() as costs:
        torch.autograd.backward(
            reconstruction_energy(*p.arguments, symmetric=symmetric, block=block)
        )
    promised = 3 * n**2 * (samples + grams * d)
    # Tiles on the diagonal are computed whole, which adds a third of one tile's work each.
    assert promised < costs.flops <= promised * (1 + block / n)


@pytest.mark.parametrize(("symmetric", "grams"), [(True, 4), (False, 2)])
def test_a_value_alone_costs_a_third(symmetric: bool, grams: int) -> None:
    samples, n, d, block = 13, 200, 7, 10
    p = problem(samples=samples, n=n, d=d, dtype=torch.float32)
    with Costs() as costs, torch.no_grad():
        reconstruction_energy(*p.arguments, symmetric=symmetric, block=block)
    assert costs.flops == n * (n + block) * (samples + grams * d)


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_nobody_wants_are_not_computed(symmetric: bool) -> None:
    p = problem(samples=13, n=200, d=7, dtype=torch.float32)
    flops = []
    for wanted in ([], [1], [1, 2], [0, 1, 2]):
        arguments = [x.detach().requires_grad_(k in wanted) for k, x in enumerate(p.arguments)]
        with Costs() as costs:
            reconstruction_energy(*arguments, symmetric=symmetric, block=10)
        flops.append(costs.flops)
    to_left, to_right, to_g = (b - a for a, b in pairwise(flops))
    assert to_left == to_right == 2 * 200**2 * 7 * (2 if symmetric else 1)
    assert to_g == 2 * 200**2 * 13
