"""Random problems of odd shapes, and what it means to agree with the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.oracles import energy as oracle

Energy = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """Coefficients, factors and weights of one energy."""

    g: Tensor
    left: Tensor
    right: Tensor
    weights: Tensor

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is differentiated."""
        return self.g, self.left, self.right


def problem(
    samples: int = 11, n: int = 23, d: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Problem:
    """Standard normal arguments that require gradients, and decreasing positive weights."""
    generator = torch.Generator().manual_seed(seed)
    g, left, right = (
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((samples, n), (n, d), (n, d))
    )
    weights = torch.rand(n, generator=generator, dtype=torch.float64).flip(0).cumsum(0).flip(0)
    return Problem(g, left, right, weights.to(dtype) / n)


def value_and_gradients(energy: Energy, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The energy, detached, and its gradients."""
    value = energy(*arguments)
    return value.detach(), *torch.autograd.grad(value, arguments)


def relative_error(found: Tensor, exact: Tensor) -> float:
    """‖found − exact‖ / ‖exact‖."""
    found, exact = found.detach().double(), exact.detach().double()
    return float((found - exact).norm() / exact.norm())


def worst_error(energy: Energy, exact: Energy, arguments: tuple[Tensor, ...]) -> float:
    """The largest relative error among the value and the three gradients."""
    found, expected = (value_and_gradients(f, arguments) for f in (energy, exact))
    return max(relative_error(a, b) for a, b in zip(found, expected, strict=True))


def brute(symmetric: bool, weights: Tensor | None) -> Energy:
    """The oracle's energy of the whole batch."""

    def energy(g: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return oracle.sample_energies(g, left, right, symmetric=symmetric, weights=weights).sum()

    return energy
