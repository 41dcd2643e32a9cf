"""p-values and z-scores against their definition, and nulls that behave like nulls."""

from __future__ import annotations

import numpy as np
import pytest

from quadric.manifolds import nulls, shape


def test_p_values_count_draws_at_least_as_extreme() -> None:
    draws = [1.0, 2.0, 3.0, 4.0]
    high = nulls.score(3.0, {"gaussian": draws})
    assert high.p_value == 3 / 5
    assert high.z == pytest.approx((3 - 2.5) / np.std(draws))
    low = nulls.score(1.5, {"gaussian": draws}, tail="low")
    assert low.p_value == 2 / 5 and low.z == pytest.approx((2.5 - 1.5) / np.std(draws))


def test_evidence_has_to_beat_every_null() -> None:
    both = nulls.score(5.0, {"gaussian": [1.0, 2.0], "random_forms": [4.0, 6.0, 5.5]})
    assert both.nulls["gaussian"].p_value == 1 / 3
    assert both.p_value == both.nulls["random_forms"].p_value == 3 / 4
    assert both.z == both.nulls["random_forms"].z < 0
    nothing = nulls.score(5.0, {"random_forms": []})
    assert (nothing.p_value, nothing.z, dict(nothing.nulls)) == (1.0, 0.0, {})


def test_constant_draws_give_no_infinite_z() -> None:
    assert nulls.score(2.0, {"gaussian": [1.0, 1.0]}).z == 0.0


def test_the_gaussian_table_holds_its_level_for_stretched_clouds() -> None:
    """At a nominal 10 %, about 10 % of Gaussian clouds of any covariance are called rings."""
    generator = np.random.default_rng(3)
    stretch = np.diag([6.0, 1.0, 0.3]) @ np.linalg.qr(generator.normal(size=(3, 3)))[0]
    table = nulls.gaussian("ring", 3)
    p_values = [
        nulls.score(
            shape.ring(generator.normal(size=(200, 3)) @ stretch, generator).persistence,
            {"gaussian": table},
        ).p_value
        for _ in range(150)
    ]
    assert 0.02 < np.mean(np.array(p_values) <= 0.1) < 0.2
    assert nulls.gaussian("ring", 3) is table
