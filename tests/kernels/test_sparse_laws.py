"""Laws every sparse error obeys, on random shapes and active atoms."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from quadric.kernels import sparse_squared_error, sparse_squared_errors
from tests.kernels.problems import relative_error
from tests.kernels.test_sparse import Problem, problem, value_and_gradients


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    n = draw(st.integers(1, 30))
    return problem(
        draw(st.integers(1, 9)),
        n,
        draw(st.integers(1, 7)),
        draw(st.integers(1, n)),
        seed=draw(st.integers(0, 10**6)),
        absent=draw(st.booleans()),
    )


def measured(p: Problem, symmetric: bool) -> tuple[Tensor, ...]:
    return value_and_gradients(sparse_squared_error(*p, symmetric=symmetric), p)


def agree(found: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))


@given(problems(), st.booleans(), st.floats(-3, 3).filter(lambda s: abs(s) > 0.1))
def test_scaling_the_rows(p: Problem, symmetric: bool, s: float) -> None:
    exact = tuple(s**4 * each for each in measured(p, symmetric))
    agree(measured(p._replace(x=s * p.x), symmetric), exact)


@given(problems(), st.booleans())
def test_left_and_right_are_alike(p: Problem, symmetric: bool) -> None:
    value, left, right = measured(p, symmetric)
    swapped = p._replace(left=p.right, right=p.left)
    agree(measured(swapped, symmetric), (value, right, left))


@given(problems(), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_atoms_is_free(p: Problem, symmetric: bool, random: object) -> None:
    order = list(range(len(p.left)))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = torch.tensor(order).argsort()
    indices = torch.where(p.indices >= 0, place[p.indices], -1).flip(1)
    left, right = (f.detach()[order].requires_grad_() for f in p.factors)
    value, *gradients = measured(p, symmetric)
    moved = Problem(p.x, left, right, indices)
    agree(measured(moved, symmetric), (value, *(each[order] for each in gradients)))


@given(problems(), st.booleans())
def test_moving_scale_between_the_factors(p: Problem, symmetric: bool) -> None:
    scale = torch.linspace(0.5, 2, len(p.left), dtype=torch.float64)[:, None]
    left, right = (p.left * scale).detach(), (-p.right / scale).detach()
    value, to_left, to_right = measured(p, symmetric)
    moved = p._replace(left=left.requires_grad_(), right=right.requires_grad_())
    # z and B_j change sign together: the reconstruction stays.
    agree(measured(moved, symmetric), (value, to_left / scale, -to_right * scale))


@given(problems())
def test_symmetric_atoms_leave_no_more(p: Problem) -> None:
    symmetric, plain = (
        sparse_squared_errors(p.x, p.left, p.right, p.indices, symmetric=kind)
        for kind in (True, False)
    )
    assert bool((symmetric <= plain * (1 + 1e-11) + 1e-11).all())
    assert bool((symmetric >= -1e-9 * plain).all())


@given(problems(), st.booleans())
def test_rows_add_up(p: Problem, symmetric: bool) -> None:
    rows = sparse_squared_errors(*p, symmetric=symmetric)
    assert relative_error(rows.sum(), measured(p, symmetric)[0]) < 1e-12
