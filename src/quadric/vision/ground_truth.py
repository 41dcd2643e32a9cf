"""What a classifier of two classes computes, as one form, beside the target that it was to find.

Only the difference of two logits decides, and with one bilinear block it is

    True(x) − False(x) = Σ_i λ_i (v_i·Ex)² + ℓ·x + c

(arXiv 2410.08417 §4.3: the direction e_True − e_False). :func:`binary_form` reads all of it off the
weights, once with ℓ and c kept apart and once with them folded into forms of [Ex; 1];
:func:`likeness` and :func:`likest` compare an eigenvector's picture with images.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quadric.errors import QuadricError
from quadric.vision.classifier import ImageClassifier
from quadric.vision.data.images import Images
from quadric.vision.spectra import constants, spectra

_ROWS = 8192
"""Images compared at once, which bounds the memory of their float64 copy."""


class BinaryForm(NamedTuple):
    """The difference between the second and the first logit; the largest |λ| lead."""

    values: Float[Tensor, " d"]
    """λ of the quadratic part."""
    images: Float[Tensor, "d p"]
    """Eᵀv as rows: the quadratic part is Σ λ(image·x)²."""
    linear: Float[Tensor, " p"]
    """ℓ."""
    constant: Float[Tensor, ""]
    """c: the difference at the black image."""
    folded_values: Float[Tensor, " f"]
    """λ of the whole form on [Ex; 1], f = d + 1; the quadratic part's where there is no bias."""
    folded_images: Float[Tensor, "f p"]
    """What the folded eigenvectors read in the pixels."""
    folded_constants: Float[Tensor, " f"]
    """And in the constant: the whole form is Σ λ(image·x + constant)²."""

    def largest(self) -> Int[Tensor, " d"]:
        """Positions of the eigenpairs by λ, the most positive first."""
        return self.values.argsort(descending=True, stable=True)

    def score(
        self, x: Float[Tensor, "*batch p"], keep: Int[Tensor, " k"] | None = None
    ) -> Float[Tensor, "*batch"]:
        """Σ_{i kept} λ_i(image_i·x)² + ℓ·x + c; with all terms kept, True(x) − False(x).

        Args:
            x: images.
            keep: positions of the eigenpairs that stay; all when None.
        """
        values, images = self.values, self.images
        if keep is not None:
            values, images = values[keep], images[keep]
        return (x @ images.mT).square() @ values + x @ self.linear + self.constant


@torch.no_grad()
def binary_form(model: ImageClassifier) -> BinaryForm:
    """The difference of the two logits of a classifier with one bilinear block.

    Raises:
        QuadricError: there are not two classes, or the logits are no quadratic forms.
    """
    if len(model.classes) != 2:
        raise QuadricError(
            f"the model has the {len(model.classes)} classes {', '.join(model.classes)}, expected "
            "two: the ground-truth task has False and True"
        )
    tensor = model.tensor("hidden")
    direction = tensor.left.new_tensor([[-1.0, 1.0]])
    found, rest = spectra(model, direction), constants(model, direction)
    whole, vectors = (part[0] for part in tensor.eigh_many(direction, tensor.d))
    read = vectors if model.embed is None else vectors @ model.input_basis()
    constant = torch.zeros_like(whole)
    if model.lifted:
        read, constant = read[:, :-1], read[:, -1]
    return BinaryForm(
        found.values[0], found.images[0], rest.linear[0], rest.constant[0], whole, read, constant
    )


def accuracy_of(scores: Float[Tensor, " n"], images: Images, threshold: float = 0.0) -> float:
    """Share of the images whose score is above a threshold if and only if they are True.

    Raises:
        QuadricError: there are not as many scores as images.
    """
    if len(scores) != len(images):
        raise QuadricError(f"there are {len(scores)} scores for {len(images)} images")
    return float(((scores > threshold).long() == images.labels).double().mean())


def best_threshold(scores: Float[Tensor, " n"], images: Images) -> float:
    """The threshold on scores that divides labelled images with the fewest errors.

    It lies halfway between two scores; −∞ where everything is best called True.

    Raises:
        QuadricError: there are not as many scores as images, or none.
    """
    if len(scores) != len(images) or not len(images):
        raise QuadricError(f"there are {len(scores)} scores for {len(images)} images")
    ordered, order = scores.double().sort(stable=True)
    true = images.labels[order].double()
    below = F.pad((1 - 2 * true).cumsum(dim=0), (1, 0))  # gain of calling the first i False
    cuts = torch.cat([ordered.new_tensor([-torch.inf]), ordered])
    # A cut between equal scores is none: only the last of them counts.
    last = torch.ones(len(cuts), dtype=torch.bool)
    last[1:-1] = ordered[1:] > ordered[:-1]
    best = int(below.masked_fill(~last, -torch.inf).argmax())
    if best in (0, len(ordered)):
        return float(cuts[best])
    return float((ordered[best - 1] + ordered[best]) / 2)


def likeness(
    pictures: Float[Tensor, "*batch p"], pattern: Float[Tensor, "*batch p"]
) -> Float[Tensor, "*batch"]:
    """|cos| between pictures and a pattern, as an eigenvector has no sign; 0 for a blank one."""
    first, second = (F.normalize(image.double(), dim=-1) for image in (pictures, pattern))
    return (first * second).sum(dim=-1).abs() if second.ndim > 1 else (first @ second).abs()


def centred(pixels: Float[Tensor, "*batch p"]) -> Float[Tensor, "*batch p"]:
    """Each image less its own mean brightness; of t − (1 − t) this is twice that of t."""
    return pixels - pixels.mean(dim=-1, keepdim=True)


def likest(picture: Float[Tensor, " p"], pixels: Float[Tensor, "n p"]) -> Int[Tensor, " n"]:
    """Positions of images by |cos| of their centred pixels with a picture, the likest first.

    On the ground-truth task the first one should be the target: it is then known from the weights.
    """
    parts = [likeness(centred(part.double()), picture) for part in torch.split(pixels, _ROWS)]
    return torch.cat(parts).argsort(descending=True, stable=True)
