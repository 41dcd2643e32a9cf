"""Classifiers with random weights and random images of their own, for the tests of their atlas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from quadric.vision.config import Recipe
from quadric.vision.data.images import ImageData, Images
from quadric.vision.files import Trained
from tests.vision.builders import CLASSES, SHAPE, random_model

ROWS, PIXELS = 90, 12


@dataclass(frozen=True, eq=False)
class Given(Trained):
    """A classifier with images of its own."""

    def data(self) -> ImageData:
        generator = torch.Generator().manual_seed(5)
        parts = []
        for count in (40, ROWS):
            pixels = torch.rand(count, PIXELS, generator=generator)
            labels = torch.randint(len(CLASSES), (count,), generator=generator)
            parts.append(Images(pixels, labels, SHAPE, CLASSES))
        return ImageData("given", *parts)


def given(name: str = "one", seed: int = 0, **config: Any) -> Given:
    model = random_model(seed, **config).float()
    recipe = Recipe(dataset="given", classifier=model.config)
    return Given(Path(name), recipe, model, 0.25, [])
