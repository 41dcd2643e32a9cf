"""How alike classifiers are as functions of the image, from their weights and two moments.

Under x ~ N(μ, Σ) with Σ = CCᵀ put x = μ + Cz. Every logit is then zᵀAz + ℓ·z + c in the standard
Gaussian z, and for two models, exactly and without a sample,

    cov(f, g) = 2⟨A, A'⟩ + ℓ·ℓ',    E[f] = tr A + c,    E[fg] = cov(f, g) + E[f]·E[g].

Biases and residual paths are in A, ℓ and c. The Gaussian is the standard one of pixel space, or the
one with the mean and covariance of given images. What real images have beyond their covariance it
does not know; :func:`agreement` and :func:`correlation` measure on images what this predicts.

    found = similarity([a, b, c], moments(data.train))
    found["images, centred"].total      # (3, 3) cosines
    found["images, centred"].classes    # (10, 3, 3), logit by logit
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor
from quadric.forms.gram import cross_gram
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.fit import EVALUATE_AT_ONCE

Measure = Literal["weights", "standard", "standard, centred", "images", "images, centred"]
"""What the cosine is of: the tensors' entries, or the logits under a Gaussian, whole or centred.

"weights" is the Frobenius cosine in pixels, of [x; 1] where a model has biases or a residual path.
Uncentred cosines contain the logits' means, which can dominate; centred ones are correlations.
"""


class Moments(NamedTuple):
    """A Gaussian over images: x = mean + factor·z."""

    mean: Float[Tensor, "p"]
    """μ, in float64."""
    factor: Float[Tensor, "p q"]
    """C with CCᵀ = Σ, one column for each direction that varies."""


class Cosines(NamedTuple):
    """Similarities of K models; NaN where a class's logit does not vary."""

    total: Float[Tensor, "K K"]
    """⟨f, g⟩/√(⟨f, f⟩⟨g, g⟩) with ⟨·,·⟩ summed over the classes."""
    classes: Float[Tensor, "m K K"]
    """The same for each class's logit alone."""


@torch.no_grad()
def moments(images: Images) -> Moments:
    """Mean and covariance of the pixels, the covariance as a factor; O(N·p² + p³), in float64.

    Raises:
        QuadricError: there are fewer than two images, or all are the same.
    """
    if len(images) < 2:
        raise QuadricError(f"a covariance needs two or more images, not {len(images)}")
    p = images.d_in
    mean = images.pixels.mean(dim=0, dtype=torch.float64)
    cov = torch.zeros(p, p, dtype=torch.float64)
    for part in _pieces(images):
        centred = part.double() - mean
        cov += centred.mT @ centred
    variances, axes = torch.linalg.eigh(cov / len(images))
    varies = variances > variances[-1] * p * torch.finfo(torch.float64).eps
    if not variances[-1] > 0:
        raise QuadricError(f"all {len(images)} images are the same: their covariance is zero")
    return Moments(mean, axes[:, varies] * variances[varies].sqrt())


@torch.no_grad()
def similarity(
    models: Sequence[ImageClassifier], images: Moments | None = None
) -> dict[Measure, Cosines]:
    """Cosines between all models, by every measure that can be had (the last two need ``images``).

    Models may differ in width, biases and residual path. In float64;
    O(n·n'·(p + m)) for a pair of models of n and n' products.

    Raises:
        QuadricError: there are no models, they differ in images or classes, one has several blocks
            or an element-wise gate or constant logits, or ``images`` has another number of pixels.
    """
    check_comparable(models)
    p = models[0].d_in
    if images is not None and len(images.mean) != p:
        raise QuadricError(f"the moments are of {len(images.mean)} pixels, the models read {p}")
    exact = [_on_constant(model) for model in models]
    found: dict[Measure, Cosines] = {"weights": _cosines(_pairwise(exact))}
    standard = Moments(exact[0].left.new_zeros(p), torch.eye(p, dtype=torch.float64))
    found["standard"], found["standard, centred"] = _gaussian(exact, standard)
    if images is not None:
        found["images"], found["images, centred"] = _gaussian(exact, images)
    return found


@torch.no_grad()
def agreement(models: Sequence[ImageClassifier], images: Images) -> Float[Tensor, "K K"]:
    """The share of images on which two models choose the same class, right or wrong.

    Raises:
        QuadricError: the models differ in images or classes, or there are no images.
    """
    guesses = torch.stack([logits.argmax(dim=1) for logits in _logits(models, images)])
    shares: Float[Tensor, "K K"] = (guesses[:, None] == guesses).double().mean(dim=2)
    return shares


