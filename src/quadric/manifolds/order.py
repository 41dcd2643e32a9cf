"""Are known classes, such as months, in their cyclic or linear order in a slice?

Labels are used here, and only here, to score what was found without them. With θ_k the angle of
class k's mean in a plane (around the mean of all classes) and φ_k = 2πk/K its place on the wheel,

    cyclic order = max over both senses of |mean_k e^{i(θ_k ∓ φ_k)}|,

1 where the angles are the calendar's, up to rotation and reflection. For classes on a line, such as
years, it is |Spearman's ρ| with the position along an axis. The largest over all planes (axes) is
compared with the largest over the same ones with the classes dealt out anew, so that trying many is
paid for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from quadric.errors import QuadricError

SHUFFLES = 999
FEWEST_CLASSES = 4


class Order(NamedTuple):
    """How well known classes are ordered in the best of several planes or axes."""

    value: float
    """1 for perfect order."""
    axes: tuple[int, ...]
    """The plane's two axes, or the one axis."""
    p_value: float
    """(1 + shuffles at least as ordered) / (1 + shuffles), the best of all planes each time."""
    null_mean: float
    """Mean over the shuffles."""
    null_sd: float
    """Standard deviation over the shuffles."""
    classes: int
    """How many classes had points."""


def class_means(
    points: Float[np.ndarray, "n r"], classes: Int[np.ndarray, " n"], fewest: int = 3
) -> tuple[Float[np.ndarray, "c r"], Int[np.ndarray, " c"]]:
    """The mean of every class with enough points, and which those are; class −1 is none."""
    present, counts = np.unique(classes[classes >= 0], return_counts=True)
    present = present[counts >= fewest]
    means = [points[classes == each].mean(0) for each in present]
    return np.array(means).reshape(len(present), points.shape[1]), present


def cyclic_order(
    means: Float[np.ndarray, "c r"], present: Int[np.ndarray, " c"], of: int, seed: int = 0
) -> Order:
    """The best cyclic order over all planes of two axes.

    Args:
        means: class means along the axes.
        present: the place of each on the wheel.
        of: how many places the wheel has: 12 for months, 7 for weekdays.
        seed: of the shuffles.

    Raises:
        QuadricError: there are fewer than four classes or two axes.
    """
    _check(means, 2)
    planes = list(itertools.combinations(range(means.shape[1]), 2))
    centred = means - means.mean(0)
    pairs = np.array(planes)
    angles = np.arctan2(centred[:, pairs[:, 1]], centred[:, pairs[:, 0]])
    turns = np.exp(1j * angles)

    def orders(places: Int[np.ndarray, " c"]) -> Float[np.ndarray, " planes"]:
        wheel = np.exp(2j * np.pi * places / of)
        same, mirrored = np.abs(wheel.conj() @ turns), np.abs(wheel @ turns)
        best: Float[np.ndarray, " planes"] = np.maximum(same, mirrored) / len(places)
        return best

    return _tested(orders, planes, present, seed)


def linear_order(
    means: Float[np.ndarray, "c r"], present: Int[np.ndarray, " c"], seed: int = 0
) -> Order:
    """The best |rank correlation| of class and position over all axes.

    Raises:
        QuadricError: there are fewer than four classes.
    """
    _check(means, 1)
    axes = [(axis,) for axis in range(means.shape[1])]
    ranks = means.argsort(0).argsort(0) - (len(means) - 1) / 2
    ranks = ranks / np.linalg.norm(ranks, axis=0)

    def orders(places: Int[np.ndarray, " c"]) -> Float[np.ndarray, " axes"]:
        wanted = places.argsort().argsort() - (len(places) - 1) / 2
        found: Float[np.ndarray, " axes"] = np.abs(wanted @ ranks) / np.linalg.norm(wanted)
        return found

    return _tested(orders, axes, present, seed)


def _tested(
    orders: Callable[[Int[np.ndarray, " c"]], Float[np.ndarray, " tried"]],
    axes: Sequence[tuple[int, ...]],
    present: Int[np.ndarray, " c"],
    seed: int,
) -> Order:
    """The best of all tries beside the best of as many with the classes shuffled."""
    generator = np.random.default_rng(seed)
    values = orders(present)
    null = np.array([orders(generator.permutation(present)).max() for _ in range(SHUFFLES)])
    best = int(values.argmax())
    return Order(
        value=float(values[best]),
        axes=tuple(axes[best]),
        p_value=float((1 + (null >= values[best] - 1e-12).sum()) / (1 + SHUFFLES)),
        null_mean=float(null.mean()),
        null_sd=float(null.std()),
        classes=len(present),
    )


def _check(means: Float[np.ndarray, "c r"], axes: int) -> None:
    if len(means) < FEWEST_CLASSES or means.shape[1] < axes:
        raise QuadricError(
            f"{len(means)} classes along {means.shape[1]} axes: an order needs "
            f"{FEWEST_CLASSES} classes and {axes} axes"
        )
