"""Exponents of measured costs, by least squares on logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PowerLaw:
    """cost ≈ factor · value^exponent."""

    exponent: float
    factor: float
    deviation: float
    """The root mean square of log(cost / fitted), as a share: 0.05 is 5 % off."""
    end: float
    """The exponent between the last two points alone: where a cost of several terms is going."""

    def __call__(self, value: float) -> float:
        """The fitted cost."""
        return self.factor * value**self.exponent


def fit(values: Sequence[float], costs: Sequence[float]) -> PowerLaw:
    """The straight line through log(cost) against log(value), in the order of the values.

    Raises:
        ValueError: fewer than two values, or a value or cost that is not positive.
    """
    if len(values) < 2 or min(*values, *costs) <= 0:
        raise ValueError(f"no power law goes through values {values} and costs {costs}")
    x, y = (torch.tensor(each, dtype=torch.float64).log() for each in (values, costs))
    slope = float((x - x.mean()) @ (y - y.mean()) / (x - x.mean()).square().sum())
    level = float(y.mean() - slope * x.mean())
    off = y - (level + slope * x)
    return PowerLaw(
        exponent=slope,
        factor=math.exp(level),
        deviation=math.expm1(float(off.square().mean().sqrt())),
        end=float((y[-1] - y[-2]) / (x[-1] - x[-2])),
    )
