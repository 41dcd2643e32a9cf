"""What several seeds say together: a mean with its spread, and whether a difference is one.

A change is called one only where it exceeds twice its standard error over the seeds; with one seed
on either side nothing is known about the spread, and the answer is None.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Change(NamedTuple):
    """The difference of two means."""

    size: float
    """Mean after − mean before."""
    error: float | None
    """Its standard error; None with a single value on either side."""

    @property
    def sign(self) -> int | None:
        """1 or −1 where the size exceeds twice the error, 0 where not, None where unknown."""
        if self.error is None:
            return None
        return 0 if abs(self.size) <= 2 * self.error else round(math.copysign(1, self.size))

    def __str__(self) -> str:
        """With its sign and its error."""
        return f"{self.size:+.2f}" + ("" if self.error is None else f" ± {self.error:.2f}")


def change(before: Sequence[float], after: Sequence[float]) -> Change:
    """How far the second mean lies above the first, over independent seeds."""
    size = statistics.fmean(after) - statistics.fmean(before)
    if min(len(before), len(after)) < 2:
        return Change(size, None)
    squares = [statistics.variance(values) / len(values) for values in (before, after)]
    return Change(size, math.sqrt(sum(squares)))


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Mean ± standard deviation; the value alone where there is one, a dash where there is none."""
    if not values:
        return "–"
    mean = format(statistics.fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):{form}}"


def paired(before: Sequence[float], after: Sequence[float]) -> Change:
    """The mean of the differences of pairs, with the standard error of that mean."""
    differences = [second - first for first, second in zip(before, after, strict=True)]
    size = statistics.fmean(differences)
    if len(differences) < 2:
        return Change(size, None)
    return Change(size, statistics.stdev(differences) / math.sqrt(len(differences)))


def pooled(changes: Sequence[Change]) -> Change | None:
    """The mean of independent changes; None where there is none."""
    if not changes:
        return None
    size = statistics.fmean(one.size for one in changes)
    errors = [one.error for one in changes if one.error is not None]
    if len(errors) < len(changes):
        return Change(size, None)
    return Change(size, math.sqrt(sum(error**2 for error in errors)) / len(changes))


def effect(rows: Sequence[Mapping[str, Any]], measure: str, axis: str, other: str) -> Change | None:
    """What raising ``axis`` from its least to its largest value does to a measure.

    Args:
        rows: one for each model, with the measure and both axes.
        measure: key of what is measured.
        axis: key of what is raised.
        other: key of what is held fixed meanwhile; the changes at all its values are averaged.

    Returns:
        None where no value of ``other`` has two values of ``axis``.
    """
    changes = []
    for at in sorted({row[other] for row in rows}):
        here = [row for row in rows if row[other] == at]
        low, high = (pick(row[axis] for row in here) for pick in (min, max))
        if low < high:
            ends = ([row[measure] for row in here if row[axis] == end] for end in (low, high))
            changes.append(change(*ends))
    return pooled(changes)


def verdict(claims: Sequence[bool | None]) -> bool | None:
    """False where one claim fails, else None where one cannot be decided, else True."""
    return False if False in claims else None if None in claims else True


def goes(found: Change | None, sign: int) -> bool | None:
    """Whether a change has a sign; None where it is unknown or lies within the spread."""
    if found is None or not found.sign:
        return None
    return found.sign == sign
