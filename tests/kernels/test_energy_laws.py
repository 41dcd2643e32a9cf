"""Laws every reconstruction energy obeys, on random shapes and blocks."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quadric.kernels import reconstruction_energy, sample_energies
from tests.kernels.problems import Problem, problem, relative_error, value_and_gradients

problems = st.builds(
    problem,
    samples=st.integers(1, 9),
    n=st.integers(1, 30),
    d=st.integers(1, 7),
    seed=st.integers(0, 10**6),
)
blocks = st.integers(1, 31)
signs = st.booleans()


@given(problems, blocks, signs, st.floats(-3, 3).filter(lambda s: abs(s) > 0.01))
def test_scaling_the_coefficients(p: Problem, block: int, symmetric: bool, s: float) -> None:
    def energy(g: Tensor) -> tuple[Tensor, ...]:
        def of(*x: Tensor) -> Tensor:
            return reconstruction_energy(*x, symmetric=symmetric, weights=p.weights, block=block)

        return value_and_gradients(of, (g, p.left, p.right))

    scaled = energy(s * p.g)
    for found, exact, factor in zip(scaled, energy(p.g), (s**2, s, s**2, s**2), strict=True):
        assert relative_error(found, factor * exact) < 1e-10


@given(problems, blocks, signs)
def test_left_and_right_are_alike(p: Problem, block: int, symmetric: bool) -> None:
    def energy(g: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return reconstruction_energy(
            g, left, right, symmetric=symmetric, weights=p.weights, block=block
        )

    value, grad_g, grad_left, grad_right = value_and_gradients(energy, p.arguments)
    swapped = value_and_gradients(energy, (p.g, p.right, p.left))
    for found, exact in zip(swapped, (value, grad_g, grad_right, grad_left), strict=True):
        assert relative_error(found, exact) < 1e-10


@given(problems, blocks, signs, st.randoms(use_true_random=False))
def test_the_order_of_atoms_is_free(
    p: Problem, block: int, symmetric: bool, random: object
) -> None:
    order = list(range(len(p.left)))
    random.shuffle(order)  # type: ignore[attr-defined]

    def energy(g: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return reconstruction_energy(g, left, right, symmetric=symmetric, block=block)

    def permuted(g: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return energy(g[:, order], left[order], right[order])

    found, exact = (value_and_gradients(f, p.arguments) for f in (permuted, energy))
    for one, other in zip(found, exact, strict=True):
        assert relative_error(one, other) < 1e-10


@given(problems, blocks, signs)
def test_moving_scale_between_the_factors(p: Problem, block: int, symmetric: bool) -> None:
    scale = torch.linspace(0.5, 2, len(p.left), dtype=torch.float64)[:, None]
    found = sample_energies(
        p.g, p.left * scale, -p.right / scale, symmetric=symmetric, weights=p.weights, block=block
    )
    exact = sample_energies(
        -p.g, p.left, p.right, symmetric=symmetric, weights=p.weights, block=block
    )
    assert relative_error(found, exact) < 1e-10


@given(problems, blocks)
def test_symmetric_atoms_have_no_more_energy(p: Problem, block: int) -> None:
    symmetric, plain = (
        sample_energies(*p.arguments, symmetric=kind, block=block) for kind in (True, False)
    )
    assert bool((symmetric <= plain * (1 + 1e-12)).all())
    assert bool((symmetric >= -1e-12 * plain).all())
