"""The experiment on boolean gates: exact rows, learnt forms, and where constants sit."""

from __future__ import annotations

from functools import cache

import pytest

from quadric import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.gates import EXPERIMENT, Options
from quadric.experiments.vision.settings import QUICK
from tests.vision.builders import digits_model


@cache
def measured() -> Measured:
    return EXPERIMENT.analyse([], Options(inputs=4, hidden=9, seeds=2, steps=900))


def test_no_model_is_planned_or_read():
    assert EXPERIMENT.plan(QUICK) == []
    assert EXPERIMENT.fewest == 0
    with pytest.raises(QuadricError, match="reads no model"):
        EXPERIMENT.analyse([digits_model()], Options())


def test_the_table_of_gates_is_exact_in_its_own_numbers():
    """Each row's weights and each row's polynomial give the row's values."""
    rows = measured().data["exact"]
    assert len({tuple(row["values"]) for row in rows}) == 16
    for row in rows:
        w, v = row["weights"]["left.weight"], row["weights"]["right.weight"]
        (b1,), (b2,) = row["weights"]["left.bias"], row["weights"]["right.bias"]
        (p,), (rest,) = row["weights"]["out.weight"], row["weights"]["out.bias"]
        a, b = row["linear"]
        for value, (x, y) in zip(row["values"], [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
            product = p * (w[0] * x + w[1] * y + b1) * (v[0] * x + v[1] * y + b2) + rest
            assert product == pytest.approx(value, abs=1e-12)
            assert row["constant"] + a * x + b * y + row["interaction"] * x * y == value
        assert row["without_biases"] == (row["values"][0] == 0)


def test_learnt_forms_are_the_exact_ones_and_nothing_else():
    for row in measured().data["plain"]:
        assert max(row["worst_entry"]) < 0.05, row["gate"]
        assert max(row["worst_value"]) < 0.05, row["gate"]
        for i, j in ((0, 1), (1, 0)):
            sign = {"and": 1, "or": -1, "xor": -2}[row["gate"]]
            assert row["form"][i][j] == pytest.approx(sign / 2, abs=0.05)
        assert row["exact"][2] == [0, 0, 0, 0]


def test_constants_are_found_where_they_must_be_and_left_to_squares_where_not():
    data = measured().data
    for row in data["biased"]:
        expected = float(row["gate"] in ("nand", "nor", "xnor"))
        assert all(value == pytest.approx(expected, abs=0.05) for value in row["constant"])
    linear = {row["gate"]: row["share"] for row in data["biased"]}
    assert linear["and"] == linear["nand"] == [None, None]  # xy and 1 − xy have no linear part
    signed = {row["gate"]: row["share"] for row in data["signed"]}
    assert all(abs(share) < 0.5 for gate in ("xor", "xnor") for share in signed[gate])
    for row in data["signed"]:
        assert all(error < 0.1 for error in row["worst_value"])


def test_the_comparison_follows_from_the_data():
    found = EXPERIMENT.compare(measured())
    assert found.agrees is True
    assert "all 16 gates" in found.measured
    wrong = [dict(row) for row in measured().data["exact"]]
    wrong[6] = {**wrong[6], "answers": [0.0, 1.0, 1.0, 1.0]}
    assert EXPERIMENT.compare(Measured({**measured().data, "exact": wrong})).agrees is False
    used = [{**row, "share": [1.0, 1.0]} for row in measured().data["signed"]]
    assert EXPERIMENT.compare(Measured({**measured().data, "signed": used})).agrees is False


def test_the_picture_shows_learnt_beside_exact():
    figure = EXPERIMENT.draw(measured())
    top, bottom = figure.subfigs
    assert len(top.axes) == 6
    assert [len(axes.lines) for axes in bottom.axes] == [8, 8]  # six gates and two rules each
    figure.canvas.draw()


def test_refusals():
    with pytest.raises(QuadricError, match=r"5 inputs have 10 pairs .* give at least 10"):
        Options(hidden=9)
    with pytest.raises(QuadricError, match="seeds is 0"):
        Options(seeds=0)
    with pytest.raises(QuadricError, match="inputs is 11"):
        Options(inputs=11, hidden=99)
