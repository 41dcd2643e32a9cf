"""How fast the gates of a model are annealed: β over the steps of training."""

from __future__ import annotations

import math
from typing import Literal, get_args

from quadric.errors import QuadricError, nearest

Schedule = Literal["linear", "cosine", "exponential", "constant"]
"""How β falls from 1 to 0; constant leaves it at 1."""

_RATE = 5.0
"""The exponential schedule is a shifted e^(−5u), u from 0 to 1."""


def beta_at(step: int, steps: int, schedule: Schedule = "linear", part: float = 0.3) -> float:
    """β at a step of training: 1 at step 0, and 0 from step ``part·steps`` on.

    With u = step / (part·steps): linear 1 − u (the published one, with part = 0.3), cosine
    (1 + cos πu)/2, exponential (e^(−5u) − e^(−5)) / (1 − e^(−5)). Constant is 1 throughout: the
    control, whose model takes the same way through the same code.

    Args:
        step: number of steps already made.
        steps: of the whole training.
        schedule: the curve.
        part: share of the steps over which β falls, 0 to 1. With 0 it is 0 at once.

    Raises:
        QuadricError: the schedule is unknown, or a number is out of range.
    """
    if schedule not in get_args(Schedule):
        hint = nearest(str(schedule), get_args(Schedule))
        raise QuadricError(
            f"schedule is {schedule!r}, expected one of {', '.join(get_args(Schedule))}{hint}"
        )
    if not 0 <= part <= 1:
        raise QuadricError(f"part is {part:g}, expected 0 to 1")
    if steps < 1 or not 0 <= step <= steps:
        raise QuadricError(f"step is {step} of {steps}, expected 0 to {max(steps, 1)}")
    if schedule == "constant":
        return 1.0
    if step >= part * steps:
        return 0.0
    u = step / (part * steps)
    if schedule == "cosine":
        return (1 + math.cos(math.pi * u)) / 2
    if schedule == "exponential":
        return (math.exp(-_RATE * u) - math.exp(-_RATE)) / (1 - math.exp(-_RATE))
    return 1 - u
