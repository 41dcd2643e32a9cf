"""Ablations: claims on made-up measurements, and overfitting of classifiers of the digits."""

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
from quadric.experiments.vision.ablation_claims import changes, claims, named
from quadric.experiments.vision.ablations import EXPERIMENT, Options, used
from quadric.experiments.vision.settings import FULL, QUICK
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.files import Trained
from quadric.vision.store import train
from tests.vision.builders import digits_model, digits_recipe

NOTHING: dict[str, float] = {}


@cache
def trained(seed: int = 0, **augmentation: float) -> Trained:
    recipe = replace(digits_recipe(seed), augment=AugmentConfig(**{"noise": 0.0, **augmentation}))
    return train(recipe, Path(mkdtemp(prefix="quadric-digits-")))


def entry(
    technique: dict[str, float], seed: int, overfit: float, rough: float, rank: float
) -> dict[str, Any]:
    """A model with three classes that vary a little."""
    vary = [x + 0.03 * seed for x in (-0.02, 0.0, 0.02)]
    return {
        "path": "", "seed": seed, "used": technique, "accuracy": 0.9, "image": [0.0] * 4,
        "overfit": [overfit * (1 + x) for x in vary],
        "roughness": [rough * (1 + x) for x in vary],
        "rank": [rank * (1 + x) for x in vary],
    }  # fmt: skip


def published() -> list[dict[str, Any]]:
    """Measurements as the paper describes them."""
    kinds: list[tuple[dict[str, float], float, float, float]] = [
        (NOTHING, 0.4, 20, 30), ({"noise": 0.4}, 0.05, 19, 40), ({"noise": 0.8}, 0.04, 18, 50),
        ({"weight_decay": 0.0}, 0.4, 20, 45), ({"translate": 0.1}, 0.4, 18, 29),
        ({"translate": 0.25}, 0.5, 12, 35), ({"blur": 1.0}, 0.4, 15, 30),
        ({"dropout": 0.6}, 0.401, 20.1, 30.2), ({"model_noise": 0.8}, 0.402, 20.1, 30.3),
    ]  # fmt: skip
    return [entry(*kind[:1], seed, *kind[1:]) for kind in kinds for seed in (0, 1)]


def test_every_published_claim_is_found_where_it_holds() -> None:
    assert set(claims(published()).values()) == {True}


@pytest.mark.parametrize(
    ("technique", "measure", "factor", "claim"),
    [
        ({"noise": 0.4}, "overfit", 5, "Gaussian noise ends overfitting"),
        ({"noise": 0.4}, "rank", 0.5, "Gaussian noise raises the rank"),
        ({"weight_decay": 0.0}, "rank", 0.5, "weight decay lowers the rank"),
        ({"translate": 0.25}, "overfit", 0.1, "translation does not end overfitting"),
        ({"translate": 0.25}, "rank", 0.5, "translation raises the rank"),
        ({"translate": 0.25}, "roughness", 3, "translation smooths"),
        ({"blur": 1.0}, "roughness", 3, "blur smooths"),
        ({"dropout": 0.6}, "overfit", 2, "dropout does nothing"),
        ({"dropout": 0.6}, "rank", 1.3, "dropout does nothing"),
        ({"model_noise": 0.8}, "roughness", 1.3, "noise on activations does nothing"),
    ],
)
def test_a_claim_fails_alone_where_its_measure_goes_the_other_way(
    technique: dict[str, float], measure: str, factor: float, claim: str
) -> None:
    models = published()
    for model in models:
        if model["used"] == technique:
            model[measure] = [factor * x for x in model[measure]]
    found = claims(models)
    assert found[claim] is False
    assert [name for name, holds in found.items() if holds is not True] == [claim]


def test_without_a_reference_nothing_is_decided() -> None:
    models = [model for model in published() if model["used"]]
    assert set(claims(models).values()) == {None}
    assert changes(models, {"noise": 0.4}) is None
    # Without a second seed of the reference nobody knows how far seeds differ.
    alone = [model for model in published() if model["seed"] == 0]
    assert claims(alone)["dropout does nothing"] is None


