"""Small classifiers for the tests of the image analyses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.vision.classifier import ImageClassifier
from quadric.vision.config import ClassifierConfig, FitConfig, Recipe
from quadric.vision.data.augment import AugmentConfig
from quadric.vision.files import Trained
from quadric.vision.store import train

SHAPE = (3, 4, 1)
CLASSES = ("ant", "bee", "cat", "dog", "elk")


def random_model(seed: int = 0, **config: object) -> ImageClassifier:
    """A float64 classifier of 12 pixels, width 7, 9 products and 5 classes with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ImageClassifier(
            ClassifierConfig(**{"d_embed": 7, "d_hidden": 9, **config}), SHAPE, CLASSES
        ).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
    return model.eval()


def random_images(count: int = 20, seed: int = 1) -> Float[Tensor, "n 12"]:
    """Uniform pixels for ``random_model``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 12, dtype=torch.float64, generator=generator)


def digits_recipe(seed: int = 0, width: int = 12, **changes: object) -> Recipe:
    """A recipe on the digits that trains in about half a second and classifies most of them."""
    return Recipe(
        dataset="digits",
        classifier=ClassifierConfig(
            **{"d_embed": width, "d_hidden": width, **changes}  # type: ignore[arg-type]
        ),
        fit=FitConfig(epochs=12, batch_size=128, lr=5e-3, seed=seed),
        augment=AugmentConfig(noise=0.3),
    )


@cache
def digits_model(seed: int = 0, width: int = 12) -> Trained:
    """A trained classifier of the digits, once per process."""
    return train(digits_recipe(seed, width), Path(mkdtemp(prefix="quadric-digits-")))
