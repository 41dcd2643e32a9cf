"""The experiment on shared products: its curves, its restarts, its sentence."""

from __future__ import annotations

from functools import cache

import pytest

from quadric import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.factors import EXPERIMENT, Options
from quadric.experiments.vision.settings import QUICK
from tests.vision.builders import digits_model

OPTIONS = Options(ranks="4,8,12", rank=4, restarts=2, steps=4)


@cache
def measured() -> Measured:
    return EXPERIMENT.analyse([digits_model(0), digits_model(1)], OPTIONS)


def test_the_plan_shares_the_base_models():
    assert EXPERIMENT.plan(QUICK) == [QUICK.recipe(seed=seed) for seed in range(QUICK.seeds)]


def test_shared_products_lead_at_every_number_and_are_whole_at_the_models_own():
    data = measured().data
    for space in ("input", "hidden"):
        curves = data["curves"][space]
        for shared, hosvd, eigen in zip(
            *(curves[m] for m in ("shared", "hosvd", "eigen")), strict=True
        ):
            for a, b, c in zip(
                shared["explained"], hosvd["explained"], eigen["explained"], strict=True
            ):
                assert a >= b > c
            assert shared["explained"][-1] == 1  # twelve products are the model itself
            assert shared["explained"] == sorted(shared["explained"])
    for curve, whole in zip(data["curves"]["input"]["shared"], data["accuracy"], strict=True):
        assert curve["accuracy"][-1] == pytest.approx(whole)
        assert curve["accuracy"][1] > whole - 0.1
    assert data["accuracy"] == pytest.approx([digits_model(s).test_accuracy for s in (0, 1)])
    assert len(data["curves"]["hidden"]["shared"]) == 1


def test_restarts_make_nearly_one_tensor_of_other_products():
    data = measured().data["restarts"]
    best = measured().data["restarts"]["explained_from_hosvd"]
    assert all(value <= best[0] + 0.05 for value in data["explained_from_random"])
    assert data["within_whole"] > 0.8
    assert data["within"] == sorted(data["within"], reverse=True)
    assert sum(data["within"]) > 3 * sum(data["chance"])
    assert all(value >= 0.5 for value in measured().data["cancelling"])


def test_the_comparison_follows_from_the_data():
    found = EXPERIMENT.compare(measured())
    assert found.agrees is True
    assert "On 8 products in place of 12" in found.measured
    data = measured().data
    curves = data["curves"]["input"]
    turned = {**curves, "shared": curves["eigen"], "eigen": curves["shared"]}
    mutant = Measured({**data, "curves": {**data["curves"], "input": turned}})
    assert EXPERIMENT.compare(mutant).agrees is False
    hopeless = {m: [{**c, "accuracy": [0.0, 0.0, 0.0]} for c in curves[m]] for m in curves}
    mutant = Measured({**data, "curves": {**data["curves"], "input": hopeless}})
    assert EXPERIMENT.compare(mutant).agrees is None


def test_one_model_is_enough():
    found = EXPERIMENT.analyse([digits_model(0)], Options("3,20", 3, restarts=1, steps=2))
    assert found.data["restarts"]["across"] is None
    assert found.data["restarts"]["within"] is None
    assert "On 3 products" in EXPERIMENT.compare(found).measured
    EXPERIMENT.draw(found).canvas.draw()


def test_the_picture_shows_curves_and_products():
    figure = EXPERIMENT.draw(measured())
    top, bottom = figure.subfigs
    assert [len(axes.lines) for axes in top.axes] == [6, 7, 3]
    assert len(bottom.axes) == 3 * len(measured().data["pictures"]) == 12
    assert len(measured().data["pictures"][0]["left"]) == 64


def test_refusals():
    with pytest.raises(QuadricError, match="sizes 12, 20: name models of one size"):
        EXPERIMENT.analyse([digits_model(0), digits_model(0, 20)], OPTIONS)
    with pytest.raises(QuadricError, match="ranks is 'a', expected numbers"):
        Options(ranks="a")
    with pytest.raises(QuadricError, match="ranks is empty"):
        Options(ranks=" ")
    with pytest.raises(QuadricError, match="restarts is 0"):
        Options(restarts=0)
