"""Name the surface on which a form of three coordinates is constant.

    f(p) = Σ_i λ_i p_i² + b·p,      the surface is {p : f(p) = level}.

Completing the square removes b_i wherever λ_i ≠ 0 and moves the level by b_i²/(4λ_i); what is left
of b lies along the flat axes and makes the surface a paraboloid or a parabolic cylinder. The name
then follows from how many λ have the sign of the level and how many the other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from quadric.errors import QuadricError

Quadric = Literal[
    "ellipsoid", "one-sheet hyperboloid", "two-sheet hyperboloid", "cone", "elliptic paraboloid",
    "hyperbolic paraboloid", "elliptic cylinder", "hyperbolic cylinder", "parabolic cylinder",
    "parallel planes", "intersecting planes", "plane", "line", "point", "everything", "empty",
]  # fmt: skip

_CENTRAL: dict[tuple[int, int], Quadric] = {
    (3, 0): "ellipsoid", (2, 1): "one-sheet hyperboloid", (1, 2): "two-sheet hyperboloid",
    (2, 0): "elliptic cylinder", (1, 1): "hyperbolic cylinder", (1, 0): "parallel planes",
}  # fmt: skip
"""At a positive level, by the numbers of positive and negative λ; any other is empty."""

_THROUGH_CENTRE: dict[int, dict[int, Quadric]] = {
    3: {0: "point", 1: "cone"}, 2: {0: "line", 1: "intersecting planes"}, 1: {0: "plane"},
    0: {0: "everything"},
}  # fmt: skip
"""At level 0, by the number of λ that are not zero and the rarer sign's count."""


def name_quadric(
    values: Sequence[float],
    level: float,
    linear: Sequence[float] | None = None,
    *,
    flat: float = 0.05,
) -> Quadric:
    """The quadric {p ∈ R³ : Σλ_i p_i² + b·p = level}.

    Args:
        values: λ, up to three; missing ones are zero.
        level: the value of the form on the surface.
        linear: b, as many as ``values``; zero when None.
        flat: an eigenvalue below this share of the largest |λ| counts as zero. Spectra are never
            exactly flat, and a surface curved a hundred times less along one axis looks like a
            cylinder.

    Raises:
        QuadricError: there are more than three eigenvalues, or not as many linear terms.
    """
    linear = [0.0] * len(values) if linear is None else linear
    if len(values) > 3 or len(linear) != len(values):
        raise QuadricError(
            f"{len(values)} eigenvalues with {len(linear)} linear terms: a quadric has up to three "
            "of each"
        )
    threshold = flat * max((abs(value) for value in values), default=0.0)
    curved = [pair for pair in zip(values, linear, strict=True) if abs(pair[0]) > threshold]
    slope = sum(b * b for value, b in zip(values, linear, strict=True) if abs(value) <= threshold)
    level += sum(b * b / (4 * value) for value, b in curved)
    positive = sum(value > 0 for value, _ in curved)
    negative = len(curved) - positive
    if slope > 0:
        if len(curved) == 2:
            return "hyperbolic paraboloid" if positive == 1 else "elliptic paraboloid"
        return "parabolic cylinder" if curved else "plane"
    if level == 0:
        return _THROUGH_CENTRE[len(curved)][min(positive, negative)]
    if level < 0:
        positive, negative = negative, positive
    return _CENTRAL.get((positive, negative), "empty")
