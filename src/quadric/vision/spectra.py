"""What a class reads: the eigenvectors of its logit's form, as pictures.

With one bilinear block the logit of class c is Σ_i λ_i (v_i·Ex)² (arXiv 2410.08417, §3.2). In the
"hidden" space the v_i are eigenvectors of Q_c and the pictures Eᵀv_i: the terms are exact, but
the pictures are neither orthogonal nor of unit length. In the "input" space the v_i are
eigenvectors of EᵀQ_cE, orthonormal in pixels, and are the pictures themselves.

A model with biases or a residual path has linear and constant terms besides; spectra are those of
its quadratic part, and :func:`constants` gives the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from quadric.errors import QuadricError
from quadric.forms import BilinearTensor, Rule
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier


class Spectra(NamedTuple):
    """Eigenpairs of some directions of the logits, sorted; pictures are rows of pixels."""

    values: Float[Tensor, "q k"]
    """λ, leading ones first; a form with fewer pairs than others is filled up with 0."""
    vectors: Float[Tensor, "q k d"]
    """v as orthonormal rows, in the space asked for."""
    images: Float[Tensor, "q k p"]
    """What the term λ(image·x)² reads in the pixels x."""
    space: Space
    """Where ``vectors`` live."""


class LinearTerms(NamedTuple):
    """What a model with biases or a residual path adds to its quadratic part."""

    linear: Float[Tensor, "q p"]
    """Rows of pixels ℓ: the logits contain ℓ·x."""
    constant: Float[Tensor, "q"]
    """The logits at the black image."""


def quadratic_part(model: ImageClassifier) -> BilinearTensor:
    """The logits' forms on the embedding without a constant coordinate.

    Raises:
        QuadricError: the logits are no quadratic forms; see ``ImageClassifier.tensor``.
    """
    tensor = model.tensor("hidden")
    return tensor.parts().quadratic if model.lifted else tensor


@torch.no_grad()
def spectra(
    model: ImageClassifier,
    directions: Float[Tensor, "q m"] | None = None,
    *,
    k: int | None = None,
    by: Rule = "abs",
    space: Space = "hidden",
) -> Spectra:
    """The leading eigenpairs of each class, or of each row of ``directions``.

    Args:
        model: a classifier with one bilinear block.
        directions: combinations of the logits; every class when None.
        k: how many; as many as the space has when None.
        by: which lead: the largest |λ|, the largest λ or the smallest.
        space: whose eigenvectors.

    O(p·d²) in the input space too: EᵀQE is decomposed in the span of E's rows.

    Raises:
        QuadricError: the logits are no quadratic forms, or ``k`` or ``directions`` do not fit.
    """
    tensor = quadratic_part(model)
    us = None if directions is None else directions.to(tensor.left)
    embed = None if model.embed is None else model.embed.weight.detach()
    if space == "hidden" or embed is None:
        values, vectors = tensor.eigh_many(us, k or tensor.d, by)
        images = vectors if embed is None else vectors @ embed
        return Spectra(values, vectors, images, space)
    # Eᵀ = ZR with orthonormal columns Z: EᵀQE = Z (RQRᵀ) Zᵀ.
    basis, triangle = torch.linalg.qr(embed.mT.double())
    reduced = tensor.to(dtype=torch.float64).with_input_basis(triangle.mT)
    values, turned = reduced.eigh_many(None if us is None else us.double(), k or reduced.d, by)
    vectors = (turned @ basis.mT).to(tensor.dtype)
    return Spectra(values.to(tensor.dtype), vectors, vectors, space)


@torch.no_grad()
def constants(
    model: ImageClassifier, directions: Float[Tensor, "q m"] | None = None
) -> LinearTerms:
    """The linear and constant terms of each class, or of each row of ``directions``, in pixels.

    Zero for a model without biases and residual path.

    Raises:
        QuadricError: the logits are no quadratic forms.
    """
    tensor = model.tensor("input")
    if model.lifted:
        parts = tensor.parts()
        linear, constant = parts.linear, parts.constant
    else:
        linear, constant = (
            tensor.left.new_zeros(tensor.m, tensor.d),
            tensor.left.new_zeros(tensor.m),
        )
    if directions is None:
        return LinearTerms(linear, constant)
    us = directions.to(linear)
    return LinearTerms(us @ linear, us @ constant)


def class_index(model: ImageClassifier, name: str | int) -> int:
    """The output of a class, given by its name or its number.

    Raises:
        QuadricError: there is no such class.
    """
    if str(name) in model.classes:
        return model.classes.index(str(name))
    if str(name).isdecimal() and int(name) < len(model.classes):
        return int(name)
    raise QuadricError(
        f"no class {str(name)!r}: the model has {', '.join(model.classes)}, numbered 0 to "
        f"{len(model.classes) - 1}"
    )
