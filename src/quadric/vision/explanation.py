"""Why one image got its logits: every eigenvector's contribution to every class.

With one bilinear block

    logit_c(x) = Σ_i λ_i (v_i·Ex)² + ℓ_c·x + c_c,

so the contributions λ_i(v_i·Ex)², with the linear and the constant term of a model with biases or a
residual path, are the logit: nothing is left over (arXiv 2410.08417, appendix C). All is computed
in float64, whatever the dtype of the model.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.layers.layer import Space
from quadric.vision.classifier import ImageClassifier
from quadric.vision.spectra import constants, spectra

_ROWS = 1024
"""Images whose terms are held at once."""


class Explanation(NamedTuple):
    """The logits of one image as sums of terms, in float64; each class's largest term first.

    For every class: ``contributions.sum() + linear + constant`` is the logit.
    """

    logits: Float[Tensor, " m"]
    """The model's outputs at the image."""
    contributions: Float[Tensor, "m d"]
    """λ_i(v_i·Ex)², falling: what excites a class first, what suppresses it most last."""
    values: Float[Tensor, "m d"]
    """λ_i of each contribution."""
    images: Float[Tensor, "m d p"]
    """Eᵀv_i, what each contribution reads in the pixels."""
    linear: Float[Tensor, " m"]
    """ℓ_c·x; 0 without biases and residual path."""
    constant: Float[Tensor, " m"]
    """c_c, the logits at the black image; 0 likewise."""

    def strongest(self, terms: int) -> Bool[Tensor, "m d"]:
        """Which contributions are a class's ``terms`` largest in absolute value.

        Raises:
            QuadricError: ``terms`` is not in 1…d.
        """
        _check_terms(terms, self.contributions.shape[1])
        order = self.contributions.abs().argsort(dim=1, descending=True, stable=True)
        return torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :terms], value=True)

    def remainder(self, terms: int) -> Float[Tensor, " m"]:
        """What the contributions outside ``strongest(terms)`` add to each logit.

        Raises:
            QuadricError: ``terms`` is not in 1…d.
        """
        return self.contributions.masked_fill(self.strongest(terms), 0).sum(dim=1)


class Forces(NamedTuple):
    """The two sides of every logit, for many images."""

    excitation: Float[Tensor, "n m"]
    """Sum of the positive contributions, ≥ 0."""
    suppression: Float[Tensor, "n m"]
    """Sum of the negative contributions, ≤ 0."""


@torch.no_grad()
def explain(
    model: ImageClassifier, pixels: Float[Tensor, " p"], *, space: Space = "hidden"
) -> Explanation:
    """All terms of all logits at one image.

    Args:
        model: a classifier with one bilinear block.
        pixels: one image as a row of pixels.
        space: whose eigenvectors: of the embedding's forms (as published) or of the pixels'. The
            terms differ, their sums do not.

    Raises:
        QuadricError: the logits are no quadratic forms, or the image has another size.
    """
    if pixels.shape != (model.d_in,):
        raise QuadricError(
            f"the image has shape {tuple(pixels.shape)}, expected one row of {model.d_in} pixels"
        )
    exact = copy.deepcopy(model).double().eval()
    x = pixels.to(next(exact.parameters()))
    found, rest = spectra(exact, space=space), constants(exact)
    terms = found.values * (found.images @ x).square()
    order = terms.argsort(dim=1, descending=True, stable=True)
    return Explanation(
        exact(x),
        terms.gather(1, order),
        found.values.gather(1, order),
        found.images.take_along_dim(order[:, :, None], dim=1),
        rest.linear @ x,
        rest.constant,
    )


@torch.no_grad()
def forces(model: ImageClassifier, pixels: Float[Tensor, "n p"]) -> Forces:
    """What excites and what suppresses each class, for every image, in the model's dtype.

    The two add up to the quadratic part of the logit. O(n·m·d²), in pieces.

    Raises:
        QuadricError: the logits are no quadratic forms, or the images have another size.
    """
    if pixels.ndim != 2 or pixels.shape[1] != model.d_in:
        raise QuadricError(
            f"images have shape {tuple(pixels.shape)}, expected rows of {model.d_in} pixels"
        )
    values, vectors, _, _ = spectra(model)
    m, d = values.shape
    parts = []
    for part in torch.split(pixels.to(vectors), _ROWS):
        embedded = part if model.embed is None else model.embed(part)
        read = (embedded @ vectors.flatten(0, 1).mT).view(-1, m, d).square()
        excitation = torch.einsum("nmd,md->nm", read, values.clamp(min=0))
        parts.append((excitation, torch.einsum("nmd,md->nm", read, values.clamp(max=0))))
    if not parts:
        empty = values.new_zeros(0, m)
        return Forces(empty, empty)
    return Forces(*(torch.cat(side) for side in zip(*parts, strict=True)))


def suppression_lead(
    found: Forces, logits: Float[Tensor, "n m"], labels: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """How far suppression decides right answers; −∞ where it does not, or the answer is wrong.

    An image is classified right *by suppression* if another class is excited more than its own.
    For these, the distance in suppression from the own class to the least suppressed of the others:
    positive where the own class is the least suppressed of all.
    """
    own = labels[:, None]
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, own, value=False)
    lead = found.suppression.gather(1, own)[:, 0] - _largest(found.suppression, others)
    right = logits.argmax(dim=1) == labels
    decides = found.excitation.argmax(dim=1) != labels
    return lead.masked_fill(~(right & decides), -torch.inf)


def error_margin(logits: Float[Tensor, "n m"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """By how much the answer's logit exceeds that of the right class; −∞ where it is right."""
    margin = logits.amax(dim=1) - logits.gather(1, labels[:, None])[:, 0]
    return margin.masked_fill(logits.argmax(dim=1) == labels, -torch.inf)


def _largest(values: Float[Tensor, "n m"], among: Bool[Tensor, "n m"]) -> Float[Tensor, " n"]:
    return values.masked_fill(~among, -torch.inf).amax(dim=1)


def _check_terms(terms: int, most: int) -> None:
    if not 1 <= terms <= most:
        raise QuadricError(f"terms is {terms}, expected 1 to {most}, the terms of a class")
