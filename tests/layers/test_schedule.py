"""β over the steps of annealing."""

from __future__ import annotations

from typing import Any

import pytest

from quadric import QuadricError
from quadric.layers.schedule import beta_at


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [1, 0.75, 0.5, 0, 0]),
        ("cosine", [1, 0.853553, 0.5, 0, 0]),
        ("exponential", [1, 0.281665, 0.075858, 0, 0]),
        ("constant", [1, 1, 1, 1, 1]),
    ],
)
def test_schedules(schedule: Any, expected: list[float]) -> None:
    """At 0, 7.5, 15, 30 and 100 % of the steps."""
    found = [beta_at(step, 1000, schedule) for step in (0, 75, 150, 300, 1000)]
    assert found == pytest.approx(expected, abs=1e-6)
    if schedule != "constant":
        assert found[-2:] == [0, 0] and beta_at(299, 1000, schedule) > 0
        assert beta_at(0, 1000, schedule, part=0) == 0
        assert beta_at(500, 1000, schedule, part=1) > 0 == beta_at(1000, 1000, schedule, part=1)


def test_refuses() -> None:
    with pytest.raises(QuadricError, match="did you mean 'linear'"):
        beta_at(0, 10, "linaer")  # type: ignore[arg-type]
    with pytest.raises(QuadricError, match=r"part is 1\.5"):
        beta_at(0, 10, part=1.5)
    for step, steps in ((-1, 10), (11, 10), (0, 0)):
        with pytest.raises(QuadricError, match="step is"):
            beta_at(step, steps)
