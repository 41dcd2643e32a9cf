"""The masks experiment on digits: published masks mislead, exact ones move what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision import masks
from quadric.experiments.vision.figures.masks import mean_curve
from quadric.experiments.vision.mask_table import STRENGTHS
from quadric.experiments.vision.settings import QUICK
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import ClassifierConfig
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.files import Trained
from quadric.vision.masks import adversarial_masks, standardised
from quadric.vision.store import train
from tests.vision.builders import digits_model, digits_recipe, random_model


@cache
def bare_model() -> Trained:
    recipe = replace(digits_recipe(width=24), augment=AugmentConfig(noise=0))
    return train(recipe, Path(mkdtemp(prefix="quadric-bare-")))


@cache
def measured() -> Measured:
    models = [bare_model(), digits_model(0, 24), digits_model(1, 24)]
    return masks.EXPERIMENT.analyse(models, masks.Options())


def test_the_plan_has_the_published_noises_at_the_widest_size() -> None:
    recipes = masks.EXPERIMENT.plan(replace(QUICK, seeds=2))
    assert [recipe.augment.noise for recipe in recipes] == [0, 0, 0.15, 0.15, 0.3, 0.3]
    assert {recipe.classifier.d_embed for recipe in recipes} == {32}
    assert [recipe.fit.seed for recipe in recipes] == [0, 1] * 3


def test_published_masks_mislead_towards_their_class_and_permuted_ones_do_not() -> None:
    found = masks.EXPERIMENT.compare(measured())
    assert found.agrees is True
    figures = {key: float(value or 0) for key, value in found.figures.items()}
    assert figures["accuracy_published"] < figures["accuracy_permuted"] - 0.1
    assert figures["target_published"] > 3 * figures["target_permuted"]
    assert figures["accuracy_exact"] > figures["accuracy_published"] + 0.1
    assert figures["models_harmed_more"] == 3


def test_stronger_masks_harm_more() -> None:
    for model in measured().data["models"]:
        curve = mean_curve(model, "published", "image", "adversarial", "accuracy")
        assert curve[0] > curve[3] > curve[7] > curve[-1]
        assert abs(curve[0] - model["test_accuracy"]) < 0.03


def test_a_curve_is_the_models_own_accuracy_under_its_masks() -> None:
    trained = digits_model(0, 24)
    found = standardised(adversarial_masks(trained.model, 1, space="hidden").masks.flatten(0, 1))
    test, s = trained.data().test, STRENGTHS[4]
    expected = []
    for sign in (1, -1):
        answers = [trained.model(test.pixels + sign * s * mask).argmax(dim=1) for mask in found]
        expected.append(
            float(torch.stack([(a == test.labels).float().mean() for a in answers]).mean())
        )
    curves = measured().data["models"][1]["curves"]["published"]["image"]["adversarial"]["accuracy"]
    assert [curve[4] for curve in curves] == pytest.approx(expected, abs=2e-3)


def test_the_decision_follows_the_data() -> None:
    data = json.loads(json.dumps(measured().data))
    for model in data["models"]:
        curves = model["curves"]["published"]["image"]
        curves["adversarial"], curves["permuted"] = curves["permuted"], curves["adversarial"]
    assert masks.EXPERIMENT.compare(Measured(data)).agrees is False


def test_rows_fill_at_most_half_of_the_embedding() -> None:
    assert masks.rows_per_class(digits_model(0, 12).model, 10) == 1
    assert masks.rows_per_class(bare_model().model, 10) == 1
    wide = random_model(d_embed=11, d_hidden=9)
    assert masks.rows_per_class(wide, 10) == 1
    assert masks.rows_per_class(random_model(d_embed=None), 10) == 1
    pair = ImageClassifier(ClassifierConfig(d_embed=41), (8, 8, 1), ("False", "True"))
    assert masks.rows_per_class(pair, 100) == 10
    assert masks.rows_per_class(pair, 4) == 4


def test_the_figure_has_a_row_for_each_noise() -> None:
    data = measured().data
    assert [row["noise"] for row in data["pictures"]] == [0, 0.3]
    figure = masks.EXPERIMENT.draw(measured())
    assert len(figure.axes) == 2 * 6
    titles = [axes.get_title() for axes in figure.axes[:6]]
    assert titles[0] == "eigenvector of 3"
    assert titles[3:] == [
        "accuracy, whole image",
        "taken for the mask's class",
        "accuracy, edge only",
    ]


def test_one_model_is_enough() -> None:
    found = masks.EXPERIMENT.analyse([bare_model()], masks.Options(shown="7", top=1))
    comparison = masks.EXPERIMENT.compare(found)
    assert found.data["shown"] == "7"
    assert "in 1 of 1 models, on the edge alone in" in comparison.measured


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(QuadricError, match="no class '12'"):
        masks.EXPERIMENT.analyse([bare_model()], masks.Options(shown="12"))
    with pytest.raises(QuadricError, match="top is 0"):
        masks.Options(top=0)
    with pytest.raises(QuadricError, match="share is 2"):
        masks.Options(share=2)
    other = replace(bare_model(), recipe=replace(bare_model().recipe, dataset="mnist"))
    with pytest.raises(QuadricError, match="different tasks"):
        masks.EXPERIMENT.analyse([bare_model(), other], masks.Options())
