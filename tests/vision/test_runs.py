"""Means over runs and over pairs of runs, with their intervals."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch

from quadric.errors import QuadricError
from quadric.vision.runs import (
    across,
    over_pairs,
    over_runs,
    student,
    with_self_pairs,
    without_self_pairs,
)


def symmetric(runs: int, k: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(runs, runs, k, dtype=torch.float64, generator=generator)
    values = (values + values.transpose(0, 1)) / 2
    values[range(runs), range(runs)] = 1
    return values


def test_student_is_the_95th_percentile() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 3, 4, 7, 12, 29, 30):
        assert student(freedom) == pytest.approx(stats.t.ppf(0.95, freedom), abs=1e-9)


def test_interval_over_runs_covers_what_it_says() -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(4, 20_000, dtype=torch.float64, generator=generator)
    found = over_runs(values)
    assert found.half is not None
    covered = (found.mean.abs() <= found.half).double().mean()
    assert float(covered) == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 20_000))


def test_one_run_has_no_interval() -> None:
    assert over_runs(torch.tensor([[1.0, 2.0]])).half is None
    assert over_runs(torch.tensor([[1.0, 2.0]])).mean.tolist() == [1, 2]
    with pytest.raises(QuadricError, match="no runs"):
        over_runs(torch.zeros(0, 3))


def test_pairs_are_each_counted_once_and_without_the_diagonal() -> None:
    values = symmetric(5, 3)
    expected = torch.stack([values[i, j] for i, j in combinations(range(5), 2)])
    assert expected.shape[0] == 10
    torch.testing.assert_close(over_pairs(values).mean, expected.mean(dim=0))
    inflated = torch.cat([expected, torch.ones(5, 3, dtype=torch.float64)]).mean(dim=0)
    torch.testing.assert_close(over_pairs(values, self_pairs=True).mean, inflated)


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_self_pairs_can_be_undone(runs: int) -> None:
    values = symmetric(runs, 1)
    true = float(over_pairs(values).mean)
    counted = float(over_pairs(values, self_pairs=True).mean)
    assert counted == pytest.approx(with_self_pairs(true, runs))
    assert without_self_pairs(counted, runs) == pytest.approx(true)
    if runs == 5:  # a third of the published pairs compare a run with itself
        assert counted == pytest.approx(1 / 3 + 2 / 3 * true)


def test_order_of_runs_does_not_matter() -> None:
    values = symmetric(4, 3)
    order = [2, 0, 3, 1]
    shuffled = values[order][:, order]
    for self_pairs in (False, True):
        one = over_pairs(values, self_pairs=self_pairs)
        other = over_pairs(shuffled, self_pairs=self_pairs)
        torch.testing.assert_close(one.mean, other.mean)
        torch.testing.assert_close(one.half, other.half)
    rectangle = torch.rand(3, 4, 2, dtype=torch.float64)
    one, other = across(rectangle), across(rectangle[[1, 2, 0]][:, order])
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.half, other.half)


def test_interval_over_pairs_knows_that_pairs_share_runs() -> None:
    # p_ij = a_i + a_j with a ~ N(0, 1): the mean of all pairs is twice the mean of the a.
    generator = torch.Generator().manual_seed(4)
    a = torch.randn(5, 20_000, dtype=torch.float64, generator=generator)
    found = over_pairs(a[:, None] + a[None])
    torch.testing.assert_close(found.mean, 2 * a.mean(dim=0))
    assert found.half is not None
    torch.testing.assert_close(found.half, 2 * student(4) * a.std(dim=0) / math.sqrt(5))
    covered = float((found.mean.abs() <= found.half).double().mean())
    assert covered == pytest.approx(0.9, abs=0.01)
    naive = student(9) * (a[:, None] + a[None])[*torch.triu_indices(5, 5, 1)].std(dim=0)
    too_narrow = (found.mean.abs() <= naive / math.sqrt(10)).double().mean()
    assert float(too_narrow) < 0.8


def test_interval_across_knows_both_sides() -> None:
    generator = torch.Generator().manual_seed(5)
    a = torch.randn(4, 1, 20_000, dtype=torch.float64, generator=generator)
    b = torch.randn(1, 4, 20_000, dtype=torch.float64, generator=generator)
    found = across(a + b)
    assert found.half is not None
    covered = float((found.mean.abs() <= found.half).double().mean())
    assert 0.89 < covered < 0.97  # Student's t on the smaller side errs on the wide side


def test_too_few_runs() -> None:
    assert over_pairs(symmetric(2, 1)).half is None
    assert across(torch.ones(1, 3, 2)).half is None
    for call in (over_pairs, across):
        with pytest.raises(QuadricError, match=r"pairs has shape|there are 0 runs"):
            call(torch.zeros(0, 0, 2))
    with pytest.raises(QuadricError, match="there are 1 runs"):
        over_pairs(torch.ones(1, 1, 2))
    with pytest.raises(QuadricError, match=r"\(2, 3\), expected \(r, r"):
        over_pairs(torch.ones(2, 3))
    with pytest.raises(QuadricError, match="there are 1 runs"):
        without_self_pairs(0.5, 1)
