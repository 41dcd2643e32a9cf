"""Sparse against pseudo-inverse codes on a trained classifier."""

from __future__ import annotations

import json
from functools import cache

import pytest

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.dictionaries import configurations, decisive
from quadric.experiments.vision.dictionary import EXPERIMENT, Options
from quadric.experiments.vision.settings import QUICK
from tests.vision.builders import digits_model


@cache
def measured() -> Measured:
    return EXPERIMENT.analyse([digits_model(0)], Options(features="0.25,0.6,2", k=3, steps=150))


def test_what_survives_by_size() -> None:
    (model,) = measured().data["models"]
    small, middle, large = model["dictionaries"]
    assert [entry["features"] for entry in (small, middle, large)] == [3, 7, 24]
    assert [entry["k"] for entry in (small, middle, large)] == [3, 3, 3]
    assert middle["rank"] == 7
    assert large["rank"] == 12
    assert large["linear_all"]["share"] == pytest.approx(1, abs=1e-9)
    assert large["linear_all"]["accuracy"] == pytest.approx(model["test_accuracy"], abs=1e-9)
    assert middle["linear"]["share"] < 0.9999
    assert middle["linear"]["share"] > middle["random"]["share"]
    assert middle["principal"]["share"] > middle["random"]["share"]
    for entry in (small, middle, large):
        assert entry["sparse"]["share"] < 1
        assert entry["l0"] <= 3
        assert entry["effective"]["sparse"] <= 3
    assert large["effective"]["linear"] > 2 * large["effective"]["sparse"]
    assert decisive(model, "rank") == middle


def test_codes_agree_where_the_sparse_one_is_active() -> None:
    (model,) = measured().data["models"]
    found = model["dictionaries"][1]["correlation"]
    assert found["active"] > 0.5
    assert found["active"] > found["inactive"]
    assert model["scatter_of"] == 7
    assert all(x > 0 for x, _ in model["scatter"]["active"])


def test_the_comparison_follows_from_the_data() -> None:
    data = json.loads(json.dumps(measured().data, allow_nan=False))
    middle, large = data["models"][0]["dictionaries"][1:]
    for gain, agrees in ((0.1, True), (-0.1, False)):
        middle["linear"]["share"] = middle["sparse"]["share"] + gain
        assert EXPERIMENT.compare(Measured(data)).agrees is agrees
    middle["linear"]["share"] = 1.0
    large["linear_all"]["share"] = 0.99
    assert EXPERIMENT.compare(Measured(data)).agrees is False


def test_a_dictionary_that_spans_decides_nothing() -> None:
    data = json.loads(json.dumps(measured().data))
    del data["models"][0]["dictionaries"][:2]
    comparison = EXPERIMENT.compare(Measured(data))
    assert comparison.agrees is None
    assert comparison.figures["gain"] is None


def test_the_picture_shows_every_way() -> None:
    curves, scatter = EXPERIMENT.draw(measured()).axes
    assert len(curves.lines) == 5
    assert curves.get_ylim()[1] > 1
    assert len(scatter.collections) == 2


def test_plan_and_options() -> None:
    assert EXPERIMENT.plan(QUICK) == [QUICK.recipe(seed=seed) for seed in range(3)]
    sizes = configurations("2, 0.5,0.25,0.251", 5, 10, 3, outputs=12)
    assert [(c.features, c.k, c.seed) for c in sizes] == [(3, 3, 3), (6, 5, 3), (24, 5, 3)]
    for features in ("", "a,1", "0,1", "-1", "nan"):
        with pytest.raises(QuadricError, match="expected features per output such as"):
            Options(features=features)
    with pytest.raises(QuadricError, match="k is 0"):
        Options(k=0)
    with pytest.raises(QuadricError, match="steps is 0"):
        Options(steps=0)