@torch.no_grad()
def correlation(models: Sequence[ImageClassifier], images: Images) -> Float[Tensor, "K K"]:
    """ "images, centred" on the images themselves instead of the Gaussian of their moments.

    Raises:
        QuadricError: as for ``agreement``, or a model's logits do not vary.
    """
    rows = torch.stack([(f - f.mean(0)).flatten() for f in _logits(models, images)])
    sizes = rows.norm(dim=1, keepdim=True)
    if not (sizes > 0).all():
        raise QuadricError("the logits of a model are the same for all images: no correlation")
    rows = rows / sizes
    cosines: Float[Tensor, "K K"] = rows @ rows.mT
    return cosines


def check_comparable(models: Sequence[ImageClassifier]) -> None:
    """Refuse models that do not classify the same kind of images into the same classes."""
    if not models:
        raise QuadricError("there is no model to compare")
    first = models[0]
    for place, model in enumerate(models):
        if (model.shape, model.classes) != (first.shape, first.classes):
            shapes = ["×".join(map(str, m.shape)) for m in (first, model)]
            raise QuadricError(
                f"the first model puts {shapes[0]} images into {', '.join(first.classes)} and "
                f"model {place + 1} puts {shapes[1]} into {', '.join(model.classes)}: "
                "compare models of one task"
            )


def _on_constant(model: ImageClassifier) -> BilinearTensor:
    """The logits as forms of [x; 1] in float64, also where the model is not lifted."""
    tensor = model.tensor("input").to(dtype=torch.float64)
    if model.lifted:
        return tensor
    zeros = tensor.left.new_zeros(tensor.n)
    return tensor.fold_bias(zeros, zeros)


def _gaussian(tensors: Sequence[BilinearTensor], gaussian: Moments) -> tuple[Cosines, Cosines]:
    """Whole and centred; in z, where [x; 1] = [[C, μ], [0, 1]] [z; 1]."""
    basis = torch.cat([gaussian.factor, gaussian.mean[:, None]], dim=1)
    constant = basis.new_zeros(1, basis.shape[1])
    constant[0, -1] = 1
    basis = torch.cat([basis, constant])
    quadratic, linear, rest = zip(
        *(t.with_input_basis(basis).parts() for t in tensors), strict=True
    )
    traces = [form.read_out((form.left * form.right).sum(1)) for form in quadratic]
    slopes, means = torch.stack(linear, dim=1), (torch.stack(traces) + torch.stack(rest)).mT
    covariance = 2 * _pairwise(quadratic) + slopes @ slopes.mT
    return _cosines(covariance + means[:, :, None] * means[:, None]), _cosines(covariance)


def _pairwise(tensors: Sequence[BilinearTensor]) -> Float[Tensor, "m K K"]:
    """⟨A_k, A'_k⟩ for all pairs of tensors and every output k."""
    count = len(tensors)
    inner = torch.zeros(tensors[0].m, count, count, dtype=torch.float64)
    for i, j in combinations_with_replacement(range(count), 2):
        inner[:, i, j] = inner[:, j, i] = cross_gram(tensors[i], tensors[j]).diagonal()
    return inner


def _cosines(inner: Float[Tensor, "m K K"]) -> Cosines:
    total = inner.sum(0)
    for place, square in enumerate(total.diagonal().tolist()):
        if not square > 0:
            raise QuadricError(f"the logits of model {place + 1} do not vary: no cosine with them")
    return Cosines(_normalised(total), _normalised(inner))


def _normalised(inner: Float[Tensor, "*m K K"]) -> Float[Tensor, "*m K K"]:
    sizes = inner.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    return inner / sizes[..., None] / sizes[..., None, :]


def _logits(models: Sequence[ImageClassifier], images: Images) -> list[Float[Tensor, "N m"]]:
    check_comparable(models)
    if not len(images):
        raise QuadricError("there are no images")
    if images.shape != models[0].shape:
        raise QuadricError(f"the images are {images.shape}, the models read {models[0].shape}")
    dtypes = [next(model.parameters()).dtype for model in models]
    return [
        torch.cat([model(part.to(dtype)).double() for part in _pieces(images)])
        for model, dtype in zip(models, dtypes, strict=True)
    ]


def _pieces(images: Images) -> list[Float[Tensor, "some p"]]:
    starts = range(0, len(images), EVALUATE_AT_ONCE)
    return [images.pixels[start : start + EVALUATE_AT_ONCE] for start in starts]
