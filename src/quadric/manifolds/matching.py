"""How well found subspaces agree with planted ones.

The angle of a span A to a span B is the largest angle between a vector of A and its projection
onto B,

    angle(A → B) = arcsin ‖(I − P_B) Q_A‖₂,       0° when A lies in B, 90° when dim A > dim B.

A planted manifold is found when its span has a small angle to a found span, which may be wider: a
circle lies in a plane, a slice has three dimensions. A slice of k dimensions is within ten degrees
of a random plane with a chance that falls like sin(10°) to the power 2(d − k), so the wider slice
is no loophole as long as k is small beside d.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError

FOUND = 10.0
"""Degrees below which a planted span counts as found."""


class Match(NamedTuple):
    """A planted manifold and the found span that it was given."""

    planted: int
    """Which planted manifold."""
    found: int
    """Which found span, in the order they were given (best first, where they are ranked)."""
    angle: float
    """Degrees from the planted span to the found one."""
    reverse: float
    """Degrees from the found span to the planted one; 90 when it has more dimensions."""


class Score(NamedTuple):
    """How a list of found spans does against the planted ones."""

    matches: tuple[Match, ...]
    """One-to-one, at most ``threshold`` degrees apart: as many as can be, then the closest."""
    best_angles: tuple[float, ...]
    """For every planted manifold the smallest angle to any found span, matched or not; 90 when
    there is none."""
    precision: float
    """Matches per found span; 0 when nothing was found."""
    recall: float
    """Matches per planted manifold."""
    f1: float
    """The harmonic mean of precision and recall; 0 when there is no match."""
    duplicates: int
    """Found spans near a planted manifold that was matched with another one."""
    false_positives: int
    """Found spans near no planted manifold at all."""


def principal_angles(
    first: Float[Tensor, "p d"], second: Float[Tensor, "q d"]
) -> Float[Tensor, " k"]:
    """The min(p, q) principal angles between the spans of two sets of rows, degrees, ascending.

    Raises:
        QuadricError: the rows have different widths, or a set is empty or linearly dependent.
    """
    a, b = _orthonormal(first), _orthonormal(second)
    _same_width(a, b)
    if len(a) > len(b):
        a, b = b, a
    cosines = torch.linalg.svdvals(a @ b.T)
    # The sine is exact where the cosine is flat: below 45° it decides.
    sines = torch.linalg.svdvals(a - a @ b.T @ b).flip(0).clamp(0, 1)
    angles = torch.where(cosines**2 > 0.5, sines.asin(), cosines.clamp(0, 1).acos())
    return angles.rad2deg()


def angle_to(inner: Float[Tensor, "p d"], outer: Float[Tensor, "q d"]) -> float:
    """angle(span of ``inner`` → span of ``outer``) in degrees.

    Raises:
        QuadricError: as for ``principal_angles``.
    """
    if len(inner) > len(outer):
        _same_width(_orthonormal(inner), _orthonormal(outer))
        return 90.0
    return principal_angles(inner, outer)[-1].item()


def score(
    planted: Sequence[Float[Tensor, "k d"]],
    found: Sequence[Float[Tensor, "m d"]],
    threshold: float = FOUND,
) -> Score:
    """Match found spans with planted ones, one to one.

    Args:
        planted: rows that span each planted manifold.
        found: rows that span each found subspace, at least as many as the manifold's where that
            manifold is to be found.
        threshold: the largest angle of a match, in degrees.

    Raises:
        QuadricError: nothing is planted, or a set of rows is not a basis.
    """
    from scipy.optimize import linear_sum_assignment

    if not planted:
        raise QuadricError("there are no planted manifolds to match with")
    angles = torch.tensor([[angle_to(p, f) for f in found] for p in planted], dtype=torch.float64)
    angles = angles.reshape(len(planted), len(found))
    near = angles <= threshold
    # One pair too far costs more than every near pair together, so the number of matches leads.
    cost = torch.where(near, angles, 90.0 * (1 + min(angles.shape)))
    matches = tuple(
        Match(p, f, angles[p, f].item(), angle_to(found[f], planted[p]))
        for p, f in zip(*(side.tolist() for side in linear_sum_assignment(cost)), strict=True)
        if near[p, f]
    )
    false_positives = int((~near.any(0)).sum())
    precision = len(matches) / len(found) if found else 0.0
    recall = len(matches) / len(planted)
    return Score(
        matches=matches,
        best_angles=tuple(row.min().item() if len(row) else 90.0 for row in angles),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if matches else 0.0,
        duplicates=len(found) - len(matches) - false_positives,
        false_positives=false_positives,
    )


def _orthonormal(rows: Tensor) -> Tensor:
    if rows.ndim != 2 or not len(rows) or len(rows) > rows.shape[1]:
        raise QuadricError(f"rows of shape {tuple(rows.shape)} are not a basis of a subspace")
    basis: Tensor
    basis, triangle = torch.linalg.qr(rows.double().T)
    sizes = triangle.diagonal().abs()
    if not rows.isfinite().all() or sizes.min() <= 1e-6 * sizes.max():
        raise QuadricError(f"the {len(rows)} rows of a subspace are linearly dependent")
    return basis.mT


def _same_width(a: Tensor, b: Tensor) -> None:
    if a.shape[1] != b.shape[1]:
        raise QuadricError(f"subspaces of {a.shape[1]} and {b.shape[1]} dimensions do not compare")
