"""The eigenvectors that speak for and against each class, and what they respond to.

    found = eigen_gallery(model, k=4)
    found.positive.images[c]      # what raises the logit of class c, strongest first
    found.negative.images[c]      # what lowers it

(arXiv 2410.08417, §4.1 and appendix A.) ``mean_responses`` measures on images what the pictures
suggest: whether a positive eigenvector answers to its own class more than to any other, and a
negative one to the classes that are mistaken for it (``confusion``).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.spectra import Spectra, spectra

_ROWS = 4096
"""Images read at once."""


class Gallery(NamedTuple):
    """Both ends of some spectra."""

    values: Float[Tensor, "q d"]
    """Every λ, from the largest to the smallest."""
    positive: Spectra
    """The k largest λ with their vectors and images, largest first. Where a form has fewer
    positive eigenvalues, the list goes on with the next ones: look at the sign."""
    negative: Spectra
    """The k smallest λ, smallest first; the same holds for the other sign."""


@torch.no_grad()
def eigen_gallery(
    model: ImageClassifier,
    directions: Float[Tensor, "q m"] | None = None,
    *,
    k: int = 4,
    space: Space = "hidden",
) -> Gallery:
    """The k most positive and the k most negative eigenpairs of each class.

    Args:
        model: a classifier with one bilinear block.
        directions: combinations of the logits, one a row; every class when None.
        k: how many of each sign.
        space: whose eigenvectors; see ``quadric.vision.spectra``.

    One decomposition per direction gives both ends.

    Raises:
        QuadricError: the logits are no quadratic forms, or ``k`` or ``directions`` do not fit.
    """
    whole = spectra(model, directions, space=space)
    count = whole.values.shape[1]
    if not 1 <= k <= count:
        raise QuadricError(f"k is {k}, expected 1 to {count}, the number of eigenvalues")
    order = whole.values.argsort(dim=1, descending=True, stable=True)

    def taken(places: Int[Tensor, "q k"]) -> Spectra:
        rows = places[:, :, None]
        return Spectra(
            whole.values.take_along_dim(places, dim=1),
            whole.vectors.take_along_dim(rows, dim=1),
            whole.images.take_along_dim(rows, dim=1),
            space,
        )

    values = whole.values.take_along_dim(order, dim=1)
    return Gallery(values, taken(order[:, :k]), taken(order.flip(1)[:, :k]))


@torch.no_grad()
def mean_responses(found: Spectra, images: Images) -> Float[Tensor, "q k classes"]:
    """Mean of λ_i (image_i·x)² over the images of each class, in float64.

    Raises:
        QuadricError: the images have another number of pixels, or a class has none of them.
    """
    pixels = found.images.shape[-1]
    if images.d_in != pixels:
        raise QuadricError(
            f"the images have {images.d_in} pixels and the eigenvectors {pixels}: they belong to "
            "another model"
        )
    classes = len(images.classes)
    counts = torch.bincount(images.labels, minlength=classes)
    if not counts.all():
        absent = images.classes[int((counts == 0).nonzero()[0])]
        raise QuadricError(f"there is no image of class {absent!r} to average over")
    rows = found.images.flatten(0, 1).double()
    total = rows.new_zeros(classes, len(rows))
    for start in range(0, len(images), _ROWS):
        read = images.pixels[start : start + _ROWS].double()
        labels = images.labels[start : start + _ROWS]
        total.index_add_(0, labels, (read @ rows.mT).square())
    means = (total / counts[:, None]).mT.view(*found.values.shape, classes)
    return found.values.double()[..., None] * means


@torch.no_grad()
def confusion(model: ImageClassifier, images: Images) -> Int[Tensor, "true guessed"]:
    """How many images of each class (row) were classified as each class (column).

    Raises:
        QuadricError: the images have another size or other classes than the model.
    """
    if images.classes != model.classes:
        raise QuadricError(
            f"the images have the classes {', '.join(images.classes)} and the model "
            f"{', '.join(model.classes)}"
        )
    m = len(model.classes)
    weight = model.head.weight
    counts = torch.zeros(m * m, dtype=torch.int64)
    for start in range(0, len(images), _ROWS):
        pixels = images.pixels[start : start + _ROWS]
        labels = images.labels[start : start + _ROWS]
        guessed = model(pixels.to(weight)).argmax(dim=1).cpu()
        counts += torch.bincount(labels.cpu() * m + guessed, minlength=m * m)
    return counts.view(m, m)
