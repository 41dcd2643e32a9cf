"""Trained classifiers by recipe: what was trained once is not trained again.

    store = Store()
    trained = store.get(Recipe(dataset="digits"))

Each recipe has a folder named by its digest. A model appears there when it is whole, so a suite
that was killed goes on with the model it was training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from quadric.storage import cache_folder
from quadric.vision import files
from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import Recipe
from quadric.vision.files import Trained
from quadric.vision.fit import Epoch, accuracy, fit

Report = Callable[[Recipe, Epoch], None]
"""Called after every epoch of a model that is being trained."""


def train(
    recipe: Recipe, folder: Path, device: str = "cpu", report: Report | None = None
) -> Trained:
    """Train a classifier and write it to ``folder``.

    Raises:
        QuadricError: the images cannot be found, or training diverged.
    """
    data = files.open_recipe(recipe)
    model = ImageClassifier.build(data.train, recipe.classifier, recipe.fit.seed).to(device)
    kept = _kept_epochs(recipe)
    copies = {}

    def after(epoch: Epoch) -> None:
        if epoch.epoch in kept:
            copies[epoch.epoch] = {
                name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()
            }
        if report is not None:
            report(recipe, epoch)

    history = fit(model, data.train, recipe.fit, recipe.augment, after)
    return files.save(
        folder, recipe, model, accuracy(model, data.test), [e._asdict() for e in history], copies
    )


class Store:
    """A folder of trained classifiers, one folder for each recipe."""

    def __init__(self, folder: Path | None = None, device: str = "auto") -> None:
        """Args:
        folder: where they are kept; the cache's ``vision`` folder when None.
        device: where they are trained; auto takes an accelerator where there is one.
        """
        self.folder = cache_folder() / "vision" if folder is None else folder
        self.device = device
        if device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def path(self, recipe: Recipe) -> Path:
        """The folder of a recipe, trained or not."""
        return self.folder / recipe.digest()

    def missing(self, recipes: Sequence[Recipe]) -> list[Recipe]:
        """Those that are not trained yet, each once, in their order."""
        absent = (r for r in recipes if not (self.path(r) / files.CONFIG).is_file())
        return list(dict.fromkeys(absent))

    def get(self, recipe: Recipe, report: Report | None = None) -> Trained:
        """The trained classifier of a recipe, trained first where it is missing.

        Raises:
            QuadricError: its files are damaged, its images are missing, or training diverged.
        """
        folder = self.path(recipe)
        if (folder / files.CONFIG).is_file():
            return files.load(folder)
        return train(recipe, folder, self.device, report)


def _kept_epochs(recipe: Recipe) -> set[int]:
    """Evenly spaced epochs, the last one among them."""
    count, epochs = recipe.fit.snapshots, recipe.fit.epochs
    return {round(epochs * (i + 1) / count) for i in range(count)}
