"""Features from the weights of a trained classifier, tested on its images."""

from __future__ import annotations

import json
from functools import cache

import pytest

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.pairs import EXPERIMENT, Options
from quadric.experiments.vision.settings import QUICK
from tests.vision.builders import digits_model


@cache
def measured() -> Measured:
    return EXPERIMENT.analyse([digits_model(0)], Options(features="0.6,2", k=3, steps=200))


def test_features_without_images_carry_the_outputs() -> None:
    (model,) = measured().data["models"]
    assert (model["inputs"], model["pairs"], model["outputs"]) == (64, 2080, 12)
    small, large = model["dictionaries"]
    assert (small["features"], small["rank"]) == (7, 7)
    assert small["linear"]["share"] > small["random"]["share"] + 0.1
    assert large["rank"] == 12
    assert large["linear"]["share"] == pytest.approx(1, abs=1e-6)
    assert large["singular"]["share"] == pytest.approx(1, abs=1e-4)
    assert sum(small["cosines"]) / 7 > sum(small["random_cosines"]) / 35


def test_sparse_codes_do_not_add_up() -> None:
    (model,) = measured().data["models"]
    for entry in model["dictionaries"]:
        assert entry["codes_apart"] > 0.1
        assert entry["added"]["share"] < 1
        assert entry["l0"] <= 3
        assert 0 < entry["relative_error"] < 0.5
    assert model["dictionaries"][1]["added"]["share"] > 0.8


def test_the_comparison_follows_from_the_data() -> None:
    data = json.loads(json.dumps(measured().data, allow_nan=False))
    assert EXPERIMENT.compare(Measured(data)).agrees is True
    small = data["models"][0]["dictionaries"][0]
    small["cosines"] = [0.0] * 7
    assert EXPERIMENT.compare(Measured(data)).agrees is False
    small["cosines"] = [1.0] * 7
    small["linear"]["share"] = small["random"]["share"] - 0.01
    assert EXPERIMENT.compare(Measured(data)).agrees is False
    del data["models"][0]["dictionaries"][0]
    assert EXPERIMENT.compare(Measured(data)).agrees is None


def test_pairs_of_coordinates_of_the_embedding() -> None:
    narrow = digits_model(0, width=10)
    options = Options(features="0.6", k=2, steps=20, space="hidden")
    found = EXPERIMENT.analyse([narrow], options)
    assert found.data["space"] == "hidden"
    assert found.data["models"][0]["inputs"] == 10


def test_the_picture_shows_every_way() -> None:
    curves, shares = EXPERIMENT.draw(measured()).axes
    assert len(curves.lines) == 6
    assert len(shares.lines) == 2


def test_plan_and_options() -> None:
    assert EXPERIMENT.plan(QUICK) == [QUICK.recipe(seed=seed) for seed in range(3)]
    with pytest.raises(QuadricError, match="features is 'x'"):
        Options(features="x")
