"""Where known classes stand in a run's table, and the axes in which they are ordered."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from quadric.manifolds import order
from quadric.manifolds.calendar import AnswerKey
from quadric.report import wheels
from quadric.runs import calendar
from quadric.runs.analyze import analyze_run
from tests.atlas.tiny_run import TinyRun, tiny_run

draw = wheels.draw


@pytest.fixture(scope="module")
def tiny(few_random_forms: None, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:  # noqa: ARG001
    made = tiny_run(tmp_path_factory.mktemp("calendar"), variant="composite", block=2)
    analyze_run(made.run)
    return made


def key(rows: int, cyclic: bool) -> AnswerKey:
    """A class of every third row, in five places."""
    places = np.where(np.arange(rows) % 3 == 0, np.arange(rows) // 3 % 5, -1)
    return AnswerKey("months", cyclic, 5, tuple("abcde"), places)


@pytest.mark.parametrize("cyclic", [True, False])
def test_the_axes_count_from_one_in_the_file_and_the_picture(
    tiny: TinyRun, monkeypatch: pytest.MonkeyPatch, cyclic: bool
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(calendar, "answer_keys", lambda ids, _: [key(len(ids), cyclic)])
    monkeypatch.setattr(wheels, "draw", lambda panels: drawn.extend(panels) or draw(panels))
    (finding,) = calendar.find_calendar(tiny.run, rows_searched=len(tiny.store))
    (row,) = json.loads((tiny.run / calendar.FILE).read_text())
    ((_, points, places, _),) = drawn
    means, present = order.class_means(points, places)
    best = order.cyclic_order(means, present, 5) if cyclic else order.linear_order(means, present)
    assert row["order_axes"] == finding.order_axes == [axis + 1 for axis in best.axes]
    (panel,) = draw(drawn).axes
    names = (panel.get_xlabel(), panel.get_ylabel())
    shown = [int(name.removeprefix("axis ")) for name in names]
    assert shown[: len(best.axes)] == finding.order_axes
    offsets = np.asarray(panel.collections[0].get_offsets())
    assert np.array_equal(offsets, points[:, [axis - 1 for axis in shown]])
