"""Angles of subspaces against dense projections, and scores against enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quadric.errors import QuadricError
from quadric.manifolds.matching import angle_to, principal_angles, score


def rows(count: int, d: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, d, generator=generator, dtype=torch.float64)


def projector(span: torch.Tensor) -> torch.Tensor:
    return span.T @ torch.linalg.inv(span @ span.T) @ span


def dense_angle(inner: torch.Tensor, outer: torch.Tensor) -> float:
    """arcsin ‖(I − P_outer) P_inner‖₂ with d×d projections."""
    away = (torch.eye(inner.shape[1]).double() - projector(outer)) @ projector(inner)
    return math.degrees(math.asin(min(1.0, torch.linalg.matrix_norm(away, 2).item())))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(5, 9), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_angles_against_dense_projections(p: int, q: int, d: int, seed: int) -> None:
    a, b = rows(p, d, seed), rows(q, d, seed + 100)
    assert angle_to(a, b) == pytest.approx(dense_angle(a, b), abs=1e-5)
    found = principal_angles(a, b)
    eigenvalues = torch.linalg.eigvals(projector(a) @ projector(b)).real
    cosines = eigenvalues.sort(descending=True).values[: min(p, q)].clamp(0, 1).sqrt()
    torch.testing.assert_close(found, cosines.acos().rad2deg(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found, principal_angles(rows(p, p, 7) @ a, rows(q, q, 8) @ b))
    torch.testing.assert_close(found, principal_angles(b, a))


@pytest.mark.parametrize("degrees", [1e-6, 0.3, 9.9, 45, 80, 90])
def test_known_angles(degrees: float) -> None:
    turn = math.radians(degrees)
    plane = torch.eye(2, 6).double()
    tilted = plane.clone()
    tilted[1, 1:3] = torch.tensor([math.cos(turn), math.sin(turn)], dtype=torch.float64)
    assert principal_angles(plane, tilted).tolist() == pytest.approx([0, degrees], rel=1e-9)
    slice_ = torch.cat([tilted, torch.eye(6)[5:].double()])
    assert angle_to(plane, slice_) == pytest.approx(degrees, rel=1e-9)
    assert angle_to(slice_, plane) == 90


def near(plane: torch.Tensor, degrees: float, seed: int) -> torch.Tensor:
    """A three-dimensional slice at ``degrees`` from a plane, in another basis."""
    others = torch.linalg.qr(torch.cat([plane, rows(3, plane.shape[1], seed)]).T).Q.T[2:]
    turn = math.radians(degrees)
    tilted = plane[1] * math.cos(turn) + others[0] * math.sin(turn)
    return rows(3, 3, seed) @ torch.stack([plane[0], tilted, others[1]])


PLANES = torch.linalg.qr(rows(9, 12, 0).T).Q.T[:6].reshape(3, 2, 12)


def test_score_counts_each_manifold_once() -> None:
    found = [
        near(PLANES[0], 4, 1),  # found, but the next is closer
        near(PLANES[0], 2, 2),
        rows(3, 12, 5),  # near nothing
        near(PLANES[2], 12, 3),  # too far
        near(PLANES[1], 9, 4),
    ]
    result = score(list(PLANES), found)
    assert [match[:2] for match in result.matches] == [(0, 1), (1, 4)]
    assert [match.angle for match in result.matches] == pytest.approx([2, 9])
    assert all(match.reverse == 90 for match in result.matches)
    assert (result.precision, result.recall) == pytest.approx((2 / 5, 2 / 3))
    assert result.f1 == pytest.approx(2 * 0.4 * (2 / 3) / (0.4 + 2 / 3))
    assert (result.duplicates, result.false_positives) == (1, 2)
    assert result.best_angles == pytest.approx([2, 9, 12])
    assert len(score(list(PLANES), found, threshold=13).matches) == 3


def test_one_slice_near_two_planes_serves_one_of_them() -> None:
    first = torch.eye(2, 8).double()
    second = torch.eye(8).double()[[0, 2]]
    both = torch.eye(3, 8).double()
    alone = near(first, 5, 0)
    assert score([first, second], [both]).recall == 0.5
    result = score([first, second], [both, alone])  # greedy would give ``both`` to ``first``
    assert [match[:2] for match in result.matches] == [(0, 1), (1, 0)]
    assert (result.precision, result.f1, result.false_positives) == (1, 1, 0)


def test_more_matches_count_before_closer_ones() -> None:
    plane, other = torch.eye(2, 12).double(), torch.eye(12).double()[[0, 2]]
    middle = torch.eye(3, 12).double()  # holds both planes exactly
    aside = near(plane, 20, 0)
    # ``plane`` could take ``middle`` at 0°, but then ``other`` would have nothing.
    result = score([plane, other], [middle, aside], threshold=25)
    assert [match[:2] for match in result.matches] == [(0, 1), (1, 0)]


@given(st.integers(1, 3), st.integers(0, 4), st.integers(0, 20))
@settings(deadline=None, max_examples=30)
def test_the_matching_is_the_best_of_all(planted: int, found: int, seed: int) -> None:
    truth, spans = [rows(2, 4, seed + i) for i in range(planted)], []
    for j in range(found):
        spans.append(rows(3, 4, seed + 50 + j))
    result = score(truth, spans, threshold=25)
    angles = [[dense_angle(t, s) for s in spans] for t in truth]
    options = []
    for size in range(min(planted, found) + 1):
        for some in itertools.permutations(range(planted), size):
            for others in itertools.combinations(range(found), size):
                pairs = [angles[p][f] for p, f in zip(some, others, strict=True)]
                if all(angle <= 25 for angle in pairs):
                    options.append((-size, sum(pairs)))
    best = min(options)
    ours = (-len(result.matches), sum(match.angle for match in result.matches))
    assert ours == pytest.approx(best, abs=1e-6)


def test_nothing_found_and_errors() -> None:
    result = score(list(PLANES), [])
    assert result == ((), (90.0,) * 3, 0.0, 0.0, 0.0, 0, 0)
    with pytest.raises(QuadricError, match="no planted manifolds"):
        score([], [PLANES[0]])
    with pytest.raises(QuadricError, match="12 and 5 dimensions"):
        score(list(PLANES), [rows(3, 5, 0)])
    with pytest.raises(QuadricError, match="12 and 5 dimensions"):
        angle_to(PLANES[0], rows(1, 5, 0))
    with pytest.raises(QuadricError, match="linearly dependent"):
        angle_to(torch.ones(2, 5), rows(3, 5, 0))
    with pytest.raises(QuadricError, match="not a basis"):
        principal_angles(torch.zeros(0, 5), rows(3, 5, 0))
