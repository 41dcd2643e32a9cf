"""Grouping trained models by size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from quadric.errors import QuadricError
from quadric.experiments.vision.sizes import by_size, percent
from quadric.vision.files import Trained
from tests.vision.builders import digits_recipe, random_model


def trained(
    seed: int = 0, width: int = 12, *, epochs: int = 12, dataset: str = "digits", **parts: object
) -> Trained:
    recipe = digits_recipe(seed, width, **parts)
    fit = dataclasses.replace(recipe.fit, epochs=epochs, snapshots=seed)
    recipe = dataclasses.replace(recipe, fit=fit, dataset=dataset)
    return Trained(Path(f"{dataset}-{seed}"), recipe, random_model(), 0.5, [])


def test_sizes_ascend_and_keep_their_runs() -> None:
    models = [trained(0, 100), trained(1, 8), trained(0, 8), trained(2, 8, d_hidden=30)]
    found = by_size(models)
    assert [size.label for size in found] == ["8", "8×30", "100"]
    assert list(found.values()) == [[models[1], models[2]], [models[3]], [models[0]]]
    (pixels,) = by_size([trained(0, d_embed=None)])
    assert pixels == (12, 12)  # the model reads its twelve pixels


def test_models_of_other_recipes_are_refused() -> None:
    with pytest.raises(QuadricError, match=r"fit\.epochs 12 and digits-1 7: name models"):
        by_size([trained(0), trained(1, epochs=7)])
    with pytest.raises(QuadricError, match="dataset 'digits' and mnist-1 'mnist'"):
        by_size([trained(0), trained(1, dataset="mnist")])
    with pytest.raises(QuadricError, match=r"classifier\.bias False and digits-1 True"):
        by_size([trained(0), trained(1, bias=True)])
    with pytest.raises(QuadricError, match="two models of size 12 have seed 1"):
        by_size([trained(0), trained(1), trained(1)])


def test_percent() -> None:
    assert percent(0.0631, 0.0049) == "6.3 ± 0.5 %"
    assert percent(0.0631, None, 2) == "6.31 %"
