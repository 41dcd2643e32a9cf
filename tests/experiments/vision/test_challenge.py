"""The ground-truth experiment on digits: the target is found, and what decides follows the data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision import challenge
from quadric.experiments.vision.settings import FULL, QUICK
from quadric.vision.files import Trained
from quadric.vision.store import train
from tests.vision.builders import digits_model

EXPERIMENT = challenge.EXPERIMENT


@cache
def model(decay: float = 2.0) -> Trained:
    settings = replace(QUICK, seeds=1, sizes="24", epochs=25)
    (recipe,) = [r for r in EXPERIMENT.plan(settings) if r.fit.weight_decay == decay]
    return train(recipe, Path(mkdtemp(prefix="quadric-challenge-")))


@cache
def measured() -> Measured:
    return EXPERIMENT.analyse([model(1.0), model(2.0)], None)


def test_the_plan_has_two_decays_biases_and_a_threshold_that_divides() -> None:
    recipes = EXPERIMENT.plan(QUICK)
    assert [recipe.fit.weight_decay for recipe in recipes] == [1.0] * 3 + [2.0] * 3
    assert {(r.target, r.threshold, r.classifier.bias, r.augment.noise) for r in recipes} == {
        (1, 0.7, True, 0.1)
    }
    assert {recipe.classifier.d_embed for recipe in recipes} == {32}
    full = EXPERIMENT.plan(replace(FULL, dataset="digits"))
    assert {recipe.classifier.d_embed for recipe in full} == {challenge.WIDTH}


def test_the_target_is_the_likest_of_all_training_images() -> None:
    for found in measured().data["models"]:
        assert found["rank"] == 1
        assert found["likest"] == found["target"] == 1
        assert found["likeness"] > found["wrong_likeness_most"] > found["wrong_likeness"]
        assert found["wrong_targets"] > 100
        assert found["test_accuracy"] > found["base_rate"] + 0.2


def test_all_terms_are_the_model_and_fewer_are_not() -> None:
    for found in measured().data["models"]:
        accuracies = dict(found["kept"])
        assert accuracies[20] == pytest.approx(found["test_accuracy"], abs=0.01)
        assert found["first_and_biases"] < found["test_accuracy"] - 0.1
        assert found["base_rate"] + 0.2 < found["first_alone"]


def test_the_spectrum_and_the_biases() -> None:
    for found in measured().data["models"]:
        assert found["values"][0] == found["first"] > 5 * found["second_positive"] > 0
        assert found["values"][-1] == found["most_negative"] < 0
        assert found["dominance"] == pytest.approx(
            found["first"] / max(found["second_positive"], -found["most_negative"])
        )
        assert found["constant"] < 0
        assert found["linear_mean"] < 0
        assert found["folded_values"][0] >= found["folded_values"][1]
    assert measured().data["models"][0]["values"] != measured().data["models"][1]["values"]


def test_the_decision_follows_the_data() -> None:
    comparison = EXPERIMENT.compare(measured())
    assert comparison.agrees is False  # on digits a negative eigenvalue is as large as the first
    assert comparison.figures["targets_recovered"] == 2
    alone = [{**found, "dominance": 4.0} for found in measured().data["models"]]
    assert EXPERIMENT.compare(Measured({"models": alone})).agrees is True
    for change in ({"rank": 2}, {"likeness": 0.6}, {"test_accuracy": 0.4}, {"dominance": None}):
        data = {"models": [{**alone[0], **change}, alone[1]]}
        assert EXPERIMENT.compare(Measured(data)).agrees is False


def test_the_figure_shows_the_target_beside_what_was_read() -> None:
    figure = EXPERIMENT.draw(measured())
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    assert len(titles) == 2 + 5
    assert titles[2] == "the target"
    first = measured().data["models"][0]["first"]
    assert titles[3] == f"most positive\nλ = {first:+.3f}"


def test_a_model_of_the_classes_is_refused() -> None:
    with pytest.raises(QuadricError, match="challenge reads models trained on a target's likeness"):
        EXPERIMENT.analyse([digits_model()], None)
