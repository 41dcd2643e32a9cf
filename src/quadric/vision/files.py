"""A trained classifier on disk: ``classifier.json`` beside ``classifier.safetensors``.

The JSON file holds the recipe, the images' shape and classes, and how training went; it is written
last, so a folder that has it is whole. Snapshots along training are ``snapshot-EPOCH.safetensors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import quadric
from quadric.errors import QuadricError
from quadric.storage import make_folder, read_json, read_tensors, write_json, write_tensors
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import Recipe
from quadric.vision.data.datasets import open_images
from quadric.vision.data.images import ImageData
from quadric.vision.data.target import target_task

CONFIG, WEIGHTS = "classifier.json", "classifier.safetensors"
ARCHITECTURE = "bilinear_image_classifier"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier and where it came from."""

    path: Path
    """Its folder."""
    recipe: Recipe
    """What it was trained on, and how."""
    model: ImageClassifier
    """The model, on the CPU and in evaluation mode."""
    test_accuracy: float
    """Share of test images it classifies right."""
    history: list[dict[str, float]]
    """Epoch and mean loss of each pass."""

    def data(self) -> ImageData:
        """The images and labels it was trained and tested on.

        Raises:
            QuadricError: they are not on this machine.
        """
        return open_recipe(self.recipe)

    def snapshots(self) -> dict[int, ImageClassifier]:
        """Its copies along training by epoch, as many as the recipe asked for."""
        found = {}
        for path in sorted(self.path.glob("snapshot-*.safetensors")):
            model = ImageClassifier(self.recipe.classifier, self.model.shape, self.model.classes)
            _fill(model, read_tensors(path), path)
            found[int(path.stem.removeprefix("snapshot-"))] = model
        return dict(sorted(found.items()))


def open_recipe(recipe: Recipe) -> ImageData:
    """The images of a recipe, relabelled where it has a target.

    Raises:
        QuadricError: they cannot be found here, or there is no such target.
    """
    data = open_images(recipe.dataset)
    if recipe.target is None:
        return data
    return target_task(data, recipe.target, recipe.threshold)


def save(
    folder: Path,
    recipe: Recipe,
    model: ImageClassifier,
    test_accuracy: float,
    history: list[dict[str, float]],
    snapshots: Mapping[int, Mapping[str, Tensor]],
) -> Trained:
    """Write a trained classifier, its configuration last."""
    make_folder(folder)
    (folder / CONFIG).unlink(missing_ok=True)
    for stale in folder.glob("snapshot-*.safetensors"):
        stale.unlink()
    for epoch, weights in snapshots.items():
        write_tensors(folder / f"snapshot-{epoch}.safetensors", weights)
    write_tensors(folder / WEIGHTS, model.state_dict())
    values: dict[str, Any] = {
        "architecture": ARCHITECTURE,
        "format_version": FORMAT_VERSION,
        "quadric_version": quadric.__version__,
        "shape": list(model.shape),
        "classes": list(model.classes),
        "recipe": recipe.as_dict(),
        "test_accuracy": test_accuracy,
        "history": history,
    }
    write_json(folder / CONFIG, values)
    return load(folder)


def load(folder: str | Path) -> Trained:
    """Read a trained classifier.

    Raises:
        QuadricError: a file is missing, damaged or of another kind.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise QuadricError(f"{folder} holds no trained image classifier: {CONFIG} is missing")
    values = read_json(path)
    kind, version = values.get("architecture"), values.get("format_version")
    if kind != ARCHITECTURE or version != FORMAT_VERSION:
        raise QuadricError(
            f"{path}: architecture {kind!r} of format {version!r}, this quadric reads "
            f"{ARCHITECTURE!r} of format {FORMAT_VERSION}"
        )
    try:
        height, width, channels = (int(size) for size in values["shape"])
        classes = tuple(str(name) for name in values["classes"])
        accuracy, history = float(values["test_accuracy"]), list(values["history"])
        recipe = Recipe.from_dict(values["recipe"], f"{path}, recipe")
    except QuadricError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise QuadricError(f"{path} is damaged: {type(error).__name__} on {error}") from error
    model = ImageClassifier(recipe.classifier, (height, width, channels), classes)
    _fill(model, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    return Trained(folder, recipe, model, accuracy, history)


def _fill(model: ImageClassifier, weights: dict[str, Tensor], path: Path) -> None:
    expected = model.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise QuadricError(f"{path}: tensor {name!r} is missing")
        if name not in expected:
            raise QuadricError(f"{path}: unexpected tensor {name!r}")
        if weights[name].shape != expected[name].shape:
            raise QuadricError(
                f"{path}: tensor {name!r} has shape {tuple(weights[name].shape)}, "
                f"{CONFIG} says {tuple(expected[name].shape)}"
            )
        if not weights[name].isfinite().all():
            raise QuadricError(f"{path}: tensor {name!r} holds NaN or infinite values")
    model.load_state_dict(weights)
    model.eval()
