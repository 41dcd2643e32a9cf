"""Real numbers as small integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quadric.atlas.contract import FULL
from quadric.atlas.folder.quantise import quantise, restore

values = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    elements=st.floats(-1e30, 1e30, allow_subnormal=False),
)


@given(values)
def test_error_is_within_half_a_step(numbers: np.ndarray) -> None:
    whole, scale = quantise(numbers)
    error = np.abs(restore(whole, scale) - numbers)
    assert whole.dtype == np.int16
    # The rest is the rounding of the arithmetic itself.
    assert (error <= scale[:, None].astype(np.float64) / 65534 * (1 + 1e-9)).all()


@given(values)
def test_every_row_has_its_own_scale_and_uses_all_of_it(numbers: np.ndarray) -> None:
    whole, scale = quantise(numbers)
    for row, numbers_of_row, unit in zip(whole, numbers, scale, strict=True):
        largest = np.abs(numbers_of_row).max()
        if largest < 1.2e-38:
            assert unit == 1 and not row.any()
        else:
            assert np.abs(row.astype(int)).max() == FULL
            assert unit == np.float32(largest)


@given(values)
def test_twice_is_the_same_as_once(numbers: np.ndarray) -> None:
    whole, scale = quantise(numbers)
    again, scale_again = quantise(restore(whole, scale))
    assert (again == whole).all()
    assert (scale_again == scale).all()


def test_a_single_scale_for_a_vector_and_another_integer() -> None:
    whole, scale = quantise(np.array([0.5, -2.0, 0.0]), np.int8, 127)
    assert whole.tolist() == [32, -127, 0]
    assert whole.dtype == np.int8
    assert scale == 2.0
    assert restore(whole, scale, 127) == pytest.approx([32 / 127 * 2, -2, 0])
