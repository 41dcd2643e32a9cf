"""The tensor of a trained classifier through output directions."""

from __future__ import annotations

import json
from functools import cache

import pytest

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.expression import EXPERIMENT, KINDS, Options
from quadric.experiments.vision.settings import QUICK
from tests.vision.builders import digits_model


@cache
def measured() -> Measured:
    return EXPERIMENT.analyse([digits_model(0), digits_model(1, width=9)], Options())


def test_only_spanning_sets_rebuild_the_tensor() -> None:
    for model in measured().data["models"]:
        for kind in KINDS:
            found = model["sets"][kind]
            assert found["spans"] == (kind in {"classes", "both"})
            assert (found["rebuilt_error"] < 1e-12) == found["spans"]
            assert found["form_error"] < 1e-12
            assert found["rebuilt_error"] == pytest.approx(found["outside"], abs=1e-12)
        assert model["sets"]["classes"]["naive_error"] < 1e-12
        assert model["sets"]["both"]["naive_error"] > 1
        assert model["sets"]["classes"]["off_identity"] < 1e-12
        assert model["sets"]["both"]["off_identity"] == pytest.approx(9 / 11)


def test_every_curve_ends_at_the_whole_expression() -> None:
    for model in measured().data["models"]:
        for kind, found in model["sets"].items():
            assert found["kept"][-1] == model["inputs"]
            assert found["terms"] == [k * found["directions"] for k in found["kept"]]
            assert found["error"][0] == pytest.approx(1)
            assert found["error"][-1] == pytest.approx(found["outside"], abs=1e-7)
            if kind != "leading":
                assert found["accuracy"][-1] == pytest.approx(model["test_accuracy"], abs=1e-9)
        classes = model["sets"]["classes"]
        assert classes["error"] == sorted(classes["error"], reverse=True)
        # a few of the twelve or nine eigenvectors carry the model
        assert classes["accuracy"][classes["kept"].index(5)] > model["test_accuracy"] - 0.02


def test_the_statement_holds_on_the_digits() -> None:
    comparison = EXPERIMENT.compare(measured())
    assert comparison.agrees is True
    assert len(comparison.lines) == 7
    assert comparison.figures["terms_per_class"] <= 5
    json.dumps(measured().data, allow_nan=False)
    panels = EXPERIMENT.draw(measured()).axes
    assert [len(axes.lines) for axes in panels] == [8, 10]


def test_a_wrong_rebuilding_is_told() -> None:
    data = json.loads(json.dumps(measured().data))
    data["models"][0]["sets"]["both"]["rebuilt_error"] = 0.1
    assert EXPERIMENT.compare(Measured(data)).agrees is False


def test_plan_and_options() -> None:
    assert EXPERIMENT.plan(QUICK) == [QUICK.recipe(seed=seed) for seed in range(3)]
    with pytest.raises(QuadricError, match="leading is 0"):
        Options(leading=0)
    few = EXPERIMENT.analyse([digits_model(0)], Options(leading=2)).data["models"][0]["sets"]
    assert few["leading"]["rank"] == 2
