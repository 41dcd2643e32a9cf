"""The experiment on functional similarity: matrices, twins, the way of training."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from quadric import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.figures.functional import BEST
from quadric.experiments.vision.functional import EXPERIMENT, MEASURES, SNAPSHOTS
from quadric.experiments.vision.settings import QUICK
from quadric.vision.files import Trained
from quadric.vision.store import train
from tests.vision.builders import digits_model, digits_recipe


@cache
def followed(seed: int) -> Trained:
    """The digits model with three copies along training."""
    recipe = digits_recipe(seed)
    fit = dataclasses.replace(recipe.fit, snapshots=3)
    return train(dataclasses.replace(recipe, fit=fit), Path(mkdtemp(prefix="quadric-digits-")))


@cache
def measured() -> Measured:
    models = [digits_model(0), digits_model(1), digits_model(0, 20), digits_model(1, 20)]
    return EXPERIMENT.analyse([*models, followed(0), followed(1)], EXPERIMENT.options())


def test_the_plan_is_the_grid_and_two_models_that_are_followed():
    recipes = EXPERIMENT.plan(QUICK)
    assert recipes[:-2] == [QUICK.recipe(seed=s, width=w) for w in QUICK.widths for s in range(3)]
    assert [recipe.fit.snapshots for recipe in recipes[-2:]] == [SNAPSHOTS] * 2


def test_models_that_another_only_follows_are_counted_once():
    data = measured().data
    assert data["labels"] == ["12, seed 0", "12, seed 1", "20, seed 0", "20, seed 1"]
    for name in (*MEASURES, "agreement", "test images, centred"):
        matrix = data["matrices"][name]
        for i in range(4):
            assert matrix[i][i] == 1
            assert all(matrix[i][j] == matrix[j][i] and abs(matrix[i][j]) <= 1 for j in range(4))


def test_functions_are_nearer_than_weights_and_nearer_to_what_images_say():
    matrices = measured().data["matrices"]
    for i in range(4):
        for j in range(i):
            seen = matrices["test images, centred"][i][j]
            assert matrices[BEST][i][j] > matrices["weights"][i][j]
            assert abs(matrices[BEST][i][j] - seen) < abs(matrices["weights"][i][j] - seen)


def test_twins_are_pairs_that_differ_in_their_seed_alone():
    data = measured().data
    assert [(row["width"], row["pairs"]) for row in data["twins"]] == [(12, 1), (20, 1)]
    for row, (i, j) in zip(data["twins"], [(0, 1), (2, 3)], strict=True):
        for name in ("weights", BEST, "agreement"):
            assert row[name]["mean"] == pytest.approx(data["matrices"][name][i][j], abs=1e-6)
    assert len(data["by_class"]) == 10


def test_training_ends_at_itself_and_near_the_other_seed():
    for row, seed in zip(measured().data["training"], (0, 1), strict=True):
        assert row["seed"] == seed
        assert row["epochs"] == [0, 4, 8, 12]
        for name in ("weights", BEST, "agreement"):
            assert row["own"][name][-1] == 1
            assert row["other"][name][-1] < 1
        assert row["own"][BEST] == sorted(row["own"][BEST])
        assert abs(row["own"]["weights"][0]) < 0.3 < row["other"]["weights"][-1]
        assert row["accuracy"][0] < 0.4 < row["accuracy"][-1]
        twin = measured().data["matrices"][BEST][0][1]
        assert row["other"][BEST][-1] == pytest.approx(twin, abs=1e-5)


def test_the_comparison_follows_from_the_data():
    found = EXPERIMENT.compare(measured())
    rising = [row[BEST]["mean"] for row in measured().data["twins"]]
    assert found.agrees is (rising[0] < rising[1])
    turned = [{**row, "width": 32 - row["width"]} for row in measured().data["twins"]][::-1]
    mutant = EXPERIMENT.compare(Measured({**measured().data, "twins": turned}))
    assert mutant.agrees is not found.agrees
    assert "least alike by their weights" in found.measured


def test_two_models_of_other_sizes_cannot_decide():
    two = EXPERIMENT.analyse([digits_model(0), digits_model(1, 20)], EXPERIMENT.options())
    assert EXPERIMENT.compare(two).agrees is None
    assert two.data["twins"] == two.data["training"] == []
    assert two.data["by_class"] is None
    figure = EXPERIMENT.draw(two)
    assert len(figure.subfigs[1].axes) == 2
    figure.canvas.draw()


def test_one_model_followed_and_alone():
    one = EXPERIMENT.analyse([followed(0)], EXPERIMENT.options())
    assert "other" not in one.data["training"][0]
    assert EXPERIMENT.compare(one).measured == "One model has nothing to be compared with."


def test_the_picture_has_matrices_points_classes_and_training():
    figure = EXPERIMENT.draw(measured())
    top, bottom = figure.subfigs
    assert sum(len(axes.images) for axes in top.axes) >= 3
    assert [len(axes.lines) for axes in bottom.axes] == [3, 0, 10]
    assert len(bottom.axes[1].patches) == 10


def test_models_of_other_tasks_are_refused():
    other = dataclasses.replace(digits_recipe(0), target=6, threshold=0.7)
    task = train(other, Path(mkdtemp(prefix="quadric-digits-")))
    with pytest.raises(QuadricError, match="compare models of one task"):
        EXPERIMENT.analyse([digits_model(0), task], EXPERIMENT.options())
