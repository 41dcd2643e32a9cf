"""Names of quadrics, against surfaces everyone knows and against the signs of sampled points."""

from __future__ import annotations

import itertools

import pytest

from quadric.errors import QuadricError
from quadric.forms import name_quadric


@pytest.mark.parametrize(
    ("values", "level", "name"),
    [
        ((3, 2, 1), 1, "ellipsoid"),
        ((-3, -2, -1), -1, "ellipsoid"),
        ((3, 2, 1), -1, "empty"),
        ((3, 2, 1), 0, "point"),
        ((3, 2, -1), 1, "one-sheet hyperboloid"),
        ((3, 2, -1), -1, "two-sheet hyperboloid"),
        ((3, 2, -1), 0, "cone"),
        ((3, 2, 0), 1, "elliptic cylinder"),
        ((3, 2, 0.1), 1, "elliptic cylinder"),
        ((3, 2, 0.2), 1, "ellipsoid"),
        ((3, -2, 0), 1, "hyperbolic cylinder"),
        ((3, -2), -1, "hyperbolic cylinder"),
        ((3, -2, 0), 0, "intersecting planes"),
        ((3,), 1, "parallel planes"),
        ((3,), 0, "plane"),
        ((3, 2), 0, "line"),
        ((), 0, "everything"),
        ((), 1, "empty"),
    ],
)
def test_central_quadrics(values: tuple[float, ...], level: float, name: str) -> None:
    for order in itertools.permutations(values):
        assert name_quadric(order, level) == name
        assert name_quadric([-value for value in order], -level) == name


@pytest.mark.parametrize(
    ("values", "linear", "name"),
    [
        ((2, 1, 0), (0, 0, 1), "elliptic paraboloid"),
        ((2, -1, 0), (0, 0, 1), "hyperbolic paraboloid"),
        ((2, 0, 0), (0, 1, 1), "parabolic cylinder"),
        ((0, 0, 0), (0, 1, 1), "plane"),
    ],
)
def test_with_a_slope_along_a_flat_axis(
    values: tuple[float, ...], linear: tuple[float, ...], name: str
) -> None:
    for level in (-1, 0, 1):
        assert name_quadric(values, level, linear) == name


def test_completing_the_square_moves_the_level() -> None:
    """x² + y² + z² − 2x = level is a sphere around (1, 0, 0) of radius² level + 1."""
    linear = (-2, 0, 0)
    assert name_quadric((1, 1, 1), -0.5, linear) == "ellipsoid"
    assert name_quadric((1, 1, 1), -1, linear) == "point"
    assert name_quadric((1, 1, 1), -1.5, linear) == "empty"
    # −x² + y² + z² + 4x = level: around (2, 0, 0), −x'² + y² + z² = level − 4.
    assert name_quadric((-1, 1, 1), 5, (4, 0, 0)) == "one-sheet hyperboloid"
    assert name_quadric((-1, 1, 1), 3, (4, 0, 0)) == "two-sheet hyperboloid"
    assert name_quadric((-1, 1, 1), 4, (4, 0, 0)) == "cone"


def test_too_many_axes_are_refused() -> None:
    with pytest.raises(QuadricError, match="4 eigenvalues with 4"):
        name_quadric((1, 1, 1, 1), 1)
    with pytest.raises(QuadricError, match="2 eigenvalues with 3"):
        name_quadric((1, 1), 1, (1, 1, 1))