def test_changes_pair_classes_and_seeds() -> None:
    found = changes(published(), {"noise": 0.4})
    assert found is not None
    assert found["rank"].size == pytest.approx(10 * 1.015)
    assert found["rank"].error is not None and found["rank"].error < 0.2
    # A seed that only one of them has is left out.
    models = [m for m in published() if (m["used"], m["seed"]) != (NOTHING, 1)]
    fewer = changes(models, {"noise": 0.4})
    assert fewer is not None and fewer["rank"].size == pytest.approx(10)


def test_noise_ends_the_overfitting_of_trained_models() -> None:
    models = [trained(), trained(1), trained(noise=0.4), trained(blur=1.0)]
    measured = EXPERIMENT.analyse(models, Options())
    json.dumps(measured.data, allow_nan=False)
    assert measured.data["label"] == "5" and measured.data["dark_pixels"] == 14
    plain, _, noisy, blurred = measured.data["models"]
    assert [m["used"] for m in measured.data["models"]] == [{}, {}, {"noise": 0.4}, {"blur": 1.0}]
    assert sum(noisy["overfit"]) < 0.5 * sum(plain["overfit"])
    assert sum(blurred["roughness"]) < 0.9 * sum(plain["roughness"])
    found = claims(measured.data["models"])
    assert found["Gaussian noise ends overfitting"] is True
    assert found["blur smooths"] is True
    assert found["dropout does nothing"] is None
    assert len(EXPERIMENT.draw(measured).get_axes()) == 3


def test_images_without_dark_pixels_have_no_overfit_score() -> None:
    measured = EXPERIMENT.analyse([trained(), trained(noise=0.4)], Options(label="3"))
    data = copy.deepcopy(measured.data)
    for model in data["models"]:
        model["overfit"] = None
    found = claims(data["models"])
    assert found["Gaussian noise ends overfitting"] is None
    assert found["translation does not end overfitting"] is None
    comparison = EXPERIMENT.compare(Measured(data))
    assert "overfit" not in comparison.lines[0]["ours"] and "rank" in comparison.lines[0]["ours"]
    EXPERIMENT.draw(Measured(data))


def test_techniques_are_read_off_a_recipe() -> None:
    recipe = QUICK.recipe(
        weight_decay=0.5, augment=AugmentConfig(noise=0.2, rotate=16), dropout=0.3
    )
    techniques = used(recipe, decay=1.0)
    assert techniques == {"noise": 0.2, "rotate": 16, "dropout": 0.3, "weight_decay": 0.5}
    assert used(recipe, decay=0.5).keys() == {"noise", "rotate", "dropout"}
    assert named({"rotate": 16, "dropout": 0.3}) == "rotation up to 16° + dropout 0.3"
    assert named({}) == "nothing"


def test_unlike_models_and_unknown_classes_are_refused() -> None:
    with pytest.raises(QuadricError, match=r"has classifier\.\w+ .*: name models"):
        EXPERIMENT.analyse([digits_model(0), digits_model(0, 8)], Options())
    with pytest.raises(QuadricError, match="no class 'ten'"):
        EXPERIMENT.analyse([digits_model(0)], Options(label="ten"))
    comparison = EXPERIMENT.compare(EXPERIMENT.analyse([digits_model(0)], Options()))
    assert comparison.agrees is None


def test_one_technique_at_a_time_is_planned() -> None:
    quick, full = EXPERIMENT.plan(QUICK), EXPERIMENT.plan(FULL)
    assert len(quick) == 9 + QUICK.seeds and len(set(quick)) == len(quick)
    assert len(full) == 20 * 2 + FULL.seeds and len(set(full)) == len(full)
    for recipe in full:
        assert len(used(recipe, FULL.weight_decay)) <= 1
    assert QUICK.recipe() in quick and FULL.recipe() in full
    strengths = {tuple(used(r, 1.0).items()) for r in full}
    assert {(("translate", 0.25),), (("weight_decay", 0.0),), ()} < strengths
