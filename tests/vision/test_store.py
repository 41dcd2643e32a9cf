"""Trained classifiers on disk, and the store that trains each recipe once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from quadric.errors import QuadricError
from quadric.storage import read_tensors, write_tensors
from quadric.vision import files
from quadric.vision.config import Recipe
from quadric.vision.fit import Epoch
from quadric.vision.store import Store, train
from tests.vision.builders import digits_recipe


def snapped(seed: int = 0, snapshots: int = 0) -> Recipe:
    recipe = digits_recipe(seed, width=6)
    return dataclasses.replace(
        recipe, fit=dataclasses.replace(recipe.fit, epochs=4, snapshots=snapshots)
    )


def test_a_trained_classifier_comes_back(tmp_path: Path) -> None:
    trained = train(snapped(), tmp_path / "model")
    again = files.load(tmp_path / "model")
    x = again.data().test.pixels
    assert torch.equal(trained.model(x), again.model(x))
    assert again.recipe == snapped() and again.test_accuracy == trained.test_accuracy > 0.3
    assert [epoch["epoch"] for epoch in again.history] == [1, 2, 3, 4]
    assert again.model.classes == tuple("0123456789") and again.snapshots() == {}


def test_snapshots_end_with_the_model_itself(tmp_path: Path) -> None:
    trained = train(snapped(snapshots=2), tmp_path / "model")
    copies = trained.snapshots()
    assert list(copies) == [2, 4]
    assert torch.equal(copies[4].head.weight, trained.model.head.weight)
    assert not torch.equal(copies[2].head.weight, trained.model.head.weight)
    train(snapped(), tmp_path / "model")
    assert files.load(tmp_path / "model").snapshots() == {}


def test_a_recipe_is_trained_once(tmp_path: Path) -> None:
    store, seen = Store(tmp_path, "cpu"), []

    def report(recipe: Recipe, epoch: Epoch) -> None:
        seen.append((recipe.fit.seed, epoch.epoch))

    assert store.missing([snapped(), snapped(1), snapped()]) == [snapped(), snapped(1)]
    first = store.get(snapped(), report)
    again = store.get(snapped(), report)
    assert seen == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert first.path == again.path and store.missing([snapped(), snapped(1)]) == [snapped(1)]


def test_a_target_changes_labels_and_recipe(tmp_path: Path) -> None:
    recipe = dataclasses.replace(snapped(), target=6, threshold=0.7)
    trained = train(recipe, tmp_path / "model")
    assert trained.model.classes == ("False", "True")
    assert recipe.digest() != snapped().digest()
    assert files.load(tmp_path / "model").data().test.classes == ("False", "True")


def test_recipes_survive_json_and_refuse_unknown_keys() -> None:
    recipe = dataclasses.replace(snapped(), dataset="fashion-mnist", target=3)
    values = json.loads(json.dumps(recipe.as_dict()))
    assert Recipe.from_dict(values, "here") == recipe
    assert Recipe.from_dict(values, "here").digest() == recipe.digest()
    values["fit"]["epoch"] = values["fit"].pop("epochs")
    with pytest.raises(QuadricError, match=r"here, fit: unknown key 'epoch'.*'epochs'"):
        Recipe.from_dict(values, "here")


def test_damage_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(QuadricError, match=r"no trained image classifier: classifier.json"):
        files.load(folder)
    train(snapped(), folder)
    config, weights = folder / files.CONFIG, folder / files.WEIGHTS
    whole, values = read_tensors(weights), json.loads(config.read_text())
    for damage, message in (
        ({"head.weight": whole["head.weight"][:3]}, r"'head.weight' has shape \(3, 6\)"),
        ({"head.weight": whole["head.weight"] * torch.nan}, "NaN"),
        ({"extra": torch.ones(2)}, "unexpected tensor 'extra'"),
    ):
        write_tensors(weights, {**whole, **damage})
        with pytest.raises(QuadricError, match=message):
            files.load(folder)
    write_tensors(weights, {k: v for k, v in whole.items() if k != "embed.weight"})
    with pytest.raises(QuadricError, match=r"'embed.weight' is missing"):
        files.load(folder)
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(QuadricError, match="cannot read"):
        files.load(folder)
    for damage, message in (
        ({"architecture": "resnet"}, "architecture 'resnet'"),
        ({"format_version": 2}, "format 2"),
        ({"shape": [8]}, "damaged"),
        ({"test_accuracy": None}, "damaged"),
    ):
        config.write_text(json.dumps({**values, **damage}))
        with pytest.raises(QuadricError, match=message):
            files.load(folder)
