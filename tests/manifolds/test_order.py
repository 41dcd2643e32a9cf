"""Orders of known classes, and the answer key."""

from __future__ import annotations

import numpy as np
import pytest

from quadric.errors import QuadricError
from quadric.manifolds import order
from quadric.manifolds.calendar import answer_keys

PLACES = np.arange(7)
WHEEL = np.column_stack([np.cos(2 * np.pi * PLACES / 7), np.sin(2 * np.pi * PLACES / 7)])


@pytest.mark.parametrize("mirror", [1, -1])
def test_a_wheel_is_in_order_however_it_is_turned(mirror: int) -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    cloud = np.random.default_rng(0).normal(size=(7, 4)) * 0.01
    cloud[:, [1, 3]] += (WHEEL * [1, mirror]) @ turn + 5
    found = order.cyclic_order(cloud, PLACES, 7)
    assert found.value == pytest.approx(1, abs=1e-3) and found.axes == (1, 3)
    assert found.p_value < 0.02 and found.null_mean < 0.9 and found.classes == 7


def test_a_shuffled_wheel_is_not() -> None:
    found = order.cyclic_order(WHEEL[[0, 3, 6, 2, 5, 1, 4]] @ np.eye(2, 3), PLACES, 7)
    assert found.p_value > 0.02 and found.value < 0.9


def test_missing_classes_keep_their_places() -> None:
    there = np.array([0, 1, 3, 4, 6])
    assert order.cyclic_order(WHEEL[there], there, 7).value == pytest.approx(1, abs=0.1)
    assert order.cyclic_order(WHEEL[there], np.arange(5), 7).value < 0.97


def test_a_line_in_order_has_rank_correlation_one() -> None:
    means = np.column_stack([np.sin(PLACES), -np.exp(PLACES)])
    found = order.linear_order(means, PLACES * 3)
    assert found.value == pytest.approx(1) and found.axes == (1,) and found.p_value < 0.01


def test_too_few_classes_are_refused() -> None:
    with pytest.raises(QuadricError, match="3 classes along 2 axes"):
        order.cyclic_order(WHEEL[:3], PLACES[:3], 7)


def test_means_of_classes_with_enough_points() -> None:
    points = np.arange(14.0).reshape(7, 2)
    means, present = order.class_means(points, np.array([2, 2, 2, -1, 5, 5, 2]))
    assert present.tolist() == [2] and np.allclose(means, [points[[0, 1, 2, 6]].mean(0)])


class Letters:
    """A tokeniser of one token a character, and of whole names of months."""

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        whole = {"May": 1001, " May": 1002}
        return {"input_ids": [whole[text]] if text in whole else [ord(sign) for sign in text]}


def test_years_and_months_in_a_text() -> None:
    text = "in 1863, 18634 or 1699 or 2000, 1999."
    ids = np.array([1001, *map(ord, text), 1002])
    months, weekdays, years = answer_keys(ids, Letters())
    assert np.nonzero(months.of_rows >= 0)[0].tolist() == [0, len(ids) - 1]
    assert months.of_rows[0] == 4 and (weekdays.of_rows < 0).all()
    where = np.nonzero(years.of_rows >= 0)[0]
    assert [text[i - 4 : i] for i in where] == ["1863", "1999"]
    assert [years.names[place] for place in years.of_rows[where]] == ["1860s", "1990s"]
