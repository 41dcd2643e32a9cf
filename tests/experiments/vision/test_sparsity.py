"""Counts over weight decay and noise: on made-up grids, and on classifiers of the digits."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from quadric.errors import QuadricError
from quadric.experiments.experiment import Measured
from quadric.experiments.vision.settings import FULL, QUICK
from quadric.experiments.vision.sparsity import EXPERIMENT, Options
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.files import Trained
from quadric.vision.sparsity import effective_rank
from quadric.vision.store import train
from tests.vision.builders import digits_model, digits_recipe


@cache
def trained(decay: float, noise: float, seed: int) -> Trained:
    base = digits_recipe(seed, 12)
    recipe = replace(
        base,
        fit=replace(base.fit, weight_decay=decay, epochs=6),
        augment=AugmentConfig(noise=noise),
    )
    return train(recipe, Path(mkdtemp(prefix="quadric-digits-")))


@cache
def grid() -> Measured:
    models = [trained(d, n, s) for d in (0.0, 2.0) for n in (0.0, 0.6) for s in (0, 1)]
    return EXPERIMENT.analyse(models, Options())


def made_up() -> dict[str, Any]:
    """A grid with the effects that the paper's appendix reports."""
    data = copy.deepcopy(grid().data)
    for model in data["models"]:
        up, down, jitter = model["noise"] > 0, model["weight_decay"] > 0, 0.1 * model["seed"]
        model["rank"] = 5 + 3 * up - 2 * down + jitter
        model["pixels_abs"] = 40 - 9 * up + down + jitter
    return data


def test_noise_makes_trained_eigenvectors_sparser() -> None:
    data = grid().data
    json.dumps(data, allow_nan=False)
    first = data["models"][0]
    expected = effective_rank(trained(0.0, 0.0, 0).model).mean().item()
    assert first["rank"] == pytest.approx(expected)
    assert data["rank_of_noise"] == pytest.approx(0.7205 * 12, rel=1e-3)
    assert data["pixels_of_noise"] == pytest.approx(0.6366 * 64, rel=1e-3)
    found = EXPERIMENT.compare(grid()).figures
    assert (found["noise_on_pixels"] or 0) < -2
    assert (found["weight_decay_on_rank"] or 0) < 0
    assert len(EXPERIMENT.draw(grid()).get_axes()) == 2


def test_the_verdict_follows_the_measurements() -> None:
    def agrees(change: dict[str, dict[str, float]]) -> tuple[bool | None, str]:
        data = made_up()
        for model in data["models"]:
            for key, by in change.items():
                model[key] += by["noise"] * (model["noise"] > 0)
                model[key] += by["decay"] * (model["weight_decay"] > 0)
        comparison = EXPERIMENT.compare(Measured(data))
        return comparison.agrees, comparison.measured

    verdict, told = agrees({})
    assert verdict is True and "Appendix D is right" in told
    verdict, told = agrees({"rank": {"noise": -6, "decay": 0}})
    assert verdict is False and "§4.1 is right" in told
    verdict, told = agrees({"rank": {"noise": -3, "decay": 0}})
    assert verdict is None and "cannot decide" in told
    assert agrees({"rank": {"noise": 0, "decay": 4}})[0] is False
    assert agrees({"pixels_abs": {"noise": 18, "decay": 0}})[0] is False
    assert agrees({"pixels_abs": {"noise": 0, "decay": 3}})[0] is False


def test_one_seed_or_one_model_decides_nothing() -> None:
    data = made_up()
    data["models"] = [model for model in data["models"] if model["seed"] == 0]
    comparison = EXPERIMENT.compare(Measured(data))
    assert comparison.agrees is None
    assert comparison.figures["noise_on_rank"] == pytest.approx(3)
    alone = EXPERIMENT.analyse([digits_model()], Options(k=2, space="input"))
    comparison = EXPERIMENT.compare(alone)
    assert comparison.agrees is None and "by nothing" in comparison.measured
    EXPERIMENT.draw(alone)


def test_unlike_models_are_refused() -> None:
    named = r"has classifier\.d_embed 12 and .* 8: name models that differ only in"
    with pytest.raises(QuadricError, match=named):
        EXPERIMENT.analyse([digits_model(0), digits_model(0, 8)], Options())
    with pytest.raises(QuadricError, match=r"has fit\.\w+ "):
        EXPERIMENT.analyse([digits_model(0), trained(0.0, 0.0, 0)], Options())
    with pytest.raises(QuadricError, match="k is 0"):
        Options(k=0)


def test_the_grid_is_small_on_the_digits_and_holds_the_base_model() -> None:
    quick, full = EXPERIMENT.plan(QUICK), EXPERIMENT.plan(FULL)
    assert len(quick) == len(set(quick)) == 4 * QUICK.seeds
    assert len(full) == len(set(full)) == 9 * FULL.seeds
    assert QUICK.recipe() in quick and FULL.recipe() in full
    assert {r.augment.noise for r in full} == {0, 0.4, 0.8}
    assert {r.fit.weight_decay for r in full} == {0, 0.5, 1}
