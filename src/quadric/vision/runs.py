"""Several runs of one recipe: means with 90 % confidence intervals.

Runs are independent, what is measured in one run is not: an interval here is over runs only. For a
measure of PAIRS of runs it comes from leaving out one run at a time, since pairs share runs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError

LEVEL = 0.9
"""Coverage of every interval."""


class Interval(NamedTuple):
    """mean ± half."""

    mean: Float[Tensor, "*k"]
    half: Float[Tensor, "*k"] | None
    """Half the width of the 90 % interval; None where too few runs say nothing of the spread."""


def over_runs(values: Float[Tensor, "r *k"]) -> Interval:
    """mean ± t·s/√r over r runs, with Student's t on r − 1 degrees of freedom.

    Raises:
        QuadricError: there are no runs.
    """
    runs = len(values)
    if not runs:
        raise QuadricError("there are no runs to average")
    if runs < 2:
        return Interval(values.mean(dim=0), None)
    return Interval(values.mean(dim=0), student(runs - 1) * values.std(dim=0) / math.sqrt(runs))


def over_pairs(pairs: Float[Tensor, "r r *k"], *, self_pairs: bool = False) -> Interval:
    """The mean over pairs i < j of r runs, its interval by the jackknife over runs.

    With θ_i the mean without run i, the variance is (r−1)/r Σ(θ_i − θ)² (Arvesen 1969), which errs
    on the large side (Efron & Stein 1981). It does not depend on the order of the runs.

    Args:
        pairs: entry (i, j) compares runs i and j; only i < j is read, unless:
        self_pairs: count each run's comparison with itself as one more pair. That is how the
            published similarities were averaged (arXiv 2410.08417, figure 5A); with r runs,
            2/(r+1) of such a mean is the comparison of a run with itself.

    Raises:
        QuadricError: there are fewer than two runs, or ``pairs`` is not square.
    """
    runs = len(pairs)
    if pairs.ndim < 2 or pairs.shape[1] != runs:
        raise QuadricError(f"pairs has shape {tuple(pairs.shape)}, expected (r, r, …)")
    if runs < 2:
        raise QuadricError(f"there are {runs} runs, expected two or more to make a pair")
    first, second = torch.triu_indices(runs, runs, offset=0 if self_pairs else 1)
    found = pairs[first, second]
    if runs == 2:
        return Interval(found.mean(dim=0), None)
    without = torch.stack(
        [found[(first != run) & (second != run)].mean(dim=0) for run in range(runs)]
    )
    variance = (without - without.mean(dim=0)).square().sum(dim=0) * (runs - 1) / runs
    return Interval(found.mean(dim=0), student(runs - 1) * variance.sqrt())


def across(pairs: Float[Tensor, "r s *k"]) -> Interval:
    """The mean over all pairs of one of r runs with one of s OTHER runs.

    Its variance is the sum of the rows' and the columns', with Student's t on min(r, s) − 1 degrees
    of freedom.

    Raises:
        QuadricError: there are no runs on one side.
    """
    if pairs.ndim < 2 or not len(pairs) or not pairs.shape[1]:
        raise QuadricError(f"pairs has shape {tuple(pairs.shape)}, expected runs on both sides")
    runs, others = pairs.shape[:2]
    mean = pairs.mean(dim=(0, 1))
    if min(runs, others) < 2:
        return Interval(mean, None)
    variance = pairs.mean(dim=1).var(dim=0) / runs + pairs.mean(dim=0).var(dim=0) / others
    return Interval(mean, student(min(runs, others) - 1) * variance.sqrt())


def with_self_pairs(mean: float, runs: int) -> float:
    """A mean over pairs i < j, with each run's self-pair of 1 counted: (2 + (r−1)·mean)/(r+1)."""
    return (2 + (runs - 1) * mean) / (runs + 1)


def without_self_pairs(mean: float, runs: int) -> float:
    """The mean over pairs i < j behind one that counts self-pairs: ((r+1)·mean − 2)/(r−1).

    Raises:
        QuadricError: there are fewer than two runs.
    """
    if runs < 2:
        raise QuadricError(f"there are {runs} runs, expected two or more to make a pair")
    return ((runs + 1) * mean - 2) / (runs - 1)


def student(freedom: int) -> float:
    """The t with P(|T| ≤ t) = 0.9 for Student's distribution, by bisection."""
    low, high = 0.0, 64.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _coverage(middle, freedom) < LEVEL else (low, middle)
    return (low + high) / 2


def _coverage(t: float, freedom: int) -> float:
    """P(|T| ≤ t), as a finite sum of powers of cos θ with tan θ = t/√ν (Abramowitz & Stegun,
    26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(2 + odd, freedom + 1, 2):
        total += term
        term *= (power - 1) / power * math.cos(angle) ** 2
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
