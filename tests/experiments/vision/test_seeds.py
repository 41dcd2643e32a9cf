"""Means, spreads and signs over seeds, counted by hand."""

from __future__ import annotations

import math

import pytest

from quadric.experiments.vision.seeds import (
    Change,
    change,
    effect,
    goes,
    paired,
    pooled,
    spread,
    verdict,
)


def test_a_change_has_the_error_of_both_means() -> None:
    found = change([1.0, 3.0], [10.0, 10.0, 13.0])
    assert found.size == pytest.approx(9)
    assert found.error == pytest.approx(math.sqrt(2 / 2 + 3 / 3))
    assert found.sign == 1
    assert change([10.0, 10.0, 13.0], [1.0, 3.0]).sign == -1


def test_a_change_within_two_errors_is_none() -> None:
    assert Change(0.9, 0.5).sign == 0
    assert Change(-1.1, 0.5).sign == -1
    assert change([1.0], [2.0, 3.0]) == Change(1.5, None)
    assert Change(5.0, None).sign is None


def test_pairs_use_their_differences() -> None:
    found = paired([1.0, 100.0, 50.0], [2.0, 102.0, 53.0])
    assert found.size == 2
    assert found.error == pytest.approx(1 / math.sqrt(3))
    assert paired([1.0], [4.0]) == Change(3.0, None)


def test_pooled_errors_shrink() -> None:
    found = pooled([Change(1.0, 0.3), Change(3.0, 0.4)])
    assert found is not None
    assert found.size == 2
    assert found.error == pytest.approx(0.25)
    assert pooled([]) is None
    assert pooled([Change(1.0, 0.3), Change(2.0, None)]) == Change(1.5, None)


def test_an_effect_goes_from_the_least_to_the_largest_at_fixed_others() -> None:
    rows = [
        {"a": a, "b": b, "y": 10 * a + 100 * b + seed}
        for a in (0.0, 0.5, 1.0)
        for b in (0.0, 1.0)
        for seed in (0, 2)
    ]
    found = effect(rows, "y", "a", "b")
    assert found is not None
    assert found.size == 10
    assert found.error == pytest.approx(math.sqrt(2) / math.sqrt(2))
    across = effect(rows, "y", "b", "a")
    assert across is not None and across.size == 100
    # With the other axis mixed in, nothing could be said.
    assert effect([rows[0], rows[-1]], "y", "a", "b") is None


def test_text_and_verdicts() -> None:
    assert spread([0.5, 1.5], ".1f") == "1.0 ± 0.7"
    assert spread([0.25]) == "0.25"
    assert spread([]) == "–"
    assert str(Change(1.234, 0.5)) == "+1.23 ± 0.50"
    assert str(Change(-1.0, None)) == "-1.00"
    assert verdict([True, None, False]) is False
    assert verdict([True, None]) is None
    assert verdict([True, True]) is True
    assert goes(Change(3.0, 1.0), 1) is True
    assert goes(Change(3.0, 1.0), -1) is False
    assert goes(Change(1.0, 1.0), 1) is None
    assert goes(None, 1) is None
