"""What a statistic would be if there were no manifold: three nulls.

- **gaussian**: a Gaussian cloud of as many points. Statistics of shape do not change with the
  cloud's covariance, so one table of draws serves every candidate.
- **random_forms**: forms with as many axes in random directions, whose points are chosen from the
  same activations in the same way. Choosing what lies far out in a subspace makes a shell, and a
  shell has a hole; this null has the same hole.
- **shuffled_labels**: the same points with their tokens dealt out anew.

A score's p-value is the largest over its nulls: evidence has to beat all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from quadric.manifolds import shape

NullName = Literal["gaussian", "random_forms", "shuffled_labels"]
Tail = Literal["high", "low"]

GAUSSIAN_DRAWS = 199
SHUFFLES = 49
POOL = 199
"""Random forms that a candidate is compared with: those of the most similar effective rank."""


@dataclass(frozen=True)
class Null:
    """A statistic under one null."""

    mean: float
    """Its mean over the draws."""
    sd: float
    """Its standard deviation."""
    z: float
    """(value − mean)/sd, with the sign that makes evidence positive; 0 where sd is 0."""
    p_value: float
    """(1 + draws at least as extreme) / (1 + draws)."""
    draws: int
    """How many."""


@dataclass(frozen=True)
class Score:
    """A statistic beside its nulls."""

    value: float
    """The statistic."""
    nulls: Mapping[NullName, Null]
    """Every null it was compared with."""

    @property
    def p_value(self) -> float:
        """The largest p-value; 1 without a null."""
        return max((null.p_value for null in self.nulls.values()), default=1.0)

    @property
    def z(self) -> float:
        """The smallest z; 0 without a null."""
        return min((null.z for null in self.nulls.values()), default=0.0)

    def as_dict(self) -> dict[str, object]:
        """The score as JSON values."""
        return {
            "value": self.value,
            "p_value": self.p_value,
            "z": self.z,
            "nulls": {name: vars(null) for name, null in self.nulls.items()},
        }


def score(value: float, draws: Mapping[NullName, Sequence[float]], tail: Tail = "high") -> Score:
    """Compare a statistic with draws of it under each null; nulls without a draw are left out."""
    return Score(
        value, {name: _null(value, values, tail) for name, values in draws.items() if len(values)}
    )


@lru_cache(maxsize=64)
def gaussian(statistic: Literal["ring", "dimension", "clustering"], axes: int) -> tuple[float, ...]:
    """Draws of a statistic of shape for Gaussian clouds on ``axes`` axes; the same every time."""
    generator = np.random.default_rng([axes, len(statistic)])
    measure: dict[str, tuple[int, Callable[..., float]]] = {
        "ring": (shape.RING_POINTS, lambda *given: shape.ring(*given).persistence),
        "dimension": (shape.DIMENSION_POINTS, shape.dimension),
        "clustering": (shape.CLUSTER_POINTS, shape.clustering),
    }
    points, function = measure[statistic]
    return tuple(
        function(generator.normal(size=(points, axes)), generator) for _ in range(GAUSSIAN_DRAWS)
    )


def _null(value: float, draws: Sequence[float], tail: Tail) -> Null:
    values = np.asarray(draws, dtype=np.float64)
    mean, sd = float(values.mean()), float(values.std())
    sign = 1.0 if tail == "high" else -1.0
    extreme = int((sign * values >= sign * value).sum())
    return Null(
        mean=mean,
        sd=sd,
        z=sign * (value - mean) / sd if sd > 0 else 0.0,
        p_value=(1 + extreme) / (1 + len(values)),
        draws=len(values),
    )
