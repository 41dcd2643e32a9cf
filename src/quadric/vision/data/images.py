"""Labelled images as rows of pixels, and a data set as a training and a test part of them.

A row is one image, read along height, width and channel in this order, so that
``pixels[i].view(shape)`` is the picture and an eigenvector over pixels has the same layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels in [0, 1] and a class for every image.

    Raises:
        QuadricError: the sizes disagree, a type is wrong, a pixel lies outside [0, 1] or is not
            finite, a label names no class, or two classes share a name.
    """

    pixels: Float[Tensor, "n p"]
    """float32 brightness from 0 (black) to 1 (white); p = height · width · channels."""
    labels: Int[Tensor, " n"]
    """int64 position of each image's class in ``classes``."""
    shape: tuple[int, int, int]
    """Height, width, channels."""
    classes: tuple[str, ...]
    """Names of the classes."""

    def __post_init__(self) -> None:
        """Check what every analysis relies on."""
        pixels, labels = self.pixels, self.labels
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise QuadricError(
                f"image shape is {self.shape}, expected a positive height, width and channels"
            )
        if pixels.ndim != 2 or pixels.dtype != torch.float32:
            raise QuadricError(
                f"pixels are {pixels.dtype} of shape {tuple(pixels.shape)}, expected float32 rows"
            )
        if pixels.shape[1] != self.d_in:
            raise QuadricError(
                f"a row has {pixels.shape[1]} pixels, but images of shape "
                f"{'×'.join(map(str, self.shape))} have {self.d_in}"
            )
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise QuadricError(
                f"labels are {labels.dtype} of shape {tuple(labels.shape)}, expected int64"
            )
        if len(pixels) != len(labels):
            raise QuadricError(f"there are {len(pixels)} images but {len(labels)} labels")
        if len(set(self.classes)) < max(len(self.classes), 1):
            raise QuadricError(f"classes are {self.classes}, expected distinct names")
        if len(labels):
            self._check_values()

    def _check_values(self) -> None:
        low, high = (float(end) for end in self.pixels.aminmax())
        if not (low >= 0 and high <= 1):  # also true of NaN
            raise QuadricError(f"pixels range from {low:g} to {high:g}, expected 0 to 1")
        first, last = (int(end) for end in self.labels.aminmax())
        if first < 0 or last >= len(self.classes):
            raise QuadricError(
                f"label {first if first < 0 else last} names no class: there are "
                f"{len(self.classes)} (0–{len(self.classes) - 1})"
            )

    def __len__(self) -> int:
        """Number of images n."""
        return len(self.pixels)

    @property
    def d_in(self) -> int:
        """Pixels p of one image, channels included."""
        height, width, channels = self.shape
        return height * width * channels

    def take(self, ids: Int[Tensor, " k"]) -> Images:
        """The images at these positions, in this order; k of them."""
        return Images(self.pixels[ids], self.labels[ids], self.shape, self.classes)

    def to(self, device: str | torch.device) -> Images:
        """The same images on a device."""
        return Images(self.pixels.to(device), self.labels.to(device), self.shape, self.classes)


@dataclass(frozen=True)
class ImageData:
    """A data set: what a model is trained on, and what it is tested on.

    Raises:
        QuadricError: the parts differ in shape or classes, or one is empty.
    """

    name: str
    """The name it was opened by."""
    train: Images
    """The training images."""
    test: Images
    """The test images."""

    def __post_init__(self) -> None:
        """Check that the two parts belong together."""
        for part, images in (("training", self.train), ("test", self.test)):
            if not len(images):
                raise QuadricError(f"data set {self.name!r} has no {part} images")
        if self.train.shape != self.test.shape:
            raise QuadricError(
                f"data set {self.name!r} has training images of shape {self.train.shape} and test "
                f"images of shape {self.test.shape}, expected one shape"
            )
        if self.train.classes != self.test.classes:
            raise QuadricError(
                f"data set {self.name!r} has the classes {', '.join(self.train.classes)} in "
                f"training and {', '.join(self.test.classes)} in test, expected the same"
            )
