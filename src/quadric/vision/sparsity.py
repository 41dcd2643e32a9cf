"""How many entries a vector effectively has: of a spectrum its rank, of an eigenvector its pixels.

    s(y) = ‖y‖₁² / ‖y‖₂²

is n for n entries of equal size, 1 for a single one, and does not change with the scale of y
(arXiv 2410.08417, appendix D). For comparison, noise has

* 2n/π if y is a Gaussian vector of n entries,
* 64n/(9π²) if y holds the eigenvalues of a random symmetric n×n matrix (Wigner's semicircle),

so 0.64·n and 0.72·n are what "not sparse at all" looks like in a trained model, not n.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.forms import Rule
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.spectra import spectra


def effective_count(values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """s(y) = ‖y‖₁²/‖y‖₂² along the last axis, in [1, n]; 0 for a vector of zeros."""
    largest = values.abs().amax(dim=-1, keepdim=True)
    scaled = values / torch.where(largest == 0, 1.0, largest)  # squares of tiny numbers vanish
    length = scaled.square().sum(dim=-1)
    silent = length == 0
    return torch.where(
        silent, 0.0, scaled.abs().sum(dim=-1) ** 2 / torch.where(silent, 1.0, length)
    )


def gaussian_count(n: int) -> float:
    """2n/π: the effective count of a long vector of independent Gaussian entries."""
    return 2 * n / math.pi


def wigner_count(n: int) -> float:
    """64n/(9π²): the effective count of the spectrum of a large random symmetric n×n matrix.

    Under the semicircle of radius R the mean of |λ| is 4R/(3π) and that of λ² is R²/4.
    """
    return 64 * n / (9 * math.pi**2)


def effective_rank(
    model: ImageClassifier,
    directions: Float[Tensor, "q m"] | None = None,
    *,
    space: Space = "hidden",
) -> Float[Tensor, "q"]:
    """s of all eigenvalues of each class, or of each row of ``directions``.

    Raises:
        QuadricError: the logits are no quadratic forms, or ``directions`` do not fit.
    """
    return effective_count(spectra(model, directions, space=space).values)


def effective_pixels(
    model: ImageClassifier,
    directions: Float[Tensor, "q m"] | None = None,
    *,
    k: int = 5,
    by: Rule = "abs",
    space: Space = "hidden",
) -> Float[Tensor, "q k"]:
    """s of the images of the k leading eigenvectors of each class.

    Args:
        model: a classifier with one bilinear block.
        directions: combinations of the logits; every class when None.
        k: how many eigenvectors.
        by: which lead: the largest |λ|, the largest λ or the smallest.
        space: whose eigenvectors.

    Raises:
        QuadricError: the logits are no quadratic forms, or ``k`` or ``directions`` do not fit.
    """
    return effective_count(spectra(model, directions, k=k, by=by, space=space).images)
