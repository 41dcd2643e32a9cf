"""Metrics that wait on the device: none is lost, and reading them is rare."""

from __future__ import annotations

import pytest
import torch

from quadric.ranks import ALONE, Ranks
from quadric.training import metrics
from quadric.training.metrics import Backlog


def fill(backlog: Backlog, steps: range) -> None:
    for step in steps:
        backlog.add(step, 8, {"lr": 0.1 * step, "main/error": torch.tensor(1.0 / (step + 1))})


def test_every_step_is_read_once_and_in_order() -> None:
    backlog = Backlog(ALONE)
    assert list(backlog.read()) == []
    fill(backlog, range(3))
    first = list(backlog.read())
    fill(backlog, range(3, 5))
    found = first + list(backlog.read())
    assert [(each.step, each.rows) for each in found] == [(step, 8) for step in range(5)]
    for step, each in enumerate(found):
        assert list(each.metrics) == ["lr", "main/error"]
        assert each.metrics == pytest.approx({"lr": 0.1 * step, "main/error": 1 / (step + 1)})
        assert all(type(value) is float for value in each.metrics.values())
    assert list(backlog.read()) == []


def test_alone_a_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    backlog = Backlog(ALONE)
    fill(backlog, range(20))
    now[0] += 0.9
    assert not backlog.due()
    now[0] += 0.2
    assert backlog.due()
    list(backlog.read())
    assert not backlog.due()


def test_several_ranks_look_at_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SECONDS", 0.0)
    backlog = Backlog(Ranks(1, 4))
    due = []
    for step in range(25):
        fill(backlog, range(step, step + 1))
        if backlog.due():
            due.append(step)
    assert due == [9, 19]
