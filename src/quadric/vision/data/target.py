"""The task with a known answer: is an image like a target, or like the target's complement?

An image x is true if cos(x, t) > θ or cos(x, 1 − t) > θ for a target image t. What a classifier
has learned can then be compared with t itself (arXiv 2410.08417 §4.3, after S. Casper's
interpretability challenge).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.vision.data.images import ImageData, Images

_PUBLISHED = 6
"""The target of the published figure: training image 6 of MNIST, a 1."""
_ROWS = 8192
"""Images compared at once, which bounds the memory of the float64 copy."""


def target_labels(
    pixels: Float[Tensor, "n p"], target: Float[Tensor, " p"], threshold: float
) -> Int[Tensor, " n"]:
    """1 where cos(x, t) > θ or cos(x, 1 − t) > θ, else 0, in float64 (arXiv 2410.08417 §4.3).

    The cosine with a black image is 0, so a black image is always 0.

    Raises:
        QuadricError: the target has another number of pixels, or the threshold is outside [0, 1).
    """
    if target.shape != pixels.shape[1:]:
        raise QuadricError(
            f"the target has the shape {tuple(target.shape)}, but the images have "
            f"{pixels.shape[1]} pixels"
        )
    if not 0 <= threshold < 1:
        raise QuadricError(f"threshold is {threshold}, expected 0 or more and less than 1")
    return (_likeness(pixels, target) > threshold).long()


def _likeness(pixels: Float[Tensor, "n p"], target: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
    """max(cos(x, t), cos(x, 1 − t)) in float64; 0 for a black image."""
    pair = F.normalize(torch.stack([target, 1 - target]).double(), dim=1)
    parts = torch.split(pixels, _ROWS)
    return torch.cat([(F.normalize(part.double(), dim=1) @ pair.T).amax(dim=1) for part in parts])


def target_index(data: ImageData) -> int:
    """The target's default position among the training images.

    It is the published one, 6, if that image is a "1"; else the first "1"; and 6 where no class
    has this name.
    """
    train = data.train
    if "1" not in train.classes:
        return _PUBLISHED
    ones = (train.labels == train.classes.index("1")).nonzero().flatten().tolist()
    return _PUBLISHED if _PUBLISHED in ones or not ones else ones[0]


def target_threshold(data: ImageData, index: int | None = None) -> float:
    """The multiple of 0.05 that divides the training images most evenly into False and True.

    The paper's threshold on MNIST, 0.4, is this one. Data whose images resemble each other more
    need a higher one: at 0.4 every image of ``digits`` is True.

    Args:
        data: the images.
        index: the target's position among the training images; by default ``target_index``.

    Raises:
        QuadricError: there is no such image.
    """
    likeness = _likeness(data.train.pixels, _target(data, index))
    steps = torch.arange(1, 20)
    shares = (likeness[:, None] > steps.to(likeness) / 20).double().mean(dim=0)
    return int(steps[(shares - 0.5).abs().argmin()]) / 20


def target_task(data: ImageData, index: int | None = None, threshold: float = 0.4) -> ImageData:
    """The images of a data set with the classes "False" and "True" of ``target_labels``.

    Args:
        data: the images; their own labels only choose the default target.
        index: the target's position among the training images; by default ``target_index``.
        threshold: θ, the cosine above which an image counts as alike. The paper's 0.4 suits MNIST;
            ``target_threshold`` suits others.

    Raises:
        QuadricError: there is no such image, or at this threshold all images of a part fall in one
            class, so that there is nothing to learn.
    """
    target = _target(data, index)
    train, test = (_relabelled(part, target, threshold) for part in (data.train, data.test))
    for part, images in (("training", train), ("test", test)):
        share = base_rate(images)
        if share in (0, 1):
            raise QuadricError(
                f"threshold {threshold} makes {share:.0%} of the {part} images of {data.name!r} "
                f"True: choose one that divides them, such as {target_threshold(data, index)}"
            )
    return ImageData(data.name, train, test)


def base_rate(images: Images) -> float:
    """Share of the images in the last class, "True".

    The larger of it and its complement is the accuracy of always giving the same answer.
    """
    return float((images.labels == len(images.classes) - 1).double().mean())


def _target(data: ImageData, index: int | None) -> Float[Tensor, " p"]:
    index = target_index(data) if index is None else index
    if not 0 <= index < len(data.train):
        raise QuadricError(
            f"target {index} is no training image of {data.name!r}: there are {len(data.train)}"
        )
    return data.train.pixels[index]


def _relabelled(images: Images, target: Float[Tensor, " p"], threshold: float) -> Images:
    labels = target_labels(images.pixels, target, threshold)
    return Images(images.pixels, labels, images.shape, ("False", "True"))
