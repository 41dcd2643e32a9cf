"""Which combinations of logits an atlas of an image model shows.

    shown = directions(model, images)
    shown[0].label, shown[0].weights       # "0", and the first unit vector

First every class; then, for the pairs of classes most often taken for one another, the difference
of their logits, whose sign decides between the two; then the components of the model's tensor, the
orthonormal combinations of classes whose forms over pixels are orthogonal (arXiv 2410.08417, §3.3).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.gallery import confusion

PAIRS = 10
"""Differences of two classes, at most."""
NAMED, LOUD = 4, 0.5
"""Classes in the name of a component, at most, and the share of its largest weight they have."""


class Direction(NamedTuple):
    """A combination of the logits, f(x) = Σ_c weights_c · logit_c(x)."""

    kind: str
    """output for a class, composed for the others."""
    label: str
    """The class, "4 − 9", or "component 1: +3 −7"."""
    weights: Float[Tensor, " m"]
    """One for each class."""
    accuracy: float | None = None
    """Of a class, the share of its own images on which its logit is the largest; of a difference,
    the share of the two classes' images on which it has the right sign."""


@torch.no_grad()
def directions(model: ImageClassifier, images: Images, pairs: int = PAIRS) -> list[Direction]:
    """What to show of a model, with how it does on images.

    Args:
        model: a classifier with one bilinear block.
        images: those that confusions are counted on.
        pairs: differences of two classes, at most; a pair that is never confused is left out.

    Raises:
        QuadricError: the logits are no quadratic forms, or the images are not the model's.
    """
    tensor = model.tensor("input")
    counts = confusion(model, images)
    eye = torch.eye(tensor.m)
    sizes = counts.sum(1)
    found = [
        Direction("output", name, eye[c], _share(counts[c, c], sizes[c]))
        for c, name in enumerate(model.classes)
    ]
    logits = model(images.pixels.to(model.head.weight)).float().cpu()
    for a, b in confused(counts, pairs):
        weights = eye[a] - eye[b]
        value = logits @ weights
        right = ((images.labels == a) & (value > 0)) | ((images.labels == b) & (value < 0))
        label = f"{model.classes[a]} − {model.classes[b]}"
        share = _share(right.sum(), sizes[a] + sizes[b])
        found.append(Direction("composed", label, weights, share))
    for number, weights in enumerate(tensor.hosvd().directions.float().cpu(), start=1):
        label = f"component {number}: {_loudest(weights, model.classes)}"
        found.append(Direction("composed", label, weights))
    return found


def confused(counts: Int[Tensor, "true guessed"], most: int) -> list[tuple[int, int]]:
    """The pairs a < b of classes most often taken for one another, the worst first."""
    both = (counts + counts.mT).triu(diagonal=1)
    order = both.flatten().argsort(descending=True, stable=True)[:most].tolist()
    places = (divmod(place, len(counts)) for place in order)
    return [(a, b) for a, b in places if both[a, b]]


def _share(part: Tensor, whole: Tensor) -> float | None:
    return int(part) / int(whole) if whole else None


def _loudest(weights: Float[Tensor, " m"], classes: tuple[str, ...]) -> str:
    """The classes of the largest weights with their signs: "+3 −7"."""
    sizes = weights.abs()
    order = sizes.argsort(descending=True, stable=True)[:NAMED].tolist()
    loud = [c for c in order if sizes[c] >= LOUD * sizes.max()]
    return " ".join(f"{'+' if weights[c] > 0 else '−'}{classes[c]}" for c in loud)
