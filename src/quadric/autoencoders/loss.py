"""The parts of a training loss, and how its penalty sets in."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Loss(NamedTuple):
    """The training loss of one batch and its parts."""

    total: Float[Tensor, ""]
    """error + density_weight · density."""
    error: Float[Tensor, ""]
    """Mean product error; for ordered variants the mean over all prefixes of the dictionary."""
    density: Float[Tensor, ""]
    """Mean Hoyer density of the latents; for ordered variants the mean over prefixes."""
    density_weight: float
    """The weight in force at this step, warm-up included."""


def warmed_up(step: int, steps: int) -> float:
    """The share of a penalty that is in force at a step, rising linearly over ``steps``."""
    return min(1.0, (step + 1) / steps) if steps else 1.0
